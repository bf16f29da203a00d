; The fault of a page that cannot be executed comes when its first byte is needed: what stands before it has run.
;
; limit: 3000000
; expect: the last instruction of a page stores: ok
; expect: an instruction across the page end: ok
; expect: a taken branch at the page end: ok
%include "lm64.inc"
NEXT equ 0x203000               ; NX

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov byte [NEXT - 4], 0x90           ; nop
    mov byte [NEXT - 3], 0xFF           ; inc dword [rbx]
    mov byte [NEXT - 2], 0x03
    mov byte [NEXT - 1], 0x90           ; nop
    mov ebx, counter
    mov dword [counter], 0
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .after
    mov eax, NEXT - 4
    jmp rax
.after:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x11
    EXPECT dword [f_rip], NEXT
    EXPECT dword [f_cr2], NEXT
    AGAIN
    EXPECT dword [counter], ROUNDS
    CLAIM "the last instruction of a page stores"

    mov byte [NEXT - 1], 0xB8           ; mov eax, imm32: its immediate is on the next page
    mov dword [counter], 0
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .straddled
    mov eax, NEXT - 4
    mov edx, eax
    jmp rdx
.straddled:
    EXPECT eax, NEXT - 4
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x11
    EXPECT dword [f_rip], NEXT - 1
    EXPECT dword [f_cr2], NEXT
    AGAIN
    EXPECT dword [counter], ROUNDS
    CLAIM "an instruction across the page end"

    mov byte [NEXT - 4], 0xFF           ; inc dword [rbx]
    mov byte [NEXT - 3], 0x03
    mov byte [NEXT - 2], 0xFF           ; jmp rdx
    mov byte [NEXT - 1], 0xE2
    mov dword [counter], 0
    REPEATEDLY
    mov dword [f_vector], -1
    mov edx, .went
    mov eax, NEXT - 4
    jmp rax
.went:
    EXPECT dword [f_vector], -1
    AGAIN
    EXPECT dword [counter], ROUNDS
    CLAIM "a taken branch at the page end"
    jmp finish
counter: dd 0
