; What a vector instruction writes and what not: VEX.128 forms clear the upper half of their destination, legacy forms leave it,
; and all other registers stay, sources among them, whatever the emulator needs in between. SDM Vol. 1, "Vector-Length Transition
; and Programming Considerations"; Vol. 2A, "Instruction Format".
;
; Pitfalls: G4 G7
;
; limit: 120000000
; expect: vex_128_clears_the_upper_half: ok
; expect: vex_128_moves_and_conversions: ok
; expect: legacy_leaves_the_upper_half: ok
; expect: others_stay: ok
%include "lm64.inc"

; Away from the code, which would make each store to them slow.
before  equ 0x202000
after   equ 0x202400

; Destination ymm5; ymm6, ymm7 and memory at [rbx] are sources.
%macro VEX128 1+
    call load_all
    %1
    mov ebp, check_cleared
    call check
%endmacro
%macro LEGACY 1+
    call load_all
    %1
    mov ebp, check_upper_kept
    call check
%endmacro
; Writes no vector register.
%macro NONE 1+
    call load_all
    %1
    mov ebp, check_all_kept
    call check
%endmacro
%macro THREE 1-*                        ; names of instructions of three operands
%rep %0
    VEX128 %1 xmm5, xmm6, xmm7
    VEX128 %1 xmm5, xmm6, [rbx]
%rotate 1
%endrep
%endmacro
%macro TWO 1-*                          ; of two, legacy
%rep %0
    LEGACY %1 xmm5, xmm6
    LEGACY %1 xmm5, [rbx]
%rotate 1
%endrep
%endmacro

%macro vzero_by_xor 0
    vpxor xmm5, xmm5, xmm5
%endmacro
%macro cpuid_saved 0
    push rbx
    xor eax, eax
    cpuid
    pop rbx
%endmacro
%macro fld_and_store 0
    fninit
    fldpi
    fistp qword [scratch]
%endmacro
%macro rep_move 0
    mov esi, memory
    mov edi, scratch
    mov ecx, 32
    rep movsb
%endmacro

; Wrong is who called `check`.
%macro EXPECT_AT 2
    cmp %1, %2
    je %%same
    mov eax, [rsp]
    mov [wrong_at], eax
%%same:
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7
    mov ebx, memory
    mov edi, before                     ; register n: halves of n's own, small floating-point numbers in each lane
    xor ecx, ecx
