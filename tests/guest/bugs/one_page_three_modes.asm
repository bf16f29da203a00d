; The same bytes run as 16-, 32- and 64-bit code by turns mean something else each time.
;
; limit: 3000000
; expect: by turns: ok
%include "lm64.inc"
CODE16C equ FREE
SAMPLE  equ 0x7800

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, 0x00009B000000FFFF
    mov [gdt + CODE16C], rax
    ;                                        16 bits        32 bits                64 bits
    mov rax, 0xCB4890900001B8        ;    mov ax, 1      mov eax, 90900001h     the same
    mov [SAMPLE], rax                   ;    nop, nop
    REPEATEDLY                          ;    dec ax         dec eax
    mov eax, 0x55AA55AA                 ;    retf           retf                   REX.W retf
    call far word [far16]
    EXPECT eax, 0x55AA0000
    call far dword [far32]
    EXPECT eax, 0x90900000
    call far qword [far64]
    EXPECT eax, 0x90900001
    call far dword [far32]
    EXPECT eax, 0x90900000
    call far word [far16]
    EXPECT eax, 0x90900000
    EXPECT rsp, STACK0
    AGAIN
    CLAIM "by turns"
    jmp finish
align 8
far16:  dw SAMPLE, CODE16C
far32:  dd SAMPLE
        dw CODE0C
far64:  dq SAMPLE
        dw CODE0
