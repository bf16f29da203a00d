; Task switches by CALL, IRET, JMP and through gates; faults before and after the point of no return.
; SDM Vol. 3A, "Task Management".
;
; expect: CALL and IRET
; expect: nested task
; expect: 00004000
; expect: 00000028
; expect: 000067FC
; expect: 0000008B
; expect: 0000008B
; expect: back
; expect: 00000000
; expect: 00000089
; expect: 0000008B
; expect: 00000000
; expect: 00000008
; expect: nested task again
; expect: JMP and back
; expect: jumped
; expect: 00000050
; expect: 00000089
; expect: 00000028
; expect: 00000089
; expect: faults
; expect: V=0A E=0060 +00 R=0 F=1
; expect: V=0D E=0028 +00 R=0 F=1
; expect: V=0D E=0050 +00 R=0 F=1
; expect: V=0D E=0050 +00 R=0 F=1
; expect: V=0B E=0058 +00 R=0 F=1
; expect: V=0D E=0054 +00 R=0 F=1
; expect: V=0D E=0008 +00 R=0 F=1
; expect: V=0A E=0008 +00 R=0 F=1
; expect: V=0A E=0050 +00 R=0 F=1
; expect: in the new task
; expect: 00000010
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: 00000010
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: 00000080
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: 00000000
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: 00000008
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: 00000028
; expect: 00000050
; expect: 00000000
; expect: 0000008B
; expect: double fault through a task gate
; expect: #DF task
; expect: 00000000
; expect: 000066FC
; expect: 00002000
; expect: 00000070
; expect: done
%include "pm32.inc"

NEW     equ FREE                ; descriptor of TSS2
GATE    equ FREE + 8            ; task gate to NEW
BAD     equ FREE + 0x10         ; a TSS that is too short
TSSD    equ 0x3400              ; the double-fault task
DFTASK  equ FREE + 0x18
TSST    equ 0x3500              ; the #TS task
TSTASK  equ FREE + 0x28

%macro FILL_TSS 3               ; address, EIP, ESP
    mov dword [%1 + 0x20], %2
    mov dword [%1 + 0x24], 2
    mov dword [%1 + 0x38], %3
    mov dword [%1 + 0x48], DATA0
    mov dword [%1 + 0x4C], CODE0
    mov dword [%1 + 0x50], DATA0
    mov dword [%1 + 0x54], DATA0
    mov dword [%1 + 0x58], 0
    mov dword [%1 + 0x5C], 0
    mov dword [%1 + 0x60], 0
    mov dword [%1 + 0x64], 0x680000
%endmacro
%macro SHOW_BUSY 1              ; access byte of a TSS descriptor
    movzx eax, byte [gdt + %1 + 5]
    SHOW eax
%endmacro

start32:
    SET_DESCRIPTOR NEW, (TSS2 << 16) | 0x67, 0x00008900
    SET_DESCRIPTOR GATE, NEW << 16, 0x0000E500
    SET_DESCRIPTOR BAD, (TSS2 << 16) | 0x66, 0x00008900
    SET_DESCRIPTOR DFTASK, (TSSD << 16) | 0x67, 0x00008900

    SAY {"CALL and IRET", 10}
    FILL_TSS TSS2, nested, STACK0 - 0x800
    call NEW:0
    SAY {"back", 10}
    pushfd
    pop ecx
    and ecx, 0x4000
    SHOW ecx
    SHOW_BUSY NEW
    SHOW_BUSY TSS0
    mov ecx, [TSS2 + 0x24]      ; saved EFLAGS: NT was cleared by IRET
    and ecx, 0x4000
    SHOW ecx
    mov eax, cr0
    and eax, 8                  ; TS
    SHOW eax
    call GATE:0                 ; resumes behind its IRET
    SAY {"JMP and back", 10}
    FILL_TSS TSS2, jumped, STACK0 - 0x800
    jmp NEW:0