.prepare:
    lea eax, [rcx * 4 + 0x3FF00000]
    mov [rdi], eax
    inc eax
    mov [rdi + 4], eax
    add edi, 8
    inc ecx
    cmp ecx, 64
    jb .prepare

    REPEATEDLY
    THREE vaddps, vsubpd, vmulps, vdivpd, vminps, vmaxpd, vandps, vandnpd, vorps, vxorpd, vunpcklps, vunpckhpd
    THREE vaddsubps, vhaddpd, vhsubps, vpaddb, vpaddsw, vpsubusb, vpmullw, vpmuludq, vpmaddwd, vpsadbw, vpavgb, vpand, vpxor
    THREE vpacksswb, vpackusdw, vpunpcklbw, vpunpckhqdq, vpcmpeqb, vpcmpgtq, vpshufb, vphaddw, vpsignd, vpmulhrsw, vpmaxsd, vpminuw
    THREE vpsllw, vpsrad, vpsrlq, vpsllvd, vpsrlvq, vpsravd, vfmadd132ps, vfnmadd231pd, vfmsubadd213ps, vpmaddubsw, vpmuldq
    VEX128 vpalignr xmm5, xmm6, xmm7, 5
    VEX128 vpblendw xmm5, xmm6, [rbx], 0x5A
    VEX128 vblendps xmm5, xmm6, xmm7, 5
    VEX128 vpblendd xmm5, xmm6, [rbx], 5
    VEX128 vblendvps xmm5, xmm6, xmm7, xmm6
    VEX128 vpblendvb xmm5, xmm6, [rbx], xmm7
    VEX128 vshufps xmm5, xmm6, xmm7, 0x1B
    VEX128 vdpps xmm5, xmm6, xmm7, 0xF1
    VEX128 vmpsadbw xmm5, xmm6, xmm7, 2
    VEX128 vcmpps xmm5, xmm6, xmm7, 17
    VEX128 vaesenc xmm5, xmm6, xmm7
    VEX128 vpclmulqdq xmm5, xmm6, [rbx], 1
    VEX128 vinsertps xmm5, xmm6, [rbx], 0x10
    VEX128 vpinsrb xmm5, xmm6, eax, 3
    VEX128 vpinsrw xmm5, xmm6, [rbx], 3
    VEX128 vpinsrq xmm5, xmm6, rax, 1
    AGAIN
    CLAIM "vex_128_clears_the_upper_half"

    REPEATEDLY
    VEX128 vmovaps xmm5, xmm6
    VEX128 vmovups xmm5, [rbx]
    VEX128 vmovdqa xmm5, [rbx]
    VEX128 vmovdqu xmm5, xmm6
    VEX128 vlddqu xmm5, [rbx]
    VEX128 vmovntdqa xmm5, [rbx]
    VEX128 vmovss xmm5, [rbx]
    VEX128 vmovss xmm5, xmm6, xmm7
    VEX128 vmovsd xmm5, [rbx]
    VEX128 vmovsd xmm5, xmm6, xmm7
    VEX128 vmovd xmm5, eax
    VEX128 vmovq xmm5, rax
    VEX128 vmovq xmm5, xmm6
    VEX128 vmovq xmm5, [rbx]
    VEX128 vmovlps xmm5, xmm6, [rbx]
    VEX128 vmovhpd xmm5, xmm6, [rbx]
    VEX128 vmovhlps xmm5, xmm6, xmm7
    VEX128 vmovlhps xmm5, xmm6, xmm7
    VEX128 vmovddup xmm5, [rbx]
    VEX128 vmovshdup xmm5, xmm6
    VEX128 vbroadcastss xmm5, [rbx]
    VEX128 vpbroadcastb xmm5, xmm6
    VEX128 vpbroadcastq xmm5, [rbx]
    VEX128 vpermilps xmm5, xmm6, 0x1B
    VEX128 vpermilpd xmm5, xmm6, xmm7
    VEX128 vpshufd xmm5, [rbx], 0x1B
    VEX128 vpshufhw xmm5, xmm6, 0x1B
    VEX128 vpslldq xmm5, xmm6, 3
    VEX128 vpsrlw xmm5, xmm6, 3
    VEX128 vpmovsxbw xmm5, [rbx]
    VEX128 vpmovzxdq xmm5, xmm6
    VEX128 vpabsd xmm5, xmm6
    VEX128 vphminposuw xmm5, xmm6
    VEX128 vsqrtps xmm5, xmm6
    VEX128 vsqrtsd xmm5, xmm6, [rbx]
    VEX128 vrcpps xmm5, xmm6
    VEX128 vrsqrtss xmm5, xmm6, xmm7
    VEX128 vroundps xmm5, xmm6, 1
    VEX128 vroundsd xmm5, xmm6, xmm7, 1
    VEX128 vcvtdq2ps xmm5, xmm6
    VEX128 vcvttpd2dq xmm5, xmm6
    VEX128 vcvtpd2ps xmm5, oword [rbx]
    VEX128 vcvttpd2dq xmm5, ymm6
    VEX128 vcvtpd2ps xmm5, ymm6
    VEX128 vcvtps2pd xmm5, xmm6
    VEX128 vcvtsi2ss xmm5, xmm6, eax
    VEX128 vcvtsi2sd xmm5, xmm6, qword [rbx]
    VEX128 vcvtss2sd xmm5, xmm6, xmm7
    VEX128 vcvtph2ps xmm5, [rbx]
    VEX128 vcvtps2ph xmm5, ymm6, 0
    VEX128 vextractf128 xmm5, ymm6, 1
    VEX128 vextracti128 xmm5, ymm6, 0
    VEX128 vmaskmovps xmm5, xmm6, [rbx]
    VEX128 vpmaskmovq xmm5, xmm6, [rbx]
    VEX128 vaddss xmm5, xmm6, xmm7
    VEX128 vfmadd231sd xmm5, xmm6, [rbx]
    VEX128 vaesimc xmm5, xmm6
    VEX128 vaeskeygenassist xmm5, xmm6, 1
    VEX128 vzero_by_xor
    AGAIN
    CLAIM "vex_128_moves_and_conversions"

    REPEATEDLY
    TWO addps, subpd, mulss, divsd, minps, maxpd, andps, xorpd, unpcklps, haddps, addsubpd, sqrtps, rcpps, rsqrtss
    TWO paddb, psubusw, pmullw, pmuludq, pand, pxor, packsswb, punpckhdq, pcmpeqw, pcmpgtq, pshufb, phsubd, psignw, pmulld
    TWO psllw, psraw, psrlq, pmaxsd, pminuw, pabsb, pmovsxbd, pmovzxwq, phminposuw, aesdec, cvtdq2ps, cvtps2pd, cvtss2sd
    TWO cvttpd2dq, cvtpd2ps, movaps, movdqu, movddup, movsldup, movq
    LEGACY movss xmm5, xmm6
    LEGACY movsd xmm5, [rbx]
    LEGACY movlps xmm5, [rbx]
    LEGACY movhlps xmm5, xmm6
    LEGACY movd xmm5, eax
    LEGACY lddqu xmm5, [rbx]
    LEGACY cvtsi2sd xmm5, rax
    LEGACY pshufd xmm5, xmm6, 0x1B
    LEGACY palignr xmm5, [rbx], 3
    LEGACY pinsrd xmm5, [rbx], 1
    LEGACY blendps xmm5, xmm6, 5
    LEGACY roundsd xmm5, xmm6, 1
    LEGACY dppd xmm5, xmm6, 0x31
    LEGACY insertps xmm5, [rbx], 0x20
    LEGACY pslldq xmm5, 5
    AGAIN
    CLAIM "legacy_leaves_the_upper_half"

    REPEATEDLY
    NONE cvttsd2si eax, xmm6
    NONE cvtss2si rax, [rbx]
    NONE movmskps eax, xmm6
    NONE pmovmskb eax, xmm5
    NONE vpmovmskb eax, ymm5
    NONE comiss xmm5, xmm6
    NONE vucomisd xmm5, [rbx]
    NONE ptest xmm5, [rbx]
    NONE vtestps ymm5, ymm6
    NONE pcmpistri xmm5, xmm6, 0x0C
    NONE pextrw ecx, xmm5, 3
    NONE movaps [scratch], xmm5
    NONE vmovups [scratch], ymm5
    NONE movnti [scratch], rax
    NONE vextractf128 [scratch], ymm5, 1
    NONE vcvtps2ph [scratch], ymm5, 0
    NONE vmaskmovps [scratch], ymm5, ymm6
    NONE crc32 eax, dword [rbx]
    NONE imul rax, [rbx], 77
    NONE cpuid_saved
    NONE fld_and_store
    NONE rep_move
    AGAIN
    EXPECT dword [f_vector], 0
    CLAIM "others_stay"
    jmp finish

