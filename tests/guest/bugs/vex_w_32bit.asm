; VEX.W means nothing outside 64-bit mode: the operands stay 32 bits wide.
;
; limit: 3000000
; expect: general registers: ok
; expect: vector registers: ok
%include "pm32.inc"

start32:
%include "claims.inc"
    mov dword [hook], note_fault
    mov dword [f_vector], -1
    REPEATEDLY
    mov ecx, 0x0000FFFF
    mov edx, 0x12345678
    db 0xC4, 0xE2, 0xF0, 0xF2, 0xC2             ; andn eax, ecx, edx
    EXPECT eax, 0x12340000
    db 0xC4, 0xE3, 0xFB, 0xF0, 0xC2, 0x04       ; rorx eax, edx, 4
    EXPECT eax, 0x81234567
    db 0xC4, 0xE3, 0xFB, 0xF0, 0xC2, 0x24       ; rorx eax, edx, 36: 5 bits of it
    EXPECT eax, 0x81234567
    mov ecx, 0x10
    db 0xC4, 0xE2, 0xE3, 0xF6, 0xC1             ; mulx eax, ebx, ecx
    EXPECT eax, 1
    EXPECT ebx, 0x23456780
    mov ecx, 0x0808
    db 0xC4, 0xE2, 0xF0, 0xF7, 0xC2             ; bextr eax, edx, ecx
    EXPECT eax, 0x56
    mov ecx, 0x24
    db 0xC4, 0xE2, 0xF1, 0xF7, 0xC2             ; shlx eax, edx, ecx: by 4
    EXPECT eax, 0x23456780
    db 0xC4, 0xE2, 0xF2, 0xF7, 0xC2             ; sarx eax, edx, ecx
    EXPECT eax, 0x01234567
    mov ecx, 40
    db 0xC4, 0xE2, 0xF0, 0xF5, 0xC2             ; bzhi eax, edx, ecx: beyond 31, nothing is cleared
    EXPECT eax, 0x12345678
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "general registers"

    mov eax, 1
    cpuid
    bt ecx, 28                                  ; AVX: as the processor below has it
    jnc .done
    mov eax, cr4
    or eax, 0x40600
    mov cr4, eax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    REPEATEDLY
    mov eax, 0x89ABCDEF
    vpcmpeqd xmm0, xmm0, xmm0
    db 0xC4, 0xE1, 0xF9, 0x6E, 0xC0             ; vmovd xmm0, eax
    vmovdqu [image], xmm0
    EXPECT dword [image], 0x89ABCDEF
    EXPECT dword [image + 4], 0
    vpcmpeqd xmm0, xmm0, xmm0
    xor eax, eax
    db 0xC4, 0xE1, 0xF9, 0x7E, 0xC0             ; vmovd eax, xmm0
    EXPECT eax, -1
    mov dword [image], 0x5A5A5A5A
    mov dword [image + 4], 0x5A5A5A5A
    db 0xC4, 0xE1, 0xF9, 0x7E, 0x05             ; vmovd [image], xmm0
    dd image
    EXPECT dword [image], -1
    EXPECT dword [image + 4], 0x5A5A5A5A
    vpxor xmm0, xmm0, xmm0
    mov eax, 7
    db 0xC4, 0xE3, 0xF9, 0x22, 0xC0, 1          ; vpinsrd xmm0, xmm0, eax, 1
    vmovdqu [image], xmm0
    EXPECT dword [image + 4], 7
    EXPECT dword [image + 8], 0
    db 0xC4, 0xE3, 0xF9, 0x16, 0xC3, 1          ; vpextrd ebx, xmm0, 1
    EXPECT ebx, 7
    db 0xC4, 0xE1, 0xFB, 0x2A, 0xC0             ; vcvtsi2sd xmm0, xmm0, eax
    db 0xC4, 0xE1, 0xFB, 0x2C, 0xD8             ; vcvttsd2si ebx, xmm0
    EXPECT ebx, 7
    EXPECT dword [f_vector], -1
    AGAIN
.done:
    CLAIM "vector registers"
    jmp finish
align 16
image: times 16 db 0
