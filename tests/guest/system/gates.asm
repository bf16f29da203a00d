; Call gates of both sizes, conforming code, far returns to outer levels, and what goes wrong with inner stacks.
; SDM Vol. 3A, "Accessing a Code Segment Through a Call Gate", "Stack Switching".
;
; expect: gate32: CPL, ESP, frame
; expect: 00000000
; expect: 00006FEC
; expect: 00000007
; expect: 00000008
; expect: 22222222
; expect: 11111111
; expect: 00006FFC
; expect: ring 3
; expect: gate32: CPL, ESP, frame
; expect: 00000000
; expect: 00006BE4
; expect: 00000007
; expect: 0000001B
; expect: 44444444
; expect: 33333333
; expect: 00005FF8
; expect: 00000023
; expect: 00005FFC
; expect: gate16
; expect: 00006BF2
; expect: 0000001B
; expect: 00005555
; expect: 00005FFE
; expect: 00000023
; expect: 00005FFC
; expect: 0000004B
; expect: V=0D E=0060 +00 R=3 F=1
; expect: V=0D E=0008 +00 R=3 F=1
; expect: V=0D E=0008 +00 R=3 F=1
; expect: V=0D E=004C +00 R=3 F=1
; expect: far return outward with a bad stack selector
; expect: V=0D E=0010 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0D E=0018 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0D E=0100 +00 R=0 F=1
; expect: done
%include "pm32.inc"

GATE32  equ FREE | 3
GATE16  equ FREE + 8 | 3
GATEN   equ FREE + 0x10 | 3
OTHER   equ FREE + 0x18

%macro SET_CALL_GATE 5          ; selector, target selector, offset, access byte, parameters
    mov eax, %3
    mov [gdt + (%1 & 0xFFF8)], ax
    mov word [gdt + (%1 & 0xFFF8) + 2], %2
    mov word [gdt + (%1 & 0xFFF8) + 4], (%4 << 8) | %5
    shr eax, 16
    mov [gdt + (%1 & 0xFFF8) + 6], ax
%endmacro

start32:
    SET_CALL_GATE GATE32, CODE0, gate32_target, 0xEC, 2
    SET_CALL_GATE GATE16, CODE0, gate16_target, 0xE4, 1
    SET_CALL_GATE GATEN, CODE0, gate32_target, 0x8C, 0      ; DPL 0

    ; the same level: no stack switch, no parameters
    push dword 0x11111111
    push dword 0x22222222
    mov dword [call_site], .here
.here:
    call GATE32 & ~3:0
    SHOW esp
    mov esp, STACK0

    mov eax, user
    mov edx, 2
    jmp enter_ring3

gate32_target:
    SAY {"gate32: CPL, ESP, frame", 10}
    mov ax, cs
    and eax, 3
    SHOW eax
    SHOW esp
    mov ebp, esp
    mov ecx, [ebp]
    sub ecx, [call_site]
    SHOW ecx
    SHOW [ebp + 4]
    SHOW [ebp + 8]
    SHOW [ebp + 12]
    cmp dword [ebp + 4], CODE0
    je .same
    SHOW [ebp + 16]
    SHOW [ebp + 20]
.same:
    retf 8

gate16_target:
    SAY {"gate16", 10}
    SHOW esp
    movzx ecx, word [esp + 2]
    SHOW ecx
    movzx ecx, word [esp + 4]
    SHOW ecx
    movzx ecx, word [esp + 6]
    SHOW ecx
    movzx ecx, word [esp + 8]
    SHOW ecx
    o16 retf 2

conforming:
    mov ax, cs
    movzx eax, ax
    SHOW eax
    retf

call_site: dd 0

user:
    SAY {"ring 3", 10}
    mov dword [call_site], .here
    push dword 0x33333333
    push dword 0x44444444
.here:
    call GATE32:0
    SHOW esp
    push word 0x5555
    call GATE16:0
    SHOW esp
    call CONF0:conforming
    TRY call GATEN:0                    ; gate above our level
    TRY jmp GATE32:0                    ; JMP must not change the level
    TRY jmp CODE0:0
    RING0 .bad_stacks
.bad_stacks:
    ; the inner stack of ring 0: null, wrong DPL, too small, not present; exceptions use a task-free ring-1 path,
    ; so give the handlers a ring-0 gate only after the switch failed at the gate itself
    SET_DESCRIPTOR OTHER, 0x00000FFF, 0x00409300    ; limit FFFh: no room at STACK0 - 400h
    mov eax, .user2
    mov edx, 2
    jmp enter_ring3
.user2:
    ; conforming code can be jumped to, too
    TRY call CONF0 + 4:conforming       ; no LDT
    SAY {"far return outward with a bad stack selector", 10}
    RING0 .ret
.ret:
    push dword DATA0
    push dword STACK3
    push dword CODE3
    push dword 0
    TRY retf
    mov esp, STACK0
    push dword 0
    push dword STACK3
    push dword CODE3
    push dword 0
    TRY retf
    mov esp, STACK0
    push dword DATA3
    push dword STACK3
    push dword CODE3 & ~3               ; RPL 0, DPL 3
    push dword 0
    TRY retf
    mov esp, STACK0
    push dword 0
    push dword 0
    TRY retf                            ; null CS
    mov esp, STACK0
    push dword 0x100
    push dword 0
    TRY iret
    SAY {"done", 10}
    jmp finish
