; A multiboot kernel below 1 MiB that looks at what a BIOS leaves behind: the 8259s' masks and vectors, the 8254's
; tick, and, in real mode with interrupts on, the services of INT 11h, 12h and 15h. Needs -m 5G.
bits 32
org 0x8000

MAGIC equ 0x1BADB002
FLAGS equ 1 << 16
TICKS equ 0x46C
MOST  equ 16                    ; memory map entries

header:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd header, header, end_of_file, end_of_memory, entry

entry:
    mov esp, stack_top
    cmp eax, 0x2BADB002
    sete [magic_good]
    in al, 0x21
    mov [masks], al
    in al, 0xA1
    mov [masks + 1], al
    mov al, 0xE2                ; 8254: read back the status of counter 0
    out 0x43, al
    in al, 0x40
    and al, 0x3F                ; without OUT and "null count"
    mov [timer_mode], al
    lgdt [gdt_register]
    jmp 8:.segment_16
bits 16
.segment_16:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp 0:real

real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, stack_top
    lidt [idt_register]

%macro check 1                  ; flag Z: the claim holds
    call report
    jmp %%behind
    db %1, 0
%%behind:
%endmacro

    cmp byte [magic_good], 1
    check "loaded below 1 MiB and entered"
    cmp word [masks], 0xEEF8
    check "8259: timer, keyboard, cascade, clock and mouse unmasked"
    cmp byte [timer_mode], 0x36
    check "8254: counter 0 in mode 3"

    mov eax, [TICKS]
    mov ecx, 2                  ; two ticks: the first one was served and ended
    sti
.wait:
    hlt
    cmp eax, [TICKS]
    je .wait
    mov eax, [TICKS]
    loop .wait
    cmp eax, 2
    check "IRQ 0 ticks in the BIOS data area"

    int 0x12
    cmp ax, 639
    check "INT 12h: base memory"
    int 0x11
    and ax, 0x0E00
    cmp ax, 0x0200
    check "INT 11h: one serial port"

    xor ebx, ebx
    mov di, map
.next:
    mov eax, 0xE820
    mov ecx, 20
    mov edx, 'PAMS'
    int 0x15
    jc .map_end
    cmp eax, 'PAMS'
    jne .map_end
    inc word [count]
    add di, cx
    test ebx, ebx
    jz .map_end
    cmp word [count], MOST
    jb .next
.map_end:
    cmp word [count], 8
    check "INT 15h E820h: eight ranges"
    cmp dword [map], 0
    check "INT 15h E820h: begins at 0"
    cmp dword [map + 8], 0x9FC00
    check "INT 15h E820h: base memory"
    cmp dword [map + 3 * 20 + 8], 0xBFEE0000
    check "INT 15h E820h: RAM above 1 MiB"
    cmp dword [map + 6 * 20], 0xFEC00000
    check "INT 15h E820h: chips and flash"
    cmp dword [map + 6 * 20 + 16], 2
    check "INT 15h E820h: which are reserved"
    cmp dword [map + 7 * 20 + 4], 1
    check "INT 15h E820h: RAM above 4 GiB"
    mov eax, 0xE820
    mov ebx, 8
    mov ecx, 20
    mov edx, 'PAMS'
    int 0x15
    call carry
    check "INT 15h E820h: nothing behind the end"
    mov eax, 0xE820
    xor ebx, ebx
    mov ecx, 19
    mov edx, 'PAMS'
    int 0x15
    call carry
    check "INT 15h E820h: a short buffer is refused"

    mov ax, 0xE801
    int 0x15
    cmp ax, 15 * 1024
    check "INT 15h E801h: KiB up to 16 MiB"
    mov ax, 0xE801
    int 0x15
    cmp dx, 0xBFFE - 0x100
    check "INT 15h E801h: blocks above"
    mov ah, 0x88
    int 0x15
    cmp ax, 0xFFFF
    check "INT 15h 88h: KiB above 1 MiB"
    mov ax, 0x1234
    int 0x15
    call carry
    check "INT 15h: an unknown service sets CF"
    mov ah, 2
    int 0x13
    call carry
    check "INT 13h: fails"

    mov si, end_text
    call print
    cli
    jmp power_off

; Flag Z if CF is set.
carry:
    sbb cx, cx
    inc cx
    ret

report:
    pushf
    push si
    mov si, check_text
    call print
    pop si
    pop dx
    pop si                      ; behind the call: a short jump, then the text
    push si
    add si, 2
    call print
    mov si, bad_text
    push dx
    popf
    jnz .print
    mov si, ok_text
.print:
    call print
    ret

%include "serial.inc"

check_text: db "CHECK ", 0
ok_text:    db " ok", 10, 0
bad_text:   db " BAD", 10, 0
end_text:   db "low memory done", 10, 0

    align 8
gdt:
    dq 0
    dq 0x00009B000000FFFF       ; 16-bit code, base 0
    dq 0x000093000000FFFF       ; 16-bit data
gdt_register:
    dw $ - gdt - 1
    dd gdt
idt_register:
    dw 0x3FF
    dd 0
magic_good: db 0
masks:      dw 0
timer_mode: db 0
count:      dw 0
end_of_file:

absolute end_of_file
map:        resb MOST * 20
            resb 1024
stack_top:
end_of_memory:
