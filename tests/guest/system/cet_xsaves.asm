; The two state components of control-flow enforcement: XSAVES and XRSTORS. SDM Vol. 1, "CET State", "Operation of
; XSAVES", "Operation of XRSTORS".
;
; expect: CPUID and IA32_XSS
; expect: 0000000000001800
; expect: 0000000000000010
; expect: 0000000000000000
; expect: 0000000000000001
; expect: 0000000000000018
; expect: 0000000000000000
; expect: 0000000000000001
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: 0000000000000268
; expect: XSAVES
; expect: 0000000000001800
; expect: 8000000000001800
; expect: 0000000000000003
; expect: 0000000000210800
; expect: 00000000002121F8
; expect: 0000000000212100
; expect: FFFF800000212200
; expect: 0000000000001000
; expect: 8000000000001000
; expect: 00000000002121F8
; expect: 0000000000000000
; expect: 8000000000000000
; expect: XRSTORS
; expect: 0000000000000003
; expect: 0000000000210800
; expect: 00000000002121F8
; expect: 0000000000212100
; expect: FFFF800000212200
; expect: 0000000000000000
; expect: 0000000000000000
; expect: 00000000002121F8
; expect: 0000000000000003
; expect: 0000000000210800
; expect: 0000000000000000
; expect: 0000000000000003
; expect: 0000000000000000
; expect: 0000000000000000
; expect: initial state is not written
; expect: 0000000000001000
; expect: 8000000000001800
; expect: AAAAAAAAAAAAAAAA
; expect: AAAAAAAAAAAAAAAA
; expect: 00000000002121F8
; expect: 0000000000000800
; expect: 0000000000210800
; expect: AAAAAAAAAAAAAAAA
; expect: values that WRMSR refuses
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: 0000000000000000
; expect: 0000000000210800
; expect: 0000000000000000
; expect: none
; expect: ring 3
; expect: 0000000000210800
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: 0000000000000000
; expect: done
%include "lm64.inc"
%include "cet.inc"

IA32_XSS equ 0xDA0
AREA     equ 0x20000
BV       equ AREA + 512
COMP     equ AREA + 520
CET_U    equ AREA + 576         ; IA32_U_CET, IA32_PL3_SSP
CET_S    equ AREA + 592         ; IA32_PL0_SSP .. IA32_PL2_SSP

%macro SAVE 1
    mov eax, %1
    xor edx, edx
    xsaves [AREA]
%endmacro
%macro RESTORE 1
    mov eax, %1
    xor edx, edx
    xrstors [AREA]
%endmacro
; XRSTORS with one quadword changed.
%macro REFUSED 2
    push qword [%1]
    mov rax, %2
    mov [%1], rax
    mov eax, 0x1800
    xor edx, edx
    TRY xrstors [AREA]
    pop qword [%1]
%endmacro

start64:
    call make_shadow_pages
    mov rax, cr4
    or eax, 1 << 18                     ; OSXSAVE
    mov cr4, rax

    SAY "CPUID and IA32_XSS"
    mov eax, 0xD
    mov ecx, 1
    cpuid
    and ecx, 0x1800
    SHOW rcx
    mov esi, 11
