; Interrupts at all places of code that computes: a timer fires every few instructions, at distances that follow no pattern, and
; the sums are those of the same code without interrupts. SDM Vol. 3A, "Program or Task Restart", "Local APIC Timer".
;
; Pitfalls: B9
;
; expect: interrupts_while_flags_are_carried: ok
; expect: interrupts_in_string_instructions: ok
; expect: interrupts_between_vector_and_x87_instructions: ok
; expect: interrupts_in_calls_and_jumps: ok
%define MACHINE
%include "lm64.inc"
VECTOR  equ 0x31
BUFFER  equ 0x180000

; %1 gives a sum in RAX, from R8 on: quiet once, then in a storm, 1,000 times.
%macro IN_STORM 1
    mov dword [storms], 0
    REPEATEDLY
    mov r8d, [round]
    call %1
    mov [quiet], rax
    mov r8d, [round]
    call arm
    sti
    call %1
    cli
    EXPECT rax, [quiet]
    AGAIN
    EXPECT dword [f_count], 0           ; no fault
    cmp dword [storms], 2000            ; and interrupts there were
    setae al
    EXPECT al, 1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_tick
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00
    wrmsr
    SET_MSR 0x80F, 0x1FF
    SET_MSR 0x832, 0x40000 | VECTOR     ; TSC deadline
    IN_STORM carried
    CLAIM "interrupts_while_flags_are_carried"
    IN_STORM strings
    CLAIM "interrupts_in_string_instructions"
    IN_STORM vectors
    CLAIM "interrupts_between_vector_and_x87_instructions"
    IN_STORM calls
    CLAIM "interrupts_in_calls_and_jumps"
    jmp finish

quiet:  dq 0
storms: dd 0
random: dd 1

; The next one comes in 100 to 1,123 ns, an instruction taking 10 and the rest of the handler 200. RAX, RCX, RDX change.
arm:
    rdtsc
    imul ecx, [random], 69069
    inc ecx
    mov [random], ecx
    shr ecx, 22
    add ecx, 100
    shl rdx, 32
    or rax, rdx
    add rax, rcx
    mov rdx, rax
    shr rdx, 32
    mov ecx, 0x6E0
    wrmsr
    ret

note_tick:
    cmp dword [rbx + F_VECTOR], VECTOR
    jne note_fault
    inc dword [storms]
    mov ecx, 0x80B
    xor eax, eax
    xor edx, edx
    wrmsr
    call arm
    mov rax, [rbx + F_RIP]
    mov [resume], rax
    cmp eax, eax
    ret

; Each carries CF, OF or DF over many instructions, half of an operation in each.
carried:
    mov rax, 0x0123456789ABCDEF
    mov rbx, 0xFEDCBA9876543210
    mov ecx, 12
    clc
.next:
    adc rax, rbx
    rcl rbx, 7
    adc rax, r8
    rcr rax, 3
    lea r8, [r8 + rax]
    mov [.slot], rax
    inc dword [.slot]                   ; CF stays
    adc rbx, [.slot]
    push rax
    pop rdx
    sbb rdx, rbx
    cmovc rax, rdx
    setc dl
    movzx edx, dl
    bt edx, 0
    adc al, bh
    adc ah, bl
    loop .next                          ; flags stay
    adc rax, 0
    ret
.slot: dq 0

strings:
    cld
    mov edi, BUFFER
    mov rax, r8
    mov ecx, 100
    rep stosq
    mov esi, BUFFER + 3
    mov edi, BUFFER + 0x400
    mov ecx, 700
    rep movsb
    std
    mov esi, BUFFER + 0x300
    mov edi, BUFFER + 0x500 + 5
    mov ecx, 60
    rep movsd
    cld
    xor edx, edx
    mov esi, BUFFER + 0x400
    mov ecx, 50
.sum:
    lodsq
    add rdx, rax
    rol rdx, 5
    loop .sum
    mov edi, BUFFER + 0x400
    mov al, 0xFF
    mov ecx, 700
    repne scasb
    lea rax, [rdx + rcx]
    ret

vectors:
    movq xmm0, r8
    pshufd xmm1, xmm0, 0x4E
    mov ecx, 10
    fninit
    mov [.number], r8
    fild qword [.number]
    fldpi
.next:
    paddq xmm1, xmm0
    pshufb xmm1, [.shuffle]
    pmuludq xmm0, xmm1
    por xmm0, [.shuffle]
    fadd st1, st0
    fxch st1
    fmul dword [.half]
    fxch st1
    cvtsi2sd xmm2, ecx
    sqrtsd xmm2, xmm2
    pxor xmm1, xmm2
    comisd xmm2, [.number]
    adc r8, 0
    dec ecx
    jnz .next
    fstp qword [.number]
    fistp qword [.integer]
    movq rax, xmm0
    movq rdx, xmm1
    add rax, rdx
    add rax, [.number]
    add rax, [.integer]
    add rax, r8
    ret
align 16
.shuffle: db 3, 0, 2, 1, 15, 14, 13, 12, 4, 5, 6, 7, 8, 9, 10, 11
.number:  dq 0
.integer: dq 0
.half:    dd 0.5

calls:
    xor eax, eax
    mov ecx, 10
.next:
    mov edx, ecx
    and edx, 3
    call [.table + rdx * 8]
    add rax, r8
    jmp [.jumps + rdx * 8]
.even:
    rol rax, 9
.odd:
    dec ecx
    jnz .next
    ret
.one:
    push rcx
    enter 32, 0
    mov [rbp - 8], rax
    lea rax, [rcx * 2 + 1]
    add rax, [rbp - 8]
    leave
    pop rcx
    ret
.two:
    push r8
    add [rsp], rcx
    pop r8
    ret
.three:
    call .one
    call .two
    ret 0
.table: dq .one, .two, .three, .two
.jumps: dq .even, .odd, .even, .odd
