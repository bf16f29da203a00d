; A page that is written anew as a whole before each jump into it, by wide stores, by strings, byte by byte backward and through
; another address, with code that starts at another place each time and runs over the page end; and a routine that rewrites
; itself while it runs, every time. What comes out follows from what was written.
;
; limit: 120000000
; expect: whole_page_by_REP_STOS: ok
; expect: whole_page_by_REP_MOVS_through_an_alias: ok
; expect: whole_page_by_vectors: ok
; expect: byte_by_byte_backward: ok
; expect: routine_that_eats_itself: ok
; expect: loop_that_grows: ok
%include "lm64.inc"
PAGE    equ 0x240000
NEXT    equ PAGE + 0x1000               ; RETs
ALIAS   equ 0x250000

; The page is full of the pattern: enter it so many patterns before its end, compare.
%macro ENTER_IT 0
    mov r13d, [round]
    and r13d, 0x3F
    inc r13d                            ; so many instructions before the end
    lea ecx, [r13 * 8]
    mov edx, NEXT
    sub edx, ecx
    xor eax, eax
    xor ebx, ebx
    call rdx
    mov ecx, r12d
    imul ecx, r13d
    EXPECT eax, ecx
    EXPECT ebx, r13d
%endmacro
; R8 := add eax, R12D; inc ebx; nop
%macro PATTERN 0
    mov r12d, [round]
    imul r12d, r12d, 69069
    mov r8d, r12d
    shl r8, 8
    or r8, 0x05
    mov rax, 0xC3FF << 40
    mov rcx, 0xFFFFFFFFFF
    and r8, rcx
    or r8, rax
    mov rax, 0x90 << 56
    or r8, rax
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x305007
    mov dword [PT + 8 * 0x50], 0x300007
    mov dword [PT + 8 * 0x60], 0x306007 ; data
    mov edi, NEXT
    mov ecx, 16
    mov al, 0xC3
    rep stosb

    REPEATEDLY
    PATTERN
    mov rax, r8
    mov edi, PAGE
    mov ecx, 512
    rep stosq
    ENTER_IT
    AGAIN
    CLAIM "whole_page_by_REP_STOS"
    REPEATEDLY
    PATTERN
    mov rax, r8
    mov edi, 0x260000
    mov ecx, 512
    rep stosq
    mov esi, 0x260000
    mov edi, ALIAS
    mov ecx, 0x1000
    rep movsb
    ENTER_IT
    AGAIN
    CLAIM "whole_page_by_REP_MOVS_through_an_alias"
    REPEATEDLY
    PATTERN
    vmovq xmm0, r8
    vpbroadcastq ymm0, xmm0
    mov edi, PAGE
.wide:
    vmovdqu [rdi], ymm0
    movups [rdi + 32], xmm0
    movntdq [rdi + 48], xmm0
    add edi, 64
    cmp edi, PAGE + 0x1000
    jb .wide
    ENTER_IT
    AGAIN
    CLAIM "whole_page_by_vectors"
    mov dword [round], 40
.bytes:
    PATTERN
    mov edi, PAGE + 0xFFF
    mov rax, r8
.byte:
    rol rax, 8
    mov [rdi], al
    dec edi
    cmp edi, PAGE
    jae .byte
    ENTER_IT
    dec dword [round]
    jnz .bytes
    CLAIM "byte_by_byte_backward"

    ; STOSW and INC EBX ten times: each STOSW that still is one wipes out the next word, some way ahead.
    REPEATEDLY
    mov edi, PAGE + 0x100
    mov ecx, 64
    mov al, 0x90
    rep stosb
    mov edi, PAGE + 0x100
    mov ecx, 10
.lay:
    mov dword [rdi], 0xC3FFAB66         ; stosw; inc ebx
    add edi, 4
    loop .lay
    mov byte [rdi], 0xC3
    mov ebp, [round]
    and ebp, 3                          ; how far ahead it eats
    lea edi, [rbp * 4 + PAGE + 0x102]
    mov ax, 0x9090
    xor ebx, ebx
    call PAGE + 0x100
    call model
    EXPECT ebx, ecx
    AGAIN
    CLAIM "routine_that_eats_itself"

    ; A loop that writes its next instruction at its own end, in front of its branch.
    REPEATEDLY
    mov edi, PAGE + 0x200
    mov dword [rdi], 0x04EBC3FF         ; inc ebx; jmp over 4
    mov dword [rdi + 4], 0x90909090
    mov dword [rdi + 8], 0x90C3C9FF     ; dec ecx; ret
    mov ecx, 20
    xor ebx, ebx
    mov r12d, 20
.grow:
    call PAGE + 0x200
    mov word [PAGE + 0x202], 0x02EB     ; now over 2: two NOPs
    mov word [PAGE + 0x204], 0xC3FF     ; ... and then inc ebx twice
    mov word [PAGE + 0x206], 0xC3FF
    call PAGE + 0x200
    mov word [PAGE + 0x202], 0x9090     ; none
    call PAGE + 0x200
    mov word [PAGE + 0x202], 0x04EB
    dec r12d
    jnz .grow
    EXPECT ebx, 20 * (1 + 2 + 3)
    EXPECT ecx, 20 - 60
    AGAIN
    CLAIM "loop_that_grows"
    jmp finish

; ECX := how often INC EBX runs: ten pairs of words (STOSW, INC); the k-th STOSW that still is one wipes out word ebp * 2 + 1 + k.
model:
    mov edi, words                      ; 1: STOSW, 2: INC, 0: NOP
    mov eax, 10
.init:
    mov word [rdi], 0x0201
    add edi, 2
    dec eax
    jnz .init
    mov edi, words + 20
    mov ecx, 16
    xor eax, eax
    rep stosb
    lea edx, [rbp * 2 + 1]              ; where the next one stores
    xor esi, esi
    xor ecx, ecx
.step:
    cmp byte [words + rsi], 1
    jb .next
    ja .inc
    mov byte [words + rdx], 0
    inc edx
    jmp .next
.inc:
    inc ecx
.next:
    inc esi
    cmp esi, 20
    jb .step
    ret
words: times 64 db 0
