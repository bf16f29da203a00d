; Code and data that share a page, a routine that alternates between two texts, and the longest runs of the longest
; instructions: what comes out is right however often code is thrown away. (How fast is a matter of benchmarks.)
;
; Pitfalls: A13 A19 A20 A21
;
; limit: 30000000
; expect: data_beside_code: ok
; expect: smc_alternating_variants: ok
; expect: smc_regenerated_at_one_address: ok
; expect: fat_instructions_in_a_row: ok
%include "lm64.inc"
PAGE    equ 0x240000
BASE    equ 0x1000              ; of GS

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x301007

    ; Counters at all distances from -64 to 64 bytes around a loop of 16, and in a gap of it that is jumped over.
    mov edi, PAGE
    mov ecx, 0x400
    xor eax, eax
    rep stosb
    mov esi, loop_with_a_gap
    mov edi, PAGE + 0x200
    mov ecx, loop_with_a_gap.end - loop_with_a_gap
    rep movsb
    mov r12, -64
.distance:
    cmp r12, -4
    jle .free
    cmp r12, loop_with_a_gap.gap - loop_with_a_gap
    je .free
    cmp r12, loop_with_a_gap.end - loop_with_a_gap
    jl .not_free
.free:
    lea rdi, [PAGE + 0x200 + r12]
    mov esi, [rdi]
    mov ecx, 100
    xor ebx, ebx
    mov eax, PAGE + 0x200
    call rax
    add esi, 100
    EXPECT [rdi], esi
    EXPECT ebx, 5050
    mov dword [rdi], 0
.not_free:
    inc r12
    cmp r12, 64
    jle .distance
    CLAIM "data_beside_code"

    ; 20,000 changes between two routines of different length.
    mov r12d, 20000
    xor r13d, r13d
.alternate:
    mov rax, 0x00C3909005C38348         ; add rbx, 5; nop; nop; ret
    mov rdx, 0xC3909090900BEB83         ; sub ebx, 11; nops; ret
    test r12d, 1
    cmovz rax, rdx
    mov [PAGE], rax
    mov ebx, 100
    mov ecx, 3
.thrice:
    mov eax, PAGE
    call rax
    loop .thrice
    mov eax, 115
    mov edx, 67
    test r12d, 1
    cmovz eax, edx
    EXPECT ebx, eax
    dec r12d
    jnz .alternate
    CLAIM "smc_alternating_variants"

    ; A generator: each round another body at the same address, from its length to its constants.
    REPEATEDLY
    mov edi, PAGE + 0x40
    mov eax, [round]
    mov ecx, eax
    and ecx, 15
    inc ecx
    xor r8d, r8d                        ; what it shall give
.emit:
    imul eax, eax, 69069
    inc eax
    test eax, 0x10000
    jz .emit_sub
    mov word [rdi], 0xC381              ; add ebx, imm32
    add r8d, eax
    jmp .emitted
.emit_sub:
    mov word [rdi], 0xEB81              ; sub ebx, imm32
    sub r8d, eax
.emitted:
    mov [rdi + 2], eax
    add edi, 6
    loop .emit
    mov byte [rdi], 0xC3
    mov edx, 3
.run_generated:
    xor ebx, ebx
    mov eax, PAGE + 0x40
    call rax
    EXPECT ebx, r8d
    dec edx
    jnz .run_generated
    AGAIN
    CLAIM "smc_regenerated_at_one_address"

    SET_MSR 0xC0000101, BASE
    mov r13d, 0x10
    mov r8d, 0x202000 - BASE
    xor r12d, r12d
    mov qword [0x202000 + 0x80 + 0x100], 0
    mov dword [0x202000 + 0x40], 0
    REPEATEDLY
%rep 64
    lock add qword [gs:r13 * 8 + 0x202100 - BASE], 0x12345678
%endrep
    mov rax, 0x12345678 * 64
    add r12, rax
    EXPECT [0x202180], r12
    mov dword [0x202040], 0
%rep 64
    clc
    lock adc dword [gs:r8 + r13 * 4], 0x01020304
%endrep
    EXPECT dword [0x202040], 0x4080C100
%rep 32
    db 0x65, 0xF0, 0x67                 ; with an address size as well
    sub dword [r8 + r13 * 4], 0x01020304
%endrep
    EXPECT dword [0x202040], 0x20406080
    xor eax, eax
    xor edx, edx
    mov qword [0x202080], 0
    mov qword [0x202088], 0
%rep 16
    lock bts qword [gs:r8 + r13 * 4], 31
    mov ebx, [0x202040]
    lock btr qword [gs:r8 + r13 * 4], 31
    mov rcx, [0x202040]
    lock cmpxchg16b [gs:r8 + r13 * 4 + 0x40]
    imul rax, [gs:r8 + r13 * 4 + 0x48], 0x11223344
    mov rax, [gs:r8 + r13 * 4 + 0x40]
    mov rdx, [gs:r8 + r13 * 4 + 0x48]
%endrep
    EXPECT ebx, 0xA0406080
    EXPECT rcx, [0x202088]
    EXPECT [0x202080], rbx
    AGAIN
    CLAIM "fat_instructions_in_a_row"
    jmp finish

loop_with_a_gap:
    inc dword [rdi]
    jmp .on
.gap:
    dd 0
.on:
    add ebx, ecx
    dec ecx
    jnz loop_with_a_gap
    ret
.end:
