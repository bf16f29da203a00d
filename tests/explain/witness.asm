; A multiboot kernel in 32-bit protected mode whose words each make one thing happen a few times, for the
; test that every counter of --stats and every log category has a witness (witness.py). Each word ends by
; switching the machine off; `off` does nothing else, so that what it counts can be subtracted.
bits 32
org 0x100000

MAGIC equ 0x1BADB002
FLAGS equ (1 << 16) | 2
CODE equ 8
DATA equ 0x10
APIC equ 0xFEE00000
HPET equ 0xFED00000
REPEATS equ 20                    ; how often a word does its thing; witness.py asks for as many

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
    lgdt [gdt_pointer]
    jmp CODE:.flat
.flat:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edi, idt
    mov ecx, 64
.gate:                          ; every vector returns at once
    mov dword [edi], CODE << 16 | (on_interrupt - header)
    mov dword [edi + 4], 0x00108E00
    add edi, 8
    loop .gate
    mov word [idt + 6 * 8], on_bad_opcode - header
    mov word [idt + 13 * 8], on_general_protection - header
    mov word [idt + 14 * 8], on_page_fault - header
    lidt [idt_pointer]
    mov dword [APIC + 0xF0], 0x1FF  ; local APIC on, spurious vector FFh
    mov edi, words
.next:
    cmp edi, words_end
    je triple
    mov ebx, edi
    mov ecx, esi
.compare:
    mov al, [ebx]
    cmp al, [ecx]
    jne .other
    inc ebx
    inc ecx
    test al, al
    jnz .compare
    mov ecx, REPEATS
    call [edi + NAME_BYTES]
    jmp off
.other:
    add edi, NAME_BYTES + 4
    jmp .next

off:
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    jmp $

triple:
    lidt [no_idt]
    int3

nothing:
    ret

; REPEATS blocks entered, of one block decoded.
blocks:
    loop blocks
    ret

; REPEATS jumps, each to code of its own.
decode:
%rep REPEATS
    jmp short $ + 2
%endrep
    ret

; Writes the immediate of an instruction, which then is executed.
rewrite:
    mov [.instruction + 1], ecx
.instruction:
    mov eax, 0
    jmp short .again            ; the loop's own instruction in another block
.again:
    loop rewrite
    ret

; Reads a page, REPEATS times another one.
touch:
    mov edi, 0x300000
.page:
    mov eax, [edi]
    add edi, 0x1000
    loop .page
    ret

; Executes RET in REPEATS pages.
code:
    mov edi, 0x300000
.page:
    mov byte [edi], 0xC3
    call edi
    add edi, 0x1000
    loop .page
    ret

; Changes CR4.PGE.
flush:
    mov eax, cr4
    xor eax, 1 << 7
    mov cr4, eax
    loop flush
    ret

; Loads CR3, and invalidates a page.
switch:
    mov eax, page_directory
    mov cr3, eax
    invlpg [0x300000]
    loop switch
    ret

; UD2, stepped over by its handler.
exceptions:
    ud2
    loop exceptions
    ret

; Reads a page that is not there; the handler steps over the instruction.
faults:
    call paging_on
.again:
    mov al, [0x800000]
    loop .again
    ret

; The BIOS leaves its timer ticking and unmasked; there is no handler for it here.
mask_8259s:
    mov al, 0xFF
    out 0x21, al
    out 0xA1, al
    ret

; An interrupt that the CPU sends to itself.
interrupts:
    call mask_8259s
    sti
.again:
    mov dword [APIC + 0x310], 0
    mov dword [APIC + 0x300], 0x4030    ; vector 30h, fixed, to APIC id 0
    nop
    loop .again
    ret

nmis:
    mov dword [APIC + 0x310], 0
    mov dword [APIC + 0x300], 0x4400    ; NMI
    nop
    loop nmis
    ret

; HLT until the APIC timer comes.
halts:
    call mask_8259s
    mov dword [APIC + 0x3E0], 0xB       ; counts at the full rate
    mov dword [APIC + 0x320], 0x30      ; one-shot, vector 30h
    sti
.again:
    mov dword [APIC + 0x380], 5000
    hlt
    loop .again
    ret

ports:
    in al, 0x61
    out 0x80, al
    loop ports
    ret

mmio:
    mov eax, [HPET]
    mov [HPET + 0x20], eax
    loop mmio
    ret

; A port and an address that nothing answers.
nowhere:
    mov dx, 0x7777
    in al, dx
    mov al, [0xF0000000]
    loop nowhere
    ret

; An MSR that is not there: #GP, stepped over by its handler.
msr:
    mov edi, ecx
.again:
    mov ecx, 0x12345
    rdmsr
    dec edi
    jnz .again
    ret

; Instructions whose result each vendor rounds as it likes.
vendor:
    mov eax, cr4
    or eax, 1 << 9                      ; OSFXSR
    mov cr4, eax
.again:
    rcpps xmm0, xmm0
    loop .again
    ret

; A VMX instruction outside VMX operation.
vmx:
    mov eax, cr4
    or eax, 1 << 13                     ; VMXE
    mov cr4, eax
    mov dword [bad_opcode_bytes], 3
.again:
    vmxoff
    loop .again
    ret

; 4 MiB one to one, nothing else but the local APIC.
paging_on:
    mov dword [page_directory], 0x83    ; present, writable, 4 MBytes
    mov dword [page_directory + (APIC >> 22) * 4], (APIC & 0xFFC00000) | 0x83
    mov eax, page_directory
    mov cr3, eax
    mov eax, cr4
    or eax, 1 << 4                      ; PSE
    mov cr4, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    ret

on_interrupt:
    push eax
    mov dword [APIC + 0xB0], 0          ; EOI
    pop eax
    iret

on_bad_opcode:
    push eax
    mov eax, [bad_opcode_bytes]
    add [esp + 4], eax
    pop eax
    iret

on_page_fault:
    add esp, 4
    add dword [esp], 5                  ; MOV AL, moffs32
    iret

on_general_protection:
    add esp, 4
    add dword [esp], 2                  ; RDMSR
    iret

bad_opcode_bytes: dd 2                  ; UD2
align 8
gdt:
    dq 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdt_pointer:
    dw $ - gdt - 1
    dd gdt
idt_pointer:
    dw 64 * 8 - 1
    dd idt
no_idt:
    dw 0
    dd 0

NAME_BYTES equ 12
%macro ON 2
%%row:
    db %1
    times NAME_BYTES - ($ - %%row) db 0
    dd %2
%endmacro
words:
    ON 'off', nothing
    ON 'triple', triple
    ON 'blocks', blocks
    ON 'decode', decode
    ON 'rewrite', rewrite
    ON 'touch', touch
    ON 'code', code
    ON 'flush', flush
    ON 'switch', switch
    ON 'exceptions', exceptions
    ON 'faults', faults
    ON 'interrupts', interrupts
    ON 'nmis', nmis
    ON 'halts', halts
    ON 'ports', ports
    ON 'mmio', mmio
    ON 'nowhere', nowhere
    ON 'msr', msr
    ON 'vmx', vmx
    ON 'vendor', vendor
words_end:
end_of_file:

absolute $
alignb 4096
page_directory: resb 4096
idt: resb 64 * 8
    resb 4096
stack_top:
end_of_memory:
