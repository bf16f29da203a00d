; An operand that ends with its page does not touch the next one: every memory form has exactly the size the manual says. One
; byte further it faults with the next page in CR2.
; limit: 60000000
; expect: scalar and packed loads: ok
; expect: integer vector loads: ok
; expect: vector stores: ok
; expect: x87: ok
; expect: integer: ok
%include "lm64.inc"
%include "operand.inc"

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    fninit
    mov edi, END - 64
    mov ecx, 64
    xor eax, eax
    rep stosb
    OPERAND 4, 0, movss xmm0, [rdi]
    OPERAND 8, 0, movsd xmm0, [rdi]
    OPERAND 8, 0, movlps xmm0, [rdi]
    OPERAND 8, 0, movhps xmm0, [rdi]
    OPERAND 8, 0, movlpd xmm0, [rdi]
    OPERAND 8, 0, movhpd xmm0, [rdi]
    OPERAND 8, 0, movddup xmm0, [rdi]
    OPERAND 4, 0, comiss xmm0, [rdi]
    OPERAND 4, 0, ucomiss xmm0, [rdi]
    OPERAND 8, 0, comisd xmm0, [rdi]
    OPERAND 8, 0, ucomisd xmm0, [rdi]
    OPERAND 4, 0, addss xmm0, [rdi]
    OPERAND 8, 0, mulsd xmm0, [rdi]
    OPERAND 4, 0, minss xmm0, [rdi]
    OPERAND 8, 0, maxsd xmm0, [rdi]
    OPERAND 4, 0, sqrtss xmm0, [rdi]
    OPERAND 8, 0, sqrtsd xmm0, [rdi]
    OPERAND 4, 0, rcpss xmm0, [rdi]
    OPERAND 4, 0, rsqrtss xmm0, [rdi]
    OPERAND 4, 0, cmpltss xmm0, [rdi]
    OPERAND 8, 0, cmpltsd xmm0, [rdi]
    OPERAND 8, 0, cvtps2pd xmm0, [rdi]
    OPERAND 8, 0, cvtdq2pd xmm0, [rdi]
    OPERAND 4, 0, cvtss2sd xmm0, [rdi]
    OPERAND 8, 0, cvtsd2ss xmm0, [rdi]
    OPERAND 4, 0, cvtsi2ss xmm0, dword [rdi]
    OPERAND 8, 0, cvtsi2sd xmm0, qword [rdi]
    OPERAND 4, 0, cvttss2si eax, [rdi]
    OPERAND 8, 0, cvtsd2si rax, [rdi]
    OPERAND 8, 0, cvtpi2ps xmm0, [rdi]
    OPERAND 8, 0, cvtpi2pd xmm0, [rdi]
    OPERAND 8, 0, cvtps2pi mm0, [rdi]
    OPERAND 8, 0, cvttps2pi mm0, [rdi]
    OPERAND 4, 0, roundss xmm0, [rdi], 0
    OPERAND 8, 0, roundsd xmm0, [rdi], 0
    OPERAND 4, 0, insertps xmm0, [rdi], 0
    OPERAND 16, 0, movups xmm0, [rdi]
    OPERAND 16, 0, movupd xmm0, [rdi]
    emms
    CLAIM "scalar and packed loads"
    OPERAND 4, 0, movd xmm0, [rdi]
    OPERAND 8, 0, movq xmm0, [rdi]
    OPERAND 4, 0, movd mm0, [rdi]
    OPERAND 8, 0, movq mm0, [rdi]
    OPERAND 4, 0, punpcklbw mm0, [rdi]
    OPERAND 8, 0, punpckhbw mm0, [rdi]
    OPERAND 8, 0, paddb mm0, [rdi]
    OPERAND 8, 0, pshufw mm0, [rdi], 0
    OPERAND 16, 0, movdqu xmm0, [rdi]
    OPERAND 16, 0, lddqu xmm0, [rdi]
    OPERAND 1, 0, pinsrb xmm0, [rdi], 0
    OPERAND 2, 0, pinsrw xmm0, [rdi], 0
    OPERAND 4, 0, pinsrd xmm0, [rdi], 0
    OPERAND 8, 0, pinsrq xmm0, [rdi], 0
    OPERAND 8, 0, pmovsxbw xmm0, [rdi]
    OPERAND 4, 0, pmovsxbd xmm0, [rdi]
    OPERAND 2, 0, pmovsxbq xmm0, [rdi]
    OPERAND 8, 0, pmovsxwd xmm0, [rdi]
    OPERAND 4, 0, pmovsxwq xmm0, [rdi]
    OPERAND 8, 0, pmovsxdq xmm0, [rdi]
    OPERAND 8, 0, pmovzxbw xmm0, [rdi]
    OPERAND 4, 0, pmovzxbd xmm0, [rdi]
    OPERAND 2, 0, pmovzxbq xmm0, [rdi]
    OPERAND 4, 0, pmovzxwq xmm0, [rdi]
    OPERAND 16, 0, pcmpistri xmm0, [rdi], 0
    emms
    CLAIM "integer vector loads"
    OPERAND 4, 2, movss [rdi], xmm0
    OPERAND 8, 2, movsd [rdi], xmm0
    OPERAND 8, 2, movlps [rdi], xmm0
    OPERAND 8, 2, movhpd [rdi], xmm0
    OPERAND 4, 2, movd [rdi], xmm0
    OPERAND 8, 2, movq [rdi], xmm0
    OPERAND 8, 2, movq [rdi], mm0
    OPERAND 8, 2, movntq [rdi], mm0
    OPERAND 4, 2, movd [rdi], mm0
    OPERAND 1, 2, pextrb [rdi], xmm0, 1
    OPERAND 2, 2, pextrw [rdi], xmm0, 1
    OPERAND 4, 2, pextrd [rdi], xmm0, 1
    OPERAND 8, 2, pextrq [rdi], xmm0, 1
    OPERAND 4, 2, extractps [rdi], xmm0, 1
    OPERAND 4, 2, stmxcsr [rdi]
    OPERAND 16, 2, movdqu [rdi], xmm0
    emms
    CLAIM "vector stores"
    OPERAND 4, 0, fld dword [rdi]
    fninit
    OPERAND 8, 0, fld qword [rdi]
    fninit
    OPERAND 10, 0, fld tword [rdi]
    fninit
    OPERAND 10, 0, fbld [rdi]
    OPERAND 2, 0, fild word [rdi]
    OPERAND 8, 0, fild qword [rdi]
    fninit
    fld1
    OPERAND 4, 0, fadd dword [rdi]
    OPERAND 8, 0, fmul qword [rdi]
    OPERAND 2, 0, fiadd word [rdi]
    OPERAND 4, 0, ficom dword [rdi]
    OPERAND 4, 2, fst dword [rdi]
    OPERAND 8, 2, fst qword [rdi]
    OPERAND 2, 2, fist word [rdi]
    OPERAND 2, 2, fnstcw [rdi]
    OPERAND 2, 2, fnstsw [rdi]
    OPERAND 28, 2, fnstenv [rdi]
    fninit
    fld1
    OPERAND 10, 2, fstp tword [rdi]
    fninit
    CLAIM "x87"
    mov dword [END - 16], 0
    OPERAND 1, 0, movzx eax, byte [rdi]
    OPERAND 2, 0, movsx rax, word [rdi]
    OPERAND 4, 0, movsxd rax, dword [rdi]
    OPERAND 8, 0, imul rax, [rdi]
    OPERAND 4, 0, crc32 eax, dword [rdi]
    OPERAND 2, 0, movbe ax, [rdi]
    OPERAND 8, 0, popcnt rax, [rdi]
    OPERAND 8, 0, bt qword [rdi], 63
    OPERAND 1, 2, setz [rdi]
    OPERAND 2, 2, mov [rdi], ds
    OPERAND 2, 2, o64 mov [rdi], ds
    OPERAND 2, 2, smsw [rdi]
    OPERAND 2, 2, o64 smsw [rdi]
    OPERAND 2, 2, sldt [rdi]
    OPERAND 10, 2, sgdt [rdi]
    OPERAND 2, 0, verr [rdi]
    OPERAND 2, 0, lar eax, [rdi]
    OPERAND 2, 0, o64 lsl rax, [rdi]
    CLAIM "integer"
    jmp finish
