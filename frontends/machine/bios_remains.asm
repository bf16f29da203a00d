; What of a PC BIOS is left when a kernel has been started without one: the interrupt vectors' targets, for
; kernels that drop to real mode (Xen's trampoline asks for the memory map there, with interrupts on). The
; last 8 KiB below 1 MiB, segment F000h from E000h on. bios_remains.cpp points the vectors here by the
; entry table at the start, and puts the memory map where MAP says.
;
; IBM, "PC/AT Technical Reference", "BIOS Listing"; ACPI specification, "System Address Map Interfaces".
bits 16
org 0xE000

MAP equ 0xD000          ; see bios_remains.cpp
struc map
    .count:        resw 1
    .kib_to_16m:   resw 1   ; KiB from 1 MiB to 16 MiB
    .blocks_above: resw 1   ; 64 KiB each, from 16 MiB on
    .kib_above_1m: resw 1   ; KiB from 1 MiB on, at most FFFFh
    .entries:
endstruc
ENTRY_BYTES equ 20

; --- In the order of enum Handler in bios_remains.cpp. ---
    dw plain_return
    dw failed_service
    dw timer_tick
    dw keyboard_byte
    dw master_request
    dw slave_request
    dw equipment
    dw memory_size
    dw system_service

plain_return:
    iret

; CF of the caller: BP + 6 behind the pushed BP, IP and CS.
failed_service:
    push bp
    mov bp, sp
    or byte [bp + 6], 1
    pop bp
    iret

done_service:
    push bp
    mov bp, sp
    and byte [bp + 6], 0xFE
    pop bp
    iret

; IRQ 0, 18.2 times a second: the ticks since midnight, then the user's interrupt 1Ch.
timer_tick:
    push ds
    push ax
    mov ax, 0x40
    mov ds, ax
    inc dword [0x6C]
    cmp dword [0x6C], 0x1800B0
    jb .today
    mov dword [0x6C], 0
    inc byte [0x70]
.today:
    int 0x1C
    mov al, 0x20
    out 0x20, al
    pop ax
    pop ds
    iret

; IRQ 1: nobody reads keys here, but a byte that stays in the 8042 stops all that follow.
keyboard_byte:
    push ax
    in al, 0x60
    mov al, 0x20
    out 0x20, al
    pop ax
    iret

; Another request of a device that nobody serves: ended, unless it is the spurious one, which has no bit in
; the in-service register.
master_request:
    push ax
    mov al, 0x0B
    out 0x20, al
    in al, 0x20
    test al, al
    jz .spurious
    mov al, 0x20
    out 0x20, al
.spurious:
    pop ax
    iret

slave_request:
    push ax
    mov al, 0x0B
    out 0xA0, al
    in al, 0xA0
    test al, al
    jz .spurious            ; the master's IR2 was real
    mov al, 0x20
    out 0xA0, al
.spurious:
    mov al, 0x20
    out 0x20, al
    pop ax
    iret

; INT 11h
equipment:
    push ds
    mov ax, 0x40
    mov ds, ax
    mov ax, [0x10]
    pop ds
    iret

; INT 12h
memory_size:
    push ds
    mov ax, 0x40
    mov ds, ax
    mov ax, [0x13]
    pop ds
    iret

; INT 15h
system_service:
    cmp ax, 0xE820
    je system_address_map
    cmp ax, 0xE801
    je large_memory_size
    cmp ah, 0x88
    je extended_memory_size
.unsupported:
    mov ah, 0x86
    jmp failed_service

; AX = E820h, EBX = 0 or what the last call gave, ECX = size of the buffer at ES:DI, EDX = "SMAP".
system_address_map:
    cmp edx, 'PAMS'
    jne system_service.unsupported
    cmp ecx, ENTRY_BYTES
    jb system_service.unsupported
    movzx eax, word [cs:MAP + map.count]
    cmp ebx, eax
    jae system_service.unsupported
    push ds
    push si
    push di
    push cs
    pop ds
    imul si, bx, ENTRY_BYTES
    add si, MAP + map.entries
    mov cx, ENTRY_BYTES
    cld
    rep movsb
    pop di
    pop si
    pop ds
    inc ebx
    cmp ebx, eax
    jb .more
    xor ebx, ebx
.more:
    mov ecx, ENTRY_BYTES
    mov eax, 'PAMS'
    jmp done_service

; AX = E801h: AX = CX = KiB from 1 to 16 MiB, BX = DX = 64 KiB blocks above.
large_memory_size:
    mov ax, [cs:MAP + map.kib_to_16m]
    mov cx, ax
    mov bx, [cs:MAP + map.blocks_above]
    mov dx, bx
    jmp done_service

; AH = 88h: AX = KiB above 1 MiB.
extended_memory_size:
    mov ax, [cs:MAP + map.kib_above_1m]
    jmp done_service

; Programs that call the IBM BIOS by address rather than by vector.
    times 0xFF53 - 0xE000 - ($ - $$) db 0
    iret

; The reset vector, which real-mode code jumps to (F000:FFF0 or FFFF:0000) when it wants a reset.
    times 0xFFF0 - 0xE000 - ($ - $$) db 0
    mov al, 6
    mov dx, 0xCF9
    out dx, al
.stop:
    hlt
    jmp .stop
    times 0xFFFE - 0xE000 - ($ - $$) db 0
    db 0xFC                 ; model: PC/AT
    db 0
