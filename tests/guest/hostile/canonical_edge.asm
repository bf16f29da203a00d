; Stack and code at the edges of the canonical halves: pushes, calls and events just below and just above, code that runs off the
; lower half or is split by its end, and returns to where no address is. SDM Vol. 1, "Canonical Addressing"; Vol. 3A,
; "Interrupt 13", "Interrupt 12".
;
; limit: 30000000
; expect: stack_at_the_lower_edge: ok
; expect: stack_at_the_upper_edge: ok
; expect: events_at_the_edges: ok
; expect: code_runs_off_the_lower_half: ok
; expect: code_split_by_the_edge: ok
; expect: branches_over_the_edge: ok
; expect: branches_to_the_last_address: ok
%include "lm64.inc"
LOWER   equ 0x7FFFFFFFF000              ; the last page of the lower half
UPPER   equ 0xFFFF800000000000          ; the first of the upper
OFF     equ 0x800000000000

%macro BAD 2+                           ; vector, instruction
    mov dword [f_vector], -1
    mov dword [resume], %%after
%%insn:
    %2
%%after:
    mov rsp, STACK0
    EXPECT dword [f_vector], %1
    EXPECT dword [f_error], 0
    EXPECT qword [f_rip], %%insn
%endmacro

%macro LAST 1+
    mov dword [f_vector], -1
    mov dword [resume], %%after
    %1
%%after:
    mov rsp, STACK0
    EXPECT dword [f_vector], 14
    EXPECT qword [f_rip], -1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    SET_IST 12, 1
    SET_IST 13, 1
    mov dword [PML4 + 8 * 255], 0x180007
    mov dword [0x180000 + 8 * 511], 0x181007
    mov dword [0x181000 + 8 * 511], 0x182007
    mov dword [0x182000 + 8 * 511], 0x300007
    mov dword [PML4 + 8 * 256], 0x183007
    mov dword [0x183000], 0x184007
    mov dword [0x184000], 0x185007
    mov dword [0x185000], 0x301007
    mov r12, OFF
    mov r13, UPPER
    mov r14, LOWER

    REPEATEDLY
    mov rsp, r12
    push qword 0x11                     ; the last eight bytes
    call .sub                           ; and the eight in front
    pop rax
    EXPECT rax, 0x11
    EXPECT rsp, r12
    BAD 12, {pop rax}
    lea rsp, [r12 - 4]
    push qword 0x22                     ; misaligned, all of it below
    lea rsp, [r12 + 8]
    BAD 12, {push rax}
    lea rsp, [r12 + 4]
    BAD 12, {call .sub}
    mov rsp, r12
    BAD 12, {ret}
    mov rsp, r12
    BAD 12, {popfq}
    mov rsp, r12
    BAD 12, {iretq}
    mov rbp, r12
    BAD 12, {leave}
    AGAIN
    CLAIM "stack_at_the_lower_edge"

    REPEATEDLY
    lea rsp, [r13 + 16]
    push qword 0x33
    push qword 0x44
    EXPECT rsp, r13
    BAD 12, {push rax}
    mov rsp, r13
    pop rax
    EXPECT rax, 0x44
    mov rsp, r13
    BAD 12, {call .sub}
    mov rsp, r13
    BAD 12, {pushfq}
    lea rsp, [r13 + 8]
    BAD 12, {enter 16, 1}
    lea rsp, [r13 + 8]
    call .sub                           ; the first eight bytes
    mov rsp, STACK0
    AGAIN
    CLAIM "stack_at_the_upper_edge"

    ; A frame fits below the lower edge, aligned to 16; at the upper one it does not, and #SS has a stack of its own.
    REPEATEDLY
    lea rsp, [r12 - 3]
    int 0x3B
    mov rax, [frame_rsp]
    lea rdx, [r12 - 16 - 40]
    EXPECT rax, rdx
    lea rax, [r12 - 3]
    EXPECT rsp, rax
    lea rsp, [r13 + 32]                 ; 40 bytes do not fit
    BAD 12, {int 0x3B}
    AGAIN
    CLAIM "events_at_the_edges"

    ; The last instruction of the half runs; then there is no next one.
    mov dword [r14 + 0xFF0], 0x9090C3FF ; inc ebx
    mov dword [r14 + 0xFF4], 0x90909090
    mov dword [r14 + 0xFF8], 0x90909090
    mov dword [r14 + 0xFFC], 0xC1FF9090 ; inc ecx at the very end
    REPEATEDLY
    xor ebx, ebx
    xor ecx, ecx
    mov dword [f_vector], -1
    mov dword [resume], .off
    lea rdx, [r14 + 0xFF0]
    jmp rdx
.off:
    EXPECT ebx, 1
    EXPECT ecx, 1
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0
    EXPECT [f_rip], r12
    AGAIN
    CLAIM "code_runs_off_the_lower_half"

    mov byte [r14 + 0xFFE], 0xB9        ; mov ecx, imm32 with one byte of it
    mov byte [r14 + 0xFFF], 0x11
    REPEATEDLY
    xor ebx, ebx
    mov ecx, 5
    mov dword [f_vector], -1
    mov dword [resume], .split
    lea rdx, [r14 + 0xFF0]
    jmp rdx
.split:
    EXPECT ebx, 1
    EXPECT ecx, 5
    EXPECT dword [f_vector], 13
    lea rdx, [r14 + 0xFFE]
    EXPECT [f_rip], rdx
    AGAIN
    CLAIM "code_split_by_the_edge"

    mov word [r14 + 0xFFA], 0x7FEB      ; jmp short, far over the edge
    mov dword [r14 + 0xFFC], 0xC3C3C3C3
    REPEATEDLY
    xor ebx, ebx
    mov dword [f_vector], -1
    mov dword [resume], .jumped
    lea rdx, [r14 + 0xFF0]
    jmp rdx
.jumped:
    EXPECT ebx, 1
    EXPECT dword [f_vector], 13
    lea rdx, [r14 + 0xFFA]              ; the branch faults, not its target
    EXPECT [f_rip], rdx
    push r12
    BAD 13, {ret}
    BAD 13, {call r12}
    mov rax, rsp
    push qword DATA0
    push rax
    push qword 2
    push qword CODE0
    push r12
    mov dword [f_vector], -1
    mov dword [resume], .returned
.iret:
    iretq
.returned:
    mov rsp, STACK0
    EXPECT dword [f_vector], 13
    AGAIN
    CLAIM "branches_over_the_edge"

    ; All bits set: an address like another, whatever an emulator may take it for. Nothing is there.
    mov rbx, -1
    REPEATEDLY
    push rbx
    LAST {ret}
    LAST {call rbx}
    LAST {jmp rbx}
    AGAIN
    CLAIM "branches_to_the_last_address"
    jmp finish
.sub:
    ret
