; Stores of selectors write as many bytes as the manual says, whatever the operand size.
;
; limit: 3000000
; expect: MOV m16, Sreg: ok
; expect: MOV r, Sreg: ok
; expect: PUSH and POP of FS and GS: ok
%include "lm64.inc"
SLOT equ 0x202100

%macro POISON 0
    mov rax, 0x5A5A5A5A5A5A5A5A
    mov [SLOT - 8], rax
    mov [SLOT], rax
    mov [SLOT + 8], rax
%endmacro
; The bytes of `%1` in [SLOT], poison around them.
%macro WROTE 2                          ; value, bytes
    mov rax, 0x5A5A5A5A5A5A5A5A
    EXPECT [SLOT - 8], rax
    EXPECT [SLOT + 8], rax
%if %2 < 8
    mov rdx, 0x5A5A5A5A5A5A5A5A << (8 * %2) | %1
%else
    mov edx, %1
%endif
    EXPECT [SLOT], rdx
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov edi, SLOT
    mov eax, DATA3
    mov fs, eax
    REPEATEDLY
    POISON
    mov [rdi], fs
    WROTE DATA3, 2
    POISON
    o64 mov [rdi], fs
    WROTE DATA3, 2
    POISON
    o16 mov [rdi], fs
    WROTE DATA3, 2
    POISON
    str [rdi]
    WROTE TSS0, 2
    POISON
    o64 sldt [rdi]
    WROTE 0, 2
    POISON
    o64 smsw [rdi]
    mov rdx, 0x5A5A5A5A5A5A5A5A
    mov rax, cr0
    mov dx, ax
    EXPECT [SLOT], rdx
    AGAIN
    CLAIM "MOV m16, Sreg"
    REPEATEDLY
    mov rbx, -1
    mov ebx, fs
    EXPECT rbx, DATA3
    mov rbx, -1
    mov bx, fs
    mov rdx, 0xFFFFFFFFFFFF0000 | DATA3
    EXPECT rbx, rdx
    mov rbx, -1
    mov rbx, fs
    EXPECT rbx, DATA3
    mov rbx, -1
    str ebx
    EXPECT rbx, TSS0
    mov rbx, -1
    str bx
    mov rdx, 0xFFFFFFFFFFFF0000 | TSS0
    EXPECT rbx, rdx
    AGAIN
    CLAIM "MOV r, Sreg"
    REPEATEDLY
    mov rbp, rsp
    POISON
    mov esp, SLOT + 8
    push fs
    EXPECT rsp, SLOT
    WROTE DATA3, 8                      ; docs/x86/undefined.md
    pop gs
    EXPECT rsp, SLOT + 8
    mov ebx, gs
    EXPECT ebx, DATA3
    POISON
    mov esp, SLOT + 2
    o16 push fs
    EXPECT rsp, SLOT
    WROTE DATA3, 2
    mov word [rsp], 0
    o16 pop gs
    EXPECT rsp, SLOT + 2
    mov ebx, gs
    EXPECT ebx, 0
    mov rsp, rbp
    AGAIN
    CLAIM "PUSH and POP of FS and GS"
    jmp finish
