; VM exits of hot guest code. Each instruction that can exit stands third in a block that ran often without exiting; then its
; control is set and it exits, with its own RIP and length, everything before it done and nothing behind it; then the control is
; cleared and it runs. SDM Vol. 3C, "VM-Execution Control Fields", "VMX Non-Root Operation".
;
; Pitfalls: J1 J2
;
; expect: primary_controls_by_turns: ok
; expect: secondary_controls_by_turns: ok
; expect: bitmaps_by_turns: ok
; expect: exceptions_by_turns: ok
; expect: instructions_that_always_exit: ok
%define MACHINE
%include "lm64.inc"

; %1 = exit reason, %2 and %3 = a line each that sets and clears the control, %4.. = the instruction; the guest runs it three
; times and ends with VMCALL.
%macro BY_TURNS 4+
    call %%do
    jmp %%over
%%guest:
    mov r14d, 3
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    jmp %%block
%%block:
    inc r8d
    mov eax, [rsi]
%%insn:
    %4
%%behind:
    inc r9d
    dec r14d
    jnz %%block
    vmcall
%%do:
    mov dword [skip], %%behind - %%insn
    mov dword [round], ROUNDS / 3 + 1
%%again:
    xor ebp, ebp                        ; exits to come
    test byte [round], 1
    jz %%off
    %2
    mov ebp, 3
    jmp %%set
%%off:
    %3
%%set:
    mov qword [g_regs + 48], scratch
    mov qword [g_rip], %%guest
    call set_registers
    xor ebx, ebx
%%next:
    call run_guest
    cmp dword [g_reason], 18            ; VMCALL
    je %%ended
    EXPECT dword [g_reason], %1
    EXPECT qword [g_rip], %%insn
    mov eax, [g_length]
    cmp dword [has_length], 0
    mov edx, %%behind - %%insn
    cmove eax, edx
    EXPECT eax, edx
    inc ebx
    EXPECT dword [g_regs + 64], ebx     ; R8: what came before ran as often
    lea eax, [rbx - 1]
    EXPECT dword [g_regs + 72], eax     ; R9: what comes behind did not
    cmp ebx, 4
    jae %%ended
    add qword [g_rip], %%behind - %%insn
    jmp %%next
%%ended:
    EXPECT ebx, ebp
    EXPECT dword [g_regs + 64], 3
    EXPECT dword [g_regs + 72], 3
    dec dword [round]
    jnz %%again
    %3
    ret
%%over:
%endmacro
%macro PRIMARY_BIT 3+                   ; bit, reason, instruction
    BY_TURNS %2, {CONTROL PRIMARY, 0, 1 << %1}, {CONTROL PRIMARY, 1 << %1, 0}, %3
%endmacro
%macro SECONDARY_BIT 3+
    BY_TURNS %2, {CONTROL SECONDARY, 0, 1 << %1}, {CONTROL SECONDARY, 1 << %1, 0}, %3
%endmacro
%macro BIT_OF_MAP 4+                    ; byte's address, bit, reason, instruction
    BY_TURNS %3, {or byte [%1], 1 << (%2)}, {and byte [%1], ~(1 << (%2))}, %4
%endmacro
%macro EXCEPTION 2+                     ; vector, instruction: without the exit, the guest's handler passes over it
    BY_TURNS 0, {VMSET EXCEPTION_BITMAP, 1 << %1}, {VMSET EXCEPTION_BITMAP, 0}, %2
%endmacro
; Exits whatever the controls are.
%macro ALWAYS 2+
    call %%do
    jmp %%over
%%guest:
    inc r8d
    mov eax, [rsi]
%%insn:
    %2
%%behind:
    inc r9d
    vmcall
%%do:
    REPEATEDLY
    call set_registers
    mov qword [g_regs + 48], scratch
    mov qword [g_regs + 64], 0
    mov qword [g_regs + 72], 0
    GUEST %%guest
    EXPECT dword [g_reason], %1
    EXPECT qword [g_rip], %%insn
    EXPECT dword [g_length], %%behind - %%insn
    EXPECT dword [g_regs + 64], 1
    EXPECT dword [g_regs + 72], 0
    SKIP
    call run_guest
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs + 72], 1
    AGAIN
    ret
%%over:
%endmacro

