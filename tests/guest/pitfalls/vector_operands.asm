; The order of operands counts: MAX, MIN and comparisons with NaNs and both zeros; alignment is asked of legacy operands of 16 bytes
; and of the aligned moves, and of nothing else; masked accesses touch what their mask says. SDM Vol. 2, the instructions' pages;
; Vol. 2A, "Exception Classes"; Vol. 1, "Memory Alignment" of AVX.
;
; Pitfalls: G6 G9 G11
;
; limit: 120000000
; expect: maximum_and_minimum_of_NaNs_and_zeros: ok
; expect: comparisons_of_NaNs: ok
; expect: legacy_operands_are_aligned: ok
; expect: unaligned_forms_are_not: ok
; expect: aligned_VEX_moves_are: ok
; expect: masked_loads_and_stores: ok
; expect: masked_byte_stores: ok
; expect: gathers_touch_what_the_mask_says: ok
%include "lm64.inc"
M       equ 0x202000
END     equ 0x204000                    ; absent from here on

; The low lane of xmm1 after the instruction is %1; xmm1 and xmm2 are set anew from [first] and [second].
%macro GIVES 2+
    movss xmm1, [first]
    movss xmm2, [second]
    %2
    movd eax, xmm1
    EXPECT eax, %1
%endmacro
%macro OPERANDS 2
    mov dword [first], %1
    mov dword [second], %2
%endmacro
QNAN equ 0x7FC01234
QNA2 equ 0x7FC05678
NEG0 equ 0x80000000
ONE  equ 0x3F800000
; MAX and MIN give the second operand if either is a NaN or both are zeros, in all forms.
%macro ALL_FORMS 3                      ; name, expected, expected with operands exchanged
    mov r12d, %2
    mov r13d, %3
    GIVES r12d, {%1ss xmm1, xmm2}
    GIVES r12d, {%1ss xmm1, [second]}
    GIVES r12d, {%1ps xmm1, xmm2}
    GIVES r12d, {%1ps xmm1, [second]}
    GIVES r12d, {v%1ss xmm1, xmm1, xmm2}
    GIVES r12d, {v%1ps xmm1, xmm1, [second]}
    GIVES r13d, {v%1ss xmm1, xmm2, xmm1}
    GIVES r13d, {v%1ps xmm1, xmm2, xmm1}
    GIVES r13d, {v%1ps xmm1, xmm2, [first]}
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7

    REPEATEDLY
    OPERANDS QNAN, ONE
    ALL_FORMS max, ONE, QNAN
    ALL_FORMS min, ONE, QNAN
    ALL_FORMS add, QNAN, QNAN
    OPERANDS ONE, QNAN
    ALL_FORMS max, QNAN, ONE
    ALL_FORMS min, QNAN, ONE
    OPERANDS QNAN, QNA2
    ALL_FORMS max, QNA2, QNAN
    ALL_FORMS add, QNAN, QNA2           ; the first of two NaNs
    ALL_FORMS mul, QNAN, QNA2
    OPERANDS 0, NEG0
    ALL_FORMS max, NEG0, 0
    ALL_FORMS min, NEG0, 0
    OPERANDS NEG0, 0
    ALL_FORMS max, 0, NEG0
    ALL_FORMS min, 0, NEG0
    OPERANDS 0x40000000, ONE
    ALL_FORMS sub, ONE, 0xBF800000
    ALL_FORMS div, 0x40000000, 0x3F000000
    AGAIN
    CLAIM "maximum_and_minimum_of_NaNs_and_zeros"

    REPEATEDLY
    OPERANDS ONE, QNAN
    GIVES 0, {cmpltss xmm1, xmm2}
    GIVES -1, {cmpnltss xmm1, xmm2}
    GIVES -1, {cmpunordss xmm1, [second]}
    GIVES 0, {cmpordss xmm1, xmm2}
    GIVES 0, {cmpeqps xmm1, xmm2}
    GIVES -1, {cmpneqps xmm1, [second]}
    GIVES 0, {vcmpgess xmm1, xmm1, xmm2}
    GIVES -1, {vcmpngess xmm1, xmm1, xmm2}
    OPERANDS ONE, 0x40000000
    GIVES -1, {cmpltss xmm1, xmm2}
    GIVES -1, {cmpltps xmm1, [second]}
    GIVES 0, {vcmpltss xmm1, xmm2, xmm1}
    GIVES -1, {vcmpgtss xmm1, xmm2, xmm1}
    GIVES 0, {vcmpgtps xmm1, xmm1, [second]}
    movss xmm1, [first]
    comiss xmm1, [second]
    setb al
    EXPECT al, 1
    OPERANDS QNAN, ONE
    movss xmm1, [first]
    ucomiss xmm1, [second]
    setp al
    setz ah
    setc bl
    EXPECT ax, 0x0101
    EXPECT bl, 1
    AGAIN
    CLAIM "comparisons_of_NaNs"

