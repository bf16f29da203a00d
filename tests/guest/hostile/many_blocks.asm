; 2^20 different blocks, each of which adds its own number, in a row; an eighth of them in an order without a pattern by indirect
; jumps, and again after a few thousand changed. Memory for code that was decoded or translated must stay bounded.
;
; limit: 200000000
; expect: a_million_blocks_in_a_row: ok
; expect: blocks_by_indirect_jumps: ok
; expect: again_after_changes: ok
%include "lm64.inc"
FIRST   equ 0x400000                    ; 8 MBytes: 8 bytes each
COUNT   equ 1 << 20
PART    equ COUNT / 8
PART_SUM equ (PART / 2 * (PART - 1)) & 0xFFFFFFFF
SUM     equ (COUNT / 2 * (COUNT - 1)) & 0xFFFFFFFF

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PD + 16], 0x400087
    mov dword [PD + 24], 0x600087
    mov dword [PD + 32], 0x800087
    mov dword [PD + 40], 0xA00087
    mov dword [PD + 48], 0xC00087
    mov edi, FIRST
    xor ecx, ecx
.lay:                                   ; add eax, number; jmp to the next (over a byte)
    mov byte [rdi], 0x05
    mov [rdi + 1], ecx
    mov dword [rdi + 5], 0xCC01EB
    add edi, 8
    inc ecx
    cmp ecx, COUNT
    jb .lay
    mov byte [rdi], 0xC3
    xor eax, eax
    mov edx, FIRST
    call rdx
    EXPECT eax, SUM
    CLAIM "a_million_blocks_in_a_row"

    ; Each of the first eighth ends in JMP RBX instead.
    mov edi, FIRST
    mov ecx, PART
.indirect:
    mov word [rdi + 5], 0xE3FF
    add edi, 8
    loop .indirect
    xor eax, eax
    xor ecx, ecx                        ; 5 n + 1 modulo 2^17 goes through all
    mov esi, PART
    mov ebx, .came
.came:
    dec esi
    js .all
    lea ecx, [rcx + rcx * 4 + 1]
    and ecx, PART - 1
    lea edx, [rcx * 8 + FIRST]
    jmp rdx
.all:
    EXPECT eax, PART_SUM
    CLAIM "blocks_by_indirect_jumps"

    mov edi, FIRST + 8 * 77
    mov r12d, PART_SUM
    mov ecx, 4000
.change:
    add dword [rdi + 1], 1000
    add r12d, 1000
    add edi, 8 * 31
    loop .change
    mov dword [round], 3
.again:
    xor eax, eax
    xor ecx, ecx
    mov esi, PART
    mov ebx, .came_again
.came_again:
    dec esi
    js .all_again
    lea ecx, [rcx + rcx * 4 + 1]
    and ecx, PART - 1
    lea edx, [rcx * 8 + FIRST]
    jmp rdx
.all_again:
    EXPECT eax, r12d
    dec dword [round]
    jnz .again
    CLAIM "again_after_changes"
    jmp finish
