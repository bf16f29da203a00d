; One frame of code at two linear addresses: what depends on RIP follows the address it runs at, by turns and while hot.
;
; limit: 3000000
; expect: RIP-relative operands: ok
; expect: branches and calls: ok
; expect: faults: ok
%include "lm64.inc"
FIRST   equ 0x240000
SECOND  equ 0x2C0000

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x301007
    mov dword [PT + 8 * 0xC0], 0x300007
    mov dword [PT + 8 * 0xC1], 0x302007 ; the page behind is another one
    mov esi, sample
    mov edi, FIRST
    mov ecx, sample_end - sample
    rep movsb
    mov dword [FIRST + 0x1000], 0x1111
    mov dword [SECOND + 0x1000], 0x2222
%macro BOTH 1
    mov ebp, FIRST
    mov r14d, 0x1111
    call %1
    mov ebp, SECOND
    mov r14d, 0x2222
    call %1
%endmacro
    REPEATEDLY
    BOTH .relative
    AGAIN
    CLAIM "RIP-relative operands"
    REPEATEDLY
    BOTH .branches
    AGAIN
    CLAIM "branches and calls"
    REPEATEDLY
    BOTH .faults
    AGAIN
    CLAIM "faults"
    jmp finish

.relative:
    lea rax, [rbp + relative - sample]
    call rax
    EXPECT rbx, rbp
    EXPECT ecx, r14d
    ret
.branches:
    lea rax, [rbp + branches - sample]
    call rax
    lea rdx, [rbp + pushed - sample]
    EXPECT rbx, rdx
    ret
.faults:
    mov dword [f_vector], -1
    lea rax, [rbp + faulty - sample]
    mov dword [resume], .back
    mov [f_rsp], rsp
    jmp rax
.back:
    lea rdx, [rbp + faulty - sample]
    EXPECT [f_rip], rdx
    EXPECT dword [f_vector], 6
    ret

sample:
relative:
    lea rbx, [rel sample]
    mov ecx, [rel sample + 0x1000]
    cmp ecx, [rel sample + 0x1000]
    ret
branches:
    call near inside
pushed:
    jmp short outside
inside:
    mov rbx, [rsp]
    jmp near onward
    ud2
onward:
    ret
outside:
    ret
faulty:
    ud2
sample_end:
