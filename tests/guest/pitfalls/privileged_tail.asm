; An instruction across a page end is fetched with the rights of whoever runs it, from both pages, each time: what ring 0 ran a
; thousand times faults in ring 3 where the second page is the supervisor's, and an instruction of more than 15 bytes is none,
; wherever a page ends in it. SDM Vol. 3A, "Access Rights"; Vol. 2A, "Instruction Format" and "Interrupt 13".
;
; Pitfalls: A22
;
; limit: 8000000
; expect: tail_in_supervisor_page: ok
; expect: fifteen_bytes_over_page_end: ok
; expect: sixteen_bytes_are_none: ok
%include "lm64.inc"
PAGE    equ 0x240000            ; user; the next one is the supervisor's
NEXT    equ PAGE + 0x1000

; Runs PAGE's end at ring %1; the code ends in INT 3Ch with EAX = where it goes on.
%macro AT_RING3 1
    push qword DATA3
    push qword STACK3
    push qword 2
    push qword CODE3
    push %1
    iretq
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x305003
    mov r14d, 1                         ; bytes of MOV EBX, imm32 in the first page
.split:
    mov r13d, NEXT
    sub r13d, r14d
    mov byte [r13 - 1], 0x90
    mov byte [r13], 0xBB
    mov dword [r13 + 1], 0x11223344
    mov byte [r13 + 5], 0xFF            ; jmp rax
    mov byte [r13 + 6], 0xE0
    REPEATEDLY
    mov eax, .from_ring0
    xor ebx, ebx
    mov dword [f_vector], -1
    lea rdx, [r13 - 1]
    jmp rdx
.from_ring0:
    EXPECT ebx, 0x11223344
    EXPECT dword [f_vector], -1
    xor ebx, ebx
    mov dword [resume], .from_ring3
    lea rdx, [r13 - 1]
    AT_RING3 rdx
.from_ring3:
    EXPECT ebx, 0
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x15        ; present, user, fetch
    EXPECT dword [f_cr2], NEXT
    EXPECT [f_rip], r13
    EXPECT dword [f_cs], CODE3
    RING0 .at_ring0
.at_ring0:
    AGAIN
    inc r14d
    cmp r14d, 5
    jb .split
    CLAIM "tail_in_supervisor_page"

    ; 13 prefixes before INC EBX make 15 bytes.
    mov r14d, 1
.fifteen:
    mov r13d, NEXT
    sub r13d, r14d
    mov r12d, 13
    call lay_prefixes
    REPEATEDLY
    mov eax, .ran
    mov ebx, 7
    mov dword [f_vector], -1
    jmp r13
.ran:
    EXPECT ebx, 8
    EXPECT dword [f_vector], -1
    mov dword [resume], .not_in_ring3
    AT_RING3 r13
.not_in_ring3:
    EXPECT ebx, 8
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x15
    EXPECT dword [f_cr2], NEXT
    EXPECT [f_rip], r13
    RING0 .again_at_ring0
.again_at_ring0:
    AGAIN
    inc r14d
    cmp r14d, 15
    jb .fifteen
    CLAIM "fifteen_bytes_over_page_end"

    mov r14d, 1
.sixteen:
    mov r13d, NEXT
    sub r13d, r14d
    mov r12d, 14
    call lay_prefixes
    REPEATEDLY
    mov ebx, 7
    mov dword [f_vector], -1
    mov dword [resume], .refused
    mov eax, .refused
    jmp r13
.refused:
    EXPECT ebx, 7
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0
    EXPECT [f_rip], r13
    AGAIN
    inc r14d
    cmp r14d, 17
    jb .sixteen
    CLAIM "sixteen_bytes_are_none"
    jmp finish

; R12 prefixes, INC EBX, JMP RAX, at R13.
lay_prefixes:
    mov edi, r13d
    mov ecx, r12d
    mov al, 0x2E
    rep stosb
    mov dword [rdi], 0xE0FFC3FF
    ret
