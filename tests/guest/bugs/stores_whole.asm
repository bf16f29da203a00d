; A store over a page end whose second page says no has not written the first one, and the instruction has changed nothing
; else. But stores of 80 bits are two, of eight bytes and of two, and MASKMOVDQU's are two of eight bytes, the upper one first: so
; do processors (Intel's of family 6, model 207).
;
; limit: 200000000
; expect: integer stores: ok
; expect: vector stores: ok
; expect: stores by quadwords: ok
; expect: x87 stores: ok
; expect: stores of 80 bits are two: ok
; expect: system stores: ok
; expect: states of 512 bytes: ok
%include "lm64.inc"
PASSES equ 130                  ; each at several distances

; %1 = bytes, %2.. = the store to [rdi]. At every distance from the page end, into an absent page and into a read-only one.
%macro STORE 2+
    mov r12d, 0x204000          ; absent
    call %%each
    mov r12d, 0x201000          ; read-only
    call %%each
    jmp %%over
%%each:
    mov r13d, 1                 ; bytes in the first page
%%distance:
    call paint
    mov edi, r12d
    sub edi, r13d
    mov [was_rdi], rdi
    call set_registers
    mov dword [f_vector], -1
    mov dword [resume], %%after
%%insn:
    %2
%%after:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], %%insn
    EXPECT [f_cr2], r12
    EXPECT rdi, [was_rdi]
    call still_painted
    inc r13d
    cmp r13d, %1
    jb %%distance
    ret
%%over:
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    fninit
    fld1
    fldpi
    mov dword [passes], PASSES
.integer:
    STORE 2, mov [rdi], ax
    STORE 4, mov [rdi], eax
    STORE 8, mov [rdi], rax
    STORE 8, movnti [rdi], rax
    STORE 8, movbe [rdi], rax
    STORE 8, xchg [rdi], rax
    STORE 8, add [rdi], rax
    STORE 8, lock xadd [rdi], rax
    STORE 8, not qword [rdi]
    STORE 8, shl qword [rdi], 3
    STORE 8, lock cmpxchg [rdi], rcx
    STORE 8, stosq
    dec dword [passes]
    jnz .integer
    EXPECT rax, [pattern]       ; of the exchanges and of XADD none has happened
    CLAIM "integer stores"
    movq mm1, [ones]
    emms
    mov dword [passes], PASSES
.vector:
    STORE 16, movups [rdi], xmm0
    STORE 16, movdqu [rdi], xmm0
    STORE 8, movq [rdi], xmm0
    STORE 8, movhps [rdi], xmm0
    STORE 8, movlpd [rdi], xmm0
    STORE 4, movss [rdi], xmm0
    STORE 8, pextrq [rdi], xmm0, 1
    STORE 8, maskmovq mm0, mm1
    emms
    dec dword [passes]
    jnz .vector
    CLAIM "vector stores"
    mov dword [passes], PASSES
    mov r12d, 0x204000
.quadwords:
    mov r13d, 1
.quadwords_at:
    call paint
    mov edi, r12d
    sub edi, r13d
    call set_registers
    FAULTS 14, 2, {maskmovdqu xmm0, xmm1}
    lea rax, [rdi + 8]
    cmp rax, r12
    cmovb rax, r12
    EXPECT [f_cr2], rax         ; of the upper one
    call still_painted
    inc r13d
    cmp r13d, 16
    jb .quadwords_at
    dec dword [passes]
    jnz .quadwords
    CLAIM "stores by quadwords"
    fninit
    fld1
    fldpi
    fnstenv [env]
    mov dword [passes], PASSES
.x87:
    STORE 4, fst dword [rdi]
    STORE 8, fstp qword [rdi]
    STORE 8, fstp tword [rdi]
    STORE 8, fbstp [rdi]
    STORE 8, fistp qword [rdi]
    STORE 8, fisttp qword [rdi]
    STORE 28, fnstenv [rdi]
    STORE 94, fnsave [rdi]
    dec dword [passes]
    jnz .x87
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, 6 << 11         ; nothing was popped or initialized
    fnstcw [env]
    EXPECT word [env], 0x37F
    CLAIM "x87 stores"
    fninit
    fldpi
    mov dword [passes], PASSES
    mov r12d, 0x204000
.two:
    mov r13d, 8
    call paint
    FAULTS 14, 2, {fstp tword [r12 - 8]}
    EXPECT [f_cr2], r12
    mov rax, 0xC90FDAA22168C235
    EXPECT [r12 - 8], rax       ; the significand is there
    mov r13d, 9
    call paint
    FAULTS 14, 2, {fstp tword [r12 - 9]}
    EXPECT [f_cr2], r12
    mov rax, 0xC90FDAA22168C235
    EXPECT [r12 - 9], rax
    EXPECT byte [r12 - 1], 0x5A
    mov r13d, 8
    call paint
    FAULTS 14, 2, {fbstp [r12 - 8]}
    EXPECT qword [r12 - 8], 3
    dec dword [passes]
    jnz .two
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, 7 << 11         ; nothing was popped
    CLAIM "stores of 80 bits are two"
    fninit
    mov dword [passes], PASSES
.system:
    STORE 10, sgdt [rdi]
    STORE 10, sidt [rdi]
    STORE 4, stmxcsr [rdi]
    STORE 2, mov [rdi], ss
    dec dword [passes]
    jnz .system
    CLAIM "system stores"
    ; FXSAVE and XSAVE demand alignment, so only some distances exist.
    mov dword [passes], PASSES
    mov r12d, 0x204000
    mov rax, cr4
    or eax, 0x40000             ; OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
.every_state:
    mov r13d, 64
.states:
    call paint
    mov edi, r12d
    sub edi, r13d
    FAULTS 14, 2, fxsave [rdi]
    EXPECT [f_cr2], r12
    call still_painted
    mov eax, 3
    xor edx, edx
    mov dword [f_vector], -1
    mov dword [resume], .xsaved
    xsave [rdi]
.xsaved:
    EXPECT dword [f_vector], 14
    and dword [f_cr2], ~0xFFF            ; (it may read its header first)
    EXPECT [f_cr2], r12
    call still_painted
    add r13d, 64
    cmp r13d, 512
    jb .states
    dec dword [passes]
    jnz .every_state
    CLAIM "states of 512 bytes"
    jmp finish

passes:   dd 0
was_rdi: dq 0
pattern: dq 0x1122334455667788
ones:    dq -1, -1
env:     times 32 db 0

set_registers:
    mov rax, [pattern]
    mov rcx, rax
    movups xmm0, [ones]
    movups xmm1, [ones]
    ret
; The last R13 bytes before R12 become 5Ah.
paint:
    mov edi, r12d
    sub edi, r13d
    mov ecx, r13d
    mov al, 0x5A
    rep stosb
    ret
still_painted:
    mov edi, r12d
    sub edi, r13d
    mov ecx, r13d
    mov al, 0x5A
    repe scasb
    mov eax, 1
    mov edx, 0
    cmovne eax, edx
    EXPECT eax, 1
    mov rax, [pattern]
    ret
