; Virtual-8086 mode: entry by IRETD, segments, exits through the IDT, IOPL and the mode extensions (CR4.VME).
; SDM Vol. 3B, "Virtual-8086 Mode", Table "Software Interrupt Handling Methods While in Virtual-8086 Mode".
;
; expect: IOPL 0
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=06 E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=001A +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: 00000800
; expect: 00000500
; expect: 00000011
; expect: 00000044
; expect: 00030000
; expect: IOPL 3
; expect: V=21 E=0000 +00 R=8 F=0
; expect: V=0D E=0112 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: 00000800
; expect: 00000500
; expect: 00000055
; expect: 00000044
; expect: 00033000
; expect: VME, IOPL 0
; expect: V=0D E=0000 +00 R=8 F=1
; expect: 00000800
; expect: 00000500
; expect: 00003202
; expect: 00000044
; expect: 000B0000
; expect: VME, IOPL 3
; expect: V=21 E=0000 +00 R=8 F=0
; expect: V=0D E=0000 +00 R=8 F=1
; expect: 00000800
; expect: 00000500
; expect: 00003002
; expect: 00000044
; expect: 00033000
; expect: VIP
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: V=0D E=0000 +00 R=8 F=1
; expect: 000007FE
; expect: 00000500
; expect: 00000011
; expect: 00000044
; expect: 00130000
; expect: done
%include "pm32.inc"

V86_SS  equ 0x500               ; stack at 5000h..
V86_SP  equ 0x800

; Enters virtual-8086 mode at %1 with EFLAGS %2.
%macro ENTER_V86 2
    mov dword [v86_next], %%next
    push dword 0x44
    push dword 0x33
    push dword 0                ; DS
    push dword 0x11             ; ES
    push dword V86_SS
    push dword V86_SP
    push dword (%2) | 0x20002
    push dword 0
    push dword %1
    iretd
%%next:
%endmacro

start32:
    mov word [TSS + 0x66], 0xA0             ; I/O map at TSS + A0h; the redirection bitmap below it
    mov dword [TSS + 8], DATA0
    SET_DESCRIPTOR TSS0, (TSS << 16) | 0x1A0, 0x00008B00
    mov dword [hook], monitor
    OPEN_GATE 0x21
    mov dword [0x22 * 4], ivt22             ; 0000:ivt22
    mov dword [0x21 * 4], ivt22
    mov ax, TSS0
    and byte [gdt + TSS0 + 5], 0xFD
    ltr ax

    SAY {"IOPL 0", 10}
    ENTER_V86 code0, 0
    SAY {"IOPL 3", 10}
    ENTER_V86 code3, 0x3000
    SAY {"VME, IOPL 0", 10}
    mov eax, cr4
    or al, 1
    mov cr4, eax
    mov byte [TSS + 0xA0 - 32 + 0x20 / 8], 0x02     ; 21h goes to the monitor, 22h to the program
    ENTER_V86 code_vme, 0
    SAY {"VME, IOPL 3", 10}
    ENTER_V86 code_vme3, 0x3000
    SAY {"VIP", 10}
    ENTER_V86 code_vip, 0x100000
    SAY {"done", 10}
    jmp finish
v86_next: dd 0

; Faults from virtual-8086 mode: report, skip the instruction by its known length; HLT leaves.
monitor:
    test byte [ebx + F_EFLAGS + 2], 2
    jz .not_mine
    mov eax, [ebx + F_EIP]
    mov [try_ip], eax
    push ebx
    mov esi, ebx
    sub esp, 72
    mov edi, esp
    mov ecx, 18
    rep movsd
    call report
    add esp, 72
    pop ebx
    mov eax, [ebx + F_EIP]
    cmp dword [ebx + F_VECTOR], 0x21
    je .done                                ; a trap: EIP is behind it
    movzx ecx, byte [eax]
    cmp cl, 0xF4
    je .leave
    mov edx, 1
    cmp cl, 0xCD
    je .two
    cmp cl, 0xE4
    je .two
    cmp cl, 0x66
    je .two
    cmp cl, 0x0F
    jne .skip
    mov edx, 3
    jmp .skip
.two:
    mov edx, 2
.skip:
    add [ebx + F_EIP], edx
.done:
    xor eax, eax
    ret
.leave:
    mov eax, [ebx + F_EIP + 12]             ; ESP
    push ebx
    SHOW eax
    mov eax, [ebx + F_EIP + 16]             ; SS
    SHOW eax
    mov eax, [ebx + F_EIP + 20]             ; ES
    SHOW eax
    mov eax, [ebx + F_EIP + 32]             ; GS
    SHOW eax
    mov eax, [ebx + F_EFLAGS]
    and eax, 0x1B7200
    SHOW eax
    pop ebx
    mov esp, STACK0
    mov ax, DATA0
    mov fs, ax
    mov gs, ax
    jmp [v86_next]
.not_mine:
    or eax, 1
    ret

bits 16
code0:
    cli                         ; each of these is #GP(0) with IOPL 0
    sti
    pushf
    popf
    iret
    int 0x22
    in al, 0x80                 ; permitted by the bitmap
    lldt ax                     ; #UD
    mov eax, cr0                ; #GP(0)
    int3                        ; not IOPL-sensitive, but its gate is DPL 0
    hlt
code3:
    cli
    pushf
    pop ax
    test ax, 0x200
    jz .cleared
    ud2
.cleared:
    int 0x21                    ; DPL 3: the monitor
    int 0x22                    ; DPL 0: #GP
    mov ax, 0x55
    mov es, ax
    pushf
    push cs
    push word .after
    iret
.after:
    hlt
code_vme:
    sti                         ; sets VIF
    pushf
    pop bx                      ; shows IF = VIF and IOPL 3
    mov es, bx
    hlt
code_vme3:
    int 0x21                    ; redirection bit set: the gate
    int 0x22                    ; clear: the program's handler
    mov es, dx
    hlt
code_vip:
    cli
    sti                         ; VIP: #GP(0)
    pushf
    or byte [esp + 1], 2
    popf                        ; IF with VIP pending: #GP(0)
    hlt
ivt22:
    mov bp, sp
    mov dx, [bp + 4]            ; FLAGS as pushed
    iret
