; Flags and results that the manual leaves undefined are those that docs/x86/undefined.md promises, in every engine: a run may
; change the engine at any instruction.
;
; Pitfalls: C8
;
; limit: 40000000
; expect: bit_scan_of_zero: ok
; expect: multiplication: ok
; expect: division: ok
; expect: shifts_beyond: ok
; expect: double_shifts_beyond: ok
; expect: logic_and_bit_tests: ok
; expect: counting_zeros: ok
; expect: shifts_by_a_register: ok
; expect: multiplication_of_registers: ok
%include "lm64.inc"

; %1.. begins with these flags and leaves those.
%macro LEAVES 3+                        ; before, after, instruction
    push qword %1
    popfq
    %3
    pushfq
    pop rdx
    EXPECT edx, %2
%endmacro
; Shifts or rotates by CL, and by one as often as CL says: AF is 1 behind a shift, all else the same.
%macro BY_COUNT 4                       ; instruction, operand, the whole register, AF
    mov %3, [value]
    mov ecx, [count]
    mov r8d, [round]
    and r8d, 0x8D5
    push r8
    popfq
    %1 %2, cl
    pushfq
    pop r9
    mov r10, %3
    mov %3, [value]
    and ecx, (%2_BITS == 64) * 32 + 31
%if %2_BITS == 32
    mov %2, %2                          ; the upper half, by 0, too
%endif
    push r8
    popfq
    jrcxz %%same
%%once_more:
    %1 %2, 1
    lea rcx, [rcx - 1]
    jrcxz %%shifted
    jmp %%once_more
%%shifted:
    pushfq
    pop r8
    and r8d, ~0x10 | (1 - %4) * 0x10
    or r8d, %4 * 0x10
    jmp %%compare
%%same:
    pushfq
    pop r8
%%compare:
    EXPECT r9d, r8d
    EXPECT r10, %3
%endmacro
%macro BY_ALL_COUNTS 2
    BY_COUNT shl, %1, %2, 1
    BY_COUNT shr, %1, %2, 1
    BY_COUNT sar, %1, %2, 1
    BY_COUNT rol, %1, %2, 0
    BY_COUNT ror, %1, %2, 0
