; Shifts and rotates by all counts from 0 to 255, in all widths: the result and the flags are those of as many steps of one
; bit as the masked count says; a count of 0 leaves all flags alone. SDM Vol. 2B, "SAL/SAR/SHL/SHR-Shift",
; "RCL/RCR/ROL/ROR-Rotate", "SHLD-Double Precision Shift Left". What a count leaves undefined (AF of shifts, OF of counts above
; 1) is not looked at here.
;
; Pitfalls: C2 C3
;
; limit: 120000000
; expect: rotates_through_carry: ok
; expect: rotates: ok
; expect: shifts: ok
; expect: memory_operands: ok
; expect: double_shifts: ok
; expect: immediate_counts: ok
; expect: flagless_shifts: ok
%include "lm64.inc"
M equ 0x202100

CF equ 1
PF equ 4
AF equ 0x10
ZF equ 0x40
SF equ 0x80
OF equ 0x800

; %1 = operation, %2 = operand ("A register" or memory [M]), %3 = bits, %4 = 1: rotate (AF, SF, ZF, PF unchanged).
; For each count, for the value and the flags that belong to it.
%macro ALL_COUNTS 4
    xor r12d, r12d
%%count:
    mov ecx, r12d
    and ecx, 3
    mov r13, [values + rcx * 8]
    mov r14d, 0x002
    mov edx, 0x8D7
    bt r12d, 2
    cmovc r14d, edx
    ; one bit at a time
    mov rax, r13
    mov [M], rax
%if %3 == 32
    mov eax, eax
%endif
    mov r15d, r14d
    mov r9d, r12d
%if %3 == 64
    and r9d, 63
%else
    and r9d, 31
%endif
    mov r8d, r9d
    jz %%no_more
%%one:
    push r15
    popfq
    %1 %2, 1
    pushfq
    pop r15
    dec r8d
    jnz %%one
%%no_more:
    mov r10, rax
    mov r11, [M]
    mov edi, CF | PF | ZF | SF
%if %4
    or edi, AF
%endif
    mov edx, OF
    cmp r9d, 1
    cmovbe r8d, edx
    or edi, r8d
    mov edx, AF
    cmp r9d, 0
    cmove r8d, edx
    or edi, r8d
    and r15d, edi
    ; at once, three times: all flags, single flags, the result alone
    mov rax, r13
    mov [M], rax
    mov ecx, r12d
    push r14
    popfq
    %1 %2, cl
    pushfq
    pop rdx
    and edx, edi
    EXPECT edx, r15d
    EXPECT rax, r10
    EXPECT [M], r11
    mov rax, r13
    mov [M], rax
    push r14
    popfq
    %1 %2, cl
    setc bl
    setz bh
    sets dl
    setp dh
    movzx r8d, bl
    EXPECT rax, r10
    xor eax, eax
    bt r15d, 0
    setc al
    EXPECT bl, al
    bt r15d, 6
    setc al
    EXPECT bh, al
    bt r15d, 7
    setc al
    EXPECT dl, al
    bt r15d, 2
    setc al
    EXPECT dh, al
    mov rax, r13
    mov [M], rax
    push r14
    popfq
    %1 %2, cl
    mov rdx, rax
    cmp rdx, r10
    EXPECT rax, r10
    inc r12d
    cmp r12d, 256
    jb %%count
%endmacro
; The four widths.
%macro WIDTHS 2
    ALL_COUNTS %1, al, 8, %2
    ALL_COUNTS %1, ax, 16, %2
    ALL_COUNTS %1, eax, 32, %2
    ALL_COUNTS %1, rax, 64, %2
%endmacro

; %1 = SHLD or SHRD, %2, %3 = registers, %4 = bits: bits move from R8's copy.
%macro DOUBLE 4
    xor r12d, r12d
%%count:
    mov ecx, r12d
    and ecx, 3
    mov r13, [values + rcx * 8]
    mov r14d, 0x002
    mov edx, 0x8D7
    bt r12d, 2
    cmovc r14d, edx
    mov rax, r13
    mov rbx, 0x123456789ABCDEF5
    mov r15d, r14d
    mov r8d, r12d
%if %4 == 64
    and r8d, 63
%else
    and r8d, 31
%endif
    mov r9d, r8d
%if %4 == 32
    mov eax, eax
%endif
    test r8d, r8d
    jz %%no_more
%%one:
%ifidn %1, shld
    add %3, %3
    rcl %2, 1
%else
    shr %3, 1
    rcr %2, 1
%endif
    pushfq
    pop r15
    dec r8d
    jnz %%one
    test %2, %2                         ; SF, ZF, PF of the result
    pushfq
    pop rdx
    and edx, SF | ZF | PF
    and r15d, CF
    or r15d, edx
