; Shadow stacks in 32-bit protected mode: entries of 4 bytes, far transfers and events with their frames, tokens,
; RSTORSSP and SAVEPREVSSP with an alignment hole, virtual-8086 mode. SDM Vol. 1, "Shadow Stacks"; Vol. 2, the
; operation sections of CALL, INT n, IRET, RSTORSSP, SAVEPREVSSP, SETSSBSY.
;
; expect: ring 0
; expect: V=15 E=0005 +00 R=0 F=1
; expect: 003011F8
; expect: 003011F4
; expect: 00000000
; expect: V=15 E=0001 +00 R=0 F=1
; expect: 003011F8
; expect: V=0E E=0043 +00 R=0 F=1
; expect: V=0E E=0003 +00 R=0 F=1
; expect: a frame
; expect: 003011D8
; expect: 003011F4
; expect: 00000000
; expect: 00000008
; expect: 003011F4
; expect: 00000000
; expect: far CALL
; expect: 003011E0
; expect: 003011F8
; expect: 00000000
; expect: 00000008
; expect: 003011C8
; expect: 003011E0
; expect: 00000000
; expect: 00000050
; expect: V=15 E=0002 +00 R=0 F=1
; expect: 003011F8
; expect: IRET
; expect: V=15 E=0002 +00 R=0 F=1
; expect: 003011E0
; expect: V=0D E=0000 +00 R=0 F=1
; expect: 003011E0
; expect: ring 3
; expect: 00300800
; expect: 003007FC
; expect: 00000000
; expect: V=15 E=0001 +00 R=3 F=1
; expect: 003011F9
; expect: 00300800
; expect: 00300800
; expect: RSTORSSP and SAVEPREVSSP
; expect: 003007F4
; expect: 003027F8
; expect: 00000001
; expect: 003007F6
; expect: 00302804
; expect: 003007F4
; expect: 00000000
; expect: 003007E8
; expect: 00000001
; expect: 00302806
; expect: 003007F4
; expect: 00302804
; expect: V=0D E=0000 +00 R=3 F=1
; expect: V=15 E=0004 +00 R=3 F=1
; expect: 003011F8
; expect: virtual-8086 mode
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: 003011F8
; expect: 003011F9
; expect: 003011F8
; expect: done
%include "pm32.inc"

U_CET   equ 0x6A0
S_CET   equ 0x6A2
PL0_SSP equ 0x6A4
PL3_SSP equ 0x6A7
SH_STK  equ 1
WR_SHSTK equ 2
ENDBR   equ 4

PD      equ 0x10000
PT      equ 0x11000
USER_A  equ 0x300000
SUPER   equ 0x301000
USER_B  equ 0x302000
ALIAS   equ 0x10000             ; added: the same page, writable at ring 0
SS0     equ SUPER + 0x1F8
BASED   equ FREE                ; code with base 1000h
CALL0   equ 0x30                ; INT 30h calls EAX at ring 0; EBX -> frame

%macro SET_MSR 2
    mov ecx, %1
    mov eax, %2
    xor edx, edx
    wrmsr
%endmacro
%macro SHOW_SSP 0
    push eax
    xor eax, eax
    rdsspd eax
    int 0x3D
    pop eax
%endmacro
%macro SHOW_FROM 2
    push eax
    mov eax, %1
    sub eax, %2
    int 0x3D
    pop eax
%endmacro
%macro AT0 1
    mov eax, %1
    int CALL0
%endmacro
; An event whose IRET is refused; the frame stays.
%macro IRET_REFUSED 1
    mov dword [try_ip], leave_handler
    mov dword [resume], %%after
    mov eax, %1
    int CALL0
    int 0x3F
%%after:
    mov esp, STACK0
    SHOW_SSP
    mov eax, 6
    incsspd eax
%endmacro

start32:
    mov edi, PD
    xor eax, eax
    mov ecx, 1024
    rep stosd
    mov dword [PD], PT | 7
    mov edi, PT
    mov eax, 7
    mov ecx, 1024
.identity:
    stosd
    add eax, 0x1000
    loop .identity
    mov dword [PT + 0x300 * 4], USER_A | 0x65
    mov dword [PT + 0x301 * 4], SUPER | 0x61
    mov dword [PT + 0x302 * 4], USER_B | 0x65
    mov dword [PT + 0x310 * 4], USER_A | 0x63
    mov dword [PT + 0x311 * 4], SUPER | 0x63
    mov dword [PT + 0x312 * 4], USER_B | 0x63
    mov eax, PD
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000                  ; PG, WP
    mov cr0, eax
    mov dword [hook], around_events
    OPEN_GATE CALL0
    SET_DESCRIPTOR BASED, 0x1000FFFF, 0x00CF9B00

    SAY {"ring 0", 10}
    mov eax, cr4
    or eax, 1 << 23
    mov cr4, eax
    mov dword [SS0 + ALIAS], SS0
    mov dword [SS0 + ALIAS + 4], 0
    SET_MSR PL0_SSP, SS0
    SET_MSR S_CET, SH_STK | WR_SHSTK
    setssbsy
    mov ecx, PL0_SSP
    mov edx, 1
    mov eax, SS0
    wrmsr
    TRY setssbsy                        ; beyond 4 GBytes
    SET_MSR PL0_SSP, SS0
    SHOW_SSP
    mov esi, .back
    call .called
.back:
    call .changed
    SHOW_SSP
    TRY wrssd [PD], eax
    TRY mov [SUPER], eax
    jmp .frame
.called:
    SHOW_SSP
    SHOW_FROM [SS0 - 4], esi
    ret
.changed:
    inc dword [esp]
    TRY ret
    dec dword [esp]
    ret