%macro MISALIGNED 1+                    ; at RDI: 8 bytes off inside a page, and over a page end
    mov edi, M + 0x108
    FAULTS 13, 0, {%1}
    mov edi, M + 0x1000 - 8
    FAULTS 13, 0, {%1}
    mov edi, M + 0x110
    WORKS %1
%endmacro
    REPEATEDLY
    MISALIGNED movaps xmm0, [rdi]
    MISALIGNED movdqa [rdi], xmm0
    MISALIGNED movntps [rdi], xmm0
    MISALIGNED movntdqa xmm0, [rdi]
    MISALIGNED addps xmm0, [rdi]
    MISALIGNED paddd xmm0, [rdi]
    MISALIGNED pshufb xmm0, [rdi]
    MISALIGNED cvtdq2ps xmm0, [rdi]
    MISALIGNED shufps xmm0, [rdi], 0
    MISALIGNED aesenc xmm0, [rdi]
    MISALIGNED ptest xmm0, [rdi]
    MISALIGNED psllw xmm0, [rdi]
    mov edi, END - 8                    ; misaligned and absent: what is asked first is alignment
    FAULTS 13, 0, {movaps xmm0, [rdi]}
    AGAIN
    CLAIM "legacy_operands_are_aligned"

%macro ANYWHERE 1+
    mov edi, M + 0x101
    WORKS %1
    mov edi, M + 0x1000 - 3
    WORKS %1