load_all:
%assign n 0
%rep 16
    vmovdqa ymm%+n, [before + n * 32]
%assign n n + 1
%endrep
    mov eax, 0x12345678
    ret
check:
%assign n 0
%rep 16
    vmovdqa [after + n * 32], ymm%+n
%assign n n + 1
%endrep
    mov esi, before                     ; all but ymm5
    mov edi, after
    mov ecx, 5 * 4
    repe cmpsq
    jne .wrong
    add esi, 32
    add edi, 32
    mov ecx, 10 * 4
    repe cmpsq
    jne .wrong
    jmp rbp
.wrong:
    EXPECT_AT ecx, -1
    ret
check_cleared:
    mov rax, [after + 5 * 32 + 16]
    or rax, [after + 5 * 32 + 24]
    EXPECT_AT rax, 0
    ret
check_all_kept:
    mov rax, [after + 5 * 32]
    EXPECT_AT rax, [before + 5 * 32]
    mov rax, [after + 5 * 32 + 8]
    EXPECT_AT rax, [before + 5 * 32 + 8]
check_upper_kept:
    mov rax, [after + 5 * 32 + 16]
    EXPECT_AT rax, [before + 5 * 32 + 16]
    mov rax, [after + 5 * 32 + 24]
    EXPECT_AT rax, [before + 5 * 32 + 24]
    ret

align 32
memory:  dd 0x3FF01111, 0x3FF02222, 0x3FF03333, 0x3FF04444, 0x3FF05555, 0x3FF06666, 0x3FF07777, 0x3FF08888
scratch: times 32 db 0
