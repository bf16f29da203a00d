; One register as source and destination, or as several sources: what is read is read before anything is written.
;
; limit: 5000000
; expect: general registers: ok
; expect: vectors: ok
; expect: MMX with REX: ok
%include "lm64.inc"

%macro VECTOR_IS 2                      ; xmm1: high, low
    movdqu [result], xmm1
    mov rax, %2
    EXPECT [result], rax
    mov rax, %1
    EXPECT [result + 8], rax
%endmacro
%macro FRESH 0
    movdqu xmm1, [numbers]
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [f_vector], -1
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    REPEATEDLY
    mov edx, 0xFFFFFFFF
    mulx edx, edx, edx                  ; both halves into one: the high half stays
    EXPECT edx, 0xFFFFFFFE
    mov eax, 5
    xadd eax, eax
    EXPECT eax, 10
    mov ecx, 0x81
    shl ecx, cl
    EXPECT ecx, 0x102
    mov rcx, 3
    bts rcx, rcx
    EXPECT rcx, 11
    mov eax, 7
    cmpxchg eax, eax
    EXPECT eax, 7
    mov eax, 0x10
    imul eax, eax
    EXPECT eax, 0x100
    mov eax, 1
    mov ebx, eax
    lea eax, [eax + eax * 8 + 5]
    EXPECT eax, 14
    mov eax, 0x12345678
    shld eax, eax, 8
    EXPECT eax, 0x34567812
    mov edx, 0xF0F0
    pext edx, edx, edx
    EXPECT edx, 0xFF
    mov edx, 0xFF
    pdep edx, edx, edx
    EXPECT edx, 0xFF
    mov ecx, 0x0404
    bextr ecx, ecx, ecx
    EXPECT ecx, 0
    popcnt eax, eax
    EXPECT eax, 13
    movsx eax, al
    EXPECT eax, 13
    mov rax, rsp
    mov rsp, rsp
    EXPECT rsp, rax
    AGAIN
    CLAIM "general registers"
    REPEATEDLY
    FRESH
    phaddw xmm1, xmm1
    VECTOR_IS 0x000F000B00070003, 0x000F000B00070003
    FRESH
    packuswb xmm1, xmm1
    VECTOR_IS 0x0807060504030201, 0x0807060504030201
    FRESH
    shufps xmm1, xmm1, 0x1B
    VECTOR_IS 0x0002000100040003, 0x0006000500080007
    FRESH
    pshufb xmm1, xmm1
    VECTOR_IS 0x0105010001040100, 0x0103010001020100
    FRESH
    phminposuw xmm1, xmm1
    VECTOR_IS 0, 1
    FRESH
    unpcklps xmm1, xmm1
    VECTOR_IS 0x0004000300040003, 0x0002000100020001
    FRESH
    psubd xmm1, xmm1
    VECTOR_IS 0, 0
    FRESH
    palignr xmm1, xmm1, 4
    VECTOR_IS 0x0002000100080007, 0x0006000500040003
    FRESH
    cvtdq2pd xmm1, xmm1
    VECTOR_IS 0x4110000C00000000, 0x4100000800000000
    AGAIN
    CLAIM "vectors"
    REPEATEDLY
    mov r12, 0x1122334455667788
    mov r13d, numbers
    movq mm7, [r13]                     ; REX.B is the address's
    movq [r13 + result - numbers], mm7
    mov rax, [numbers]
    EXPECT [result], rax
    movq mm3, r12                       ; ... or the general register's
    movq rbx, mm3
    EXPECT rbx, r12
    db 0x4D, 0x0F, 0x6F, 0xFB           ; movq mm7, mm3 with every bit of REX: no register 15 here
    movq rbx, mm7
    EXPECT rbx, r12
    db 0x45, 0x0F, 0xEF, 0xFB           ; pxor mm7, mm3
    movq rbx, mm7
    EXPECT rbx, 0
    db 0x4C, 0x8C, 0xE3                 ; mov rbx, fs with REX.R
    mov ecx, fs
    EXPECT rbx, rcx
    emms
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "MMX with REX"
    jmp finish
align 16
numbers: dw 1, 2, 3, 4, 5, 6, 7, 8
result:  dq 0, 0
