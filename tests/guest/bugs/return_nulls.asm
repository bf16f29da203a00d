; A return to ring 3 nulls the selectors of segments that only ring 0 may use, and leaves the bases of FS and GS.
;
; limit: 8000000
; expect: IRETQ: ok
; expect: far RET: ok
; expect: null selectors with an RPL: ok
%include "lm64.inc"
WHERE   equ 0x202000

; %1 = how; RSI, RDI = what is read through FS and GS.
%macro AFTER_RETURN 1
    mov eax, DATA0
    mov fs, eax
    mov gs, eax
    mov ds, eax
    SET_MSR 0xC0000100, WHERE
    SET_MSR 0xC0000101, WHERE + 0x100
    push qword DATA3
    push qword STACK3
%if %1 == 1
    push qword 0x3002
%endif
    push qword CODE3
    push qword %%ring3
%if %1 == 1
    iretq
%else
    o64 retf
%endif
%%ring3:
    mov rsi, fs:[8]
    mov rdi, gs:[8]
    mov r8d, fs
    mov r9d, gs
    mov r10d, ds
    mov eax, %%back
    int 0x3C
%%back:
    EXPECT rsi, [WHERE + 8]
    EXPECT rdi, [WHERE + 0x108]
    EXPECT r8d, 0
    EXPECT r9d, 0
    EXPECT r10d, 0
    mov ecx, 0xC0000101
    rdmsr
    EXPECT eax, WHERE + 0x100
    mov ecx, 0xC0000100
    rdmsr
    EXPECT eax, WHERE
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, 0x1122334455667788
    mov [WHERE + 8], rax
    not rax
    mov [WHERE + 0x108], rax
    mov dword [f_vector], -1
    REPEATEDLY
    AFTER_RETURN 1
    AGAIN
    CLAIM "IRETQ"
    REPEATEDLY
    AFTER_RETURN 2
    AGAIN
    CLAIM "far RET"
    REPEATEDLY
    mov eax, 3
    mov gs, eax
    mov eax, 1
    mov es, eax
    mov eax, gs
    EXPECT eax, 3
    TO_USER .ring3
.ring3:
    mov r8d, gs
    mov r9d, es
    mov eax, .back
    int 0x3C
.back:
    EXPECT r8d, 0
    EXPECT r9d, 0
    AGAIN
    CLAIM "null selectors with an RPL"
    EXPECT dword [f_vector], -1
    jmp finish
