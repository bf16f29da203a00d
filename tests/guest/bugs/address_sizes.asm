; The address-size prefix in 64-bit mode: 32 bits of offset, then the segment's base; branches ignore it, counts and index
; registers obey it.
;
; limit: 3000000
; expect: LEA: ok
; expect: FS and GS with large bases: ok
; expect: branches: ok
; expect: LOOP and JRCXZ: ok
; expect: string instructions: ok
; expect: repetitions of none: ok
%include "lm64.inc"
DATA    equ 0x202000
MINUS1  equ 0xFFFFFFFFFFFFFFFF

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    xor eax, eax
    lea rbx, [eax - 1]
    mov rdx, 0x00000000FFFFFFFF
    EXPECT rbx, rdx
    lea rbx, [rax - 1]
    EXPECT rbx, -1
    mov rax, 0x1_8000_0000
    lea rbx, [eax + eax]
    EXPECT rbx, 0
    lea rbx, [eax * 2 + 5]
    EXPECT rbx, 5
    mov rax, 0x7700000000 | DATA
    mov dword [DATA + 8], 0x600D
    EXPECT dword [eax + 8], 0x600D
    mov rcx, MINUS1 - 7
    lea rax, [rax]
    mov eax, DATA + 0x10
    EXPECT dword [eax + ecx], 0x600D
    AGAIN
    CLAIM "LEA"

    SET_MSR 0xC0000101, 0x12300000000   ; GS base
    SET_MSR 0xC0000100, -0x100000000    ; FS base
    mov qword [PML4 + 2 * 8], PDPT | 7  ; 10000000000h: so 12300000000h is PDPT entry 8Ch
    mov qword [PDPT + 0x8C * 8], PD | 7
    mov dword [DATA + 0x260 + 4 * 3], 41
    REPEATEDLY
    mov rbx, -0x100000000 + (DATA >> 2) + 3     ; rubbish above bit 31
    inc dword gs:[ebx * 4 + 0x260]      ; base + 32-bit sum
    EXPECT dword [DATA + 0x260 + 4 * 3], 42
    dec dword [DATA + 0x260 + 4 * 3]
    mov eax, DATA
    FAULTS 14, 0, mov ebx, fs:[eax]     ; FFFFFFFF00202000h: the base is not truncated
    mov rdx, -0x100000000 + DATA
    EXPECT [f_cr2], rdx
    mov rax, 0x100000000 + DATA         ; ... and without 67h the offset is not either
    WORKS mov ebx, fs:[rax]
    AGAIN
    CLAIM "FS and GS with large bases"

    REPEATEDLY
    mov rsp, STACK0
    a32 call .called
    EXPECT rsp, STACK0
    a32 jmp .jumped
    EXPECT rsp, 0
.jumped:
    mov rax, 0x5500000000 | DATA
    mov qword [DATA], .called
    call [eax]                          ; the operand's address obeys
    xor eax, eax
    a32 jz .taken
    EXPECT rsp, 0
.taken:
    AGAIN
    CLAIM "branches"

    REPEATEDLY
    mov rcx, 0x700000002
    xor eax, eax
.loop32:
    inc eax
    loop .loop32, ecx
    EXPECT eax, 2
    EXPECT rcx, 0                       ; ECX written: the upper half is gone
    mov rcx, 0x100000000
    jecxz .zero
    EXPECT rsp, 0
.zero:
    jrcxz .not_zero
    jmp .right
.not_zero:
    EXPECT rsp, 0
.right:
    mov rcx, 0x100000002
    loop .left, ecx
    EXPECT rsp, 0
.left:
    EXPECT rcx, 1
    cmp eax, eax
    mov rcx, 0x300000003
.loope32:
    nop
    loope .loope32, ecx
    EXPECT rcx, 0
    AGAIN
    CLAIM "LOOP and JRCXZ"

    REPEATEDLY
    mov rsi, 0x4400000000 | DATA
    mov rdi, 0x3300000000 | (DATA + 0x100)
    mov byte [DATA], 0x42
    mov byte [DATA + 0x100], 0
    a32 movsb
    EXPECT byte [DATA + 0x100], 0x42
    EXPECT rsi, DATA + 1
    EXPECT rdi, DATA + 0x101
    mov rsi, 0x4400000000 | DATA
    mov rdi, 0x3300000000 | (DATA + 0x100)
    mov rcx, 0x600000004
    a32 rep movsq
    EXPECT rcx, 0
    EXPECT rsi, DATA + 32
    EXPECT rdi, DATA + 0x120
    mov rdi, 0x3300000000 | DATA
    mov al, 0x42
    a32 scasb
    EXPECT rdi, DATA + 1
    mov rsi, 0x3300000000 | DATA
    a32 lodsb
    EXPECT rsi, DATA + 1
    mov rbx, 0x3300000000 | DATA
    xor eax, eax
    a32 xlatb
    EXPECT al, 0x42
    AGAIN
    CLAIM "string instructions"

    ; docs/x86/undefined.md: nothing is written.
    REPEATEDLY
    mov rsi, -1
    mov rdi, -1
    mov rcx, 0x500000000
    a32 rep movsb
    EXPECT rsi, -1
    EXPECT rdi, -1
    mov rdx, 0x500000000
    EXPECT rcx, rdx
    AGAIN
    CLAIM "repetitions of none"
    jmp finish
.called:
    ret
