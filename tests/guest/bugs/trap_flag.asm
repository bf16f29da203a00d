; Single-stepping is decided by TF as it was when an instruction began, but for SYSCALL and SYSRET, which look at the TF they
; leave behind.
;
; limit: 8000000
; expect: POPF sets TF: ok
; expect: POPF keeps TF: ok
; expect: POPF clears TF: ok
; expect: IRET sets TF: ok
; expect: SYSCALL masks TF: ok
; expect: SYSCALL keeps TF: ok
; expect: SYSRET sets TF: ok
; expect: interrupt with TF: ok
%include "lm64.inc"

; The traps so far were `count`, the last at RIP.
%macro TRAPS 2
    EXPECT dword [f_count], %1
    EXPECT dword [f_rip], %2
    mov dword [f_count], 0
    mov dword [f_rip], 0
%endmacro

;  To ring 3 with RFLAGS in a register.
%macro GO_TO_RING3 2
    push qword DATA3
    push qword STACK3
    push %1
    push qword CODE3
    push qword %2
    iretq
%endmacro
; Continues at ring 0; RAX changes.
%macro RING0_NOW 1
    mov eax, %1
    int 0x3C
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_trap
    mov dword [f_count], 0
    mov r8d, 0x102                      ; TF
    mov r9d, 0x002

    REPEATEDLY
    push r9
    push r8
    popfq                               ; no trap behind it
    nop
.set_1:                                 ; ... but here
    popfq                               ; and behind this one, which clears it
.set_2:
    nop
    TRAPS 2, .set_2
    AGAIN
    CLAIM "POPF sets TF"

    REPEATEDLY
    push r9
    push r8
    push r8
    popfq
    popfq                               ; TF = 1 before and after: traps
.keep_1:
    popfq
.keep_2:
    nop
    TRAPS 2, .keep_2
    AGAIN
    CLAIM "POPF keeps TF"

    REPEATEDLY
    push r9
    push r8
    popfq
    popfq
.clear_1:
    nop
    nop
    TRAPS 1, .clear_1
    AGAIN
    CLAIM "POPF clears TF"

    REPEATEDLY
    mov rax, rsp
    push qword DATA0
    push rax
    push r8
    push qword CODE0
    push qword .iret_1
    iretq
.iret_1:
    push r9                             ; the first instruction runs, then the trap
.iret_2:
    popfq
.iret_3:
    TRAPS 2, .iret_3
    AGAIN
    CLAIM "IRET sets TF"

    SET_MSR 0xC0000081, (CODE3C << 16 | CODE0) << 32
    SET_MSR 0xC0000084, 0x100
    SET_MSR 0xC0000082, .entered_masked
    REPEATEDLY
    GO_TO_RING3 r8, .masked
.masked:
    nop
.masked_2:
    syscall                             ; R11 has TF, ring 0 has not, and no trap comes between
.masked_3:
    hlt
.entered_masked:
    nop
    mov rsp, STACK0
    TRAPS 1, .masked_2
    EXPECT rcx, .masked_3
    EXPECT r11, 0x102
    AGAIN
    CLAIM "SYSCALL masks TF"

    SET_MSR 0xC0000084, 0
    SET_MSR 0xC0000082, .entered
    REPEATEDLY
    GO_TO_RING3 r8, .kept
.kept:
    nop
    syscall
    hlt
.entered:                               ; a trap before its first instruction ...
    push r9                             ; (SYSCALL leaves RSP alone: this is ring 3's stack)
    popfq
.entered_2:
    mov rsp, STACK0
    TRAPS 4, .entered_2
    EXPECT dword [f_first], .entered
    mov dword [f_first], 0
    AGAIN
    CLAIM "SYSCALL keeps TF"

    REPEATEDLY
    mov ecx, .returned
    mov r11d, 0x10102                   ; TF and RF: RF is dropped
    mov rsp, STACK0
    o64 sysret
.returned:
    push r9                             ; a trap before this one
.returned_2:
    popfq
.returned_3:
    RING0_NOW .back
.back:
    EXPECT dword [f_first_sysret], .returned
    TRAPS 3, .returned_3
    mov dword [f_first_sysret], 0
    AGAIN
    CLAIM "SYSRET sets TF"

    ; INT n clears TF for its handler; its IRET brings it back, and the next instruction traps.
    REPEATEDLY
    push r9
    push r8
    popfq
    int 0x3B
.event:
    nop
.event_2:
    popfq
.event_3:
    TRAPS 2, .event_3
    AGAIN
    CLAIM "interrupt with TF"
    jmp finish

f_first:        dd 0
f_first_sysret: dd 0
note_trap:
    cmp dword [rbx + F_VECTOR], 1
    jne .not_a_trap
    mov eax, [rbx + F_RIP]
    mov [resume], rax
    cmp eax, past_claims.entered
    jne .not_entered
    mov [f_first], eax
.not_entered:
    cmp eax, past_claims.returned
    jne .not_returned
    mov [f_first_sysret], eax
.not_returned:
    call note_fault
    cmp eax, eax
    ret
.not_a_trap:
    or eax, 1
    ret
