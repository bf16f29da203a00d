; Flags that are written here and read far away: behind a call and its return, behind branches taken and not taken, behind a
; load from a device, an x87 instruction, CPUID, a page fault, a system call, and where paths meet. Expected values are those of
; LAHF and SETcc right behind the comparison, or follow from the compared numbers. SDM Vol. 1, "EFLAGS Register".
;
; Pitfalls: C1 C6 C7 C9
;
; limit: 30000000
; expect: flags_over_call_and_return: ok
; expect: flags_over_indirect_branches: ok
; expect: flags_over_device_load: ok
; expect: flags_over_x87: ok
; expect: flags_over_faults: ok
; expect: flags_over_serializing_instructions: ok
; expect: direction_flag_survives: ok
; expect: system_flags_survive: ok
; expect: flags_where_paths_meet: ok
; expect: carry_alone_over_accesses: ok
%include "lm64.inc"
APIC    equ 0x250000            ; its register page
WINDOW  equ 0x240000

; Pairs to compare, so that each condition is true and false now and then: 8 of them.
%macro COMPARE 0
    mov ecx, [round]
    and ecx, 7
    mov r8d, [left + rcx * 4]
    mov r9d, [right + rcx * 4]
    cmp r8d, r9d
%endmacro
; The flags are those of CMP R8D, R9D: by numbers, each in another way than the instruction's.
%macro AS_COMPARED 0
    seta bl
    setb bh
    setl cl
    setg ch
    sete dl
    sets dh
    seto r10b
    setp r11b
    call check_conditions
%endmacro
; %1.. stands between the comparison and its use.
%macro BETWEEN 1+
    COMPARE
    %1
    AS_COMPARED
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov rax, 0xFEE0001B
    mov [PT + 8 * 0x50], rax
    mov dword [PT + 8 * 0x41], 0x311007
    SET_MSR 0xC0000081, (CODE3C << 16 | CODE0) << 32
    SET_MSR 0xC0000082, entered
    SET_MSR 0xC0000084, 0
    fninit

    REPEATEDLY
    BETWEEN call moves
    BETWEEN call moves_and_calls
    COMPARE
    call moves
    ja .above
    jb .below
    EXPECT r8d, r9d
    jmp .told
.above:
    sub r8d, r9d
    sbb eax, eax
    EXPECT eax, 0
    jmp .told
.below:
    sub r8d, r9d
    sbb eax, eax
    EXPECT eax, -1
.told:
    AGAIN
    CLAIM "flags_over_call_and_return"

    REPEATEDLY
    mov eax, .hop_1
    COMPARE
    jmp rax
    ud2
.hop_1:
    AS_COMPARED
    push qword .hop_2
    COMPARE
    ret
.hop_2:
    AS_COMPARED
    mov ecx, [round]
    and ecx, 3
    mov edi, [hops + rcx * 4]
    COMPARE
    jmp rdi
hop_a:
    AS_COMPARED
    jmp .joined
hop_b:
    lea rax, [rax + 1]
    AS_COMPARED
    jmp hop_a.joined
hop_c:
    xchg r12, r13
    AS_COMPARED
    jmp hop_a.joined
hop_d:
    AS_COMPARED
hop_a.joined:
    AGAIN
    CLAIM "flags_over_indirect_branches"

    REPEATEDLY
    mov esi, APIC + 0x30
    BETWEEN mov r13d, [rsi]             ; the version register
    EXPECT r13d, [APIC + 0x30]
    BETWEEN mov rax, [abs APIC + 0x20]
    BETWEEN mov dword [rsi + 0x50], 0   ; the task priority
    BETWEEN movzx eax, byte [rsi]
    mov edi, WINDOW
    mov dword [PT + 8 * 0x40], 0x310007
    invlpg [rdi]
    BETWEEN mov eax, [rdi]              ; a TLB miss
    mov dword [PT + 8 * 0x40], 0x310007
    BETWEEN invlpg [rdi]
    BETWEEN mov [rdi], eax              ; a miss of the store
    BETWEEN mov eax, [rdi + 0xFFE]      ; over a page end
    AGAIN
    CLAIM "flags_over_device_load"

    REPEATEDLY
    fld1
    BETWEEN fadd dword [one]
    BETWEEN fstp qword [slot]
    BETWEEN {fld dword [one]}
    BETWEEN {fsqrt}
    BETWEEN fnstsw ax
    fstp st0
    BETWEEN {emms}
    BETWEEN movd xmm0, r8d
    BETWEEN {fninit}
    AGAIN
    CLAIM "flags_over_x87"

    REPEATEDLY
    mov dword [resume], .after_fault
    COMPARE
    mov eax, [abs 0x204000]
.after_fault:
    AS_COMPARED
    mov dword [resume], .after_ud
    COMPARE
    ud2
