; Interrupts around STI and MOV SS: none between STI and the next instruction, whatever that is, and a HLT there wakes up.
;
; limit: 5000000
; expect: STI, CLI with an interrupt pending: ok
; expect: STI, one instruction: ok
; expect: STI, HLT: ok
; expect: STI, STI: ok
; expect: MOV SS: ok
; expect: POPF and IRET: ok
%include "lm64.inc"
VECTOR  equ 0x31

%macro SELF_IPI 0                       ; x2APIC: self-IPI register
    mov ecx, 0x83F
    mov eax, VECTOR
    xor edx, edx
    wrmsr
%endmacro
%macro NOTHING_CAME 0
    EXPECT dword [f_vector], -1
%endmacro
%macro CAME_AT 2
    EXPECT dword [f_vector], %1
    EXPECT dword [f_rip], %2
%endmacro
%macro BEGIN 0
    mov dword [f_vector], -1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_interrupt
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00                       ; x2APIC
    wrmsr
    mov ecx, 0x80F
    mov eax, 0x1FF
    xor edx, edx
    wrmsr

    REPEATEDLY
    BEGIN
    SELF_IPI
    sti
    cli
    nop
    nop
    NOTHING_CAME
    sti
    nop
.window:
    cli
    CAME_AT VECTOR, .window
    AGAIN
    CLAIM "STI, CLI with an interrupt pending"

    REPEATEDLY
    BEGIN
    SELF_IPI
    xor ebx, ebx
    sti
    inc ebx
.one:
    inc ebx
    cli
    EXPECT ebx, 2
    CAME_AT VECTOR, .one
    BEGIN
    SELF_IPI
    sti
    mov eax, [ebx]                      ; a load, and a branch, are instructions too
.one_b:
    cli
    CAME_AT VECTOR, .one_b
    BEGIN
    SELF_IPI
    sti
    jmp .one_c
    nop
.one_c:
    cli
    CAME_AT VECTOR, .one_c
    AGAIN
    CLAIM "STI, one instruction"

    REPEATEDLY
    BEGIN
    SELF_IPI
    sti
    hlt
.woken:
    cli
    CAME_AT VECTOR, .woken
    AGAIN
    CLAIM "STI, HLT"

    REPEATEDLY
    BEGIN
    SELF_IPI
    sti
    sti                                 ; IF is 1 already: no shadow of its own
.second:
    nop
    cli
    CAME_AT VECTOR, .second
    AGAIN
    CLAIM "STI, STI"

    mov r8d, DATA0
    REPEATEDLY
    BEGIN
    SELF_IPI
    sti
    mov ss, r8d                         ; the second shadow begins where the first ends
    nop
.stack:
    cli
    CAME_AT VECTOR, .stack
    BEGIN
    SELF_IPI
    sti
    mov ss, r8d
    mov ss, r8d                         ; ... and is not extended
.stack_b:
    nop
    cli
    CAME_AT VECTOR, .stack_b
    AGAIN
    CLAIM "MOV SS"

    REPEATEDLY
    BEGIN
    SELF_IPI
    pushfq
    or qword [rsp], 0x200
    popfq                               ; no shadow
.flags:
    nop
    cli
    CAME_AT VECTOR, .flags
    BEGIN
    SELF_IPI
    mov rax, rsp
    push qword DATA0
    push rax
    push qword 0x202
    push qword CODE0
    push qword .returned
    iretq
.returned:
    nop
    cli
    CAME_AT VECTOR, .returned
    AGAIN
    CLAIM "POPF and IRET"
    jmp finish

