; Shadow stacks: the MSRs, near CALL and RET, shadow-stack pages and their faults, the instructions that handle a user's
; shadow stack. SDM Vol. 1, "Shadow Stacks"; Vol. 3A, "Determination of Access Rights", "Page-Fault Exceptions".
;
; expect: CR4 and the MSRs
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: FFFF80000000043F
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: V=0D E=0000 +=00 R=0
; expect: instructions while it is off
; expect: FFFFFFFFFFFFFFFF
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: V=06 E=0000 +=00 R=0
; expect: ring 0
; expect: 00000000002121F8
; expect: 00000000002121F0
; expect: 0000000000000000
; expect: 00000000002121F8
; expect: V=15 E=0001 +=00 R=0
; expect: 0000000000000000
; expect: 00000000002121F0
; expect: page faults at ring 0
; expect: V=0E E=0003 +=00 R=0
; expect: V=0E E=0043 +=00 R=0
; expect: 0000000000200000
; expect: V=0E E=0043 +=00 R=0
; expect: V=0E E=0043 +=00 R=0
; expect: V=0E E=0042 +=00 R=0
; expect: none
; expect: 1122334455667788
; expect: V=0E E=0047 +=00 R=0
; expect: V=0E E=0047 +=00 R=0
; expect: V=0E E=0047 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0C E=0000 +=00 R=0
; expect: V=0C E=0000 +=00 R=0
; expect: 00000000002121F8
; expect: near calls at ring 3
; expect: 0000000000210800
; expect: 0000000000210800
; expect: 00000000002107F8
; expect: 0000000000000000
; expect: 00000000002107F8
; expect: 0000000000000000
; expect: 0000000000210800
; expect: 0000000000210800
; expect: V=15 E=0001 +=00 R=3
; expect: 0000000000000000
; expect: 00000000002107F8
; expect: 0000000000210800
; expect: INCSSP
; expect: 00000000002107E8
; expect: 00000000002107F0
; expect: 00000000002107F4
; expect: 0000000000210800
; expect: 0000000000210800
; expect: WRSS
; expect: V=06 E=0000 +=00 R=3
; expect: none
; expect: 123456789ABCDEF0
; expect: none
; expect: 9ABCDEF09ABCDEF0
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: page faults at ring 3
; expect: V=0E E=0007 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: V=0E E=0046 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: V=0E E=0047 +=00 R=3
; expect: 0000000000000000
; expect: 00000000002027F8
; expect: V=0E E=0045 +=00 R=3
; expect: V=0E E=0045 +=00 R=3
; expect: 0000000000212000
; expect: 0000000000211FF8
; expect: RSTORSSP and SAVEPREVSSP
; expect: 00000000002117F8
; expect: 0000000000210803
; expect: 0000000000000000
; expect: 0000000000211800
; expect: 0000000000210801
; expect: 00000000002107F8
; expect: 0000000000211803
; expect: 0000000000210800
; expect: 0000000000211801
; expect: V=15 E=0004 +=00 R=3
; expect: V=15 E=0004 +=00 R=3
; expect: V=15 E=0004 +=00 R=3
; expect: 0000000000211800
; expect: 0000000000210800
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: 00000000002117F8
; expect: 0000000000000001
; expect: V=0D E=0000 +=00 R=3
; expect: 0000000000210800
; expect: done
%include "lm64.inc"
%include "cet.inc"