.after_ud:
    AS_COMPARED
    BETWEEN int 0x3B
    COMPARE
    mov r15, rcx
    mov r14, r11
    syscall
entered:                                ; (at ring 0 all the time: SYSRET is not needed)
    mov rcx, r15
    mov r11, r14
    AS_COMPARED
    AGAIN
    CLAIM "flags_over_faults"

    REPEATEDLY
    COMPARE
    mov r14d, ecx
    xor eax, eax
    COMPARE
    push rbx
    mov eax, 0
    cpuid
    pop rbx
    AS_COMPARED
    BETWEEN rdtsc
    mov rax, cr0
    BETWEEN mov cr0, rax
    mov rax, cr3
    BETWEEN mov cr3, rax
    BETWEEN mov rax, cr2
    BETWEEN swapgs
    BETWEEN swapgs
    mov ecx, 0xC0000101
    rdmsr
    COMPARE
    mov ecx, 0xC0000101
    rdmsr
    AS_COMPARED
    BETWEEN in al, 0x80
    BETWEEN cli
    BETWEEN cld
    BETWEEN mov ds, [data_selector]
    BETWEEN pause
    BETWEEN mfence
    BETWEEN invlpg [abs WINDOW]
    AGAIN
    CLAIM "flags_over_serializing_instructions"

    REPEATEDLY
    std
    mov esi, bytes + 2
    xor eax, eax
    cpuid
    lodsb
    EXPECT al, 3
    rdtsc
    lodsb
    EXPECT al, 2
    mov dword [resume], .after_fault_2
    mov eax, [abs 0x204000]
.after_fault_2:
    lodsb
    EXPECT al, 1
    EXPECT esi, bytes - 1
    pushfq
    pop rax
    and eax, 0x400
    EXPECT eax, 0x400
    call moves
    mov edi, slot + 1
    mov ecx, 2
    rep stosb
    EXPECT edi, slot - 1
    cld
    mov esi, bytes
    xor eax, eax
    cpuid
    lodsb
    EXPECT al, 1
    pushfq
    or qword [rsp], 0x400
    popfq
    lodsb
    lodsb
    EXPECT esi, bytes - 1
    cld
    AGAIN
    CLAIM "direction_flag_survives"

    ; PUSHF shows NT, AC, IOPL, ID, IF and the status flags together, behind helpers of each kind.
    REPEATEDLY
    push qword 0x2478D7          ; ID, AC, NT, IOPL 3, OF, SF, ZF, AF, PF, CF and no IF, no DF
    popfq
    mov rax, cr0
    call moves
    mov eax, [abs APIC + 0x30]
    pushfq
    pop rax
    EXPECT eax, 0x2478D7
    push qword 0x2478D7
    popfq
    cmp eax, eax                        ; changes six
    pushfq
    pop rax
    EXPECT eax, 0x247046
    push qword 0x2
    popfq
    xor ecx, ecx
    cpuid
    pushfq
    pop rax
    EXPECT eax, 0x2 + 0x44              ; of the XOR
    stc
    pushfq
    pop rax
    EXPECT eax, 0x47
    mov ah, 0xD5
    sahf
    pushfq
    pop rcx
    EXPECT ecx, 0xD7
    sahf
    cmc
    lahf
    EXPECT ah, 0xD6
    AGAIN
    CLAIM "system_flags_survive"

    ; Branches into the midst of a run whose flags come from different instructions.
    REPEATEDLY
    mov ecx, [round]
    and ecx, 3
    mov r8d, 5
    mov r9d, 5
    xor edi, edi
    jmp [.entries + rcx * 8]
.entry_0:
    cmp r8d, 6                          ; C, not Z
    jmp .meet
.entry_1:
    test r8d, r8d                       ; neither
    jmp .meet
.entry_2:
    add r8d, -5                         ; C and Z
    jmp .meet_late
.entry_3:
    inc r9d                             ; as the ADD left C: the index's AND cleared it
.meet:
    mov edx, 7
.meet_late:
    adc edi, 0
    mov eax, [.expected + rcx * 4]
    EXPECT edi, eax
    jmp .over
    align 8
.entries: dq .entry_0, .entry_1, .entry_2, .entry_3
.expected: dd 1, 0, 1, 0
.over:
    mov ecx, [round]
    and ecx, 3
    mov eax, 10
    cmp ecx, 2
    jb .low
    je .equal
    sub eax, 10
    jmp .low
.equal:
    add eax, 0x7FFFFFFF