.frame:
    SAY {"a frame", 10}                 ; an SSP aligned to 4 bytes leaves a hole
    mov eax, -1
    wrssd [SS0 - 8], eax
    call .aligned4
    jmp .far
.aligned4:
    mov esi, .int0
    AT0 show_frame
.int0:
    SHOW_SSP
    SHOW [SS0 - 8]
    ret

.far:
    SAY {"far CALL", 10}
    mov esi, .far0
    call BASED:far_target - 0x1000
.far0:
    call CODE0:far_changed
    SHOW_SSP

    SAY {"IRET", 10}
    IRET_REFUSED bad_lip
    IRET_REFUSED far_ssp

    SET_MSR U_CET, SH_STK | WR_SHSTK
    SET_MSR PL3_SSP, USER_A + 0x800
    mov eax, user
    mov edx, 2
    jmp enter_ring3

; --- ring 3 -------------------------------------------------------------------------------------------
user:
    SAY {"ring 3", 10}
    SHOW_SSP
    mov esi, .back
    call .called
.back:
    AT0 show_entry
    SHOW_SSP
    jmp .restore
.called:
    SHOW_SSP
    SHOW_FROM [USER_A + 0x7FC], esi
    inc dword [esp]
    TRY ret
    dec dword [esp]
    ret

.restore:
    SAY {"RSTORSSP and SAVEPREVSSP", 10}
    call .deeper
    nop
.deeper:
    call .deepest
    nop
.deepest:
    call .last                          ; SSP = ..7F4
    nop
.last:
    add esp, 12
    call .next                          ; CALL +0
.next:
    pop eax
    SHOW_SSP
    mov eax, USER_B + 0x804             ; a token of 32-bit code, above it a hole
    wrssd [USER_B + 0x7F8], eax
    xor eax, eax
    wrssd [USER_B + 0x7FC], eax
    wrssd [USER_B + 0x800], eax
    dec eax
    wrssd [USER_A + 0x7F0], eax
    rstorssp [USER_B + 0x7F8]
    call flags
    SHOW_SSP
    and edi, 1
    SHOW edi
    SHOW [USER_B + 0x7F8]
    stc
    saveprevssp
    SHOW_SSP
    SHOW [USER_A + 0x7E8]
    SHOW [USER_A + 0x7F0]
    rstorssp [USER_A + 0x7E8]
    call flags
    SHOW_SSP
    and edi, 1
    SHOW edi
    SHOW [USER_A + 0x7E8]
    stc
    saveprevssp                         ; the hole at ..7F0
    SHOW_SSP
    SHOW [USER_B + 0x7F8]
    rstorssp [USER_B + 0x7F8]
    mov eax, 1
    wrssd [USER_B + 0x800], eax
    stc
    TRY saveprevssp                     ; the hole is not 0
    mov eax, (USER_A + 0x7F4) | 1
    wrssd [USER_A + 0x7E8], eax
    TRY rstorssp [USER_A + 0x7E8]       ; of 64-bit code
    RING0 level0

; --- virtual-8086 mode --------------------------------------------------------------------------------
level0:
    SHOW_SSP
    SAY {"virtual-8086 mode", 10}
%macro PUSH_V86 0
    push dword 0
    push dword 0
    push dword 0
    push dword 0
    push dword 0x500                    ; SS
    push dword 0x800
    push dword 0x20002
    push dword 0
    push dword v86
%endmacro
    PUSH_V86
    TRY iretd                           ; not with a shadow stack for users
    SET_MSR U_CET, ENDBR
    TRY iretd                           ; nor with tracking
    SET_MSR U_CET, 0
    iretd
left_v86:
    SAY {"done", 10}
    jmp finish
bits 16
v86:
    hlt
bits 32

; The hook. INT 30h calls EAX. A fault at ring 0 is going to resume somewhere else: the shadow stack has to know. HLT
; in virtual-8086 mode ends it.
around_events:
    cmp byte [ebx + F_VECTOR], CALL0
    je .call
    test byte [ebx + F_EFLAGS + 2], 2
    jnz .v86
    test byte [ebx + F_CS], 3
    jnz .done
    xor eax, eax
    rdsspd eax                          ; -> our return address, 4 bytes; SSP, LIP, CS
    mov ecx, [resume]
    wrssd [eax + 12], ecx
.done:
    or al, 1
    ret
.call:
    call [ebx + F_EAX]
    xor eax, eax
    ret
.v86:
    mov eax, 1
    incsspd eax
    SHOW_SSP                            ; IRET freed the token, the event took it
    SHOW [SS0]
    clrssbsy [SS0]
    mov edi, [SS0]
    setssbsy
    SHOW edi
    mov esp, STACK0
    jmp left_v86

; Procedures of INT 30h: two return addresses lie below the frame.
show_frame:
    rdsspd edi
    add edi, 8
show_words:                             ; the frame at EDI; LIP is compared with ESI
    SHOW edi
    SHOW [edi]
    SHOW_FROM [edi + 8], esi
    SHOW [edi + 16]
    ret
show_entry:
    SHOW [SS0]
    mov ecx, PL3_SSP
    rdmsr
    SHOW eax
    ret
bad_lip:
    rdsspd edi
    mov eax, [edi + 16]
    inc eax
    wrssd [edi + 16], eax
    ret
far_ssp:
    rdsspd edi
    mov eax, 1
    wrssd [edi + 12], eax               ; bits 63:32 of the SSP
    ret
flags:
    pushfd
    pop edi
    ret

far_target:                             ; with CS base 1000h
    rdsspd edi
    call show_words
    mov esi, .int1
    AT0 show_frame
.int1:
    retf
far_changed:
    inc dword [esp]
    TRY retf
    dec dword [esp]
    retf
