; Near calls and returns on shadow stacks, hot: what they push and compare, faults of either stack, shadow-stack pages that
; change under running code, and the same code with shadow stacks on and off. SDM Vol. 1, "Shadow Stacks"; Vol. 2, "CALL", "RET".
;
; Pitfalls: B4, E1, E2
;
; limit: 60000000
; expect: calls_push_and_returns_pop: ok
; expect: status_flags_outlive_calls: ok
; expect: another_return_address: ok
; expect: page_is_no_shadow_stack_any_more: ok
; expect: another_page_at_its_address: ok
; expect: over_a_page_end: ok
; expect: SSP_on_4_bytes: ok
; expect: SSP_is_read: ok
; expect: pushes_change_code: ok
; expect: stack_faults_before_a_push: ok
; expect: on_and_off_by_turns: ok
; expect: a_supervisors: ok
%include "lm64.inc"
%include "cet.inc"
TOP     equ USER_A + 0x800
OTHER   equ 0x220000                    ; a frame that no page maps: all zero
CODE_AT equ USER_A + 0x400              ; code on a shadow-stack page
READONLY equ 0x201800

%macro EXPECT_SSP 1
    xor eax, eax
    rdsspq rax
    EXPECT rax, %1
%endmacro
; PT's entry of USER_A := value. At ring 3.
%macro MAP_A 1
    mov r8d, %1
    AT0 map_a
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    call make_shadow_pages
    mov dword [PT + 0x30 * 8], OTHER | 3        ; it is cleared by way of 230000h
    mov edi, 0x230000
    xor eax, eax
    mov ecx, 512
    rep stosq
    SET_MSR U_CET, SH_STK
    SET_MSR PL3_SSP, TOP
    CET_ON

    AT_RING3
    REPEATEDLY
    EXPECT_SSP TOP
    mov ebp, .back1
    call one_deep
.back1:
    mov eax, one_deep
    mov ebp, .back2
    call rax
.back2:
    mov ebp, .back3
    call [routine]
.back3:
    push qword one_deep
    mov ebp, .back4
    call [rsp]
.back4:
    pop rax
    mov ebp, .back5
    push rax
    push rax
    call releases
.back5:
    db 0xE8, 0, 0, 0, 0                         ; CALL +0 pushes to the stack alone
.back6:
    pop rax
    EXPECT rax, .back6
    mov ecx, 5
    call nested
    EXPECT_SSP TOP
    rdsspd eax
    EXPECT rax, TOP
    EXPECT rsp, STACK3
    AGAIN
    AT_RING0
    CLAIM "calls_push_and_returns_pop"

    AT_RING3
    REPEATEDLY
    xor eax, eax
    dec eax
    add eax, 1                                  ; CF, ZF, PF, AF
    call nothing
    jnc .lost
    jnz .lost
    mov al, 0x7F
    add al, 1                                   ; OF, SF, AF
    call [nothing_at]
    jno .lost
    jc .lost
    jns .lost
    call sets_carry
    jnc .lost
    jmp .kept
.lost:
    mov dword [wrong_at], .lost
.kept:
    AGAIN
    AT_RING0
    CLAIM "status_flags_outlive_calls"

    AT_RING3
    REPEATEDLY
    mov r9d, [round]
    and r9d, 7                                  ; 0 at times
    mov dword [f_vector], -1
    mov r10d, .here
    mov r11d, .there
    call changed
.here:
    xchg r10, r11
    call changed
.there:
    EXPECT_SSP TOP
    mov eax, 21
    test r9d, r9d
    mov ecx, -1
    cmovnz eax, ecx
    EXPECT [f_vector], eax
    AGAIN
    AT_RING0
    CLAIM "another_return_address"

    AT_RING3
    REPEATEDLY
    call nothing
    MAP_A USER_A | 0x25                         ; not dirty
    mov dword [resume], .no_push
    mov dword [f_vector], -1
    mov rbp, rsp
.push:
    call nothing
    mov dword [wrong_at], .push
.no_push:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x47
    EXPECT dword [f_rip], .push
    EXPECT dword [f_cr2], TOP - 8
    EXPECT rsp, rbp
    EXPECT_SSP TOP
    MAP_A USER_A | 0x65
    mov dword [f_vector], -1
    call unmaps
    EXPECT_SSP TOP
    EXPECT rsp, rbp
    AGAIN
    AT_RING0
    CLAIM "page_is_no_shadow_stack_any_more"

    AT_RING3
    REPEATEDLY
    call nothing
    mov dword [f_vector], -1
    call remaps
    EXPECT_SSP TOP
    AGAIN
    AT_RING0
    CLAIM "another_page_at_its_address"

    AT_RING3
    MOVE_SSP USER_B
    REPEATEDLY
    call nothing
    EXPECT_SSP USER_B
    MOVE_SSP USER_B + 8
    mov ecx, 3
    call nested
    EXPECT_SSP USER_B + 8
    MOVE_SSP USER_B
    AGAIN
    AT_RING0
    CLAIM "over_a_page_end"

    AT_RING3
    REPEATEDLY
    MOVE_SSP TOP + 4
    mov ecx, 3
    call nested
    EXPECT_SSP TOP + 4
    MAP_A OTHER | 0x65                          ; whose neighbor in memory is not USER_B
    AT0 spoil
    MOVE_SSP TOP
    call nothing                                ; it is in the TLB
    MOVE_SSP USER_B + 4                         ; half of it in either page
    mov ebp, .half
    call nothing
