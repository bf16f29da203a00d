; SYSCALL and SYSRET, hot, with all that they depend on changing from round to round: FMASK, STAR, LSTAR, EFER.SCE, what R11 and RCX
; bring back, events that wait, and the pages of the level they lead to. SDM Vol. 2B, "SYSCALL" and "SYSRET".
;
; Pitfalls: C6 E2
;
; limit: 60000000
; expect: FMASK_by_turns: ok
; expect: STAR_by_turns: ok
; expect: interrupt_waits_for_SYSRET: ok
; expect: SYSRET_to_closed_window: ok
; expect: pages_that_move_in_the_kernel: ok
; expect: pages_that_go_in_the_kernel: ok
; expect: AC_comes_with_R11: ok
; expect: TF_comes_with_R11: ok
; expect: SYSRET_to_noncanonical: ok
; expect: SCE_cleared: ok
%include "lm64.inc"
VECTOR  equ 0x31
USER    equ 0x202800            ; in a user page
USER_PT equ PT + 2 * 8

start64:
%include "claims.inc"
    mov qword [hook], note_event
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00                       ; x2APIC
    wrmsr
    SET_MSR 0x80F, 0x1FF
    SET_IST 14, 1
    OPEN_GATE 0x3B
    SET_MSR 0xC0000081, (CODE3 - 16) << 48 | CODE0 << 32
    SET_MSR 0xC0000082, handler
    SET_MSR 0xC0000084, 0x700
    TO_USER .ring3
.ring3:

; R8: what the handler does at level 0. RSP is the user's: handlers use no stack.

    REPEATEDLY                          ; all status flags; masks that keep and clear each
    mov r8d, .next_mask
    mov eax, [round]
    mov ebx, eax
    and eax, 0x4D5
    push rax
    popfq
    pushfq
    pop r9
    push rax
    popfq
    syscall
.behind:
    pushfq
    pop rdx
    EXPECT rdx, r9
    EXPECT rcx, .behind
    EXPECT r15, r9                      ; R11
    mov eax, r14d                       ; the mask
    or eax, 0x200
    not eax
    and eax, r9d
    EXPECT r13d, eax                    ; RFLAGS in the handler
    AGAIN
    CLAIM "FMASK_by_turns"
    jmp .star
.next_mask:
    pushfq
    pop r13
    mov r15, r11
    mov r12, rcx
    mov ecx, 0xC0000084
    rdmsr
    mov r14d, eax
    mov eax, [round]
    imul eax, eax, 0x2545
    and eax, 0x4D5
    or eax, 0x200
    xor edx, edx
    wrmsr
    mov rcx, r12
    mov r11, r15
    o64 sysret

.star:
    REPEATEDLY                          ; the requested levels in it do not count
    mov r8d, .next_star
    syscall
    mov eax, cs
    EXPECT eax, CODE3
    mov eax, ss
    EXPECT eax, DATA3
    EXPECT r13d, CODE0
    EXPECT r14d, DATA0
    AGAIN
    CLAIM "STAR_by_turns"
    jmp .waits
.next_star:
    mov r13d, cs
    mov r14d, ss
    mov r12, rcx
    mov ecx, 0xC0000081
    mov edx, [round]
    and edx, 3
    mov eax, edx
    shl edx, 16
    or edx, eax
    or edx, (CODE3 - 16) << 16 | CODE0
    xor eax, eax
    wrmsr
    mov rcx, r12
    o64 sysret

.waits:
    REPEATEDLY
    mov dword [f_vector], -1
    mov r8d, .ask
    syscall
.asked:
    EXPECT dword [f_vector], -1         ; IF was 0
    mov r8d, .open
    syscall
.opened:
    EXPECT dword [f_vector], VECTOR
    EXPECT dword [f_rip], .opened
    mov eax, [f_cs]
    EXPECT eax, CODE3
    mov r8d, .close
    syscall
    AGAIN
    CLAIM "interrupt_waits_for_SYSRET"
    jmp .closed
.ask:
    mov r12, rcx
    mov ecx, 0x83F                      ; x2APIC: self-IPI register
    mov eax, VECTOR
    xor edx, edx
    wrmsr
    mov rcx, r12
    and r11d, ~0x200
    o64 sysret
.open:
    or r11d, 0x200
    o64 sysret
.close:
    and r11d, ~0x200
    o64 sysret

.closed:
    REPEATEDLY                          ; open at level 0, closed behind SYSRET
    mov dword [f_vector], -1
    mov r8d, .close_in_the_open
    syscall
    pushfq
    pop rax
    and eax, 0x200
    EXPECT eax, 0
    mov r8d, .ask
    syscall
    EXPECT dword [f_vector], -1
    mov r8d, .open
    syscall
    EXPECT dword [f_vector], VECTOR
    mov r8d, .close
    syscall
    AGAIN
    CLAIM "SYSRET_to_closed_window"
    jmp .pages
.close_in_the_open:
    sti
    and r11d, ~0x200
    o64 sysret

.pages:
    REPEATEDLY
    mov r8d, .exchange
    mov ebx, USER
    call .touch
    mov r13d, eax
    syscall
    call .touch
    EXPECT r14d, r13d                   ; what the kernel read before, there,
    EXPECT eax, r15d                    ; and after
    AGAIN
    CLAIM "pages_that_move_in_the_kernel"
    jmp .goes
