; RSP as an ordinary operand, and as base or index of the address that the same instruction moves it by.
;
; limit: 3000000
; expect: PUSH and POP of RSP and its memory: ok
; expect: moves and arithmetic: ok
; expect: LEAVE and ENTER: ok
; expect: calls and returns: ok
%include "lm64.inc"
S equ STACK0 - 0x800

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    mov esp, S
    push rsp                            ; the old value
    EXPECT qword [S - 8], S
    EXPECT rsp, S - 8
    mov qword [rsp], 0x6100
    pop rsp                             ; what was popped, not what it was popped from plus 8
    EXPECT rsp, 0x6100
    mov esp, S
    mov qword [S], 0x1111
    mov qword [S + 8], 0x2222
    mov qword [S + 16], 0x3333
    pop qword [rsp]                     ; addressed by the RSP after the pop
    EXPECT qword [S + 8], 0x1111
    EXPECT rsp, S + 8
    pop qword [rsp + 8]
    EXPECT qword [S + 24], 0x1111
    EXPECT rsp, S + 16
    push qword [rsp + 8]                ; addressed by the RSP before the push
    EXPECT qword [S + 8], 0x1111
    EXPECT rsp, S + 8
    mov esp, S
    push sp
    EXPECT word [S - 2], S
    EXPECT rsp, S - 2
    mov word [rsp], 0x6200
    pop sp
    EXPECT rsp, 0x6200
    AGAIN
    mov esp, S
    CLAIM "PUSH and POP of RSP and its memory"

    REPEATEDLY
    mov esp, S
    mov qword [S], 0x6300
    mov rsp, [rsp]
    EXPECT rsp, 0x6300
    mov esp, S
    mov eax, 0x6400
    xchg rsp, rax
    EXPECT rsp, 0x6400
    EXPECT rax, S
    mov esp, S
    mov eax, 0x40
    lea rsp, [rsp + rax * 2]
    EXPECT rsp, S + 0x80
    lea esp, [rsp - 0x80]
    EXPECT rsp, S
    movnti [rsp], esp
    EXPECT dword [S], S
    add rsp, rsp
    EXPECT rsp, S * 2
    mov esp, S
    mov edx, 3
    mulx rsp, rbx, rsp                  ; high half, low half: of RDX * RSP
    EXPECT rsp, 0
    EXPECT rbx, S * 3
    mov esp, S
    bswap rsp
    bswap rsp
    xadd rsp, rdx
    EXPECT rsp, S + 3
    EXPECT rdx, S
    mov esp, S
    mov spl, 0x55                       ; REX names SPL where AH was
    EXPECT rsp, S + 0x55
    mov esp, S
    mov qword [S - 8], 0x6500
    cmp esp, S
    cmove rsp, [rsp - 8]
    EXPECT rsp, 0x6500
    imul rsp, rsp, 1
    neg rsp
    not rsp
    inc rsp
    EXPECT rsp, 0x6500
    AGAIN
    mov esp, S
    CLAIM "moves and arithmetic"

    REPEATEDLY
    mov esp, S
    mov ebp, S - 0x100
    mov qword [rbp], 0x77
    leave
    EXPECT rsp, S - 0xF8
    EXPECT rbp, 0x77
    mov esp, S
    mov rbp, 0x5A5A5A5A00000000 | (S + 0x40)
    push rbp
    pop rbp
    mov ebp, S + 0x40
    mov qword [S + 0x38], 0xA1          ; the frame pointers of the two outer levels
    mov qword [S + 0x30], 0xA2
    enter 8, 3
    EXPECT rbp, S - 8
    EXPECT rsp, S - 0x28
    EXPECT qword [S - 8], S + 0x40
    EXPECT qword [S - 0x10], 0xA1
    EXPECT qword [S - 0x18], 0xA2
    EXPECT qword [S - 0x20], S - 8
    mov esp, S
    mov ebp, 0x1234
    enter 0x20, 0
    EXPECT rbp, S - 8
    EXPECT rsp, S - 0x28
    EXPECT qword [S - 8], 0x1234
    o16 enter 2, 0                      ; RBP := low half only
    EXPECT rsp, S - 0x2C
    EXPECT rbp, S - 0x2A
    AGAIN
    mov esp, S
    CLAIM "LEAVE and ENTER"

    REPEATEDLY
    mov esp, S
    mov qword [S], .target
    call [rsp]                          ; addressed before the push
.behind:
    EXPECT rsp, S
    call .target2
.behind2:
    EXPECT rsp, S + 16
    AGAIN
    mov esp, S
    CLAIM "calls and returns"
    jmp finish
.target:
    EXPECT rsp, S - 8
    EXPECT qword [rsp], .behind
    ret
.target2:
    ret 16