%%no_more:
    mov edi, CF | PF | ZF | SF
    mov edx, edi
    or edx, OF | AF
    cmp r9d, 0
    cmove edi, edx
    and r15d, edi
    mov r10, rax
    mov rax, r13
    mov rbx, 0x123456789ABCDEF5
    mov ecx, r12d
    cmp r9d, %4
    ja %%undefined
    push r14
    popfq
    %1 %2, %3, cl
    pushfq
    pop rdx
    and edx, edi
    EXPECT edx, r15d
    EXPECT rax, r10
    mov rdx, 0x123456789ABCDEF5
    EXPECT rbx, rdx
%%undefined:
    inc r12d
    cmp r12d, 256
    jb %%count
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [passes], 4
.pass:
    WIDTHS rcl, 1
    WIDTHS rcr, 1
    call rotate_values
    dec dword [passes]
    jnz .pass
    CLAIM "rotates_through_carry"
    mov dword [passes], 4
.pass_2:
    WIDTHS rol, 1
    WIDTHS ror, 1
    call rotate_values
    dec dword [passes]
    jnz .pass_2
    CLAIM "rotates"
    mov dword [passes], 4
.pass_3:
    WIDTHS shl, 0
    WIDTHS shr, 0
    WIDTHS sar, 0
    call rotate_values
    dec dword [passes]
    jnz .pass_3
    CLAIM "shifts"
    mov dword [passes], 4
.pass_4:
    ALL_COUNTS rcl, {byte [M]}, 8, 1
    ALL_COUNTS rcr, {word [M]}, 16, 1
    ALL_COUNTS sar, {dword [M]}, 33, 0
    ALL_COUNTS shl, {qword [M]}, 64, 0
    call rotate_values
    dec dword [passes]
    jnz .pass_4
    CLAIM "memory_operands"
    mov dword [passes], 4
.pass_5:
    DOUBLE shld, ax, bx, 16
    DOUBLE shld, eax, ebx, 32
    DOUBLE shld, rax, rbx, 64
    DOUBLE shrd, ax, bx, 16
    DOUBLE shrd, eax, ebx, 32
    DOUBLE shrd, rax, rbx, 64
    call rotate_values
    dec dword [passes]
    jnz .pass_5
    CLAIM "double_shifts"

    REPEATEDLY
    mov r13, [values]
    mov r14d, 0x002
    mov edx, 0x8D7
    bt dword [round], 0
    cmovc r14d, edx
    call immediates
    call rotate_values
    AGAIN
    CLAIM "immediate_counts"

    REPEATEDLY
    mov r13, [values]
    mov r12d, [round]
    push qword 0x8D7
    popfq
    shlx rax, r13, r12
    shrx rbx, r13, r12
    sarx r8, r13, r12
    sarx r9d, r13d, r12d
    rorx r10, r13, 13
    pushfq
    pop rdi
    EXPECT edi, 0x8D7
    mov ecx, r12d
    mov rdx, r13
    shl rdx, cl
    EXPECT rax, rdx
    mov rdx, r13
    shr rdx, cl
    EXPECT rbx, rdx
    mov rdx, r13
    sar rdx, cl
    EXPECT r8, rdx
    mov edx, r13d
    sar edx, cl
    EXPECT r9, rdx
    mov rdx, r13
    ror rdx, 13
    EXPECT r10, rdx
    call rotate_values
    AGAIN
    CLAIM "flagless_shifts"
    jmp finish

passes: dd 0
values: dq 0x8123456789ABCDE7, 0x7EDCBA9876543218, 0x00000001800080FF, 0xFFFFFFFF7FFF7F00
rotate_values:
    imul rax, [values], 69069
    inc rax
    rol rax, 11
    mov [values], rax
    imul rax, [values + 8], 69069
    inc rax
    ror rax, 5
    mov [values + 8], rax
    ret

%macro COMPARE_FORMS 3                  ; operation, register, count
    mov rax, r13
    mov ecx, %3
    push r14
    popfq
    %1 %2, cl
    pushfq
    pop rdi
    mov r10, rax
    mov rax, r13
    push r14
    popfq
    %1 %2, %3
    pushfq
    pop rdx
    EXPECT rax, r10
    EXPECT edx, edi
%endmacro
immediates:
%macro COUNTS 2
    call %%do
    jmp %%over
%%do:
    COMPARE_FORMS %1, %2, 0
    COMPARE_FORMS %1, %2, 8
    COMPARE_FORMS %1, %2, 9
    COMPARE_FORMS %1, %2, 17
    COMPARE_FORMS %1, %2, 31
    COMPARE_FORMS %1, %2, 32
    COMPARE_FORMS %1, %2, 65
    ret
%%over:
%endmacro
    COUNTS rcl, al
    COUNTS rcr, ax
    COUNTS rcl, eax
    COUNTS rol, ax
    COUNTS ror, rax
    COUNTS shl, al
    COUNTS shr, eax
    COUNTS sar, rax
    ret
