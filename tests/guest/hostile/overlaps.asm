; Code that is another program at every offset: each byte of 4,200 is jumped to, forward, backward and in an order without a
; pattern, and every entry is a run of its own over a page end. The bytes are all alike, so what an entry at offset k must give
; follows from k: runs of ADD AL, imm8 (two phases) and of ADD EAX, imm32 (five), with RETs behind.
;
; limit: 120000000
; expect: two_phases_forward: ok
; expect: two_phases_backward: ok
; expect: two_phases_at_random: ok
; expect: five_phases_forward: ok
; expect: five_phases_backward: ok
; expect: five_phases_at_random: ok
; expect: prefixes_in_all_numbers: ok
%include "lm64.inc"
AREA    equ 0x240000
BYTES   equ 4200                        ; two pages
LENGTH  equ 600                         ; of what one entry runs at most: its end is RETs

%macro FILL 1                           ; with this byte, and RETs every LENGTH bytes
    mov edi, AREA
    mov ecx, BYTES
    mov al, %1
    rep stosb
    mov edi, AREA + LENGTH - 5
%%end:
    mov dword [rdi], 0xC3C3C3C3
    mov byte [rdi + 4], 0xC3
    add edi, LENGTH
    cmp edi, AREA + BYTES
    jb %%end
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [f_vector], -1
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x305007
    FILL 0x04
    mov r15d, two
    call forward
    CLAIM "two_phases_forward"
    call backward
    CLAIM "two_phases_backward"
    call at_random
    CLAIM "two_phases_at_random"
    FILL 0x05
    mov r15d, five
    call forward
    CLAIM "five_phases_forward"
    call backward
    CLAIM "five_phases_backward"
    call at_random
    CLAIM "five_phases_at_random"

    ; INC EAX behind 0 to 40 prefixes: up to 13 of them are an instruction, more are #GP.
    mov edi, AREA + 0xFE0
    mov ecx, 40
    mov al, 0x66
    rep stosb
    mov dword [rdi], 0xC3C0FF           ; inc ax; ret
    REPEATEDLY
    mov eax, [round]
    xor edx, edx
    mov ecx, 41
    div ecx
    mov r12d, edx                       ; so many prefixes
    mov edx, AREA + 0xFE0 + 40
    sub edx, r12d
    mov r13d, edx
    mov eax, 0x12340000
    mov dword [f_vector], -1
    mov dword [resume], .gp
    mov [stack], rsp
    call rdx
    cmp r12d, 13
    setbe cl
    EXPECT cl, 1
    mov edx, 0x12340001
    EXPECT eax, edx
    jmp .next
.gp:
    mov rsp, [stack]
    cmp r12d, 13
    seta cl
    EXPECT cl, 1
    EXPECT dword [f_vector], 13
    EXPECT [f_rip], r13
    EXPECT eax, 0x12340000
.next:
    AGAIN
    CLAIM "prefixes_in_all_numbers"
    jmp finish

stack:  dq 0
forward:
    xor r12d, r12d
.next:
    call r15
    inc r12d
    cmp r12d, BYTES
    jb .next
    ret
backward:
    mov r12d, BYTES - 1
.next:
    call r15
    dec r12d
    jns .next
    ret
at_random:
    mov r14d, BYTES
    xor r12d, r12d
.next:
    add r12d, 1871                      ; prime to 4,200: each offset once
    cmp r12d, BYTES
    jb .in_range
    sub r12d, BYTES
.in_range:
    call r15
    dec r14d
    jnz .next
    ret

; R12 = offset. R13D := how many bytes of the run lie before its RETs; 0 or less: it begins at one.
before_end:
    mov eax, r12d
    xor edx, edx
    mov ecx, LENGTH
    div ecx
    mov r13d, LENGTH - 5
    sub r13d, edx
    ret
two:
    call before_end
    lea edx, [r12 + AREA]
    mov eax, 0x100
    call rdx
    xor ecx, ecx
    test r13d, r13d
    jle .none
    mov ecx, r13d
    shr ecx, 1
    shl ecx, 2                          ; so often 4
    test r13b, 1
    jz .none
    add ecx, 0xC3                       ; and a RET as immediate
.none:
    movzx ecx, cl
    or ecx, 0x100
    EXPECT eax, ecx
    ret
five:
    call before_end
    lea edx, [r12 + AREA]
    mov eax, 7
    call rdx
    mov r8d, eax
    mov ecx, 7
    test r13d, r13d
    jle .none
    mov eax, r13d
    xor edx, edx
    mov ebx, 5
    div ebx
    imul eax, eax, 0x05050505
    add ecx, eax
    test edx, edx
    jz .none
    mov eax, [.partial + rdx * 4]       ; EDX bytes of 05h, the first as opcode, then RETs
    add ecx, eax
.none:
    EXPECT r8d, ecx
    ret
.partial: dd 0, 0xC3C3C3C3, 0xC3C3C305, 0xC3C30505, 0xC3050505
