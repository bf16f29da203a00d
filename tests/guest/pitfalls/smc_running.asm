; Code that rewrites the block it stands in: what is stored is what runs next, it is stored once, and a fault behind it still
; finds its place. SDM Vol. 3A, "Handling Self- and Cross-Modifying Code". Every 16th round the store meets code, in the others
; the same store goes to data, so that the block is hot when it is met.
;
; Pitfalls: A3 A4 A5 A6 A12
;
; limit: 8000000
; expect: smc_own_next_instruction: ok
; expect: smc_neighbor_then_itself: ok
; expect: smc_modifies_once: ok
; expect: smc_by_push_and_string: ok
; expect: smc_second_page_from_first: ok
; expect: smc_straddling_instruction: ok
; expect: smc_first_bytes_then_fault: ok
%include "lm64.inc"
SCRATCH equ 0x202100
TWO     equ 0x240000            ; two pages of frames that are not neighbors
ALIAS   equ 0x250000            ; the same once more
ABSENT  equ 0x204010

; EDI := %1 every 16th round, else a place in data.
%macro PLACE 1
    mov edi, SCRATCH
    mov edx, %1
    test byte [round], 15
    cmovz edi, edx
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x312007
    mov dword [PT + 8 * 0x50], 0x300007
    mov dword [PT + 8 * 0x51], 0x312007

    mov byte [.next_1 + 1], 0
    mov r12d, 0
    REPEATEDLY
    PLACE .next_1 + 1
    mov eax, [round]
    cmovz r12d, eax             ; what it should give from now on
    mov [rdi], al
.next_1:
    mov bl, 0
    EXPECT bl, r12b
    PLACE .next_2 + 2
    not eax
    mov [rdi], eax
    cmovz r13d, eax
.next_2:
    mov r9d, 0
    test byte [round], 15
    jnz .not_now
    EXPECT r9d, r13d
.not_now:
    AGAIN
    CLAIM "smc_own_next_instruction"

    mov byte [neighbor + 1], 0
    mov byte [.own + 1], 0
    xor r12d, r12d
    REPEATEDLY
    call neighbor               ; alive
    PLACE neighbor + 1
    mov esi, SCRATCH + 8
    mov edx, .own + 1
    cmovz esi, edx
    mov eax, [round]
    cmovz r12d, eax
    mov [rdi], al
    mov [rsi], al               ; the second store into the page
.own:
    mov bl, 0
    EXPECT bl, r12b
    call neighbor
    EXPECT cl, r12b
    AGAIN
    CLAIM "smc_neighbor_then_itself"

    mov dword [.once_1 + 1], 0
    mov dword [.once_2 + 1], 0
    mov dword [.once_3 + 1], 0
    xor r12d, r12d
    xor r13d, r13d
    REPEATEDLY
    PLACE .once_1 + 1
    xor dword [rdi], 0x5A5A1234
    setz al                     ; (flags of the XOR: it never gives 0 twice in a row)
.once_1:
    mov ebx, 0
    PLACE .once_2 + 1
    inc dword [rdi]
.once_2:
    mov ecx, 0
    PLACE .once_3 + 1
    mov eax, 3
    lock xadd [rdi], eax
.once_3:
    mov edx, 0
    test byte [round], 15
    jnz .count
    xor r12d, 0x5A5A1234
    inc r13d
    lea r8d, [r13 * 3 - 3]
    EXPECT eax, r8d
.count:
    EXPECT ebx, r12d
    EXPECT ecx, r13d
    lea r8d, [r13 * 3]
    EXPECT edx, r8d
    AGAIN
    EXPECT r13d, 62
    CLAIM "smc_modifies_once"

    mov dword [.pushed + 1], 0
    mov dword [.string + 1], 0
    xor r12d, r12d
    mov r15, rsp
    REPEATEDLY
    PLACE .pushed + 1
    mov eax, [round]
    cmovz r12d, eax
    mov edx, [rdi + 4]          ; eight bytes: the value and what stands behind it
    shl rdx, 32
    or rdx, rax
    lea rsp, [rdi + 8]
    push rdx
