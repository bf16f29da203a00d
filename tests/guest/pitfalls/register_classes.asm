; Which registers REX and VEX extend: general, vector, control and debug registers, and not MMX, segment or mask-like operands;
; overlapping operands of gathers; segment prefixes on loads of one vector element. SDM Vol. 2A, "REX Prefixes"; Vol. 2C,
; "VPGATHERDD/VPGATHERQD".
;
; Pitfalls: D3 D4 D9
;
; limit: 8000000
; expect: control_and_debug_registers: ok
; expect: segment_registers: ok
; expect: mmx_registers: ok
; expect: vector_registers: ok
; expect: gathers: ok
; expect: elements_with_segment_prefix: ok
%include "lm64.inc"
M     equ 0x202000
BASE  equ 0x1000

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7
    SET_MSR 0xC0000100, BASE
    mov r12d, M
    mov r13d, M + 0x40
    REPEATEDLY
    mov rax, cr3
    mov r8, cr3
    EXPECT r8, rax
    mov r15, cr0
    mov rcx, cr0
    EXPECT r15, rcx
    mov cr3, r8
    mov r9, cr3
    EXPECT r9, rax
    mov eax, [round]
    mov cr2, rax
    mov r12, cr2
    EXPECT r12, rax
    mov r14d, 0x7654321
    mov dr2, r14
    mov r11, dr2
    EXPECT r11, r14
    mov rbx, dr2
    EXPECT rbx, r14
    mov rax, cr8
    mov r10d, 5
    mov cr8, r10                        ; REX.R is what makes it CR8
    mov rbx, cr8
    EXPECT rbx, 5
    mov cr8, rax
    mov rbx, cr0
    EXPECT rbx, rcx
    FAULTS 6, 0, {db 0x44, 0x0F, 0x20, 0xC8}    ; mov rax, cr9
    FAULTS 6, 0, {db 0x44, 0x0F, 0x21, 0xC0}    ; mov rax, dr8
    mov r12d, M
    AGAIN
    CLAIM "control_and_debug_registers"

    REPEATEDLY
    mov eax, DATA3
    mov fs, eax
    mov dword [r12], -1
    mov [r12], fs                       ; REX.B belongs to the address
    EXPECT dword [r12], 0xFFFF0000 | DATA3
    mov r13, -1
    mov r13d, fs
    EXPECT r13, DATA3
    db 0x45, 0x8C, 0xE6                 ; mov r14d, fs with REX.R: still FS
    EXPECT r14, DATA3
    mov r9d, DATA0
    db 0x45, 0x8E, 0xE1                 ; mov fs, r9d, the same
    mov eax, fs
    EXPECT eax, DATA0
    mov r13d, M + 0x40
    mov word [r13], DATA3
    mov fs, [r13]
    mov ebx, fs
    EXPECT ebx, DATA3
    mov eax, DATA0
    mov fs, eax
    SET_MSR 0xC0000100, BASE
    AGAIN
    CLAIM "segment_registers"

    REPEATEDLY
    mov eax, [round]
    mov r8, rax
    bswap r8
    movq mm7, r8
    movq [r13], mm7
    EXPECT [r13], r8
    movd mm6, r8d
    movq rbx, mm6
    mov edx, r8d
    EXPECT rbx, rdx
    db 0x4D, 0x0F, 0x6E, 0xC8           ; movq mm1, r8 with REX.R
    movq rbx, mm1
    EXPECT rbx, r8
    paddb mm7, [r13]
    db 0x45, 0x0F, 0xFC, 0xFF           ; paddb mm7, mm7 with REX.R and REX.B
    movq rbx, mm7
    pmovmskb r9d, mm7
    emms
    xor ecx, ecx
    mov r10, r8
    mov edi, 8