%endmacro
eax_BITS equ 32
rax_BITS equ 64
ax_BITS equ 16
al_BITS equ 8
ah_BITS equ 8
r14d_BITS equ 32
r15_BITS equ 64
r13b_BITS equ 8
ALL equ 0x8D7
NO  equ 0x002

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    xor ecx, ecx
    mov rax, -1
    LEAVES ALL, 0x046, {bsf eax, ecx}   ; ZF; PF of 0
    EXPECT rax, -1
    LEAVES NO, 0x046, {bsr rax, rcx}
    EXPECT rax, -1
    LEAVES ALL, 0x046, {bsf ax, cx}
    EXPECT rax, -1
    mov ecx, 0x30
    LEAVES ALL, 0x002, {bsf eax, ecx}   ; 4: one bit set, PF = 0
    EXPECT eax, 4
    LEAVES ALL, 0x006, {bsr eax, ecx}   ; 5
    EXPECT eax, 5
    AGAIN
    CLAIM "bit_scan_of_zero"

    REPEATEDLY
    mov eax, 3
    mov ecx, 5
    LEAVES ALL, 0x0D6, {imul eax, ecx}  ; CF = OF = 0, the others as they were
    LEAVES NO, 0x002, {imul eax, ecx}
    mov eax, 0x40000000
    LEAVES NO, 0x803, {imul eax, eax, 4}
    mov al, 0x7F
    LEAVES ALL, 0x8D7, {imul al}
    mov rax, -1
    mov rcx, rax
    LEAVES NO, 0x803, {mul rcx}
    mov eax, 2
    mov ecx, 3
    LEAVES ALL, 0x0D6, {mul ecx}
    AGAIN
    CLAIM "multiplication"

    REPEATEDLY
    mov eax, 100
    xor edx, edx
    mov ecx, 7
    push qword ALL
    popfq
    div ecx
    pushfq
    pop rdi
    EXPECT edi, 0x813                   ; CF, OF stay; AF = 1
    EXPECT eax, 14
    mov ax, -100
    mov cl, 7
    push qword NO
    popfq
    idiv cl
    pushfq
    pop rdi
    EXPECT edi, 0x012
    EXPECT ax, 0xFEF2
    AGAIN
    CLAIM "division"

    REPEATEDLY
    mov eax, 0x81
    LEAVES NO, 0x012 | 0x044, {shl al, 9}      ; CF = 0 beyond; AF = 1; result 0
    mov eax, 0xC0
    LEAVES NO, 0x093, {shl al, 1}   ; 80h: OF = CF xor msb = 0, SF
    mov eax, 0x60
    LEAVES NO, 0x896, {shl al, 1}   ; C0h: OF = 1
    mov eax, 0x80
    LEAVES NO, 0x012 | 0x800, {shr al, 1}       ; 40h: OF = msb before
    mov eax, 0x80
    LEAVES NO, 0x012, {shr al, 2}               ; 20h: 0 for counts above 1
    mov eax, 0x81
    LEAVES ALL, 0x097, {sar al, 9}             ; FFh: CF = 1, PF, SF, AF
    mov eax, 0x41
    LEAVES NO, 0x802, {rol al, 9}              ; 82h, CF = 0: OF = CF xor msb
    EXPECT eax, 0x82
    mov eax, 0x41
    LEAVES ALL, 0x8D7, {ror al, 9}             ; A0h, CF = 1, OF = msb xor next
    EXPECT eax, 0xA0
    mov eax, 0x40
    LEAVES ALL, 0x8D7, {rcl al, 9}             ; as it was, OF = CF xor msb
    mov eax, 0xC0
    LEAVES NO, 0x002, {rcr al, 9}   ; OF = msb xor next
    AGAIN
    CLAIM "shifts_beyond"

    REPEATEDLY
    mov eax, 0x1234
    mov ebx, 0x8765
    LEAVES NO, 0x012, {shld ax, bx, 20}
    EXPECT eax, 0x7658                          ; BX rotated left by 4
    mov eax, 0x1234
    mov ebx, 0x8765
    LEAVES NO, 0x812, {shrd ax, bx, 20}
    EXPECT eax, 0x5876
    mov eax, 0x40000000
    mov ebx, 0
    LEAVES NO, 0x896, {shld eax, ebx, 1}        ; 80000000h: OF, SF, PF, AF
    AGAIN
    CLAIM "double_shifts_beyond"

    REPEATEDLY
    mov eax, 0x0F
    mov ecx, 0x05
    LEAVES ALL, 0x006, {and eax, ecx}           ; AF = 0
    LEAVES ALL, 0x006, {or eax, ecx}
    LEAVES ALL, 0x046, {xor eax, eax}
    LEAVES ALL, 0x006, {test ecx, ecx}
    mov eax, 4
    LEAVES ALL, 0x8D7, {bt eax, 2}
    LEAVES NO, 0x003, {btr eax, 2}
    LEAVES ALL, 0x8D6, {bts eax, 2}
    LEAVES NO, 0x003, {btc eax, 2}
    mov eax, 0x0F
    mov ecx, 0xF0
    LEAVES ALL, 0x006, {andn eax, eax, ecx}     ; F0h
    mov ecx, 0x30
    LEAVES ALL, 0x002, {blsr eax, ecx}          ; 20h: PF of the result
    LEAVES ALL, 0x003, {blsi eax, ecx}            ; CF: the source is not 0
    LEAVES ALL, 0x002, {blsmsk eax, ecx}    ; 1Fh
    mov ebx, 0x0404
    LEAVES ALL, 0x016, {bextr eax, ecx, ebx}    ; 3: AF = 1
    AGAIN
    CLAIM "logic_and_bit_tests"

    REPEATEDLY
    xor ecx, ecx
    LEAVES ALL, 0x803, {tzcnt eax, ecx}         ; CF, OF stays
    EXPECT eax, 32
    LEAVES NO, 0x003, {lzcnt rax, rcx}
    EXPECT eax, 64
    mov ecx, 1
    LEAVES ALL, 0x842, {tzcnt eax, ecx}         ; ZF
    AGAIN
    CLAIM "counting_zeros"

    REPEATEDLY                          ; as if by one at a time, and AF
    mov eax, [round]
    imul eax, eax, 0x9E3779B1
    shr eax, 7
    mov [count], al
    mov rcx, 0x9E3779B97F4A7C15
    imul rcx, [value]
    add rcx, rax
    mov [value], rcx
    BY_ALL_COUNTS eax, rax
    BY_ALL_COUNTS rax, rax
    BY_ALL_COUNTS ax, rax
    BY_ALL_COUNTS al, rax
    BY_ALL_COUNTS ah, rax
    BY_ALL_COUNTS r14d, r14
    BY_ALL_COUNTS r15, r15
    BY_ALL_COUNTS r13b, r13
    AGAIN
    CLAIM "shifts_by_a_register"

    REPEATEDLY                          ; SF, ZF, AF and PF stay, whichever register has the product
    mov r14, [value]
    mov ecx, [round]
    mov eax, 0x8D7
    test ecx, 1
    jz .flags
    mov eax, 0x002
.flags:
    push rax
    popfq
    imul r14, rcx
    pushfq
    pop rbx
    mov edx, eax
    and edx, 0xD6
    imul rcx, [value]                   ; a product of 64 bits that overflows: CF = OF
    jno .fits
    or edx, 0x801
.fits:
    mov rcx, [round]
    EXPECT ebx, edx
    mov rcx, 0x9E3779B97F4A7C15
    imul rcx, [value]
    shr rcx, 3
    mov [value], rcx
    AGAIN
    CLAIM "multiplication_of_registers"
    jmp finish

count: dd 0
align 8
value: dq 0x123456789ABCDEF1
