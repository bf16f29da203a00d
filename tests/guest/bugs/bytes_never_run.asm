; What stands behind a branch that is always taken is not looked at, be it no instruction, an absent page or the end of memory.
;
; limit: 3000000
; expect: rubbish: ok
; expect: an absent page: ok
; expect: the end of memory: ok
%include "lm64.inc"
EDGE    equ 0x204000            ; absent
LAST    equ 0x240000            ; the last frame of 32 MBytes, and nothing behind it

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .wrong
    xor ebx, ebx
    jmp .over
    db 0x0F, 0xFF, 0xFF, 0xFF, 0xC5, 0xF8, 0x62, 0x00
.over:
    jz .over_prefixes
    times 20 db 0x66
    db 0x06
.over_prefixes:
    inc ebx
    call .returns
    inc ebx
    jmp .on
    int 0x80
    db 0xD6, 0x0F, 0x04, 0xF0, 0x90
.returns:
    ret
    db 0xC7, 0xC8
.on:
    cmp eax, eax
    jne .wrong
    loop .next
    db 0xFF, 0xFF
.wrong:
    EXPECT dword [f_vector], 0
.next:
    EXPECT ebx, 2
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "rubbish"

    mov qword [PT + 8 * 3], 0x203007            ; executable
    mov rax, cr3
    mov cr3, rax
    mov word [EDGE - 2], 0xE2FF                 ; jmp rdx
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .landed
    mov edx, .landed
    mov eax, EDGE - 2
    jmp rax
.landed:
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "an absent page"

    mov dword [PT + 8 * 0x40], 0x1FFF007
    mov dword [PT + 8 * 0x41], 0x2000007
    mov rax, cr3
    mov cr3, rax
    mov word [LAST + 0xFFE], 0xE2FF
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .came
    mov edx, .came
    mov eax, LAST + 0xFFE
    jmp rax
.came:
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "the end of memory"
    jmp finish