.half:
    EXPECT_SSP USER_B + 4
    EXPECT dword [USER_B - 4], ebp
    EXPECT dword [USER_B], 0
    MAP_A USER_A | 0x65
    MOVE_SSP TOP
    AGAIN
    AT_RING0
    CLAIM "SSP_on_4_bytes"

    AT_RING3
    REPEATEDLY
    AT0 high_ssp
    mov rax, -1
    rdsspd eax
    mov ecx, 0x12345678
    EXPECT rax, rcx
    rdsspq r13
    rdsspq rdx
    mov rax, 0x7ABC12345678
    EXPECT rdx, rax
    EXPECT r13, rax
    MOVE_SSP TOP
    AGAIN
    AT_RING0
    CLAIM "SSP_is_read"

    ; A page with code that has run: a push onto it changes that code.
    AT_RING3
    REPEATEDLY
    AT0 write_code
    mov r12d, 20
.hot:
    mov eax, 7
    call CODE_AT
    EXPECT eax, 1
    call nothing
    dec r12d
    jnz .hot
    MOVE_SSP CODE_AT + 8
    jmp .push_code
    times (0xBE - ($ - $$)) & 0xFF nop
.push_code:
    call nothing                                ; pushes C3h, RET, first
.pushed_code:
    MOVE_SSP TOP
    mov eax, 7
    call CODE_AT
    EXPECT eax, 7
    AGAIN
    AT_RING0
    CLAIM "pushes_change_code"

    AT_RING3
    REPEATEDLY
    mov ecx, 2
    call nested
    mov rax, [TOP - 8]
    mov [kept], rax
    mov dword [f_vector], -1
    mov dword [resume], .no_call
    mov rbp, rsp
    mov esp, READONLY
.call:
    call nothing
    mov dword [wrong_at], .call
.no_call:
    EXPECT rsp, READONLY
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 7
    EXPECT dword [f_rip], .call
    EXPECT_SSP TOP
    mov rax, [kept]
    EXPECT rax, [TOP - 8]
    AGAIN
    AT_RING0
    CLAIM "stack_faults_before_a_push"

    AT_RING3
    REPEATEDLY
    xor ebx, ebx
    AT0 switch_off
    call either
    EXPECT ebx, 1
    mov rax, -1
    rdsspq rax
    EXPECT rax, -1                              ; a NOP
    AT0 switch_on
    MOVE_SSP TOP
    call either
    EXPECT ebx, 2
    EXPECT_SSP TOP
    AGAIN
    AT_RING0
    CLAIM "on_and_off_by_turns"

    ; At ring 0 a fault's frame is on the shadow stack as well, so none is provoked.
    SET_MSR S_CET, SH_STK
    SET_MSR PL0_SSP, SS0
    mov qword [SS0 + ALIAS], SS0                ; a token that is free
    setssbsy
    REPEATEDLY
    EXPECT_SSP SS0
    mov ebp, .super1
    mov r10d, SS0 - 8
    call one_deep.of
.super1:
    mov eax, one_deep.of
    mov ebp, .super2
    call rax
.super2:
    mov ecx, 5
    call nested
    EXPECT_SSP SS0
    AGAIN
    xor eax, eax
    xor edx, edx
    mov ecx, S_CET
    wrmsr
    CLAIM "a_supervisors"
    jmp finish

; RBP is the return address.
one_deep:
    mov r10d, TOP - 8
.of:
    EXPECT_SSP r10
    EXPECT rbp, [rax]
    EXPECT rbp, [rsp]
nothing:
    ret
releases:
    EXPECT_SSP TOP - 8
    EXPECT rbp, [TOP - 8]
    ret 16
sets_carry:
    stc
    ret
nested:
    dec ecx
    jz nothing
    call nested
    ret
either:
    inc ebx
    ret

; R10 is its return address, and R11 that of the other call: where returns lead, too. If R9 is 0 the one is changed to the other,
; and changed back by who resumes.
changed:
    mov dword [resume], .resumed
    mov rbp, rsp
    test r9d, r9d
    jnz .ret
    mov [rsp], r11
.ret:
    ret
.resumed:
    EXPECT r9d, 0
    EXPECT dword [f_vector], 21
    EXPECT dword [f_error], 1
    EXPECT dword [f_rip], .ret
    EXPECT rsp, rbp
    EXPECT_SSP TOP - 8
    mov [rsp], r10
    jmp .ret

; Its return finds no shadow stack.
unmaps:
    MAP_A USER_A | 0x25
    mov dword [resume], .resumed
.ret:
    ret
.resumed:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x45
    EXPECT dword [f_rip], .ret
    EXPECT dword [f_cr2], TOP - 8
    EXPECT_SSP TOP - 8
    MAP_A USER_A | 0x65
    jmp .ret

; ... finds zeros.
remaps:
    MAP_A OTHER | 0x65
    mov dword [resume], .resumed
.ret:
    ret
.resumed:
    EXPECT dword [f_vector], 21
    EXPECT dword [f_error], 1
    EXPECT dword [f_rip], .ret
    EXPECT_SSP TOP - 8
    MAP_A USER_A | 0x65
    jmp .ret

; --- at ring 0 ----------------------------------------------------------------------------------------
high_ssp:
    mov ecx, PL3_SSP
    mov eax, 0x12345678
    mov edx, 0x7ABC
    wrmsr
    ret
spoil:
    mov dword [USER_B + ALIAS], -1
    ret
write_code:
    mov dword [CODE_AT + ALIAS], 0x1B8          ; mov eax, 1
    mov word [CODE_AT + ALIAS + 4], 0xC300      ; ret
    ret
map_a:
    mov [PT + 0x10 * 8], r8
    invlpg [USER_A]
    ret
switch_off:
    xor eax, eax
    jmp set_u_cet
switch_on:
    mov eax, SH_STK
set_u_cet:
    xor edx, edx
    mov ecx, U_CET
    wrmsr
    ret

align 8
routine: dq one_deep
nothing_at: dq nothing
kept: dq 0
