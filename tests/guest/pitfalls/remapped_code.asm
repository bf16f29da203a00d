; Hot code whose page gets another frame, no frame, or is seen through another address space: behind the invalidation the bytes
; of the new mapping run, reached by a call, by a direct jump from another page, by an indirect jump and by running on over the
; page end. SDM Vol. 3A, "Caching Translation Information".
;
; Pitfalls: E1
;
; limit: 100000000
; expect: remapped_and_INVLPG: ok
; expect: remapped_and_MOV_CR3: ok
; expect: remapped_by_directory: ok
; expect: not_present_and_back: ok
; expect: other_PCID: ok
; expect: INVPCID: ok
; expect: global_pages: ok
; expect: upper_half_and_MOV_CR3: ok
; expect: upper_half_global_and_INVLPG: ok
; expect: upper_half_no_longer_global: ok
; expect: both_halves: ok
%include "lm64.inc"
PAGE    equ 0x240000            ; the page in question
BEFORE  equ PAGE - 0x1000       ; jumps to it and runs into it
FRAME1  equ 0x300000
FRAME2  equ 0x305000
TABLES2 equ 0x180000            ; a second PML4, PDPT, PD, PT
PT2     equ 0x1C0000            ; a second PT for the first PD

HIGH    equ 0xFFFFFF8000000000  ; another name of all addresses, in the upper half

; The same as below, by the names in the upper half.
%macro ALL_HIGH_WAYS 0
    mov rdx, HIGH
    lea rax, [rdx + PAGE]
    call rax
    EXPECT ebx, r12d
    lea rax, [rdx + BEFORE]             ; a direct jump
    call rax
    EXPECT ebx, r12d
    lea rcx, [rdx + BEFORE + 0x800]     ; an indirect one
    lea rax, [rdx + PAGE]
    call rcx
    EXPECT ebx, r12d
    lea rax, [rdx + BEFORE + 0xFF0]     ; over the page end
    call rax
    EXPECT ebx, r12d
%endmacro
; The routine gives R12, by all ways.
%macro ALL_WAYS 0
    call PAGE
    EXPECT ebx, r12d
    mov eax, PAGE
    call rax
    EXPECT ebx, r12d
    call BEFORE                         ; a direct jump
    EXPECT ebx, r12d
    call BEFORE + 0x800                 ; an indirect one
    EXPECT ebx, r12d
    call BEFORE + 0xFF0                 ; over the page end
    EXPECT ebx, r12d
    call BEFORE + 0x900                 ; a conditional one
    EXPECT ebx, r12d
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x3F], 0x310007
    mov dword [PT + 8 * 0x40], FRAME1 + 7
    mov dword [PT + 8 * 0x50], FRAME1 + 7
    mov dword [PT + 8 * 0x51], FRAME2 + 7
    mov dword [0x250000], 0x0001BB90    ; nop; mov ebx, 1; ret
    mov dword [0x250004], 0xC30000
    mov dword [0x251000], 0x0002BB90
    mov dword [0x251004], 0xC30000
    mov byte [BEFORE], 0xE9
    mov dword [BEFORE + 1], PAGE - BEFORE - 5
    mov word [BEFORE + 0x800], 0xE0FF   ; jmp rax
    mov dword [BEFORE + 0x900], 0x840FC031      ; xor eax, eax; jz PAGE
    mov dword [BEFORE + 0x904], PAGE - (BEFORE + 0x908)
    mov edi, BEFORE + 0xFF0
    mov ecx, 16
    mov al, 0x90
    rep stosb
    mov r13d, FRAME1 + 7
    mov r14d, FRAME2 + 7

    mov r12d, 1
    REPEATEDLY
    call other_frame
    invlpg [PAGE]
    ALL_WAYS
    AGAIN
    CLAIM "remapped_and_INVLPG"

    REPEATEDLY
    call other_frame
    mov rax, cr3
    mov cr3, rax
    ALL_WAYS
    AGAIN
    CLAIM "remapped_and_MOV_CR3"

    ; The directory entry changes, to a table in which the page has the other frame.
    mov esi, PT
    mov edi, PT2
    mov ecx, 512
    rep movsq
    mov dword [PT + 8 * 0x40], FRAME1 + 7
    mov dword [PT2 + 8 * 0x40], FRAME2 + 7
    mov r12d, 1
    REPEATEDLY
    mov eax, PT + 7
    mov edx, PT2 + 7
    xor r12d, 3
    cmp r12d, 2
    cmove eax, edx
    mov [PD + 8], rax
    invlpg [PAGE]                       ; (entries of the structure caches, too, whatever the address)
    invlpg [BEFORE]
    ALL_WAYS
    AGAIN
    mov dword [PD + 8], PT + 7
    mov rax, cr3
    mov cr3, rax
    CLAIM "remapped_by_directory"

    mov r12d, 1
    mov dword [PT + 8 * 0x40], FRAME1 + 7
    REPEATEDLY
    ALL_WAYS
    and dword [PT + 8 * 0x40], ~1
    invlpg [PAGE]
    mov dword [f_vector], -1
    mov rbp, rsp
    mov dword [resume], .gone_1
    call BEFORE
