; Compatibility mode, hot: 32-bit addresses wrap at 4 GiB, VEX.W and REX mean nothing, pushes are of 4 bytes, code changes itself,
; faults name their place, and what a 64-bit routine left in the upper halves and in R8 to R15 is there again afterwards.
; SDM Vol. 3A, "IA-32e Mode"; Vol. 1, "Compatibility Mode".
;
; Pitfalls: D7 D11 A4 C1 I1
;
; limit: 30000000
; expect: addresses_wrap: ok
; expect: inc_and_dec_are_not_REX: ok
; expect: VEX_W_means_nothing: ok
; expect: stack_of_4_bytes: ok
; expect: smc_in_compatibility_mode: ok
; expect: faults_in_compatibility_mode: ok
; expect: upper_registers_survive: ok
%include "lm64.inc"
M equ 0x202000

; 32-bit code up to COMPAT_END, called as often as ROUNDS says. (The labels are in REPEATEDLY's context.)
%macro COMPAT 0
    REPEATEDLY
    mov r8, 0x8888888888888888
    mov r15, 0xFFFFFFFFFFFFFFFF
    call far dword [%$far]
    mov ebx, %$over
    jmp rbx
    align 8
%$far: dd %$code
    dw CODE0C
%$code:
bits 32
%endmacro
%macro COMPAT_END 1
    retf
bits 64
%$over:
    mov rdx, 0x8888888888888888
    EXPECT r8, rdx
    EXPECT r15, -1
    AGAIN
    CLAIM %1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7
    mov dword [M], 0x12345678
    mov dword [M + 0x20], 0x9ABCDEF0

    COMPAT
    mov eax, 0xFFFFFFF0
    EXPECT dword [eax + M + 0x10], 0x12345678
    EXPECT dword [eax + M + 0x30], 0x9ABCDEF0
    mov ebx, 0x40000000 + M / 8
    EXPECT dword [ebx * 8], 0x12345678      ; * 8 wraps
    mov ecx, 0x80000000
    mov edx, 0x80000000 + M
    EXPECT dword [ecx + edx], 0x12345678
    EXPECT dword [ecx + edx + 0x20], 0x9ABCDEF0
    lea esi, [eax + M + 0x10]
    EXPECT esi, M
    mov dword [eax + M + 0x50], 0x77
    EXPECT dword [M + 0x40], 0x77
    COMPAT_END "addresses_wrap"

    COMPAT
    mov ecx, 5
    mov eax, 7
    db 0x41                             ; inc ecx
    add eax, ecx
    db 0x48                             ; dec eax
    db 0x4F                             ; dec edi
    mov [M + 0x44], eax
    EXPECT dword [M + 0x44], 12
    EXPECT ecx, 6
    COMPAT_END "inc_and_dec_are_not_REX"

    COMPAT
    mov ecx, 0x0000FFFF
    mov edx, 0x12345678
    db 0xC4, 0xE2, 0xF0, 0xF2, 0xC2     ; andn eax, ecx, edx with W
    EXPECT eax, 0x12340000
    db 0xC4, 0xE3, 0xFB, 0xF0, 0xC2, 0x24       ; rorx eax, edx, 36
    EXPECT eax, 0x81234567
    mov eax, 0x89ABCDEF
    vpcmpeqd xmm0, xmm0, xmm0
    db 0xC4, 0xE1, 0xF9, 0x6E, 0xC0     ; vmovd xmm0, eax
    vmovdqu [M + 0x80], xmm0
    EXPECT dword [M + 0x80], 0x89ABCDEF
    EXPECT dword [M + 0x84], 0
    COMPAT_END "VEX_W_means_nothing"

    COMPAT
    mov ebp, esp
    mov dword [esp - 8], 0x5A5A5A5A
    push eax
    EXPECT dword [ebp - 4], eax
    EXPECT dword [ebp - 8], 0x5A5A5A5A
    lea edx, [ebp - 4]
    EXPECT esp, edx
    pop ecx
    EXPECT ecx, eax
    pushad
    lea edx, [ebp - 32]
    EXPECT esp, edx
    popad
    push ds
    pop edx
    EXPECT edx, DATA0
    mov ebp, esp
    call .relative
.back:
    EXPECT esp, ebp
    jmp .called
.relative:
    EXPECT dword [esp], .back
    ret
.called:
    COMPAT_END "stack_of_4_bytes"

    mov dword [old], 0
    COMPAT
    mov edi, M + 0x60
    mov edx, smc_target + 1
    mov eax, [round]
    test al, 15
    jnz .elsewhere
    mov edi, edx
    mov [old], eax
.elsewhere:
    mov [edi], eax
    jmp smc_target
smc_target:
    mov ebx, 0
    EXPECT ebx, [old]
    COMPAT_END "smc_in_compatibility_mode"

    COMPAT
    mov dword [f_vector], -1
    mov dword [resume], .after
    inc esi
.insn:
    mov eax, [0x204010]
.after:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0
    EXPECT dword [f_rip], .insn
    EXPECT dword [f_rip + 4], 0
    EXPECT dword [f_cs], CODE0C
    EXPECT dword [f_cr2], 0x204010
    mov eax, 5
    mov ecx, 6
    cmp eax, ecx                        ; flags over a fault and a call
    mov dword [resume], .after_2
    mov ebx, [0x204010]
.after_2:
    jae .wrong
    call .nothing
    jb .right
.wrong:
    mov dword [wrong_at], .wrong
.right:
    jmp .end
.nothing:
    lea eax, [eax + 0]
    ret
.end:
    COMPAT_END "faults_in_compatibility_mode"

    mov r9, 0x1111222233334444
    mov rsi, 0x5555666677778888
    COMPAT
    mov eax, 3
    add esp, 0
    COMPAT_END "upper_registers_survive"
    mov rdx, 0x1111222233334444
    EXPECT r9, rdx
    jmp finish
old: dd 0