start64:
%include "claims.inc"
%include "vmx64.inc"
    mov qword [hook], note_fault
    call vmx_start
    PRIMARY_BIT 9, 14, invlpg [0x202000]
    PRIMARY_BIT 12, 16, rdtsc
    PRIMARY_BIT 15, 28, mov cr3, r12
    PRIMARY_BIT 16, 28, mov r13, cr3
    PRIMARY_BIT 19, 28, mov cr8, r15
    PRIMARY_BIT 20, 28, mov r13, cr8
    PRIMARY_BIT 23, 29, mov r13, dr0
    PRIMARY_BIT 23, 29, mov dr1, r13
    PRIMARY_BIT 30, 40, pause
    PRIMARY_BIT 29, 39, monitor
    PRIMARY_BIT 10, 36, mwait
    PRIMARY_BIT 9, 58, invpcid r15, [descriptor]
    PRIMARY_BIT 12, 51, rdtscp
    PRIMARY_BIT 24, 30, in al, 0x80     ; (I/O bitmaps are off here)
    CLAIM "primary_controls_by_turns"
    SECONDARY_BIT 2, 46, sgdt [scratch]
    SECONDARY_BIT 2, 46, sidt [scratch]
    SECONDARY_BIT 2, 47, sldt [scratch]
    SECONDARY_BIT 2, 47, str eax
    SECONDARY_BIT 6, 54, wbinvd
    SECONDARY_BIT 11, 57, rdrand r13
    SECONDARY_BIT 16, 61, rdseed r13
    CLAIM "secondary_controls_by_turns"
    CONTROL PRIMARY, 0, 1 << 25         ; I/O bitmaps
    BIT_OF_MAP IO_BITMAPS + 0x80 / 8, 0, 30, in al, 0x80
    BIT_OF_MAP IO_BITMAPS + 0x80 / 8, 0, 30, out 0x80, al
    mov dword [msr], 0x174
    BIT_OF_MAP MSR_BITMAP + 0x174 / 8, 0x174 & 7, 31, rdmsr
    BIT_OF_MAP MSR_BITMAP + 0x800 + 0x174 / 8, 0x174 & 7, 32, wrmsr
    mov dword [msr], 0xC0000102
    BIT_OF_MAP MSR_BITMAP + 0x400 + 0x102 / 8, 0x102 & 7, 31, rdmsr
    BIT_OF_MAP MSR_BITMAP + 0xC00 + 0x102 / 8, 0x102 & 7, 32, wrmsr
    mov dword [msr], 0
    CLAIM "bitmaps_by_turns"

    mov qword [hook], behind_trap
    EXCEPTION 3, int3
    mov qword [hook], behind_fault
    mov dword [has_length], 0           ; faults have none
    EXCEPTION 6, ud2
    EXCEPTION 14, mov eax, [abs 0x204000]
    EXCEPTION 13, mov eax, [r11]
    EXCEPTION 0, div r15d
    mov qword [hook], note_fault
    CLAIM "exceptions_by_turns"

    ALWAYS 10, cpuid
    ALWAYS 13, invd
    ALWAYS 55, xsetbv
    ALWAYS 18, vmcall
    ALWAYS 19, vmclear [operand]
    ALWAYS 22, vmptrst [scratch]
    ALWAYS 23, vmread rax, rdx
    ALWAYS 27, vmxon [operand]
    ALWAYS 50, invept rax, [scratch]
    CLAIM "instructions_that_always_exit"
    jmp finish

skip:       dd 0
has_length: dd 1
msr:        dd 0
scratch:    times 2 dq 0
descriptor: dq 0, 0x202000
behind_fault:
    mov eax, [skip]
    add [rbx + F_RIP], rax
behind_trap:
    cmp eax, eax
    ret
set_registers:
    mov eax, [msr]
    mov [g_regs + 8], rax
    mov qword [g_regs], 0
    mov qword [g_regs + 16], 0
    mov rax, 0x800000000000
    mov [g_regs + 88], rax              ; R11
    mov rax, cr3
    mov [g_regs + 96], rax              ; R12
    mov qword [g_regs + 104], 0
    mov qword [g_regs + 120], 0
    mov qword [scratch], 0
    mov qword [scratch + 8], 0
    ret
