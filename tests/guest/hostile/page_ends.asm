; Code that crosses every page end of 64 pages, with an instruction split in each of its bytes, in frames that are no neighbors;
; then each page in turn is not there: the run stops at the instruction that needs it, and goes on when it is back.
; SDM Vol. 3A, "Page-Fault Exceptions".
;
; limit: 60000000
; expect: crossing_every_page_end: ok
; expect: each_page_absent_in_turn: ok
; expect: each_page_another_frame_in_turn: ok
%include "lm64.inc"
PAGES   equ 64
FIRST   equ 0x240000
SPARE   equ 0x380000                    ; a frame of its own

start64:
%include "claims.inc"
    mov qword [hook], back_again
    xor r12d, r12d
.map:                                   ; page n has frame 37 n mod 64
    imul eax, r12d, 37
    and eax, 63
    shl eax, 12
    add eax, 0x300007
    mov [PT + 8 * 0x40 + r12 * 8], rax
    inc r12d
    cmp r12d, PAGES
    jb .map
    mov edi, FIRST
    mov ecx, PAGES * 0x1000
    mov al, 0x90
    rep stosb
    ; At the end of page n: add eax, imm32 with n mod 4 + 1 bytes before the end, then jmp to 16 bytes before the next end.
    xor r12d, r12d
.lay:
    mov edi, r12d
    shl edi, 12
    add edi, FIRST + 0x1000
    mov ecx, r12d
    and ecx, 3
    inc ecx
    sub edi, ecx
    mov byte [rdi], 0x05
    lea eax, [r12 + 1000]
    mov [rdi + 1], eax
    lea edx, [rdi + 5]
    mov byte [rdi + 5], 0xE9
    lea ebx, [r12 + 2]
    shl ebx, 12
    add ebx, FIRST - 16
    lea ecx, [rdi + 10]
    sub ebx, ecx
    mov [rdi + 6], ebx
    inc r12d
    cmp r12d, PAGES - 1
    jb .lay
    mov byte [FIRST + PAGES * 0x1000 - 16], 0xC3
SUM equ (PAGES - 1) * 1000 + (PAGES - 1) * (PAGES - 2) / 2

    mov dword [faults], 0
    REPEATEDLY
    xor eax, eax
    call FIRST + 0x1000 - 16
    EXPECT eax, SUM
    AGAIN
    EXPECT dword [faults], 0
    CLAIM "crossing_every_page_end"

    mov dword [round], 30
.round:
    mov r12d, 1
.absent:
    mov dword [faults], 0
    and dword [PT + 8 * 0x40 + r12 * 8], ~1
    mov edi, r12d
    shl edi, 12
    add edi, FIRST
    invlpg [rdi]
    xor eax, eax
    call FIRST + 0x1000 - 16
    EXPECT eax, SUM
    EXPECT dword [faults], 1
    EXPECT dword [f_error], 0x10
    EXPECT [f_cr2], rdi
    lea ecx, [r12 - 1]                  ; the instruction that begins on the page before
    and ecx, 3
    inc ecx
    mov edx, edi
    sub edx, ecx
    EXPECT dword [f_rip], edx
    inc r12d
    cmp r12d, PAGES
    jb .absent
    dec dword [round]
    jnz .round
    CLAIM "each_page_absent_in_turn"

    ; A copy of the page with another number in its ADD takes its place.
    mov dword [PT + 8 * 0xC0], SPARE + 7
    mov dword [round], 30
.round_2:
    mov r12d, 1
.other:
    mov esi, r12d
    shl esi, 12
    add esi, FIRST
    mov r13d, esi
    mov edi, 0x2C0000
    mov ecx, 512
    rep movsq
    mov ecx, r12d
    dec ecx
    and ecx, 3
    xor ecx, 3                          ; the last byte of the number: bits 31:24
    mov eax, [round]
    mov [0x2C0000 + rcx], al
    shl eax, 24
    add eax, SUM
    mov r14d, eax
    mov rbp, [PT + 8 * 0x40 + r12 * 8]
    mov dword [PT + 8 * 0x40 + r12 * 8], SPARE + 7
    invlpg [r13]
    xor eax, eax
    call FIRST + 0x1000 - 16
    EXPECT eax, r14d
    mov [PT + 8 * 0x40 + r12 * 8], rbp
    invlpg [r13]
    xor eax, eax
    call FIRST + 0x1000 - 16
    EXPECT eax, SUM
    inc r12d
    cmp r12d, PAGES - 1
    jb .other
    dec dword [round]
    jnz .round_2
    CLAIM "each_page_another_frame_in_turn"
    jmp finish

faults: dd 0
; The page comes back.
back_again:
    inc dword [faults]
    mov eax, [rbx + F_ERROR]
    mov [f_error], eax
    mov eax, [rbx + F_RIP]
    mov [f_rip], rax
    mov rax, cr2
    mov [f_cr2], rax
    shr eax, 12
    sub eax, FIRST >> 12
    and eax, 63
    or dword [PT + 8 * 0x40 + rax * 8], 1
    cmp eax, eax
    ret
