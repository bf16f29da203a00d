; Clocks read in the midst of blocks. With --icount an instruction takes 10 ns, so the difference of two readings is the number of
; instructions between them by the rule of docs/x86/events.md, "What counts", whichever clock it is, wherever the two stand in
; their blocks, and whatever ran between: repetitions, faults, system calls, branches.
;
; Pitfalls: F6 F7 F8
;
; expect: two_readings_in_a_block: ok
; expect: clocks_agree: ok
; expect: what_counts_straight: ok
; expect: what_counts_repetitions: ok
; expect: what_counts_events: ok
; expect: what_counts_branches_and_code_changes: ok
; expect: clocks_never_go_back: ok
; expect: slow_clock_moves_in_a_tight_loop: ok
%define MACHINE
%include "lm64.inc"
HPET    equ 0x240000            ; 100 MHz
APIC    equ 0x241000            ; its timer: 25 MHz
PMTIMER equ 0x608               ; 3.579545 MHz
PAGE    equ 0x242000

; RDTSC, the lines, RDTSC: the difference is %1 instructions and the first RDTSC.
%macro COUNTS 2+
    rdtsc
    mov [first], eax
    %2
    rdtsc
    sub eax, [first]
    EXPECT eax, (%1 + 2) * 10           ; and the MOV
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov eax, 0xFED00017
    mov [PT + 8 * 0x40], rax
    mov eax, 0xFEE00017
    mov [PT + 8 * 0x41], rax
    mov dword [PT + 8 * 0x42], 0x310007
    mov dword [HPET + 0x10], 1          ; it counts
    mov dword [APIC + 0xF0], 0x1FF
    mov dword [APIC + 0x3E0], 0x0B      ; divide by 1
    mov dword [APIC + 0x320], 0x10031   ; masked
    mov dword [APIC + 0x380], -1
    SET_MSR 0xC0000081, (CODE3C << 16 | CODE0) << 32
    SET_MSR 0xC0000082, entered
    SET_MSR 0xC0000084, 0

    REPEATEDLY
    mov eax, [HPET + 0xF0]
    mov ebx, [HPET + 0xF0]
    sub ebx, eax
    EXPECT ebx, 1
    mov rax, [HPET + 0xF0]
    times 20 nop
    mov rbx, [HPET + 0xF0]
    sub rbx, rax
    EXPECT rbx, 21
    rdtsc
    mov ecx, eax
    times 7 nop
    rdtsc
    sub eax, ecx
    EXPECT eax, 90
    mov r8d, [APIC + 0x390]
    times 39 nop
    mov r9d, [APIC + 0x390]
    sub r8d, r9d
    EXPECT r8d, 10                      ; 40 instructions, 4 a tick
    mov ecx, 0x10
    rdmsr
    mov r8d, eax
    rdtsc
    sub eax, r8d
    EXPECT eax, 20
    mov dx, PMTIMER
    in eax, dx
    mov ebx, eax
    mov ecx, 418
.pm:
    loop .pm                            ; 4.2 us are 15 ticks
    in eax, dx
    sub eax, ebx
    sub eax, 15
    cmp eax, 1
    setbe al
    EXPECT al, 1
    mov rcx, cr8                        ; (only a reading, too)
    AGAIN
    CLAIM "two_readings_in_a_block"

    ; The same stretch by two clocks.
    REPEATEDLY
    rdtsc
    mov r8d, eax
    mov r9d, [HPET + 0xF0]
    mov ecx, [round]
    and ecx, 63
    inc ecx
.stretch:
    dec ecx
    jnz .stretch
    rdtsc
    mov r10d, [HPET + 0xF0]
    sub eax, r8d
    sub r10d, r9d
    imul r10d, r10d, 10
    sub eax, r10d
    EXPECT eax, 10                      ; (the MOV between the first two)
    AGAIN
    CLAIM "clocks_agree"

    REPEATEDLY
    COUNTS 0, {}
    COUNTS 1, nop
    COUNTS 64, {times 64 nop}           ; more than a block of the interpreter
    COUNTS 100, {times 100 inc ebx}
    push rax
    COUNTS 1, mov [rsp], rbx            ; a store
    COUNTS 1, lock add [rsp], rbx
    COUNTS 1, {mov ecx, [HPET + 0xF0]}
    COUNTS 1, {xchg [rsp], rbx}
    COUNTS 1, {mov rcx, cr0}
    pop rax
    mov rcx, cr3
    COUNTS 1, {mov cr3, rcx}
    COUNTS 1, {invlpg [PAGE]}
    COUNTS 1, {in al, 0x80}
    COUNTS 1, cli
    COUNTS 1, pause
    AGAIN
    CLAIM "what_counts_straight"

    cld
    REPEATEDLY
%macro REPETITION 3                     ; elements, count, instruction
    mov esi, PAGE
    mov edi, PAGE + 0x800
    mov ecx, %1
    COUNTS %2, {%3}
    mov esi, PAGE + 0x10
    mov edi, PAGE + 0x810
