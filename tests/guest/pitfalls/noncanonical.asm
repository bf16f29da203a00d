; Addresses that are not canonical never reach memory: each of bits 47 to 63 turned over, with each base register, in loads,
; stores, read-modify-writes, pushes and jumps, while the canonical address is hot. #SS for RSP and RBP as base, #GP else.
; SDM Vol. 1, "Canonical Addressing"; Vol. 3A, "Exception and Interrupt Reference".
;
; Pitfalls: E8
;
; limit: 60000000
; expect: each_bit: ok
; expect: each_base_register: ok
; expect: across_the_edge: ok
; expect: segment_bases: ok
; expect: stack_and_jumps: ok
%include "lm64.inc"
GOOD  equ 0x202008
EDGE  equ 0x7FFFFFFFF000        ; the last page of the lower half; mapped

%macro BAD 2+                           ; vector, instruction
    mov dword [f_vector], -1
    mov dword [resume], %%after
%%insn:
    %2
%%after:
    mov rsp, STACK0
    EXPECT dword [f_vector], %1
    EXPECT dword [f_error], 0
    EXPECT dword [f_rip], %%insn
%endmacro
; A load and a store through one register: good, then with bit [bit] turned over.
%macro THROUGH 2                        ; register, vector
    mov r14, [bit]
    mov %1, GOOD
    mov r11d, [%1]
    mov [%1 + 8], r11d
    btc %1, r14
    BAD %2, {mov r11d, [%1]}
    mov %1, GOOD
    btc %1, r14
    BAD %2, {mov [%1 + 8], r11d}
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    SET_IST 12, 1
    SET_IST 13, 1
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov dword [PML4 + 8 * 255], 0x180007
    mov dword [0x180000 + 8 * 511], 0x181007
    mov dword [0x181000 + 8 * 511], 0x182007
    mov dword [0x182000 + 8 * 511], 0x300007
    mov ebp, 47
.bit:
    mov [bit], rbp
    mov dword [round], 60
.again:
    mov ecx, ebp
    mov rbx, GOOD
    mov eax, [rbx]
    mov [rbx + 16], eax
    mov rsi, rbx
    btc rsi, rcx
    BAD 13, {mov eax, [rsi]}
    BAD 13, {mov [rsi], eax}
    BAD 13, {lock inc qword [rsi]}
    BAD 13, {movups xmm0, [rsi]}
    BAD 13, {mov al, [rsi + 0x7F]}
    BAD 13, {lodsb}
    BAD 13, {fild word [rsi]}
    mov rdi, rsi
    mov rsi, rbx
    BAD 13, {movsb}
    EXPECT rsi, rbx
    dec dword [round]
    jnz .again
    inc ebp
    cmp ebp, 64
    jb .bit
    CLAIM "each_bit"

    mov qword [bit], 47
    REPEATEDLY
    THROUGH rax, 13
    THROUGH rcx, 13
    THROUGH rdx, 13
    THROUGH rbx, 13
    THROUGH rsp, 12
    THROUGH rbp, 12
    THROUGH rsi, 13
    THROUGH rdi, 13
    THROUGH r8, 13
    THROUGH r9, 13
    THROUGH r12, 13
    THROUGH r13, 13
    THROUGH r15, 13
    mov rax, [bit]
    inc rax
    cmp rax, 63
    jbe .next
    mov eax, 47
.next:
    mov [bit], rax
    AGAIN
    CLAIM "each_base_register"

    mov rbx, EDGE + 0xFFF
    mov r12, 0xFFFF7FFFFFFFFFFF         ; the last one below the upper half
    REPEATEDLY
    mov al, [rbx]
    mov [rbx], al
    BAD 13, {mov ax, [rbx]}
    BAD 13, {mov eax, [rbx - 2]}
    mov eax, [rbx - 3]
    BAD 13, {mov rax, [rbx - 6]}
    mov rax, [rbx - 7]
    BAD 13, {mov [rbx - 6], rax}
    BAD 13, {movups xmm0, [rbx - 14]}
    movups xmm0, [rbx - 15]
    BAD 13, {add qword [rbx - 3], 1}
    BAD 13, {mov al, [rbx + 1]}
    mov rcx, rbx
    sub rcx, GOOD
    mov edi, GOOD + 1
    BAD 13, {mov al, [rcx + rdi]}
    BAD 13, {mov al, [r12]}
    BAD 13, {mov ax, [r12]}
    mov rsi, rbx
    sub rsi, 3
    mov edi, 0x202100
    mov ecx, 8
    BAD 13, {rep movsb}                 ; four are good
    EXPECT ecx, 4
    EXPECT edi, 0x202104
    lea rdx, [rbx + 1]
    EXPECT rsi, rdx
    AGAIN
    CLAIM "across_the_edge"

    SET_MSR 0xC0000100, 0x7FFFFFFFFF00
    xor ebp, ebp
    xor eax, eax
    REPEATEDLY
    mov al, [fs:rbp + 0xFF]
    BAD 13, {mov al, [fs:rbp + 0x100]}  ; RBP, but FS
    BAD 13, {mov eax, [fs:rbp + 0xFD]}
    mov rdx, 0x800000000000
    BAD 13, {mov al, [fs:rdx]}
    mov rdx, GOOD - 0x7FFFFFFFFF00
    mov al, [fs:rdx]                    ; the sum counts
    mov rdx, 0x800000000000
    AGAIN
    CLAIM "segment_bases"

    REPEATEDLY
    mov rsp, 0x800000000004             ; pushes over the edge
    BAD 12, {push rax}
    mov rsp, 0x800000000000
    mov dword [f_vector], -1
    push rax                            ; just below it
    pop rax
    mov rsp, STACK0
    EXPECT dword [f_vector], -1
    mov rsp, 0x800000000000
    BAD 12, {pop rax}
    mov rsp, 0x800000000000
    BAD 12, {ret}
    mov rsp, 0x7FFFFFFFFFFC
    BAD 12, {pop rax}
    mov rsp, 0xFFFF800000000004
    BAD 12, {call stack_and_jumps}
    mov rbp, 0x800000000000
    BAD 12, {leave}
    mov rax, 0x800000000000
    BAD 13, {jmp rax}
    BAD 13, {call rax}
    push rax
    BAD 13, {ret}
    mov [target], rax
    BAD 13, {jmp [target]}
    AGAIN
    CLAIM "stack_and_jumps"
    jmp finish
bit: dq 0
target: dq 0
stack_and_jumps:
    ret
