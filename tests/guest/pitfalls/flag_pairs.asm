; What a flag holds after two instructions that write different flags, or read and write them, for all pairs of 66: the run of
; both gives what they give one by one, with the flags taken out and put back between. Each pair is generated, then runs with
; other numbers and flags many times.
;
; Pitfalls: C5 (and each flag of C8 as long as both ways use one processor)
;
; limit: 90000000
; expect: all_pairs_of_flag_writers: ok
; expect: condition_of_each_writer: ok
%include "lm64.inc"
SINGLES equ 0x100000            ; 32 bytes each
PAIRS   equ 0x110000            ; 64 bytes each

; A template is 16 bytes: a length, and an instruction that stands alone after T or several between BEGIN_T and END_T.
%macro BEGIN_T 0
    %push template
    align 16, db 0
    db %$end - %$begin
%$begin:
%endmacro
%macro END_T 0
%$end:
    %pop
%endmacro
%macro T 1+
    BEGIN_T
    %1
    END_T
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    ; Generate.
    xor r12d, r12d
.single:
    mov edi, r12d
    shl edi, 5
    add edi, SINGLES
    mov esi, r12d
    call emit
    mov byte [rdi], 0xC3
    xor r13d, r13d
.pair:
    imul edi, r12d, N
    add edi, r13d
    shl edi, 6
    add edi, PAIRS
    mov esi, r12d
    call emit
    mov esi, r13d
    call emit
    mov byte [rdi], 0xC3
    inc r13d
    cmp r13d, N
    jb .pair
    inc r12d
    cmp r12d, N
    jb .single

    mov dword [passes], 24
.pass:
    xor r12d, r12d
.first:
    xor r13d, r13d
.second:
    call new_numbers
    mov ebp, r12d
    shl ebp, 5
    add ebp, SINGLES
    call run
    mov ebp, r13d
    shl ebp, 5
    add ebp, SINGLES
    call run
    movups xmm2, [state]
    movups xmm3, [state + 16]
    mov r14, [state + 32]
    call old_numbers
    imul ebp, r12d, N
    add ebp, r13d
    shl ebp, 6
    add ebp, PAIRS
    call run
    pcmpeqb xmm2, [state]
    pcmpeqb xmm3, [state + 16]
    pand xmm2, xmm3
    pmovmskb eax, xmm2
    EXPECT eax, 0xFFFF
    EXPECT [state + 32], r14
    inc r13d
    cmp r13d, N
    jb .second
    inc r12d
    cmp r12d, N
    jb .first
    dec dword [passes]
    jnz .pass
    EXPECT dword [f_count], 0
    CLAIM "all_pairs_of_flag_writers"

    ; Each writer, then SETcc of all sixteen conditions against the flags it left, condition by condition from their definition.
    mov dword [passes], 40
.pass_2:
    xor r12d, r12d
.writer:
    call new_numbers
    mov ebp, r12d
    shl ebp, 5
    add ebp, SINGLES
    call run
    mov r13, [state]
    mov r14, [state + 32]
    call old_numbers
    call load
    call rbp
    seto r8b
    setc r9b
    setz r10b
    setbe r11b
    sets [given]
    setp [given + 1]
    setl [given + 2]
    setle [given + 3]
    setno [given + 4]
    setnbe [given + 5]
    setnl [given + 6]
    cmovnle rax, [one]
    cld
    mov ecx, r14d
    mov edx, ecx
    shr edx, 11
    and edx, 1                          ; O
    EXPECT r8b, dl
    mov edi, ecx
    and edi, 1                          ; C
    EXPECT r9b, dil
    mov esi, ecx
    shr esi, 6
    and esi, 1                          ; Z
    EXPECT r10b, sil
    or edi, esi
    EXPECT r11b, dil
    xor edi, 1
    EXPECT [given + 5], dil
    mov edi, ecx
    shr edi, 7
    and edi, 1                          ; S
    EXPECT [given], dil
    xor edi, edx
    EXPECT [given + 2], dil
    or esi, edi
    EXPECT [given + 3], sil
    xor edi, 1
    EXPECT [given + 6], dil
    xor edx, 1
    EXPECT [given + 4], dl
    shr ecx, 2
    and ecx, 1                          ; P
    EXPECT [given + 1], cl
    test esi, esi                       ; the move was made unless L or E
    mov rdx, [one]
    cmovnz rdx, r13                     ; what the first run left
    EXPECT rax, rdx
    inc r12d
    cmp r12d, N
    jb .writer
    dec dword [passes]
    jnz .pass_2
    CLAIM "condition_of_each_writer"
    jmp finish