back_from_jump:
    str ax
    movzx eax, ax
    SHOW eax
    SHOW_BUSY NEW

    SAY {"faults", 10}
    TRY jmp BAD:0               ; #TS(BAD)
    TRY jmp TSS0:0              ; busy: #GP
    or byte [gdt + NEW + 5], 2
    TRY call NEW:0              ; busy
    TRY call GATE:0             ; busy through the gate: the TSS selector is reported
    and byte [gdt + NEW + 5], 0xFD
    mov dword [gdt + GATE + 4], 0x00006500
    TRY call GATE:0             ; gate not present
    mov dword [gdt + GATE + 4], 0x0000E500
    mov word [gdt + GATE + 2], NEW + 4
    TRY call GATE:0             ; selector in the LDT
    mov word [gdt + GATE + 2], CODE0
    TRY call GATE:0             ; not a TSS
    pushfd
    or dword [esp], 0x4000
    popfd
    mov word [TSS], CODE0
    TRY iretd                   ; back link is no TSS
    mov word [TSS], NEW
    TRY iretd                   ; back link is not busy
    pushfd
    and dword [esp], ~0x4000
    popfd
    mov word [gdt + GATE + 2], NEW

    ; Faults that belong to the new task. Its stack may be unusable, so #TS goes to a task of its own.
    SAY {"in the new task", 10}
    SET_DESCRIPTOR TSTASK, (TSST << 16) | 0x67, 0x00008900
    mov dword [IDT + 10 * 8], TSTASK << 16
    mov dword [IDT + 10 * 8 + 4], 0x00008500
%macro BAD_TASK 3               ; TSS field, its value, SS
    FILL_TSS TSS2, jumped, STACK0 - 0x800
    mov dword [TSS2 + %1], %2
    mov dword [TSS2 + 0x50], %3
    mov dword [resume_old], %%next
    FILL_TSS TSST, ts_task, STACK0 - 0xA00
    jmp NEW:0
%%next:
%endmacro
    BAD_TASK 0x60, DATA0, DATA0     ; LDT
    BAD_TASK 0x4C, DATA0, DATA0     ; CS is data
    SET_DESCRIPTOR FREE + 0x30, 0x0000FFFF, 0x00CFFF00
    BAD_TASK 0x4C, FREE + 0x30, DATA0   ; conforming, but DPL 3 above RPL 0
    BAD_TASK 0x50, 0, 0             ; SS null
    BAD_TASK 0x50, 0, CODE0         ; SS is code
    BAD_TASK 0x54, TSS0, DATA0      ; DS is a system descriptor

    SAY {"double fault through a task gate", 10}
    FILL_TSS TSSD, double_fault, STACK0 - 0x900
    mov dword [IDT + 8 * 8], DFTASK << 16
    mov dword [IDT + 8 * 8 + 4], 0x00008500
    mov dword [saved_esp], esp
    mov esp, 0xFFFFF000         ; no memory limit here, so use a tiny stack segment instead
    SET_DESCRIPTOR FREE + 0x20, 0x00000FFF, 0x00409300
    mov ax, FREE + 0x20
    mov ss, ax
    mov esp, 0x2000             ; beyond the limit: #SS, and #SS again while delivering it
    push eax
    ; not reached

nested:
    SAY {"nested task", 10}
    pushfd
    pop ecx
    and ecx, 0x4000
    SHOW ecx
    movzx eax, word [TSS2]
    SHOW eax
    SHOW esp
    SHOW_BUSY NEW
    SHOW_BUSY TSS0
    iretd
    SAY {"nested task again", 10}
    iretd

jumped:
    SAY {"jumped", 10}
    str ax
    movzx eax, ax
    SHOW eax
    SHOW_BUSY TSS0
    mov dword [TSS + 0x20], back_from_jump
    jmp TSS0:0

ts_task:
    pop ecx                     ; error code
    SHOW ecx
    movzx eax, word [TSST]      ; the task it came from
    SHOW eax
    mov ecx, [TSS2 + 0x20]      ; which was saved before it executed anything
    sub ecx, jumped
    SHOW ecx
    SHOW_BUSY NEW
    mov eax, [resume_old]
    mov [TSS + 0x20], eax
    mov byte [gdt + NEW + 5], 0x89
    pushfd
    and dword [esp], ~0x4000
    popfd
    jmp TSS0:0

double_fault:
    SAY {"#DF task", 10}
    pop ecx                     ; error code
    SHOW ecx
    SHOW esp
    mov ecx, [TSS + 0x38]       ; ESP of the failed task
    SHOW ecx
    movzx ecx, word [TSS + 0x50]
    SHOW ecx
    SAY {"done", 10}
    jmp finish

resume_old: dd 0
saved_esp:  dd 0