.touch:
    mov eax, [rbx]
    mov [rbx + 4], eax
    ret
.exchange:
    mov r14d, [rbx]
    xor qword [USER_PT], 0x1000         ; 202000h or 203000h
    invlpg [rbx]
    mov dword [rbx], 0x1111
    test qword [USER_PT], 0x1000
    jz .first_frame
    mov dword [rbx], 0x2222
.first_frame:
    mov r15d, [rbx]
    o64 sysret

.goes:
    REPEATEDLY
    mov ebx, USER
    mov eax, [rbx]
    mov [rbx], eax
    mov r8d, .take_away
    syscall
    FAULTS 14, 5, mov eax, [rbx]
    FAULTS 14, 7, mov [rbx], eax
    mov r8d, .give_back
    syscall
    WORKS mov [rbx], eax
    mov r8d, .read_only
    syscall
    WORKS mov eax, [rbx]
    FAULTS 14, 7, mov [rbx], eax
    mov r8d, .give_back
    syscall
    AGAIN
    CLAIM "pages_that_go_in_the_kernel"
    jmp .alignment
.take_away:
    and byte [USER_PT], ~4              ; U/S
    invlpg [rbx]
    o64 sysret
.give_back:
    or byte [USER_PT], 6
    invlpg [rbx]
    o64 sysret
.read_only:
    and byte [USER_PT], ~2
    or byte [USER_PT], 4
    invlpg [rbx]
    o64 sysret

.alignment:
    RING0 .alignment0
.alignment0:
    mov rax, cr0
    or eax, 0x40000                     ; AM
    mov cr0, rax
    TO_USER .alignment3
.alignment3:
    REPEATEDLY
    mov ebx, USER + 1                   ; and nothing else that is not aligned as long as AC is set
    mov dword [f_vector], -1
    mov dword [resume], .without
    mov r8d, .with_ac
    syscall
.misaligned:
    mov eax, [rbx]
.without:
    pushfq
    pop r14
    mov r8d, .without_ac
    syscall
    EXPECT dword [f_vector], 17
    EXPECT dword [f_rip], .misaligned
    and r14d, 0x40000
    EXPECT r14d, 0x40000
    EXPECT r13d, 0                      ; AC of level 0: FMASK has it
    WORKS mov eax, [rbx]
    AGAIN
    CLAIM "AC_comes_with_R11"
    jmp .trap
.with_ac:
    mov r12, rcx
    mov ecx, 0xC0000084
    mov eax, 0x40700
    xor edx, edx
    wrmsr
    mov rcx, r12
    or r11d, 0x40000
    o64 sysret
.without_ac:
    pushfq
    pop r13
    and r13d, 0x40000
    and r11d, ~0x40000
    o64 sysret

.trap:
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .trapped
    mov r8d, .with_tf
    syscall
.first:
    nop
    nop
    int3
.trapped:
    EXPECT dword [f_vector], 1
    EXPECT dword [f_rip], .first
    mov eax, [f_flags]
    and eax, 0x100
    EXPECT eax, 0x100
    mov r8d, .without_tf
    syscall
    AGAIN
    CLAIM "TF_comes_with_R11"
    jmp .uncanonical
.with_tf:
    or r11d, 0x100
    o64 sysret
.without_tf:
    and r11d, ~0x100
    o64 sysret

.uncanonical:
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .refused
    mov r8d, .astray
    syscall
    nop
.refused:                               ; at level 0 still
    mov eax, cs
    EXPECT eax, CODE0
    EXPECT dword [f_vector], 13
    EXPECT dword [f_rip], .strays
    EXPECT dword [f_cs], CODE0
    mov ecx, .returned
    mov r11d, 2
    o64 sysret
.returned:
    AGAIN
    CLAIM "SYSRET_to_noncanonical"
    jmp .no_sce
.astray:
    mov rcx, 0x0000800000000000
.strays:
    o64 sysret

.no_sce:
    REPEATEDLY
    mov r8d, .clear_sce
    syscall
.sce_cleared:
    FAULTS 6, 0, syscall
    RING0 .set_sce
.set_sce:
    mov ecx, 0xC0000080
    rdmsr
    or eax, 1
    wrmsr
    mov r8d, .back
    mov ecx, .sce_set
    mov r11d, 2
    o64 sysret
.sce_set:
    syscall
    AGAIN
    CLAIM "SCE_cleared"
    RING0 finish
.back:
    o64 sysret
.clear_sce:
    mov r12, rcx
    mov ecx, 0xC0000080
    rdmsr
    and eax, ~1
    wrmsr
    mov dword [f_vector], -1
    mov dword [resume], .ud
.sysret_faults:
    o64 sysret
.ud:
    EXPECT dword [f_vector], 6
    EXPECT dword [f_rip], .sysret_faults
    TO_USER r12

handler:
    jmp r8

; An interrupt returns where it came, a fault behind the instruction.
note_event:
    cmp dword [rbx + F_VECTOR], VECTOR
    je note_interrupt
    cmp dword [rbx + F_VECTOR], 1
    jne note_fault
    call note_fault
    and qword [rbx + F_RFLAGS], ~0x100
    cmp eax, eax
    ret
