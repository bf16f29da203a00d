; A data breakpoint that MOV SS meets is held: INT1 takes it along, INT n and INT3 leave it to their handler's first instruction,
; any other instruction to its end.
;
; limit: 8000000
; expect: INT1: ok
; expect: INT1 alone: ok
; expect: INT 1: ok
; expect: INT3: ok
; expect: an instruction: ok
; expect: a fault: ok
%include "lm64.inc"
W equ 0x202000

; %1 handlers that ran, %2 vector of the last one, %3 where it came, %4 low bits of DR6
%macro CAME 4
    EXPECT dword [f_count], %1
    EXPECT dword [f_vector], %2
    EXPECT dword [f_rip], %3
    mov rax, dr6
    and eax, 0xE00F
    EXPECT eax, %4
%endmacro
%macro MEET 0
    mov dword [f_count], 0
    mov eax, 0xFFFF0FF0
    mov dr6, rax
    mov ss, [W]
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_event
    mov word [W], DATA0
    mov eax, W
    mov dr0, rax
    mov eax, 0x00070402                 ; DR0: 2 bytes, read or write
    mov dr7, rax
    REPEATEDLY
    MEET
    db 0xF1
.int1:
    CAME 1, 1, .int1, 1
    AGAIN
    CLAIM "INT1"
    REPEATEDLY
    mov dword [f_count], 0
    mov eax, 0xFFFF0FF4
    mov dr6, rax
    db 0xF1
.alone:
    CAME 1, 1, .alone, 4                ; DR6 as it was
    AGAIN
    CLAIM "INT1 alone"
    REPEATEDLY
    MEET
    int 1
.int_1:
    CAME 2, 1, .int_1, 1
    EXPECT dword [f_first], stubs + 16  ; the held one came in the handler
    AGAIN
    CLAIM "INT 1"
    REPEATEDLY
    MEET
    int3
.int3:
    CAME 2, 3, .int3, 1
    EXPECT dword [f_first], stubs + 48
    AGAIN
    CLAIM "INT3"
    REPEATEDLY
    MEET
    nop
.behind:
    CAME 1, 1, .behind, 1
    AGAIN
    CLAIM "an instruction"
    REPEATEDLY
    MEET
.ud2:
    ud2                                 ; the fault goes first, the trap then comes in its handler
.after:
    EXPECT dword [f_count], 2
    EXPECT dword [f_vector], 6
    EXPECT dword [f_rip], .ud2
    EXPECT dword [f_first], stubs + 96
    AGAIN
    CLAIM "a fault"
    xor eax, eax
    mov dr7, rax
    jmp finish

f_first: dd 0
note_event:
    cmp dword [f_count], 0
    jne .later
    mov eax, [rbx + F_RIP]
    mov [f_first], eax
.later:
    mov eax, [rbx + F_RIP]
    cmp dword [rbx + F_VECTOR], 6
    jne .trap
    add eax, 2
.trap:
    mov [resume], rax
    jmp note_fault