.low:                                   ; flags of CMP, of SUB or of ADD
    setz bl
    seto bh
    setc dl
    cmp ecx, 3
    sete al
    EXPECT bl, al
    cmp ecx, 2
    sete al
    EXPECT bh, al
    cmp ecx, 2
    setb al
    EXPECT dl, al
    AGAIN
    CLAIM "flags_where_paths_meet"

    ; Where CF alone is needed later it may be kept by itself: R8 is what it must be. Each access has a register of its own.
    mov r12d, APIC + 0x30
    mov r13d, 0x204000                  ; no page
    REPEATEDLY
    mov r8d, [round]
    and r8d, 1
    lea rdi, [cells + r8 * 8]
    lea rsi, [cells + 32 + r8 * 8]
    lea rbp, [cells + 64]
    bt r8d, 0
    mov [rdi], r8
    mov eax, 5
    adc eax, 10
    lea edx, [r8 + 15]
    EXPECT eax, edx
    mov qword [rsi], -1
    bt r8d, 0
    mov eax, [r12]                      ; a device
    adc qword [rsi], 0                  ; carries if CF is 1
    mov rax, [rbp]
    setc al
    EXPECT al, r8b
    bt r8d, 0
    mov rax, -1
    adc rax, 0
    mov [rdi], rax
    sbb edx, edx
    mov eax, r8d
    neg eax
    EXPECT edx, eax
    bt r8d, 0
    mov [rsi], rax
    mov edx, 0x7FFFFFFF
    inc edx                             ; the others are new, CF is not
    setb al
    seto ah
    sets bl
    setz bh
    EXPECT al, r8b
    EXPECT ah, 1
    EXPECT bl, 1
    EXPECT bh, 0
    cmp r8d, 1                          ; the others stay, CF is new
    mov [rdi], rax
    stc
    mov [rsi], rax
    setc al
    sete bl
    EXPECT al, 1
    EXPECT bl, r8b
    bt r8d, 0
    mov rax, [rdi]
    setae dl
    mov rax, [rsi]
    mov eax, 7
    mov ecx, 8
    cmovb eax, ecx
    mov [rbp], rax
    mov ecx, 0
    adc ecx, ecx
    EXPECT ecx, r8d
    lea ecx, [r8 + 7]
    EXPECT eax, ecx
    xor dl, 1
    EXPECT dl, r8b
    mov dword [f_vector], -1
    mov dword [resume], .resumed
    bt r8d, 0
    mov rax, [r13]                      ; a page fault, whose frame has CF
.resumed:
    adc edx, edx
    and edx, 1
    EXPECT edx, r8d
    EXPECT dword [f_vector], 14
    mov eax, [f_flags]
    and eax, 1
    EXPECT eax, r8d
    mov eax, 0x7FFFFFFF
    bt r8d, 0
    mov [rbp], rax
    adc eax, 0                          ; all are new
    mov [rsi], rax
    seto al
    setc ah
    EXPECT al, r8b
    EXPECT ah, 0
    AGAIN
    CLAIM "carry_alone_over_accesses"
    jmp finish

moves:
    mov rax, rdi
    lea rdi, [rdi + 0]
    mov rdi, rax
    ret
moves_and_calls:
    push rax
    call moves
    lea rax, [rsp]
    bswap rax
    pop rax
    not rax
    not rax
    ret

left:   dd 0, 1, 0x80000000, 0x7FFFFFFF, 5, 0xFFFFFFFF, 0x80000000, 3
right:  dd 0, 2, 1, 0xFFFFFFFF, 3, 0xFFFFFFFE, 0x80000000, 0x80000003
; The conditions for these: above, below, less, greater, equal, sign, overflow, parity of the low byte.
conditions:
    ;  a  b  l  g  e  s  o  p
    db 0, 0, 0, 0, 1, 0, 0, 1           ; 0
    db 0, 1, 1, 0, 0, 1, 0, 1           ; FFFFFFFF
    db 1, 0, 1, 0, 0, 0, 1, 1           ; 7FFFFFFF
    db 0, 1, 0, 1, 0, 1, 1, 1           ; 80000000
    db 1, 0, 0, 1, 0, 0, 0, 0           ; 2
    db 1, 0, 0, 1, 0, 0, 0, 0           ; 1
    db 0, 0, 0, 0, 1, 0, 0, 1           ; 0
    db 0, 1, 0, 1, 0, 1, 1, 1           ; 80000000
check_conditions:
    mov eax, [round]
    and eax, 7
    EXPECT bl, [conditions + rax * 8]
    EXPECT bh, [conditions + rax * 8 + 1]
    EXPECT cl, [conditions + rax * 8 + 2]
    EXPECT ch, [conditions + rax * 8 + 3]
    EXPECT dl, [conditions + rax * 8 + 4]
    EXPECT dh, [conditions + rax * 8 + 5]
    EXPECT r10b, [conditions + rax * 8 + 6]
    EXPECT r11b, [conditions + rax * 8 + 7]
    ret
hops:   dd hop_a, hop_b, hop_c, hop_d
one:    dd 1.0
slot:   dq 0
cells:  times 16 dq 0
bytes:  db 1, 2, 3
data_selector: dw DATA0
