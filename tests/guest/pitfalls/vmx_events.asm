; Events of VMX non-root operation while guest code is hot: the monitor trap flag and the interrupt window exit at exactly one
; instruction, injected events arrive where the guest stood, the preemption timer ends a loop and a HLT, and single-stepping over
; an instruction that a hypervisor emulates makes the traps the manual says. SDM Vol. 3C, "Event Injection", "Monitor Trap Flag",
; "VMX-Preemption Timer", "Guest Non-Register State".
;
; Pitfalls: F1 J3 J4
;
; expect: monitor_trap_flag_in_a_hot_loop: ok
; expect: interrupt_window_behind_the_shadow: ok
; expect: exits_tell_of_the_shadow: ok
; expect: injected_events: ok
; expect: preemption_timer: ok
; expect: preemption_timer_in_HLT: ok
; expect: TF_over_an_emulated_instruction: ok
; expect: TF_as_exits: ok
%define MACHINE
%include "lm64.inc"

start64:
%include "claims.inc"
%include "vmx64.inc"
    mov qword [hook], note_fault
    call vmx_start

    ; The loop runs 200 times, then step by step.
    mov dword [round], 20
.stepping:
    mov qword [g_regs + 8], 200
    GUEST hot_loop
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs], 200
    CONTROL PRIMARY, 0, 1 << 27
    mov qword [g_regs + 8], 20
    mov qword [g_rip], hot_loop
    xor ebx, ebx
.step:
    call run_guest
    EXPECT dword [g_reason], 37
    mov ecx, ebx
    and ecx, 3
    mov eax, [hot_steps + rcx * 4]
    mov edx, hot_loop.end
    cmp ebx, 80
    cmove eax, edx
    EXPECT [g_rip], rax
    inc ebx
    cmp ebx, 81
    jb .step
    EXPECT dword [g_regs], 20
    CONTROL PRIMARY, 1 << 27, 0
    dec dword [round]
    jnz .stepping
    CLAIM "monitor_trap_flag_in_a_hot_loop"

    ; STI, its shadow, the window. Every other round nobody waits for it.
    REPEATEDLY
    test byte [round], 1
    jz .no_window
    CONTROL PRIMARY, 0, 1 << 2
    mov qword [g_regs + 64], 0
    GUEST opens_window
    EXPECT dword [g_reason], 7
    EXPECT dword [g_rip], opens_window.open
    EXPECT dword [g_regs + 64], 1
    CONTROL PRIMARY, 1 << 2, 0
    call run_guest
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs + 64], 2
    jmp .window_done
.no_window:
    mov qword [g_regs + 64], 0
    GUEST opens_window
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs + 64], 2
.window_done:
    AGAIN
    CLAIM "interrupt_window_behind_the_shadow"

    ; An exit from within the shadow of STI says so; one behind it does not, nor one where IF was 1 already.
    REPEATEDLY
    VMSET GUEST_RFLAGS, 2
    GUEST exits_in_shadow
    EXPECT dword [g_reason], 10
    EXPECT dword [g_rip], exits_in_shadow.within
    VMGET INTERRUPTIBILITY
    EXPECT eax, 1
    VMSET INTERRUPTIBILITY, 0
    mov qword [g_rip], exits_in_shadow.behind
    call run_guest
    EXPECT dword [g_reason], 10
    EXPECT dword [g_rip], exits_in_shadow.second
    VMGET INTERRUPTIBILITY
    EXPECT eax, 0
    mov qword [g_rip], exits_in_shadow.without
    call run_guest
    EXPECT dword [g_reason], 10
    EXPECT dword [g_rip], exits_in_shadow.third
    VMGET INTERRUPTIBILITY
    EXPECT eax, 0
    AGAIN
    CLAIM "exits_tell_of_the_shadow"

    ; The guest exits in its loop, and an event is injected there: an interrupt, an exception with an error code, INT n.
    mov qword [hook], note_event
    REPEATEDLY
    mov qword [g_regs + 8], 3
    mov qword [g_regs + 64], 0
    VMSET GUEST_RFLAGS, 0x202
    GUEST exits_in_loop