.component:
    mov eax, 0xD
    mov ecx, esi
    cpuid
    SHOW rax
    SHOW rbx
    SHOW rcx
    inc esi
    cmp esi, 12
    je .component
    mov ecx, IA32_XSS
    xor edx, edx
    mov eax, 0x3800
    TRY wrmsr
    mov eax, 0x1801
    TRY wrmsr                           ; a user component
    mov eax, 0x1800
    TRY wrmsr
    mov eax, 0xD
    mov ecx, 1
    cpuid
    SHOW rbx                            ; bytes of XCR0 | IA32_XSS

    SAY "XSAVES"
    mov rbp, 0xFFFF800000212200
    call set_all
    SAVE 0x1800
    SHOW [BV]
    SHOW [COMP]
    SHOW [CET_U]
    SHOW [CET_U + 8]
    SHOW [CET_S]
    SHOW [CET_S + 8]
    SHOW [CET_S + 16]
    SAVE 0x1000                         ; one of them comes first
    SHOW [BV]
    SHOW [COMP]
    SHOW [CET_U]
    mov eax, 0x1800
    xsavec [AREA]                       ; has no supervisor state
    SHOW [BV]
    SHOW [COMP]

    SAY "XRSTORS"
    SAVE 0x1800
    call clear_all
    RESTORE 0x1800
    call show_all
    mov qword [BV], 0x1000
    RESTORE 0x1800                      ; the other one becomes initial
    SHOW_MSR U_CET
    SHOW_MSR PL3_SSP
    SHOW_MSR PL0_SSP
    mov qword [BV], 0x1800
    call clear_all
    RESTORE 0x0800                      ; this one alone
    SHOW_MSR U_CET
    SHOW_MSR PL3_SSP
    SHOW_MSR PL0_SSP
    RESTORE 0x1000
    mov qword [BV], 0x800
    RESTORE 0x1000
    SHOW_MSR U_CET
    SHOW_MSR PL0_SSP
    SHOW_MSR PL2_SSP

    SAY "initial state is not written"
    call fill
    call clear_all
    SET_MSR PL0_SSP, SS0
    SAVE 0x1800
    SHOW [BV]
    SHOW [COMP]
    SHOW [CET_U]
    SHOW [CET_U + 8]
    SHOW [CET_S]
    call fill
    call clear_all
    SET_MSR PL3_SSP, USER_A + 0x800     ; one word is enough
    SAVE 0x1800
    SHOW [BV]
    SHOW [CET_U + 8]
    SHOW [CET_S]

    SAY "values that WRMSR refuses"
    mov rbp, SUPER
    call set_all
    SAVE 0x1800
    call clear_all
    SET_MSR PL3_SSP, USER_A + 0x800
    REFUSED CET_U, 0x40
    REFUSED CET_U, SUPPRESS | TRACKER
    REFUSED CET_U, 1 << 56
    REFUSED CET_U + 8, USER_A + 2
    REFUSED CET_S, 1 << 56
    REFUSED CET_S + 16, SUPER + 1
    REFUSED COMP, 0x8000000000000800    ; BV has more
    REFUSED COMP, 0x1800                ; not compacted
    SHOW_MSR U_CET                      ; nothing was loaded
    SHOW_MSR PL3_SSP
    SHOW_MSR PL0_SSP
    mov eax, 0x1800
    xor edx, edx
    TRY xrstors [AREA]

    SAY "ring 3"
    CET_ON
    TO_USER user
user:
    SHOW_SSP
    mov eax, 0x1800
    TRY xsaves [AREA]
    TRY xrstors [AREA]
    AT0 initial
    SHOW_SSP                            ; off again
    SAY "done"
    RING0 finish

initial:
    mov qword [BV], 0
    RESTORE 0x1800
    ret
set_all:                                ; IA32_PL2_SSP = RBP
    SET_MSR U_CET, SH_STK | WR_SHSTK
    SET_MSR PL3_SSP, USER_A + 0x800
    SET_MSR PL0_SSP, SS0
    SET_MSR PL1_SSP, SUPER + 0x100
    SET_MSR PL2_SSP, rbp
    ret
clear_all:
    SET_MSR U_CET, 0
    SET_MSR PL3_SSP, 0
    SET_MSR PL0_SSP, 0
    SET_MSR PL1_SSP, 0
    SET_MSR PL2_SSP, 0
    ret
show_all:
    SHOW_MSR U_CET
    SHOW_MSR PL3_SSP
    SHOW_MSR PL0_SSP
    SHOW_MSR PL1_SSP
    SHOW_MSR PL2_SSP
    ret
fill:
    mov edi, CET_U
    mov al, 0xAA
    mov ecx, 40
    rep stosb
    ret