%endmacro
    REPETITION 0, 1, rep movsb
    REPETITION 1, 1, rep movsb
    REPETITION 8, 1, rep movsb
    REPETITION 9, 2, rep movsb
    REPETITION 100, 13, rep movsq
    REPETITION 200, 25, rep stosb
    REPETITION 64, 8, rep stosq
    REPETITION 0, 1, rep stosd
    REPETITION 0, 1, repe cmpsb
    mov esi, PAGE                       ; equal, so it runs through
    mov edi, PAGE + 0x800
    mov ecx, 64
    rep movsb
    REPETITION 40, 5, repe cmpsb
    REPETITION 40, 5, repe cmpsb
    mov al, 0xEE
    mov edi, PAGE + 0x800
    mov ecx, 30
    mov byte [PAGE + 0x800 + 17], 0xEE
    rdtsc
    mov [first], eax
    mov al, 0xEE
    repne scasb                         ; found as the 18th
    rdtsc
    sub eax, [first]
    EXPECT eax, (3 + 2 + 1) * 10
    AGAIN
    CLAIM "what_counts_repetitions"

    ; A fault and its delivery are one, and so is INT n. The handlers are as short as can be.
    mov word [IDT + 6 * 16], skip_2
    mov word [IDT + 14 * 16], skip_7
    mov word [IDT + 0x32 * 16], only_iret
    REPEATEDLY
    COUNTS 2, {int 0x32}
    COUNTS 3, {ud2}
    COUNTS 4, {mov eax, [abs 0x204000]}
    COUNTS 2, {syscall}
    push qword 2
    COUNTS 1, {popfq}
    mov esi, 0x204000 - 16              ; 16 elements and a fault at the 17th
    mov edi, PAGE
    mov ecx, 17
    mov word [IDT + 14 * 16], leave_string
    COUNTS 7, {rep movsb}
    EXPECT ecx, 1
    mov word [IDT + 14 * 16], skip_7
    AGAIN
    CLAIM "what_counts_events"

    mov byte [PAGE + 0x100], 0xC3
    REPEATEDLY
    COUNTS 2, {call PAGE + 0x100}
    mov ebx, PAGE + 0x100
    COUNTS 2, {call rbx}
    mov ecx, 10
    COUNTS 2, {call .nothing}
    mov ecx, 10
    rdtsc
    mov [first], eax
.loop:
    loop .loop
    rdtsc
    sub eax, [first]
    EXPECT eax, 120
    rdtsc                               ; code that changes right ahead
    mov [first], eax
    mov byte [.changed + 1], cl
.changed:
    mov bl, 0
    rdtsc
    sub eax, [first]
    EXPECT eax, 40
    AGAIN
    CLAIM "what_counts_branches_and_code_changes"

    xor r12d, r12d
    xor r13d, r13d
    mov r14, [HPET + 0xF0]
    rdtsc
    mov r12d, eax
    mov r15d, [APIC + 0x390]
    mov dx, PMTIMER
    in eax, dx
    mov r13d, eax
    mov dword [round], 5000
.forward:
    rdtsc
    mov ecx, eax
    sub ecx, r12d                       ; never negative, never nothing
    dec ecx
    shr ecx, 31
    EXPECT ecx, 0
    mov r12d, eax
    mov rax, [HPET + 0xF0]
    mov rcx, rax
    sub rcx, r14
    shr rcx, 31
    EXPECT rcx, 0
    mov r14, rax
    mov eax, [APIC + 0x390]
    sub r15d, eax
    shr r15d, 31
    EXPECT r15d, 0
    mov r15d, eax
    mov dx, PMTIMER
    in eax, dx
    mov ecx, eax
    sub ecx, r13d
    and ecx, 0x800000                   ; 24 bits
    EXPECT ecx, 0
    mov r13d, eax
    dec dword [round]
    jnz .forward
    CLAIM "clocks_never_go_back"

    ; Read as fast as one can, it gets on by 1,000 ticks, and they are 279 us.
    mov dword [round], 20
.slow:
    rdtsc
    mov r12d, eax
    mov dx, PMTIMER
    in eax, dx
    mov ebx, eax
    mov ecx, 1000000
.until:
    in eax, dx
    sub eax, ebx
    and eax, 0xFFFFFF
    cmp eax, 1000
    jae .enough
    loop .until
.enough:
    rdtsc
    sub eax, r12d
    sub eax, 279000
    cmp eax, 1500
    setbe al
    EXPECT al, 1
    dec dword [round]
    jnz .slow
    CLAIM "slow_clock_moves_in_a_tight_loop"
    EXPECT dword [f_count], 0
    jmp finish
.nothing:
    ret
first: dd 0
skip_2:
    add qword [rsp], 2
    iretq
skip_7:
    add rsp, 8
    add qword [rsp], 7
    iretq
leave_string:
    add rsp, 8
    add qword [rsp], 2
    nop
    iretq
only_iret:
    iretq
entered:
    jmp rcx