.inject:
    EXPECT dword [g_reason], 10         ; CPUID
    EXPECT dword [g_rip], exits_in_loop.exit
    SKIP
    mov qword [g_regs + 8], 1
    mov dword [f_vector], -1
    VMSET ENTRY_EVENT, 0x80000031
    call run_guest
    EXPECT dword [g_reason], 18
    EXPECT dword [f_vector], 0x31
    EXPECT dword [f_rip], exits_in_loop.behind
    EXPECT dword [g_regs + 64], 2
    VMSET GUEST_RFLAGS, 2
    mov qword [g_regs + 8], 1
    mov qword [g_regs + 64], 0
    GUEST exits_in_loop
    SKIP
    mov dword [f_vector], -1
    VMSET ENTRY_EVENT, 0x80000B0D       ; #GP(1234h)
    VMSET 0x4018, 0x1234
    call run_guest
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0x1234
    EXPECT dword [f_rip], exits_in_loop.behind
    EXPECT dword [g_regs + 64], 2
    mov qword [g_regs + 64], 0
    GUEST exits_in_loop
    mov dword [f_vector], -1
    VMSET ENTRY_EVENT, 0x80000432       ; INT 32h of two bytes, in CPUID's place
    VMSET ENTRY_LENGTH, 2
    call run_guest
    EXPECT dword [f_vector], 0x32
    EXPECT dword [f_rip], exits_in_loop.behind
    EXPECT dword [g_regs + 64], 2
    AGAIN
    mov qword [hook], note_fault
    CLAIM "injected_events"

    ; It ends a loop that never ends, and with 0 nothing runs.
    CONTROL PIN_BASED, 0, 1 << 6
    REPEATEDLY
    mov qword [g_regs + 64], 0
    mov eax, [round]
    and eax, 63
    inc eax
    mov r12d, eax
    mov edx, PREEMPTION_TIMER
    vmwrite rdx, rax
    GUEST endless
    EXPECT dword [g_reason], 52
    mov ecx, 0x485
    rdmsr
    and eax, 31                         ; it counts every 2^EAX-th tick of the TSC
    mov ecx, eax
    shl r12d, cl
    mov eax, [g_regs + 64]              ; 2 instructions of 10 ns a turn
    imul eax, eax, 20
    sub eax, r12d
    add eax, 60
    mov edx, 1
    shl edx, cl
    lea edx, [rdx + 120]
    cmp eax, edx                        ; to the tick, and three instructions
    setbe al
    EXPECT al, 1
    mov rax, [g_rip]
    sub eax, endless
    cmp eax, 3
    setbe al
    EXPECT al, 1
    mov qword [g_regs + 64], 0
    VMSET PREEMPTION_TIMER, 0
    GUEST endless
    EXPECT dword [g_reason], 52
    EXPECT dword [g_rip], endless
    EXPECT dword [g_regs + 64], 0
    AGAIN
    CLAIM "preemption_timer"
    REPEATEDLY
    VMSET PREEMPTION_TIMER, 30
    GUEST halts
    EXPECT dword [g_reason], 52
    EXPECT dword [g_rip], halts.behind
    VMGET 0x4826
    EXPECT eax, 1                       ; HLT
    VMSET 0x4826, 0
    AGAIN
    CONTROL PIN_BASED, 1 << 6, 0
    CLAIM "preemption_timer_in_HLT"

    ; NOP, CPUID, NOP with TF = 1. The exit leaves no trap pending; the hypervisor passes over CPUID with one or without.
    mov qword [hook], note_trap
    REPEATEDLY
    mov dword [traps], 0
    VMSET GUEST_RFLAGS, 0x102
    GUEST stepped
    EXPECT dword [g_reason], 10
    EXPECT dword [g_rip], stepped.exit
    EXPECT dword [traps], 1
    EXPECT dword [places], stepped.exit
    VMGET PENDING_DEBUG
    EXPECT rax, 0
    SKIP
    mov r12d, [round]
    and r12d, 1
    mov eax, r12d
    shl eax, 14                         ; BS
    mov edx, PENDING_DEBUG
    vmwrite rdx, rax
    call run_guest
    EXPECT dword [g_reason], 18
    lea eax, [r12 + 2]
    EXPECT dword [traps], eax
    cmp r12d, 0
    je .none_pending
    EXPECT dword [places + 4], stepped.behind
    EXPECT dword [places + 8], stepped.last
    jmp .told
.none_pending:
    EXPECT dword [places + 4], stepped.last
.told:
    AGAIN
    mov qword [hook], note_fault
    CLAIM "TF_over_an_emulated_instruction"

    VMSET EXCEPTION_BITMAP, 2
    REPEATEDLY
    VMSET GUEST_RFLAGS, 0x102
    GUEST stepped
    EXPECT dword [g_reason], 0
    EXPECT dword [g_rip], stepped.exit
    VMGET QUALIFICATION
    EXPECT eax, 0x4000
    call run_guest
    EXPECT dword [g_reason], 10
    VMGET PENDING_DEBUG
    EXPECT rax, 0
    SKIP
    call run_guest
    EXPECT dword [g_reason], 0
    EXPECT dword [g_rip], stepped.last
    VMSET GUEST_RFLAGS, 2
    call run_guest
    EXPECT dword [g_reason], 18
    AGAIN
    VMSET EXCEPTION_BITMAP, 0
    CLAIM "TF_as_exits"
    jmp finish

traps:  dd 0
places: times 8 dd 0
note_event:
    mov rax, [rbx + F_RIP]
    mov [resume], rax
    jmp note_fault
note_trap:
    mov ecx, [traps]
    mov rax, [rbx + F_RIP]
    and ecx, 7
    mov [places + rcx * 4], eax
    inc dword [traps]
    cmp eax, eax
    ret

; --- guests ---
hot_loop:
    xor eax, eax
.next:
    inc eax
.second:
    lea edx, [rax + rcx]
.third:
    dec ecx
.fourth:
    jnz .next
.end:
    vmcall
hot_steps: dd hot_loop.next, hot_loop.second, hot_loop.third, hot_loop.fourth

opens_window:
    cli
    nop
    sti
    inc r8d                             ; the shadow
.open:
    inc r8d
    cli
    vmcall
exits_in_shadow:
    sti
.within:
    cpuid
.behind:
    cli
    sti
    nop
.second:
    cpuid
.without:
    sti
.third:
    cpuid
exits_in_loop:
    inc r8d
.exit:
    cpuid
.behind:
    inc r8d
    vmcall
endless:
    inc r8d
    jmp endless
halts:
    hlt
.behind:
    vmcall
stepped:
    nop
.exit:
    cpuid
.behind:
    nop
.last:
    vmcall
