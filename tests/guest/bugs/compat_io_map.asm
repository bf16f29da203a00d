; A 32-bit program of a 64-bit system asks for a port it may not use: the I/O permission map is the one of the TSS above 4 GiB,
; whatever lies at the address cut to 32 bits.
;
; limit: 8000000
; expect: another map at the cut address: ok
; expect: nothing at the cut address: ok
%include "lm64.inc"
HIGH    equ 0x12300000000       ; the first 2 MBytes and the page table once more
TSSPAGE equ 0x240000            ; where the TSS is, from HIGH on

%macro IN_COMPATIBILITY 0
    push qword DATA3
    push qword 0x202800
    push qword 2                        ; IOPL 0
    push qword CODE3C
    push qword %%ring3
    iretq
bits 32
%%ring3:
    mov eax, DATA3
    mov ds, eax
    mov es, eax
    mov edi, 0x202000
    mov esi, edi
    mov edx, 0xE0
    WORKS {in al, dx}
    mov edx, 0xE9
    FAULTS 13, 0, {in al, dx}
    FAULTS 13, 0, {out dx, al}
    FAULTS 13, 0, {in al, 0xE9}
    FAULTS 13, 0, insb
    FAULTS 13, 0, outsb
    mov edx, 0xE8
    FAULTS 13, 0, {out dx, ax}          ; its second byte
    mov eax, %%back
    int 0x3C
bits 64
%%back:
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov qword [PML4 + 2 * 8], PDPT | 7
    mov qword [PDPT + 0x8C * 8], PD | 7
    mov qword [PT + 8 * 0x40], 0x300007
    mov qword [PT + 8 * 0x41], 0x301007
    mov esi, TSS
    mov edi, TSSPAGE
    mov ecx, 0x68 / 8
    rep movsq
    mov word [TSSPAGE + 0x66], 0x68
    mov byte [TSSPAGE + 0x68 + 0xE9 / 8], 1 << (0xE9 % 8)
    mov word [gdt + TSS0], 0x1067
    mov word [gdt + TSS0 + 2], TSSPAGE & 0xFFFF
    mov word [gdt + TSS0 + 4], 0x8900 | (TSSPAGE >> 16)
    mov dword [gdt + TSS0 + 8], HIGH >> 32
    mov ax, TSS0
    ltr ax
    ; There the table of HIGH's own first page is reached through another page directory: TSSPAGE itself is free.
    mov edi, 0x14000
    mov esi, PD
    mov ecx, 512
    rep movsq
    mov qword [PDPT + 0x8C * 8], 0x14007
    mov edi, 0x15000
    mov esi, PT
    mov ecx, 512
    rep movsq
    mov qword [0x14008], 0x15007        ; HIGH + 2 MBytes: the TSS
    mov qword [PT + 8 * 0x40], 0x308007 ; 2 MBytes and up: a TSS that allows all
    mov qword [PT + 8 * 0x41], 0x309007
    mov rax, cr3
    mov cr3, rax
    mov word [TSSPAGE + 0x66], 0x68
    REPEATEDLY
    IN_COMPATIBILITY
    AGAIN
    CLAIM "another map at the cut address"
    mov qword [PT + 8 * 0x40], 0
    mov qword [PT + 8 * 0x41], 0
    mov rax, cr3
    mov cr3, rax
    REPEATEDLY
    IN_COMPATIBILITY
    AGAIN
    CLAIM "nothing at the cut address"
    jmp finish