.pushed:
    mov ebx, 0
    nop
    nop
    nop
    mov rsp, r15
    EXPECT ebx, r12d
    PLACE .string + 1
    mov esi, round
    mov ecx, 4
    rep movsb
.string:
    mov ebx, 0
    EXPECT ebx, r12d
    AGAIN
    CLAIM "smc_by_push_and_string"

    ; The store is in the first page, what it changes is in the second, and both are one run.
    mov esi, two_pages
    mov edi, TWO + 0x1000 - (two_pages.end_of_page - two_pages)
    mov ecx, two_pages.end - two_pages
    rep movsb
    xor r12d, r12d
    REPEATEDLY
    PLACE TWO + 0x1000 + (two_pages.patched - two_pages.end_of_page) + 1
    test byte [round], 16       ; by the other address every second time
    jz .one_address
    add edi, ALIAS - TWO
    test byte [round], 15
    jz .one_address
    mov edi, SCRATCH
.one_address:
    test byte [round], 15
    mov eax, [round]
    cmovz r12d, eax
    mov edx, TWO + 0x1000 - (two_pages.end_of_page - two_pages)
    call rdx
    EXPECT ebx, r12d
    EXPECT ecx, 2
    AGAIN
    CLAIM "smc_second_page_from_first"

    ; MOV EBX, imm32 with 1 to 4 bytes on the first page; every byte of it is rewritten in turn.
    mov r14d, 1
.straddle:
    mov edi, TWO + 0x1000 - 32
    mov ecx, 64
    mov al, 0x90
    rep stosb
    mov r13d, TWO + 0x1000
    sub r13d, r14d
    mov dword [r13 - 7], 0x03890789     ; mov [rdi], eax; mov [rbx], eax ...
    mov word [r13 - 7], 0x0788          ; mov [rdi], al
    mov byte [r13 - 5], 0x90
    mov byte [r13 - 4], 0x90
    mov byte [r13], 0xBB
    mov dword [r13 + 1], 0
    mov byte [r13 + 5], 0xC3
    REPEATEDLY
    mov eax, [round]
    mov edx, eax
    shr edx, 4
    and edx, 3
    lea edx, [rdx + r13 + 1]
    mov edi, SCRATCH
    test byte [round], 15
    cmovz edi, edx
    lea rdx, [r13 - 7]
    call rdx
    EXPECT ebx, [r13 + 1]
    AGAIN
    inc r14d
    cmp r14d, 5
    jb .straddle
    CLAIM "smc_straddling_instruction"

    mov r14, [first_bytes]
    mov rbp, 0x9090909000EBC931 | (first_bytes.elsewhere - first_bytes - 4) << 24    ; xor ecx, ecx; jmp .elsewhere; 4 nops
    REPEATEDLY
    PLACE first_bytes
    mov r12d, edi
    mov r11d, ABSENT
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    mov ecx, 0x77
    mov dword [f_vector], -1
    mov dword [resume], .after_fault
    jmp first_bytes
.after_fault:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 2
    EXPECT dword [f_cr2], ABSENT
    EXPECT dword [f_rip], first_bytes.faults
    EXPECT r8d, 0x1111
    EXPECT r9d, 0x2222
    EXPECT r10d, 1
    EXPECT ecx, 0x77
    mov edx, SCRATCH
    EXPECT [r12], rbp
    cmp r12d, edx
    je .intact
    mov ecx, 0x77
    xor r9d, r9d
    jmp first_bytes             ; now what was stored runs
.intact:
    mov [first_bytes], r14
    jmp .go_on
.changed:
    EXPECT ecx, 0
    EXPECT r9d, 0
    jmp .intact
.go_on:
    AGAIN
    CLAIM "smc_first_bytes_then_fault"
    jmp finish

first_bytes:
    mov r8d, 0x1111             ; 6 bytes, and 2 of the next
    mov r9d, 0x2222
    mov [rdi], rbp
    inc r10d
    inc dword [counter]
.faults:
    mov [r11], eax
    ud2
.elsewhere:
    jmp past_claims.changed
counter: dd 0

neighbor:
    mov cl, 0
    ret

two_pages:
    mov ecx, 1
    mov [rdi], eax
    inc ecx
.end_of_page:
    nop
.patched:
    mov ebx, 0
    ret
.end:
