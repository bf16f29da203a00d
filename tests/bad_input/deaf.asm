; A multiboot kernel that does what could make an emulator deaf: events or work without end in which no
; instruction retires. The first letter of its command line chooses:
;   a  #AC whose handler's frame meets #AC again, at CPL 3 in legacy mode (SDM: handled serially, for ever)
;   d  #DB whose stack (IST) lies under a write breakpoint
;   s  an interrupt storm: COM1's line level-triggered (ELCR), 8259 with automatic EOI, trap gate on an IST stack
;   f  fw_cfg DMA of 16 MiB, again and again
;   r  REP INSB of 16 million bytes, again and again
;   h  an HPET comparator with a period of one tick (10 ns)
;   t  a TSC deadline 584 years away, HLT, and then the 8254
bits 32
org 0x100000

MAGIC equ 0x1BADB002
FLAGS equ 1 << 16
TABLES equ 0x200000     ; PML4, PDPT, four PDs
REQUEST equ 0x210000    ; a fw_cfg DMA request
TARGET equ 0x1000000
IST1   equ 0x220000

header:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd header, header, end_of_file, end_of_memory, entry

entry:
    mov esp, stack_top
    mov esi, [ebx + 16]
.skip_file_name:
    lodsb
    cmp al, ' '
    jne .skip_file_name
    mov al, [esi]
    mov [word_at], al
    lgdt [gdt_pointer]
    jmp 0x08:.flat
.flat:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    cmp byte [word_at], 'a'
    je do_ac

    ; Long mode, the low 4 GiB mapped with 2 MiB pages.
    mov dword [TABLES], TABLES + 0x1003
    mov edi, TABLES + 0x1000
    mov eax, TABLES + 0x2003
    mov ecx, 4
.directory:
    mov [edi], eax
    add eax, 0x1000
    add edi, 8
    loop .directory
    mov edi, TABLES + 0x2000
    mov eax, 0x83
    mov ecx, 2048
.page:
    mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop .page
    mov eax, TABLES
    mov cr3, eax
    mov eax, 1 << 5
    mov cr4, eax
    mov ecx, 0xC0000080
    mov eax, 1 << 8
    xor edx, edx
    wrmsr
    mov eax, 0x80000011
    mov cr0, eax
    jmp 0x28:long_mode

do_ac:
    mov dword [idt + 17 * 8], (0x1B << 16) | (user - header)
    mov dword [idt + 17 * 8 + 4], 0x100000 | 0xEF00  ; 32-bit trap gate, DPL 3
    lidt [idt_pointer]
    mov eax, cr0
    or eax, 1 << 18  ; AM
    mov cr0, eax
    push 0x23
    push stack_top - 0x101
    push 0x40002     ; AC
    push 0x1B
    push user
    iretd
user:
    push eax
    jmp user

bits 64
long_mode:
    mov ax, 0x10
    mov ss, ax
    mov ax, 0x30
    mov dword [tss + 0x24], IST1
    mov eax, tss
    mov [gdt + 0x32], ax
    shr eax, 16
    mov [gdt + 0x34], al
    mov ax, 0x30
    ltr ax
    lidt [idt_pointer]
    mov al, 0xFF
    out 0x21, al
    out 0xA1, al
    mov al, [word_at]
    cmp al, 'd'
    je do_db
    cmp al, 's'
    je do_storm
    cmp al, 'f'
    je do_dma
    cmp al, 'r'
    je do_rep
    cmp al, 'h'
    je do_hpet
    cmp al, 't'
    je do_deadline
    ud2              ; and to shutdown, with no gate there

; edi: vector, eax: handler (below 4 GiB), ecx: type and IST (bits 15:8, 2:0)
set_gate:
    shl edi, 4
    mov [idt + rdi], ax
    mov word [idt + rdi + 2], 0x28
    mov [idt + rdi + 4], cx
    shr eax, 16
    mov [idt + rdi + 6], ax
    mov qword [idt + rdi + 8], 0
    ret

do_db:
    mov edi, 1
    mov eax, returns
    mov ecx, 0x8E01
    call set_gate
    mov eax, IST1 - 8
    mov dr0, rax
    mov eax, 0x400 | 2 | (9 << 16)  ; G0, 8 bytes, write
    mov dr7, rax
    db 0xF1
    jmp $

do_storm:
    mov edi, 36
    mov eax, returns
    mov ecx, 0x8F01
    call set_gate
    mov dx, 0x4D0    ; ELCR: IRQ 4 is level-triggered
    mov al, 0x10
    out dx, al
    mov al, 0x11
    out 0x20, al
    mov al, 32
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 3        ; ICW4: automatic EOI
    out 0x21, al
    mov al, 0xEF
    out 0x21, al
    mov dx, 0x3F9    ; the transmitter is empty, and says so until IIR is read
    mov al, 2
    out dx, al
    mov dx, 0x3FC    ; OUT2
    mov al, 8
    out dx, al
    sti
    jmp $

do_dma:
    mov dword [REQUEST], 0x0A001900      ; big-endian: select file 19h, read
    mov dword [REQUEST + 4], 0x00000001  ; 16 MiB
    mov dword [REQUEST + 8], 0
    mov dword [REQUEST + 12], 0x00000001 ; to TARGET
    mov dx, 0x514
    xor eax, eax
    out dx, eax
    mov dx, 0x518
    mov eax, 0x00002100                  ; REQUEST, big-endian
    out dx, eax
    jmp do_dma

do_rep:
    mov edi, TARGET
    mov ecx, 0x1000000
    mov edx, 0x80
    rep insb
    jmp do_rep

do_hpet:
    mov edi, 0xFED00000
    mov dword [rdi + 0x100], 0x4C        ; edge, enabled, periodic, value set
    mov dword [rdi + 0x108], 1
    mov dword [rdi + 0x108], 1
    mov dword [rdi + 0x10], 3            ; legacy replacement, counting
    jmp $

do_deadline:
    mov edi, 0x40
    mov eax, timer
    mov ecx, 0x8E00
    call set_gate
    mov edi, 32
    mov eax, tick
    mov ecx, 0x8E00
    call set_gate
    mov edi, 0xFEE00000
    mov dword [rdi + 0xF0], 0x1FF
    mov dword [rdi + 0x320], 0x40040     ; TSC deadline, vector 40h
    mov ecx, 0x6E0
    mov edx, 0xFFFFFFFF
    mov eax, 0xFFF00000
    wrmsr
    sti
    hlt
    mov al, 0x11
    out 0x20, al
    mov al, 32
    out 0x21, al
    mov al, 4
    out 0x21, al
    mov al, 1
    out 0x21, al
    mov al, 0xFE
    out 0x21, al
    mov al, 0x34
    out 0x43, al
    mov al, 0x10
    out 0x40, al
    out 0x40, al
.wait:
    hlt
    jmp .wait

timer:
    push rax
    mov eax, 0xFEE000B0
    mov dword [rax], 0
    pop rax
returns:
    iretq
tick:
    push rax
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq

align 8
gdt:
    dq 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF, 0x00AF9A000000FFFF
    dq 0x0000890000000067, 0             ; TSS; its base is filled in
gdt_pointer:
    dw $ - gdt - 1
    dd gdt, 0
idt_pointer:
    dw 0xFFF
    dd idt, 0
align 4
end_of_file:

section .bss align=16
word_at: resb 16
idt: resb 4096
tss: resb 112
    resb 4096
stack_top:
end_of_memory:
