; Locked instructions give the flags and results of the same instructions on a register, and read CF once, wherever their
; operand lies: in memory, beside code that runs, over a line of 64 bytes, over a page end, in a device. SDM Vol. 2A,
; "LOCK-Assert LOCK# Signal Prefix", and the instructions' pages.
;
; Pitfalls: C4 H1
;
; limit: 60000000
; expect: locked_in_memory: ok
; expect: locked_beside_code: ok
; expect: locked_over_a_line: ok
; expect: locked_over_a_page_end: ok
; expect: locked_exchanges: ok
; expect: locked_bit_operations: ok
%include "lm64.inc"
CODE    equ 0x240000            ; and 241000h, frames that are no neighbors

; At RSI; RAX is the register's result. The flags must be equal.
%macro SAME 3                           ; its register, the instruction, the same in memory
    mov rax, r12
    mov [rsi], rax
    push r13
    popfq
    %2
    pushfq
    pop r14
    push r13
    popfq
    %3
    pushfq
    pop r15
    EXPECT r15d, r14d
    EXPECT [rsi], %1
    mov [rsi], r12
    push r13
    popfq
    %3
    sbb edx, edx                        ; CF alone
    and r14d, 1
    neg r14d
    EXPECT edx, r14d
%endmacro
%macro ONE_OPERAND 1
    SAME rax, {%1 rax}, {lock %1 qword [rsi]}
    SAME eax, {%1 eax}, {lock %1 dword [rsi]}
%endmacro
%macro TWO_OPERANDS 1
    SAME rax, {%1 rax, rbx}, {lock %1 qword [rsi], rbx}
    SAME rax, {%1 rax, byte -3}, {lock %1 qword [rsi], byte -3}
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x312007
    mov word [CODE], 0xC3F8             ; clc; ret
    mov r11d, CODE
    mov r10d, 0x202100
    call many
    CLAIM "locked_in_memory"
    mov r10d, CODE + 0x108
    call many
    CLAIM "locked_beside_code"
    mov r10d, CODE + 0x140 - 3
    call many
    mov r10d, 0x202140 - 1
    call many
    CLAIM "locked_over_a_line"
    mov r10d, CODE + 0x1000 - 3
    call many
    CLAIM "locked_over_a_page_end"

    REPEATEDLY
    mov esi, 0x202100
    call exchanges
    mov esi, CODE + 0x100
    call CODE
    call exchanges
    mov esi, CODE + 0x140 - 5
    call exchanges
    mov esi, CODE + 0x1000 - 7
    call exchanges
    AGAIN
    CLAIM "locked_exchanges"
    REPEATEDLY
    mov esi, 0x202100
    call bit_operations
    mov esi, CODE + 0x140 - 5
    call bit_operations
    mov esi, CODE + 0x1000 - 1
    call bit_operations
    AGAIN
    CLAIM "locked_bit_operations"
    jmp finish

; All operations at R10 with four values, with CF and without; R11 is code on the page.
many:
    REPEATEDLY
    mov esi, r10d
    call r11
    mov eax, [round]
    and eax, 3
    mov r12, [values + rax * 8]
    mov r13d, 0x002
    mov edx, 0x8D7
    test byte [round], 4
    cmovz r13d, edx
    mov rbx, 0x8000000000000001
    test byte [round], 8
    jz .other
    mov rbx, r12
.other:
    ONE_OPERAND neg
    ONE_OPERAND inc
    ONE_OPERAND dec
    ONE_OPERAND not
    TWO_OPERANDS add
    TWO_OPERANDS adc
    TWO_OPERANDS sub
    TWO_OPERANDS sbb
    TWO_OPERANDS and
    TWO_OPERANDS or
    TWO_OPERANDS xor
    AGAIN
    ret
values: dq 0, 1, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF

; RSI = where. CMPXCHG that succeeds and fails, XADD, XCHG.
exchanges:
    mov rbx, [values + 16]
    mov r8d, [round]
    mov [rsi], r8
    mov rax, r8
    lock cmpxchg [rsi], rbx
    sete dl
    EXPECT dl, 1
    EXPECT [rsi], rbx
    EXPECT rax, r8
    lock cmpxchg [rsi], r8              ; RAX is not what is there
    sete dl
    setc dh
    seto cl
    EXPECT dl, 0
    EXPECT dh, 1                        ; a round below 8000000000000000h
    EXPECT cl, 1                        ; and positive minus the smallest overflows
    EXPECT rax, rbx
    EXPECT [rsi], rbx
    mov rcx, rbx
    lock xadd [rsi], rcx                ; 8000000000000000h twice
    setc dl
    seto dh
    setz al
    EXPECT dl, 1
    EXPECT dh, 1
    EXPECT al, 1
    EXPECT rcx, rbx
    EXPECT qword [rsi], 0
    cmp eax, eax
    xchg [rsi], r8                      ; locked by itself, and no flags
    setz al
    EXPECT al, 1
    EXPECT r8, 0
    mov r8d, [round]
    EXPECT [rsi], r8
    ret

; RSI = where. Memory bit operations with bit numbers beyond the operand.
bit_operations:
    mov qword [rsi], 0
    mov ebx, [round]
    and ebx, 63
    lock bts qword [rsi], rbx
    setc al
    EXPECT al, 0
    lock bts [rsi], rbx
    setc al
    EXPECT al, 1
    xor edx, edx
    bts rdx, rbx
    EXPECT [rsi], rdx
    lock btc [rsi], rbx
    setc al
    EXPECT al, 1
    EXPECT qword [rsi], 0
    lock btc dword [rsi], 31
    setc al
    EXPECT al, 0
    lock btr qword [rsi], 31
    setc al
    EXPECT al, 1
    EXPECT qword [rsi], 0
    lea rdi, [rsi + 64]                 ; a bit number far below the address
    lea rdx, [rbx - 512]
    lock bts [rdi], rdx
    xor eax, eax
    bts rax, rbx
    EXPECT [rsi], rax
    ret
