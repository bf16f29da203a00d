; VEX-encoded operands at a page end: each has exactly the size the manual says, 128 or 256 bits or less, needs no alignment,
; and faults one byte further with the next page in CR2. SDM Vol. 2, the instructions' pages; Vol. 1, "Programming with AVX".
;
; Pitfalls: B5 G9
;
; limit: 90000000
; expect: scalar_sizes: ok
; expect: whole_vector_sizes: ok
; expect: broadcasts_and_parts: ok
; expect: widening_sizes: ok
; expect: store_sizes: ok
; expect: bit_manipulation_sizes: ok
%include "lm64.inc"
%include "operand.inc"

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x40600
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 7
    xsetbv
    mov edi, END - 64
    mov ecx, 64
    xor eax, eax
    rep stosb
    OPERAND 4, 0, vmovss xmm0, [rdi]
    OPERAND 8, 0, vmovsd xmm0, [rdi]
    OPERAND 8, 0, vmovlps xmm0, xmm1, [rdi]
    OPERAND 8, 0, vmovhpd xmm0, xmm1, [rdi]
    OPERAND 4, 0, vaddss xmm0, xmm1, [rdi]
    OPERAND 8, 0, vmulsd xmm0, xmm1, [rdi]
    OPERAND 4, 0, vucomiss xmm0, [rdi]
    OPERAND 8, 0, vcomisd xmm0, [rdi]
    OPERAND 4, 0, vcvtss2sd xmm0, xmm1, [rdi]
    OPERAND 8, 0, vcvtsd2ss xmm0, xmm1, [rdi]
    OPERAND 8, 0, vcvtsi2sd xmm0, xmm1, qword [rdi]
    OPERAND 4, 0, vcvttss2si eax, [rdi]
    OPERAND 4, 0, vrcpss xmm0, xmm1, [rdi]
    OPERAND 8, 0, vroundsd xmm0, xmm1, [rdi], 0
    OPERAND 4, 0, vfmadd213ss xmm0, xmm1, [rdi]
    OPERAND 8, 0, vfnmsub231sd xmm0, xmm1, [rdi]
    OPERAND 8, 0, vcmpltsd xmm0, xmm1, [rdi]
    OPERAND 4, 0, vmovd xmm0, [rdi]
    OPERAND 8, 0, vmovq xmm0, [rdi]
    CLAIM "scalar_sizes"
    OPERAND 16, 0, vmovups xmm0, [rdi]
    OPERAND 32, 0, vmovups ymm0, [rdi]
    OPERAND 32, 0, vlddqu ymm0, [rdi]
    OPERAND 16, 0, vaddps xmm0, xmm1, [rdi]
    OPERAND 32, 0, vaddps ymm0, ymm1, [rdi]
    OPERAND 16, 0, vpaddb xmm0, xmm1, [rdi]
    OPERAND 32, 0, vpshufb ymm0, ymm1, [rdi]
    OPERAND 32, 0, vsqrtpd ymm0, [rdi]
    OPERAND 32, 0, vptest ymm0, [rdi]
    OPERAND 32, 0, vpermd ymm0, ymm1, [rdi]
    OPERAND 16, 0, vpsllw xmm0, xmm1, [rdi]
    OPERAND 16, 0, vpsrad ymm0, ymm1, [rdi]             ; the count is 128 bits of both
    OPERAND 32, 0, vpsllvd ymm0, ymm1, [rdi]
    OPERAND 32, 0, vblendvps ymm0, ymm1, [rdi], ymm2
    OPERAND 32, 0, vfmadd231pd ymm0, ymm1, [rdi]
    OPERAND 32, 0, vcvtpd2ps xmm0, yword [rdi]
    OPERAND 16, 0, vcvtpd2dq xmm0, oword [rdi]
    OPERAND 16, 0, vaesenc xmm0, xmm1, [rdi]
    OPERAND 16, 0, vpclmulqdq xmm0, xmm1, [rdi], 0
    CLAIM "whole_vector_sizes"
    OPERAND 4, 0, vbroadcastss ymm0, [rdi]
    OPERAND 8, 0, vbroadcastsd ymm0, [rdi]
    OPERAND 16, 0, vbroadcastf128 ymm0, [rdi]
    OPERAND 1, 0, vpbroadcastb ymm0, [rdi]
    OPERAND 2, 0, vpbroadcastw xmm0, [rdi]
    OPERAND 4, 0, vpbroadcastd ymm0, [rdi]
    OPERAND 8, 0, vpbroadcastq xmm0, [rdi]
    OPERAND 16, 0, vinsertf128 ymm0, ymm1, [rdi], 1
    OPERAND 16, 0, vinserti128 ymm0, ymm1, [rdi], 0
    OPERAND 1, 0, vpinsrb xmm0, xmm1, [rdi], 3
    OPERAND 2, 0, vpinsrw xmm0, xmm1, [rdi], 3
    OPERAND 4, 0, vinsertps xmm0, xmm1, [rdi], 0
    OPERAND 8, 0, vmovddup xmm0, [rdi]
    OPERAND 32, 0, vmovddup ymm0, [rdi]
    OPERAND 32, 0, vmovshdup ymm0, [rdi]
    CLAIM "broadcasts_and_parts"
    OPERAND 8, 0, vpmovsxbw xmm0, [rdi]
    OPERAND 16, 0, vpmovsxbw ymm0, [rdi]
    OPERAND 4, 0, vpmovzxbd xmm0, [rdi]
    OPERAND 8, 0, vpmovzxbd ymm0, [rdi]
    OPERAND 2, 0, vpmovsxbq xmm0, [rdi]
    OPERAND 4, 0, vpmovsxbq ymm0, [rdi]
    OPERAND 16, 0, vpmovzxwd ymm0, [rdi]
    OPERAND 8, 0, vpmovzxwq ymm0, [rdi]
    OPERAND 16, 0, vpmovsxdq ymm0, [rdi]
    OPERAND 8, 0, vcvtps2pd xmm0, [rdi]
    OPERAND 16, 0, vcvtps2pd ymm0, [rdi]
    OPERAND 8, 0, vcvtdq2pd xmm0, [rdi]
    OPERAND 16, 0, vcvtdq2pd ymm0, [rdi]
    OPERAND 8, 0, vcvtph2ps xmm0, [rdi]
    OPERAND 16, 0, vcvtph2ps ymm0, [rdi]
    CLAIM "widening_sizes"
    OPERAND 4, 2, vmovss [rdi], xmm0
    OPERAND 8, 2, vmovlpd [rdi], xmm0
    OPERAND 8, 2, vmovhps [rdi], xmm0
    OPERAND 8, 2, vmovq [rdi], xmm0
    OPERAND 16, 2, vmovdqu [rdi], xmm0
    OPERAND 32, 2, vmovdqu [rdi], ymm0
    OPERAND 16, 2, vextractf128 [rdi], ymm0, 1
    OPERAND 16, 2, vextracti128 [rdi], ymm0, 0
    OPERAND 1, 2, vpextrb [rdi], xmm0, 1
    OPERAND 2, 2, vpextrw [rdi], xmm0, 1
    OPERAND 4, 2, vextractps [rdi], xmm0, 1
    OPERAND 8, 2, vcvtps2ph [rdi], xmm0, 0
    OPERAND 16, 2, vcvtps2ph [rdi], ymm0, 0
    OPERAND 4, 2, vstmxcsr [rdi]
    CLAIM "store_sizes"
    OPERAND 4, 0, andn eax, ebx, [rdi]
    OPERAND 8, 0, bextr rax, [rdi], rbx
    OPERAND 4, 0, blsr eax, [rdi]
    OPERAND 8, 0, bzhi rax, [rdi], rbx
    OPERAND 8, 0, pdep rax, rbx, [rdi]
    OPERAND 4, 0, pext eax, ebx, [rdi]
    OPERAND 4, 0, mulx eax, ebx, [rdi]
    OPERAND 8, 0, rorx rax, [rdi], 5
    OPERAND 4, 0, sarx eax, [rdi], ebx
    OPERAND 8, 0, adcx rax, [rdi]
    OPERAND 4, 0, adox eax, [rdi]
    CLAIM "bit_manipulation_sizes"
    jmp finish