.gone_1:
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x10        ; a fetch
    EXPECT dword [f_rip], PAGE
    EXPECT dword [f_cr2], PAGE
    mov dword [f_vector], -1
    mov dword [resume], .gone_2
    call BEFORE + 0xFF0
.gone_2:
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], PAGE
    mov dword [f_vector], -1
    mov dword [resume], .gone_3
    mov eax, PAGE
    call rax
.gone_3:
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], PAGE
    or dword [PT + 8 * 0x40], 1         ; no invalidation is needed for what was absent
    ALL_WAYS
    AGAIN
    CLAIM "not_present_and_back"

    ; The same in an address space of its own.
    mov esi, PML4
    mov edi, TABLES2
    mov ecx, 4 * 512
    rep movsq
    mov dword [TABLES2], TABLES2 + 0x1007
    mov dword [TABLES2 + 0x1000], TABLES2 + 0x2007
    mov dword [TABLES2 + 0x2008], TABLES2 + 0x3007
    mov dword [TABLES2 + 0x3000 + 8 * 0x40], FRAME2 + 7
    mov rax, cr4
    or eax, 0x20000                     ; PCIDE
    mov cr4, rax
    mov r8, 0x8000000000000000 | PML4 | 1       ; without a flush
    mov r9, 0x8000000000000000 | TABLES2 | 2
    mov eax, PML4 | 1
    mov cr3, rax
    mov eax, TABLES2 | 2
    mov cr3, rax
    REPEATEDLY
    mov cr3, r8
    mov r12d, 1
    ALL_WAYS
    mov cr3, r9
    mov r12d, 2
    ALL_WAYS
    AGAIN
    CLAIM "other_PCID"
    REPEATEDLY
    mov cr3, r8
    mov eax, [round]
    and eax, 1
    lea r12d, [rax + 1]
    mov edx, r13d
    cmovnz edx, r14d
    mov [TABLES2 + 0x3000 + 8 * 0x40], edx
    xor eax, eax
    invpcid rax, [descriptor]           ; one address of PCID 2, from PCID 1
    mov cr3, r9
    ALL_WAYS
    AGAIN
    mov cr3, r8
    CLAIM "INVPCID"

    ; A global page outlives MOV CR3 (it may), and not INVLPG.
    mov rax, cr4
    or eax, 0x80
    mov cr4, rax
    or r13d, 0x100
    or r14d, 0x100
    mov r12d, 1
    REPEATEDLY
    call other_frame
    invlpg [PAGE]
    mov cr3, r8
    ALL_WAYS
    call other_frame
    mov rax, cr4
    btc rax, 7                          ; PGE changes: everything goes
    mov cr4, rax
    ALL_WAYS
    AGAIN
    CLAIM "global_pages"

    mov dword [PML4 + 8 * 511], PDPT | 7
    and r13d, ~0x100
    and r14d, ~0x100
    call other_frame
    mov rax, cr3
    mov cr3, rax                        ; with a flush: bit 63 reads 0
    invlpg [PAGE]
    mov rax, HIGH                       ; all code by its upper name from here on
    lea rax, [rax + .high]
    jmp rax
.high:
    REPEATEDLY
    call other_frame
    mov rax, cr3
    mov cr3, rax
    ALL_HIGH_WAYS
    AGAIN
    CLAIM "upper_half_and_MOV_CR3"

    or r13d, 0x100
    or r14d, 0x100
    or dword [PT + 8 * 0x3F], 0x100     ; the other page of code, too
    mov rdx, HIGH
    invlpg [rdx + BEFORE]
    REPEATEDLY
    call other_frame
    mov rdx, HIGH
    invlpg [rdx + PAGE]
    ALL_HIGH_WAYS
    mov rax, cr3
    mov cr3, rax
    ALL_HIGH_WAYS
    AGAIN
    CLAIM "upper_half_global_and_INVLPG"

    REPEATEDLY                          ; global when it became hot, then local, then another one
    or r13d, 0x100
    or r14d, 0x100
    call other_frame
    mov rdx, HIGH
    invlpg [rdx + PAGE]
    ALL_HIGH_WAYS
    and r13d, ~0x100
    and r14d, ~0x100
    call other_frame
    mov rdx, HIGH
    invlpg [rdx + PAGE]
    ALL_HIGH_WAYS
    call other_frame
    mov rax, cr3
    mov cr3, rax
    ALL_HIGH_WAYS
    AGAIN
    CLAIM "upper_half_no_longer_global"

    REPEATEDLY                          ; the same page by both names
    or r13d, 0x100
    or r14d, 0x100
    call other_frame
    mov rdx, HIGH
    invlpg [rdx + PAGE]
    invlpg [PAGE]
    ALL_WAYS
    ALL_HIGH_WAYS
    call other_frame
    mov rdx, HIGH
    invlpg [rdx + PAGE]
    invlpg [PAGE]
    ALL_HIGH_WAYS
    ALL_WAYS
    AGAIN
    CLAIM "both_halves"
    jmp finish

align 16
descriptor: dq 2, PAGE

; The page's frame is now the other one: R12 tells.
other_frame:
    xor r12d, 3
    mov eax, r13d
    cmp r12d, 2
    cmove eax, r14d
    mov [PT + 8 * 0x40], eax
    ret
