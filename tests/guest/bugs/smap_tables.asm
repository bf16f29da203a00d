; What the processor reads by itself is a supervisor access that RFLAGS.AC does not open: with SMAP a table in a user page
; faults, while a program's own access goes through. The tables begin in a supervisor page, so that events find theirs.
;
; limit: 30000000
; expect: the program's own access: ok
; expect: GDT: ok
; expect: LDT: ok
; expect: IDT: ok
; expect: I/O permission map: ok
%include "lm64.inc"
USER    equ 0x202000
LDTSEL  equ FREE + 8
NOW_GDT equ USER - FREE         ; FREE is the first descriptor in the user page
NOW_IDT equ USER - 32 * 16      ; vector 20h is the first gate there
NOW_TSS equ USER - 0x68         ; and the map all of what is there of the TSS

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PD], 0x83                ; code, stacks and tables become supervisor memory
    mov dword [PT + 8], 0x201003        ; the page before USER too
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    or eax, 0x200000                    ; SMAP
    mov cr4, rax
    stac
    REPEATEDLY
    clac
    FAULTS 14, 1, mov eax, [USER]
    FAULTS 14, 3, mov [USER + 0x800], eax
    stac
    WORKS mov eax, [USER]
    WORKS mov [USER + 0x800], eax
    AGAIN
    CLAIM "the program's own access"

    mov esi, gdt
    mov edi, NOW_GDT
    mov ecx, FREE / 8
    rep movsq
    mov rax, [gdt + DATA0]
    mov [USER], rax
    lgdt [now_gdtr]
    REPEATEDLY
    mov eax, FREE
    FAULTS 14, 1, mov ds, eax
    EXPECT dword [f_cr2], USER
    FAULTS 14, 1, verr ax
    FAULTS 14, 1, lar ecx, eax
    FAULTS 14, 1, lsl ecx, eax
    FAULTS 14, 1, jmp far dword [far_pointer]
    FAULTS 14, 1, lldt ax
    mov eax, DATA0
    WORKS mov ds, eax
    AGAIN
    lgdt [usual_gdtr]
    CLAIM "GDT"

    mov dword [gdt + LDTSEL], 0x20000007        ; 8 bytes at USER
    mov dword [gdt + LDTSEL + 4], 0x00008220
    mov eax, LDTSEL
    lldt ax
    REPEATEDLY
    mov eax, 4
    FAULTS 14, 1, mov ds, eax
    EXPECT dword [f_cr2], USER
    FAULTS 14, 1, mov fs, eax
    AGAIN
    xor eax, eax
    lldt ax
    CLAIM "LDT"

    mov esi, IDT
    mov edi, NOW_IDT
    mov ecx, 64 * 16 / 8
    rep movsq
    lidt [now_idtr]
    REPEATEDLY
    FAULTS 14, 1, int 0x20
    EXPECT dword [f_cr2], USER
    FAULTS 14, 1, int 0x2F
    EXPECT dword [f_cr2], USER + 0xF0
    AGAIN
    lidt [idtr]
    CLAIM "IDT"

    mov esi, TSS
    mov edi, NOW_TSS
    mov ecx, 0x68 / 8
    rep movsq
    mov word [NOW_TSS + 0x66], 0x68
    mov edi, USER
    mov ecx, 0x800
    xor eax, eax
    rep stosb                           ; every port is allowed, could the map be read
    mov word [gdt + TSS0], 0x7F
    mov dword [gdt + TSS0 + 2], NOW_TSS
    mov word [gdt + TSS0 + 4], 0x8900 | (NOW_TSS >> 16)
    mov ax, TSS0
    ltr ax
    mov esi, at_ring3
    mov edi, USER + 0x800
    mov ecx, 16
    rep movsb
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], USER + 0x802
    push qword DATA3
    push qword STACK3
    push qword 0x40002                  ; AC
    push qword CODE3
    push qword USER + 0x800
    iretq
back:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 1
    EXPECT dword [f_rip], USER + 0x800
    EXPECT dword [f_cr2], USER + 2      ; the word of port 10h's bit
    AGAIN
    CLAIM "I/O permission map"
    jmp finish

at_ring3:
    in al, 0x10
    mov eax, back
    int 0x3C
align 8
far_pointer: dd back
             dw FREE
now_gdtr: dw FREE + 15
          dq NOW_GDT
now_idtr: dw 64 * 16 - 1
          dq NOW_IDT
usual_gdtr: dw FREE + 0x3F
            dq gdt