start64:
    call make_shadow_pages
    mov qword [on_resume], resume_shadow

    SAY "CR4 and the MSRs"
    mov rbx, cr0
    mov rdi, rbx
    and edi, ~(1 << 16)                 ; without WP
    mov rsi, cr4
    mov rbp, rsi
    or ebp, 1 << 23                     ; CET
    mov cr0, rdi
    TRY mov cr4, rbp                    ; needs WP
    mov cr0, rbx
    TRY mov cr4, rbp
    TRY mov cr0, rdi                    ; WP stays as long as CET is on
    mov cr4, rsi
    TRY mov cr0, rdi
    mov cr0, rbx

    mov ecx, U_CET
    xor edx, edx
    mov eax, 0x40
    TRY wrmsr                           ; reserved
    mov eax, SUPPRESS | TRACKER
    TRY wrmsr
    xor eax, eax
    mov edx, 0x1000000
    TRY wrmsr                           ; the address of the bit map is not canonical
    mov edx, 0xFFFF8000
    mov eax, 0x43F
    TRY wrmsr
    SHOW_MSR U_CET
    mov ecx, PL0_SSP
    mov eax, 0x2
    xor edx, edx
    TRY wrmsr                           ; bits 1:0 are reserved
    mov eax, 0x4
    mov edx, 0x1000000
    TRY wrmsr
    mov edx, 0xFFFF8000
    TRY wrmsr
    mov ecx, SSP_TABLE
    mov edx, 0x1000000
    TRY wrmsr

    SAY "instructions while it is off"
    SET_MSR S_CET, SH_STK | WR_SHSTK
    mov rax, -1
    rdsspq rax                          ; a NOP
    SHOW rax
    xor eax, eax
    TRY incsspq rax
    TRY rstorssp [SUPER]
    TRY saveprevssp
    TRY setssbsy
    TRY clrssbsy [SUPER]
    TRY wrssq [SUPER], rax
    TRY wrussq [USER_A], rax            ; asks for CR4.CET alone

    SAY "ring 0"
    SET_MSR PL0_SSP, SS0
    mov qword [SS0 + ALIAS], SS0        ; a token that is free
    CET_ON
    setssbsy
    SHOW_SSP
    call .called
.back:
    SHOW_SSP
    call .changed
    jmp .faults
.called:
    SHOW_SSP
    SHOW_FROM [SS0 - 8], .back
    ret
.changed:
    mov rbp, rsp
    inc qword [rsp]
    TRY ret
    sub rbp, rsp
    SHOW rbp
    SHOW_SSP
    dec qword [rsp]
    ret

.faults:
    SAY "page faults at ring 0"
    TRY mov [SUPER], rax                ; a plain store to a shadow stack
    TRY wrssq [NORMAL0], rax            ; a shadow-stack store to a plain page
    mov rax, cr2
    SHOW rax
    TRY wrssq [USER_A], rax             ; a supervisor's to a user page
    TRY wrssq [SUPER + BELOW_RO], rax
    TRY wrssq [ABSENT], rax
    mov rax, 0x1122334455667788
    TRY wrussq [USER_A], rax
    SHOW [USER_A]                       ; which is readable
    TRY wrussq [SUPER], rax
    TRY wrussq [CLEAN], rax
    TRY wrussq [USER_A + BELOW_RO], rax
    TRY wrussq [USER_A + 4], rax        ; not aligned
    mov rbx, 0x800000000000
    TRY wrssq [rbx], rax                ; not canonical
    mov rbp, rbx
    TRY clrssbsy [rbp]                  ; through SS: #SS
    TRY rstorssp [rbp]
    SHOW_SSP

    SET_MSR U_CET, SH_STK
    SET_MSR PL3_SSP, USER_A + 0x800
    TO_USER user

; --- ring 3 -------------------------------------------------------------------------------------------
user:
    SAY "near calls at ring 3"
    SHOW_SSP
    mov rax, -1
    rdsspd eax
    SHOW rax
    mov ebp, .back
    call .called
.back:
    mov eax, .called
    mov ebp, .back2
    call rax
.back2:
    SHOW_SSP
    db 0xE8, 0, 0, 0, 0                 ; CALL +0 pushes to the stack alone
    pop rax
    SHOW_SSP
    call .changed
    SHOW_SSP
    jmp .incssp
.called:
    SHOW_SSP
    SHOW_FROM [USER_A + 0x7F8], rbp
    ret
.changed:
    mov rbp, rsp
    inc qword [rsp]
    TRY ret
    sub rbp, rsp
    SHOW rbp
    SHOW_SSP
    dec qword [rsp]
    ret

.incssp:
    SAY "INCSSP"
    call .one
    nop
.one:
    call .two
    nop
.two:
    call .three
    nop
