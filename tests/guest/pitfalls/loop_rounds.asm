; A loop whose rounds reach the next element each does round for round what it says: it ends in any of them, a fault in one finds the
; rounds before it done and no other, and flags go from one to the next. A translator may check the accesses of several rounds at once.
; SDM Vol. 3A, "Program or Task Restart".
;
; Pitfalls: B8
;
; limit: 60000000
; expect: ends_in_any_round: ok
; expect: faults_in_any_round: ok
; expect: over_a_page_end: ok
; expect: carry_through_rounds: ok
%include "lm64.inc"
ELEMENTS equ 0x240000           ; two pages that do not lie beside each other, and an absent one
FRAME1   equ 0x310000
FRAME2   equ 0x30C000

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], FRAME1 | 7
    mov dword [PT + 8 * 0x41], FRAME2 | 7
    mov dword [PT + 8 * 0x42], 0
    mov edi, ELEMENTS           ; element n is n
    xor eax, eax
.fill:
    mov [rdi], rax
    add rdi, 8
    inc eax
    cmp eax, 1024
    jne .fill

    ; The first 1 to 16 elements: their sum is n * (n - 1) / 2.
    AT_RING3
    mov ebp, 1
    REPEATEDLY
    mov esi, ELEMENTS
    mov ecx, ebp
    call sum
    mov edx, ebp
    lea eax, [rbp - 1]
    imul edx, eax
    shr edx, 1
    EXPECT rdx, r8
    lea rdx, [ELEMENTS + rbp * 8]
    EXPECT rdx, rsi
    inc ebp
    cmp ebp, 17
    jne .no_wrap
    mov ebp, 1
.no_wrap:
    AGAIN
    AT_RING0
    CLAIM "ends_in_any_round"

    ; 1 to 16 elements before the absent page, of 20.
    AT_RING3
    mov ebp, 1
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .faulted
    mov rbx, rsp
    mov esi, ELEMENTS + 0x2000
    lea eax, [rbp * 8]
    sub rsi, rax
    mov ecx, 20
    call sum
    mov dword [wrong_at], .faulted
.faulted:
    mov rsp, rbx
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], sum.element
    EXPECT rsi, ELEMENTS + 0x2000
    mov edx, 20
    sub edx, ebp
    EXPECT edx, ecx
    mov edx, 1023 * 2 + 1
    sub edx, ebp                ; first and last
    imul edx, ebp
    shr edx, 1
    EXPECT rdx, r8
    inc ebp
    cmp ebp, 17
    jne .no_wrap2
    mov ebp, 1
.no_wrap2:
    AGAIN
    AT_RING0
    CLAIM "faults_in_any_round"

    ; 24 elements around the end of a page.
    AT_RING3
    mov ebp, 1
    REPEATEDLY
    mov esi, ELEMENTS + 0x1000
    lea eax, [rbp * 8]
    sub rsi, rax
    mov ecx, 24
    call sum
    mov edx, 512 * 2 + 23
    sub edx, ebp
    sub edx, ebp
    imul edx, edx, 12
    EXPECT rdx, r8
    mov esi, ELEMENTS + 0x1000 - 8
    lea eax, [rbp * 8]
    sub rsi, rax
    mov ecx, 24
    call sum_behind
    EXPECT rdx, r8
    inc ebp
    cmp ebp, 17
    jne .no_wrap3
    mov ebp, 1
.no_wrap3:
    AGAIN
    AT_RING0
    CLAIM "over_a_page_end"

    ; -1 and 1, a carry through 10 words.
    AT_RING3
    REPEATEDLY
    mov edi, words
    mov ecx, 10
    mov rax, -1
.ones:
    mov [rdi], rax
    add rdi, 8
    dec ecx
    jnz .ones
    mov edi, words
    mov ecx, 10
    stc
.word:
    adc qword [rdi], 0
    lea rdi, [rdi + 8]
    dec ecx
    jnz .word
    setc al
    EXPECT al, 1
    EXPECT qword [words], 0
    EXPECT qword [words + 8 * 9], 0
    EXPECT rdi, words + 80
    AGAIN
    AT_RING0
    CLAIM "carry_through_rounds"

    jmp finish

; r8 := the sum of RCX elements from RSI on, which moves behind them.
align 64
sum:
    xor r8d, r8d
.element:
    add r8, [rsi]
    add rsi, 8
    dec ecx
    jnz .element
    ret

; The same of those behind RSI.
align 64
sum_behind:
    xor r8d, r8d
.element:
    add rsi, 8
    add r8, [rsi]
    dec ecx
    jnz .element
    ret

words: times 10 dq 0