passes: dd 0
random: dq 0x123456789ABCDEF1
given:  dq 0
one:    dq 0x0101010101010101
align 16
state:  times 6 dq 0            ; RAX RBX RCX RDX RFLAGS
before: times 6 dq 0

; ESI = which; EDI advances.
emit:
    shl esi, 4
    add esi, templates
    movzx ecx, byte [rsi]
    inc esi
    rep movsb
    ret
; Small and large, equal and opposite numbers; flags of all kinds.
new_numbers:
    mov rcx, [random]
    mov rax, 6364136223846793005
    imul rcx, rax
    mov rax, 1442695040888963407
    add rcx, rax
    mov [random], rcx
    mov rdx, rcx
    shr rdx, 60
    mov rax, [numbers + (rdx - 8) * 8 + 64]
    mov [before], rax
    mov rdx, rcx
    shr rdx, 56
    and edx, 15
    mov rax, [numbers + rdx * 8]
    mov [before + 8], rax
    mov rdx, rcx
    shr rdx, 48
    and edx, 0x3F
    mov [before + 16], rdx
    mov [before + 24], rcx
    shr rcx, 33
    and ecx, 0x8D5
    or ecx, 2
    mov [before + 32], rcx
old_numbers:
    movups xmm0, [before]
    movups [state], xmm0
    movups xmm0, [before + 16]
    movups [state + 16], xmm0
    mov rcx, [before + 32]
    mov [state + 32], rcx
    ret
numbers:
    dq 0, 1, -1, 2, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF
    dq 0x8000000000000000, 0x123456789ABCDEF0, 0x55AA55AA00000000, 0xFF
load:
    movq xmm0, [before]
    movq xmm1, [before + 8]
    mov esi, before
    mov edi, before + 9
    mov rbx, [state + 8]
    mov rcx, [state + 16]
    mov rdx, [state + 24]
    mov rax, [state]
    push qword [state + 32]
    popfq
    ret
run:
    call load
    call rbp
    pushfq
    cld
    mov [state], rax
    mov [state + 8], rbx
    mov [state + 16], rcx
    mov [state + 24], rdx
    pop qword [state + 32]
    ret

align 16
templates:
    T add rax, rbx
    T sub eax, ebx
    T adc al, bl
    T adc rax, rbx
    T sbb ax, bx
    T sbb rax, rax
    T and rax, rbx
    T or eax, ebx
    T xor rax, rbx
    T xor eax, eax
    T sub ebx, ebx
    T and al, 0
    T test eax, ebx
    T cmp rax, rbx
    T cmp al, bh
    T inc rax
    T dec al
    T inc ah
    T neg rax
    T neg bx
    T not eax
    T shl rax, 1
    T shr al, 1
    T sar eax, 3
    T shl rax, cl
    T sar ebx, cl
    T rol rax, 1
    T ror ax, cl
    T rcl eax, 1
    T rcr rbx, cl
    T shld rax, rbx, 7
    T shrd eax, ebx, cl
    T bt rax, rbx
    T bts eax, ebx
    T btc rbx, rcx
    T mul rbx
    T imul rax, rbx
    T imul bl
    T adcx rax, rbx
    T adox rax, rbx
    T adox eax, ecx
    T andn rax, rbx, rcx
    T blsr rax, rbx
    T bzhi rax, rbx, rcx
    T bextr eax, ebx, ecx
    T tzcnt rax, rbx
    T lzcnt eax, ebx
    T popcnt rax, rbx
    T bsf rax, rbx
    T bsr ebx, eax
    T cmc
    T stc
    T clc
    T sahf
    T lahf
    T setc dl
    T cmovz rax, rcx
    T xadd rax, rbx
    T cmpxchg rbx, rcx
    T ucomisd xmm0, xmm1
    T ptest xmm0, xmm1
    BEGIN_T
    cmpsb
    lea rsi, [rsi - 1]
    lea rdi, [rdi - 1]
    END_T
    BEGIN_T
    scasb
    lea rdi, [rdi - 1]
    END_T
    T mulx rax, rbx, rcx
    T rorx rax, rbx, 5
    T lea rax, [rax + rbx * 2 + 1]
    align 16, db 0
N equ ($ - templates) / 16