.three:
    SHOW_SSP
    mov eax, 1
    incsspq rax
    SHOW_SSP
    incsspd eax
    SHOW_SSP
    mov eax, 0xFFFFFF03                 ; bits 7:0 count
    incsspd eax
    SHOW_SSP
    mov eax, 0x100
    incsspq rax
    SHOW_SSP
    mov rsp, STACK3

    SAY "WRSS"
    mov rax, 0x123456789ABCDEF0
    TRY wrssq [USER_A], rax             ; not enabled
    AT0 allow_wrss
    TRY wrssq [USER_A], rax
    SHOW [USER_A]
    TRY wrssd [USER_A + 4], eax
    SHOW [USER_A]
    TRY wrssq [USER_A + 4], rax
    TRY wrssd [USER_A + 2], eax
    TRY wrussq [USER_A], rax            ; ring 0 only, as all three
    TRY setssbsy
    TRY clrssbsy [SS0]

    SAY "page faults at ring 3"
    TRY mov [USER_A], rax
    TRY wrssq [NORMAL3], rax
    TRY wrssq [SUPER], rax
    TRY wrssq [CLEAN], rax
    TRY wrssq [USER_A + BELOW_RO], rax
    TRY wrssq [ABSENT], rax
    TRY rstorssp [NORMAL3]
    MOVE_SSP NORMAL3 + 0x7F8
    mov rbp, rsp
    TRY call user
    sub rbp, rsp
    SHOW rbp
    SHOW_SSP
    push user
    TRY ret
    pop rax
    MOVE_SSP USER_B + 0xFF8
    mov eax, 2
    TRY incsspq rax                     ; the last entry is read
    AT0 get_cr2
    SHOW r8
    SHOW_SSP

    SAY "RSTORSSP and SAVEPREVSSP"
    MOVE_SSP USER_A + 0x800
    mov eax, (USER_B + 0x800) | 1
    wrssq [USER_B + 0x7F8], rax
    stc
    rstorssp [USER_B + 0x7F8]
    call flags
    SHOW_SSP
    SHOW [USER_B + 0x7F8]               ; where we come from
    and r8d, 1
    SHOW r8                             ; CF
    clc
    saveprevssp
    SHOW_SSP
    SHOW [USER_A + 0x7F8]
    rstorssp [USER_A + 0x7F8]           ; and back
    SHOW_SSP
    SHOW [USER_A + 0x7F8]
    clc
    saveprevssp
    SHOW_SSP
    SHOW [USER_B + 0x7F8]

    mov eax, (USER_B + 0x808) | 1       ; names another place
    wrssq [USER_B + 0x7F8], rax
    TRY rstorssp [USER_B + 0x7F8]
    mov eax, (USER_B + 0x800) | 3       ; a previous-SSP token
    wrssq [USER_B + 0x7F8], rax
    TRY rstorssp [USER_B + 0x7F8]
    mov eax, USER_B + 0x800             ; of 32-bit code
    wrssq [USER_B + 0x7F8], rax
    TRY rstorssp [USER_B + 0x7F8]
    SHOW [USER_B + 0x7F8]               ; left alone
    SHOW_SSP
    TRY rstorssp [USER_B + 0x7FC]
    clc
    TRY saveprevssp                     ; no token here
    MOVE_SSP USER_A + 0x804
    TRY saveprevssp                     ; nor an aligned SSP
    MOVE_SSP USER_A + 0x800
    mov eax, (USER_B + 0x804) | 1       ; left with an alignment hole
    wrssq [USER_B + 0x7F8], rax
    clc
    rstorssp [USER_B + 0x7F8]
    call flags
    SHOW_SSP
    and r8d, 1
    SHOW r8
    stc
    TRY saveprevssp                     ; in 64-bit mode there is no hole to be popped
    mov eax, USER_A + 0x800
    MOVE_SSP eax
    SHOW_SSP
    SAY "done"
    RING0 finish

flags:
    pushfq
    pop r8
    ret
allow_wrss:
    SET_MSR U_CET, SH_STK | WR_SHSTK
    ret
get_cr2:
    mov r8, cr2
    ret
