; 32-bit code with PAE paging reaches RAM above 4 GiB and not its namesake below, in data, code and page tables, and the
; addresses of entries are not cut anywhere. SDM Vol. 3A, "PAE Paging".
;
; Pitfalls: E7
;
; options: -m 5G
; expect: data_above_4_GiB: ok
; expect: code_above_4_GiB: ok
; expect: tables_above_4_GiB: ok
; expect: reserved_bits_of_entries: ok
%define MACHINE
%include "pm32.inc"
PDPT    equ 0x10000
PDS     equ 0x11000             ; four
PT4     equ 0x15000             ; of 400000h
WINDOW  equ 0x400000            ; 1_0000_1000h and its namesake
LOW     equ 0x401000            ; 1000h (the boot code is over)
TABLE   equ 0x402000            ; 1_0000_2000h: a page table
F_FAR   equ 0x600000            ; mapped by it

start32:
%include "claims.inc"
    mov dword [hook], note_fault
    mov edi, PDPT
    mov ecx, 0x6000 / 4
    xor eax, eax
    rep stosd
    mov dword [PDPT], PDS + 1
    mov dword [PDPT + 8], PDS + 0x1001
    mov dword [PDPT + 16], PDS + 0x2001
    mov dword [PDPT + 24], PDS + 0x3001
    mov dword [PDS], 0x83
    mov dword [PDS + 8], 0x200083
    mov dword [PDS + 16], PT4 + 3
    mov dword [PDS + 24], 0x2003        ; the table at 1_0000_2000h
    mov dword [PDS + 28], 1
    mov dword [PT4], 0x1003
    mov dword [PT4 + 4], 1
    mov dword [PT4 + 8], 0x1003
    mov dword [PT4 + 16], 0x2003
    mov dword [PT4 + 20], 1
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, PDPT
    mov cr3, eax
    mov eax, cr0
    or eax, 0x80010000
    mov cr0, eax
    jmp .paged
.paged:
    mov edi, TABLE
    mov ecx, 1024
    xor eax, eax
    rep stosd

    mov dword [LOW + 8], 0x5555
    REPEATEDLY
    mov eax, [round]
    mov [WINDOW + 8], eax
    EXPECT dword [LOW + 8], 0x5555
    EXPECT [WINDOW + 8], eax
    lock inc dword [WINDOW + 8]
    inc eax
    EXPECT [WINDOW + 8], eax
    mov dword [PT4 + 4], 0              ; the same entry, below
    invlpg [WINDOW]
    EXPECT dword [WINDOW + 8], 0x5555
    mov dword [PT4 + 4], 1
    invlpg [WINDOW]
    EXPECT [WINDOW + 8], eax
    AGAIN
    CLAIM "data_above_4_GiB"

    mov dword [WINDOW + 0x10], 0x0002BB ; mov ebx, 2; ret
    mov word [WINDOW + 0x14], 0xC300
    mov dword [LOW + 0x10], 0x0001BB
    mov word [LOW + 0x14], 0xC300
    REPEATEDLY
    call WINDOW + 0x10
    EXPECT ebx, 2
    call LOW + 0x10
    EXPECT ebx, 1
    mov byte [LOW + 0x11], 3
    call WINDOW + 0x10
    EXPECT ebx, 2
    mov byte [LOW + 0x11], 1
    mov byte [WINDOW + 0x11], 4
    call WINDOW + 0x10
    EXPECT ebx, 4
    mov byte [WINDOW + 0x11], 2
    AGAIN
    CLAIM "code_above_4_GiB"

    mov dword [TABLE], 0x3003           ; 600000h: 1_4000_3000h
    mov dword [TABLE + 4], 0
    mov dword [TABLE + 8], 0x3003
    mov dword [TABLE + 12], 1
    mov dword [F_FAR + 0x1004], 0x7777
    mov eax, [F_FAR + 4]
    REPEATEDLY
    mov eax, [round]
    mov dword [TABLE + 4], 0            ; 3000h, which is the TSS
    invlpg [F_FAR]
    EXPECT dword [F_FAR + 4], STACK0 - 0x400
    mov dword [TABLE + 4], 1            ; 1_0000_3000h
    and dword [TABLE], ~0x60
    invlpg [F_FAR]
    EXPECT dword [F_FAR + 4], 0x7777
    EXPECT dword [TABLE], 0x3023
    mov [F_FAR + 8], eax
    EXPECT dword [TABLE], 0x3063
    EXPECT [F_FAR + 0x1008], eax
    AGAIN
    CLAIM "tables_above_4_GiB"

    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [TABLE + 4], 0x80000001   ; bit 63 is reserved while EFER.NXE = 0
    invlpg [F_FAR]
    FAULTS 14, 9, {mov eax, [F_FAR + 4]}
    mov dword [TABLE + 4], 0x00100001   ; bit 52
    invlpg [F_FAR]
    FAULTS 14, 9, {mov eax, [F_FAR + 4]}
    mov dword [TABLE + 4], 1
    invlpg [F_FAR]
    WORKS mov eax, [F_FAR + 4]
    AGAIN
    CLAIM "reserved_bits_of_entries"
    jmp finish
