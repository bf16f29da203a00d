; An instruction that pushes or pops and faults has moved neither RSP nor RBP, whatever the ring.
;
; limit: 8000000
; expect: pushes: ok
; expect: ENTER: ok
; expect: calls: ok
; expect: pops: ok
; expect: events: ok
%include "lm64.inc"
TOP equ 0x205000                ; a page that is there, and an absent one below it

; Runs at ring 3: the handler has a stack of its own.
%macro STACKED 1+
    REPEATEDLY
    mov rsp, TOP
    mov rbp, [frame]
    FAULTS 14, %1
    EXPECT dword [f_cr2], TOP - 8
    EXPECT qword [f_rsp], TOP
    EXPECT rsp, TOP
    EXPECT rbp, [frame]
    AGAIN
%endmacro
; Pops: RSP names the last 8 bytes of the absent page.
%macro POPPED 1+
    REPEATEDLY
    mov rsp, TOP - 8
    mov rbp, TOP - 8
    mov rax, [frame]
    FAULTS 14, 4, %1
    EXPECT rsp, TOP - 8
    EXPECT rbp, TOP - 8
    EXPECT rax, [frame]
    AGAIN
%endmacro
%macro TELL 1
    mov rsp, STACK3
    CLAIM_AT_RING3 %1
%endmacro
; CLAIM prints through port E9h; ring 3 may, with IOPL 3.
%macro CLAIM_AT_RING3 1
    CLAIM %1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 5], 0x205007
    push qword DATA3
    push qword STACK3
    push qword 0x3002           ; IOPL 3
    push qword CODE3
    push qword .ring3
    iretq
.ring3:
    STACKED 6, push rax
    STACKED 6, push qword [frame]
    STACKED 6, push 5
    STACKED 6, push -70000
    STACKED 6, pushfq
    STACKED 6, push fs
    STACKED 6, push gs
    TELL "pushes"
    STACKED 6, {enter 16, 0}
    STACKED 6, {enter 0, 1}
    ; Nested: RBP is pushed well, the copy of the outer frame pointer is not.
    REPEATEDLY
    mov rsp, 0x205008
    mov rbp, [frame_with_links]
    FAULTS 14, 6, {enter 8, 3}
    EXPECT dword [f_cr2], TOP - 8
    EXPECT rsp, 0x205008
    EXPECT rbp, [frame_with_links]
    AGAIN
    TELL "ENTER"
    STACKED 6, call near_target
    mov r15, near_target
    STACKED 6, call r15
    STACKED 6, call [near_pointer]
    STACKED 6, o64 call far [far_pointer]
    TELL "calls"
    POPPED pop rax
    POPPED pop qword [scratch]
    EXPECT qword [scratch], 0
    POPPED popfq
    POPPED pop fs
    POPPED ret
    POPPED ret 16
    POPPED o64 retf
    POPPED iretq
    POPPED leave
    TELL "pops"
    ; At ring 0 an event pushes onto the stack that faults; the page fault has a stack of its own.
    RING0 .events
.events:
    SET_IST 14, 1
    REPEATEDLY
    mov rsp, TOP
    mov rbp, [frame]
    FAULTS 14, 2, int 0x30
    EXPECT rsp, TOP
    EXPECT rbp, [frame]
    FAULTS 14, 2, int3
    EXPECT rsp, TOP
    xor ecx, ecx
    AGAIN
    mov rsp, STACK0
    CLAIM "events"
    jmp finish

near_target:
    hlt
align 8
frame:            dq 0x123456789ABC
links:            dq 1, 2, 3, 4
frame_with_links: dq links + 24
near_pointer:     dq near_target
far_pointer:      dq near_target
                  dw CODE3
scratch:          dq 0