.byte:
    shl r10b, 2
    add r10b, 0
    rol r10, 8
    dec edi
    jnz .byte
    EXPECT rbx, r10
    mov rdx, 0x8080808080808080
    pext rdx, r10, rdx
    EXPECT r9, rdx
    AGAIN
    CLAIM "mmx_registers"

    REPEATEDLY
    mov eax, [round]
    vmovd xmm15, eax
    vpbroadcastd ymm9, xmm15
    movaps xmm8, xmm9
    paddd xmm8, xmm15
    vpaddd ymm12, ymm9, ymm9
    movd r11d, xmm12
    lea ecx, [rax * 2]
    EXPECT r11d, ecx
    movd ebx, xmm8
    EXPECT ebx, ecx
    pextrd r10d, xmm8, 1
    EXPECT r10d, eax
    vextracti128 xmm1, ymm12, 1
    movd edx, xmm1
    EXPECT edx, ecx
    pxor xmm0, xmm0
    movdqa xmm9, xmm0
    movd edx, xmm8                      ; (xmm0 and xmm1 were not meant)
    EXPECT edx, ecx
    vpinsrd xmm14, xmm8, [r12], 2
    vpxor xmm13, xmm13, xmm13
    vblendvps xmm13, xmm13, xmm8, xmm15 ; the mask register is in the immediate
    movd edx, xmm13
    mov ebx, ecx
    mov esi, 0
    bt eax, 31
    cmovnc ebx, esi
    EXPECT edx, ebx
    AGAIN
    vzeroupper
    CLAIM "vector_registers"

    mov dword [r12], 10
    mov dword [r12 + 4], 11
    mov dword [r12 + 8], 12
    mov dword [r12 + 12], 13
    REPEATEDLY
    pcmpeqd xmm2, xmm2
    movdqu xmm1, [indices]
    vpgatherdd xmm0, [r12 + xmm1 * 4], xmm2
    movdqu [got], xmm0
    EXPECT dword [got], 13
    EXPECT dword [got + 4], 10
    EXPECT dword [got + 8], 12
    EXPECT dword [got + 12], 11
    ptest xmm2, xmm2                    ; the mask has been cleared
    setz al
    EXPECT al, 1
    pcmpeqd xmm2, xmm2
    FAULTS 6, 0, {vpgatherdd xmm1, [r12 + xmm1 * 4], xmm2}  ; destination and index
    FAULTS 6, 0, {vpgatherdd xmm2, [r12 + xmm1 * 4], xmm2}  ; destination and mask
    FAULTS 6, 0, {vpgatherdd xmm0, [r12 + xmm2 * 4], xmm2}  ; index and mask
    movdqu xmm9, [indices]
    movdqa xmm10, xmm2
    FAULTS 6, 0, {vpgatherdd xmm9, [r12 + xmm9 * 4], xmm10}
    WORKS vpgatherdd xmm1, [r12 + xmm9 * 4], xmm10
    movdqu [got], xmm1
    EXPECT dword [got], 13
    EXPECT dword [got + 12], 11
    AGAIN
    CLAIM "gathers"

    ; What FS points at is 1000h further, and other.
    mov dword [0x203000], 0x11223344
    mov dword [0x202000], 0x55667788
    mov r12d, M
    REPEATEDLY
    pxor xmm0, xmm0
    pinsrd xmm0, [fs:r12], 1
    pextrd eax, xmm0, 1
    EXPECT eax, 0x11223344
    pinsrb xmm0, [fs:M + 1], 0
    movd eax, xmm0
    EXPECT eax, 0x33
    pinsrw xmm0, [fs:r12 + 2], 0
    movd eax, xmm0
    EXPECT eax, 0x1122
    movss xmm1, [fs:r12]
    movd eax, xmm1
    EXPECT eax, 0x11223344
    vpbroadcastw ymm1, [fs:r12]
    movd eax, xmm1
    EXPECT eax, 0x33443344
    insertps xmm1, [fs:r12], 0x0E
    movq rax, xmm1
    EXPECT rax, 0x11223344
    pmovzxbd xmm1, [fs:r12]
    movq rax, xmm1
    mov rdx, 0x3300000044
    EXPECT rax, rdx
    movlps xmm1, [fs:r12]
    movd eax, xmm1
    EXPECT eax, 0x11223344
    mov eax, -1
    movd xmm2, eax
    movdqu xmm3, [zero_index]
    vpgatherdd xmm0, [fs:r12 + xmm3 * 4], xmm2
    movd eax, xmm0
    EXPECT eax, 0x11223344
    pextrb [fs:r12 + 8], xmm0, 3
    EXPECT byte [0x203008], 0x11
    mov byte [0x203008], 0
    mov rbx, M
    mov eax, 1
    fs xlatb
    EXPECT al, 0x33
    AGAIN
    EXPECT dword [0x202000], 0x55667788
    CLAIM "elements_with_segment_prefix"
    jmp finish
align 16
indices:    dd 3, 0, 2, 1
zero_index: dd 0, 0, 0, 0
got:        times 4 dd 0