%endmacro
    REPEATEDLY
    ANYWHERE movups xmm0, [rdi]
    ANYWHERE movdqu [rdi], xmm0
    ANYWHERE lddqu xmm0, [rdi]
    ANYWHERE movsd xmm0, [rdi]
    ANYWHERE addsd xmm0, [rdi]
    ANYWHERE pcmpestri xmm0, [rdi], 0
    ANYWHERE pmovzxbw xmm0, [rdi]
    ANYWHERE vaddps xmm0, xmm0, [rdi]
    ANYWHERE vpaddd ymm0, ymm0, [rdi]
    ANYWHERE vpshufb xmm0, xmm0, [rdi]
    ANYWHERE vcvtdq2ps ymm0, [rdi]
    ANYWHERE vmovups [rdi], ymm0
    ANYWHERE vaesenc xmm0, xmm0, [rdi]
    ANYWHERE movnti [rdi], rax
    ANYWHERE movq mm0, [rdi]
    ANYWHERE paddb mm0, [rdi]
    emms
    AGAIN
    CLAIM "unaligned_forms_are_not"

    REPEATEDLY
    MISALIGNED vmovaps xmm0, [rdi]
    MISALIGNED vmovdqa [rdi], xmm0
    MISALIGNED vmovntpd [rdi], xmm0
    MISALIGNED vmovntdqa xmm0, [rdi]
    mov edi, M + 0x110                  ; 32 are asked of YMM
    FAULTS 13, 0, {vmovaps ymm0, [rdi]}
    FAULTS 13, 0, {vmovdqa [rdi], ymm0}
    FAULTS 13, 0, {vmovntps [rdi], ymm0}
    FAULTS 13, 0, {vmovntdqa ymm0, [rdi]}
    mov edi, M + 0x120
    WORKS vmovaps ymm0, [rdi]
    WORKS vmovntps [rdi], ymm0
    mov rbx, M + 0x108
    FAULTS 13, 0, {lock cmpxchg16b [rbx]}
    AGAIN
    CLAIM "aligned_VEX_moves_are"

    ; Lanes 0 and 1 before the page end, 2 and 3 behind it.
    mov dword [END - 8], 0x11111111
    mov dword [END - 4], 0x22222222
    mov edi, END - 8
    REPEATEDLY
    vmovdqu xmm1, [mask_low]
    WORKS vmaskmovps xmm0, xmm1, [rdi]
    vmovq rax, xmm0
    EXPECT rax, [END - 8]
    vpextrq rax, xmm0, 1
    EXPECT rax, 0
    vpcmpeqd xmm2, xmm2, xmm2
    WORKS vpmaskmovd xmm2, xmm1, [rdi]
    vpextrq rax, xmm2, 1
    EXPECT rax, 0
    WORKS vmaskmovps [rdi], xmm1, xmm0
    WORKS vpmaskmovd [rdi], xmm1, xmm0
    vmovdqu xmm1, [mask_high]
    FAULTS 14, 0, {vmaskmovps xmm0, xmm1, [rdi]}
    EXPECT dword [f_cr2], END + 4
    FAULTS 14, 2, {vpmaskmovd [rdi], xmm1, xmm0}
    vpxor xmm1, xmm1, xmm1
    mov esi, END + 0x100
    WORKS vmaskmovps xmm0, xmm1, [rsi]
    WORKS vmaskmovpd [rsi], ymm1, ymm0
    WORKS vpmaskmovq ymm0, ymm1, [rsi]
    mov rsi, 0x201000                   ; read-only
    vmovdqu xmm1, [mask_low]
    FAULTS 14, 3, {vmaskmovps [rsi], xmm1, xmm0}
    vpxor xmm1, xmm1, xmm1
    WORKS vmaskmovps [rsi], xmm1, xmm0
    AGAIN
    CLAIM "masked_loads_and_stores"

    REPEATEDLY
    mov rax, 0x1122334455667788
    movq xmm0, rax
    pxor xmm1, xmm1
    mov edi, END - 16
    mov dword [END - 16], 0
    mov rax, 0x80800080                 ; bytes 0, 2, 3
    movq xmm1, rax
    WORKS maskmovdqu xmm0, xmm1
    EXPECT dword [END - 16], 0x55660088
    mov edi, END - 4                    ; the same bytes, all before the page end: quadwords decide
    mov dword [END - 4], 0
    FAULTS 14, 2, {maskmovdqu xmm0, xmm1}
    EXPECT dword [f_cr2], END + 4       ; the upper one first
    EXPECT dword [END - 4], 0           ; nothing was written
    movq mm0, [zero]
    movq mm1, [zero]
    FAULTS 14, 2, {maskmovq mm0, mm1}
    EXPECT dword [f_cr2], END
    mov edi, END - 8
    WORKS maskmovq mm0, mm1
    emms
    AGAIN
    CLAIM "masked_byte_stores"

    mov r12d, END - 8
    REPEATEDLY
    vmovdqu xmm1, [indices]             ; 0, 1, 2, 300h
    vmovdqu xmm2, [mask_low]
    vpxor xmm0, xmm0, xmm0
    WORKS vpgatherdd xmm0, [r12 + xmm1 * 4], xmm2
    vmovq rax, xmm0
    EXPECT rax, [END - 8]
    vptest xmm2, xmm2
    setz al
    EXPECT al, 1
    vpcmpeqd xmm2, xmm2, xmm2
    vpxor xmm0, xmm0, xmm0
    FAULTS 14, 0, {vpgatherdd xmm0, [r12 + xmm1 * 4], xmm2}
    EXPECT dword [f_cr2], END
    vmovq rax, xmm0                     ; what came before the fault is there, and its mask is cleared
    EXPECT rax, [END - 8]
    vmovq rax, xmm2
    EXPECT rax, 0
    vpextrd eax, xmm2, 2
    EXPECT eax, -1
    vpxor xmm2, xmm2, xmm2
    WORKS vpgatherdd xmm0, [r12 + xmm1 * 4], xmm2
    mov rsi, 0x800000000000
    vpxor xmm2, xmm2, xmm2
    WORKS vpgatherdd xmm0, [rsi + xmm1 * 4], xmm2
    AGAIN
    CLAIM "gathers_touch_what_the_mask_says"
    jmp finish

align 16
first:     times 4 dd 0
second:    times 4 dd 0
mask_low:  dd -1, 0x80000000, 0x7FFFFFFF, 0
mask_high: dd 0, -1, 0, -1
indices:   dd 0, 1, 2, 0x300
zero:      dq 0
