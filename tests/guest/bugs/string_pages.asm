; Repeated string instructions whose elements lie across page ends, on either side, forward and backward, do what single bytes
; moved in the same order do.
;
; limit: 90000000
; expect: MOVS: ok
; expect: STOS: ok
; expect: CMPS: ok
%include "lm64.inc"
; Frames of 16 KBytes, not in order: what is one piece at 240000h is not one piece in memory.
SOURCE  equ 0x240000
DEST    equ 0x250000
MODEL   equ 0x260000            ; where the bytes go one by one
IMAGE   equ 0x180000            ; (2 MBytes, one page)

%macro COMPARE_DEST 0
    mov esi, DEST + 0xF80
    mov edi, MODEL + 0xF80
    mov ecx, 0x1100
    cld
    repe cmpsb
    mov eax, 1
    mov edx, 0
    cmovne eax, edx
    EXPECT eax, 1
%endmacro

; %1 = bytes of an element, %2 = the instruction
%macro MOVE 2
    mov r12d, -9                        ; source: distance of its first element from a page end
%%source:
    mov r13d, -9
%%dest:
    ; forward
    call fill
    lea esi, [r12 + SOURCE + 0x1000]
    lea edi, [r13 + DEST + 0x1000]
    mov ecx, 4096 / %1 + 3
    cld
    rep %2
    EXPECT ecx, 0
    lea eax, [r12 + SOURCE + 0x1000 + (4096 / %1 + 3) * %1]
    EXPECT esi, eax
    lea esi, [r12 + SOURCE + 0x1000]
    lea edi, [r13 + MODEL + 0x1000]
    mov ecx, (4096 / %1 + 3) * %1
    call copy_bytes
    COMPARE_DEST
    ; backward
    call fill
    lea esi, [r12 + SOURCE + 0x2000]
    lea edi, [r13 + DEST + 0x2000]
    mov ecx, 4096 / %1 + 1
    std
    rep %2
    cld
    EXPECT ecx, 0
    lea esi, [r12 + SOURCE + 0x2000 - 4096 / %1 * %1]
    lea edi, [r13 + MODEL + 0x2000 - 4096 / %1 * %1]
    mov ecx, (4096 / %1 + 1) * %1
    call copy_bytes
    COMPARE_DEST
    add r13d, 3
    cmp r13d, 9
    jle %%dest
    add r12d, 4
    cmp r12d, 9
    jle %%source
%endmacro

%macro SET 2
    mov r13d, -9
%%dest:
    call fill
    lea edi, [r13 + DEST + 0x1000]
    mov ecx, 4096 / %1 + 3
    mov rax, 0x1122334455667788
    rep %2
    lea ebx, [r13 + MODEL + 0x1000]
    mov ecx, 4096 / %1 + 3
%%model:
%assign n 0
%rep %1
    mov byte [rbx + n], (0x1122334455667788 >> (8 * n)) & 0xFF
%assign n n + 1
%endrep
    add ebx, %1
    dec ecx
    jnz %%model
    COMPARE_DEST
    inc r13d
    cmp r13d, 9
    jle %%dest
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    xor ecx, ecx
.map:                                   ; page n of each region has frame (n xor 5)
    mov eax, ecx
    xor eax, 5
    shl eax, 12
    lea edx, [rax + 0x300007]
    mov [PT + 8 * 0x40 + rcx * 8], rdx
    lea edx, [rax + 0x308007]
    mov [PT + 8 * 0x50 + rcx * 8], rdx
    lea edx, [rax + 0x310007]
    mov [PT + 8 * 0x60 + rcx * 8], rdx
    inc ecx
    cmp ecx, 8
    jb .map
    mov ecx, 0x4000                     ; the source never changes
    mov edi, SOURCE
    mov eax, 12345
.random:
    imul eax, eax, 1103515245
    add eax, 12345
    mov edx, eax
    shr edx, 16
    mov [rdi], dl
    inc edi
    dec ecx
    jnz .random
    MOVE 1, movsb
    MOVE 2, movsw
    MOVE 4, movsd
    MOVE 8, movsq
    CLAIM "MOVS"
    SET 2, stosw
    SET 4, stosd
    SET 8, stosq
    CLAIM "STOS"
    ; Equal up to one byte, wherever it lies around a page end.
    mov r12d, -9
.compare:
    mov esi, SOURCE
    mov edi, DEST + 5
    mov ecx, 0x2000
    rep movsb
    lea eax, [r12 + 0x1000]
    not byte [rax + DEST + 5]
    mov esi, SOURCE + 3
    mov edi, DEST + 5 + 3
    mov ecx, 0x1800 / 8
    repe cmpsq
    lea eax, [r12 + 0x1000 - 3]         ; the element that holds it is the last compared
    shr eax, 3
    inc eax
    lea edx, [rax * 8 + SOURCE + 3]
    EXPECT esi, edx
    mov edx, 0x1800 / 8
    sub edx, eax
    EXPECT ecx, edx
    inc r12d
    cmp r12d, 9
    jle .compare
    CLAIM "CMPS"
    jmp finish

fill:
    cld
    mov edi, DEST
    mov ecx, 0x4000 / 8
    mov rax, 0xEEEEEEEEEEEEEEEE
    rep stosq
    mov edi, MODEL
    mov ecx, 0x4000 / 8
    rep stosq
    ret
copy_bytes:                             ; without string instructions
    mov al, [rsi]
    mov [rdi], al
    inc esi
    inc edi
    dec ecx
    jnz copy_bytes
    ret
