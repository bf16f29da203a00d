; A page fault while another fault is delivered has an error code, a CR2 and an instruction of its own, and the fault that was
; interrupted comes again unharmed.
;
; limit: 5000000
; expect: #PF during #GP: ok
; expect: #PF during #NP: ok
; expect: #PF during INT n: ok
%include "lm64.inc"
BAD     equ 0x204800            ; stack in an absent page
ABSENT  equ FREE                ; a data segment that is not present

; %1 vector, %2 error code, %3 bytes of its frame, %4.. the instruction
%macro DURING 4+
    REPEATEDLY
    SET_IST %1, 2
    mov qword [TSS + 0x2C], BAD
    mov dword [f_vector], -1
    mov dword [resume], %%again
    mov eax, ABSENT
%%insn:
    %4
%%again:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 2
    EXPECT dword [f_cr2], BAD - 8       ; the frame's highest word
    EXPECT dword [f_rip], %%insn
    SET_IST %1, 0
    mov dword [f_vector], -1
    mov dword [resume], %%after
%%insn2:
    %4
%%after:
    EXPECT dword [f_vector], %1
    EXPECT dword [f_error], %2
    EXPECT dword [f_cr2], BAD - 8
    AGAIN
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    SET_IST 14, 1
    mov rax, 0x00CF13000000FFFF
    mov [gdt + ABSENT], rax
    DURING 13, 0x2F8, 48, mov ds, [beyond]
    CLAIM "#PF during #GP"
    DURING 11, ABSENT, 48, mov ds, eax
    CLAIM "#PF during #NP"
    DURING 0x30, 0, 40, int 0x30
    CLAIM "#PF during INT n"
    jmp finish
beyond: dw 0x2FB
