; Operations of 8, 16 and 32 bits in every register, AH to BH and SPL to R15B among them: the whole register is what the model
; makes of it, which computes in 32 bits and puts the part in its place by shifts and masks. SDM Vol. 1, "General-Purpose
; Registers in 64-Bit Mode": 8 and 16 bits leave the rest alone, 32 bits clear it.
;
; Pitfalls: D1 D2
;
; limit: 90000000
; expect: bytes_in_all_registers: ok
; expect: words_in_all_registers: ok
; expect: doublewords_clear_the_rest: ok
; expect: high_bytes_with_memory: ok
; expect: high_bytes_in_single_operations: ok
%include "lm64.inc"
M equ 0x202100

; The model of operation %1: [want] from [left], [right] and CF.
%macro MODEL 1
model_%1:
    mov rax, [left]
    mov ecx, [shift]
    shr rax, cl
    mov edx, [right]
    and eax, [mask]
    and edx, [mask]
    bt dword [round], 0
    %1 eax, edx
    and eax, [mask]
    shl rax, cl
    mov edx, [mask]
    shl rdx, cl
    cmp dword [mask], -1
    mov rcx, -1
    cmove rdx, rcx                      ; a doubleword is the whole register
    not rdx
    and rdx, [left]
    or rax, rdx
    mov [want], rax
    ret
%endmacro
; %1 = operation, %2 = its model, %3 and %4 = the whole registers, %5 and %6 = their parts.
%macro ONE 6
    call model_%2
    mov %3, [left]
    mov %4, [right]
    bt dword [round], 0
    %1 %5, %6
    mov [got], %3
    mov rsp, STACK0
    mov rax, [got]
    EXPECT [want], rax
%endmacro
%macro FIVE 4
    ONE add, add, %1, %2, %3, %4
    ONE adc, adc, %1, %2, %3, %4
    ONE sbb, sbb, %1, %2, %3, %4
    ONE xor, xor, %1, %2, %3, %4
    ONE mov, mov, %1, %2, %3, %4
%endmacro
start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    call new_numbers
    mov dword [mask], 0xFF
    mov dword [shift], 0
    FIVE rax, rbx, al, bl
    FIVE rbx, rax, bl, al
    FIVE rcx, rdx, cl, dl
    FIVE rdx, rcx, dl, cl
    FIVE rsp, r9, spl, r9b
    FIVE rbp, rsp, bpl, spl
    FIVE rsi, rdi, sil, dil
    FIVE rdi, rbp, dil, bpl
    FIVE r8, rax, r8b, al
    FIVE r10, r13, r10b, r13b
    FIVE r12, rsi, r12b, sil
    FIVE r13, r10, r13b, r10b
    FIVE r15, rbx, r15b, bl
    mov dword [shift], 8
    FIVE rax, rbx, ah, bl
    FIVE rbx, rax, bh, al
    FIVE rcx, rdx, ch, dl
    FIVE rdx, rcx, dh, cl
    AGAIN
    CLAIM "bytes_in_all_registers"
    REPEATEDLY
    call new_numbers
    mov dword [mask], 0xFFFF
    mov dword [shift], 0
    FIVE rax, r11, ax, r11w
    FIVE rdx, rcx, dx, cx
    FIVE rsp, rbx, sp, bx
    FIVE rbp, rax, bp, ax
    FIVE rsi, rsp, si, sp
    FIVE r9, rdi, r9w, di
    FIVE r12, r13, r12w, r13w
    FIVE r13, rax, r13w, ax
    FIVE r14, r12, r14w, r12w
    AGAIN
    CLAIM "words_in_all_registers"
    REPEATEDLY
    call new_numbers
    mov dword [mask], -1
    FIVE rax, r11, eax, r11d
    FIVE rcx, rax, ecx, eax
    FIVE rsp, rbx, esp, ebx
    FIVE rbp, rsp, ebp, esp
    FIVE rdi, r8, edi, r8d
    FIVE r8, rdi, r8d, edi
    FIVE r12, r13, r12d, r13d
    FIVE r13, rbp, r13d, ebp
    AGAIN
    CLAIM "doublewords_clear_the_rest"

%macro MEMORY_FORMS 1
    ; the high byte is the destination, memory the source
    call model_%1
    mov rax, [left]
    push qword [right]
    push rax
    bt dword [round], 0
    %1 ah, [rsp + 8]
    mov [got], rax
    mov rsp, STACK0
    mov rax, [got]
    EXPECT [want], rax
    mov rdx, [left]
    mov rbx, M
    mov ecx, [right]
    mov [M + 5], cl
    mov ecx, 5
    bt dword [round], 0
    %1 dh, [rbx + rcx]
    EXPECT [want], rdx
    ; memory is the destination, the high byte the source
    mov rax, [left]
    mov [M], rax
    mov ebp, M + 1
    mov rcx, [right]
    shl ecx, 8
    bt dword [round], 0
    %1 [rbp], ch
    mov rax, [M]
    EXPECT [want], rax
    push qword [left]
    push rcx
    mov rbx, [right]
    shl ebx, 8
    bt dword [round], 0
    %1 [rsp + 9], bh
    mov rax, [rsp + 8]
    EXPECT [want], rax
    mov rsp, STACK0
%endmacro
    REPEATEDLY
    call new_numbers
    mov dword [mask], 0xFF
    mov dword [shift], 8
    MEMORY_FORMS add
    MEMORY_FORMS adc
    MEMORY_FORMS sbb
    MEMORY_FORMS xor
    MEMORY_FORMS mov
    AGAIN
    CLAIM "high_bytes_with_memory"

    ; Against the low byte of another register, byte swapped into place.
%macro SINGLE 1
    mov rax, [left]
    mov rbx, rax
    xchg al, ah                         ; the model: the same on AL
    bt dword [round], 0
    %1 al
    xchg al, ah
    bt dword [round], 0
    %1 bh
    EXPECT rax, rbx
    mov rcx, [left]
    bt dword [round], 0
    %1 ch
    EXPECT rax, rcx
    mov rdx, [left]
    bt dword [round], 0
    %1 dh
    EXPECT rax, rdx
%endmacro
%macro rcl_1 1
    rcl %1, 1
%endmacro
%macro sar_3 1
    sar %1, 3
%endmacro
%macro swap_with_memory 1
    mov byte [M], 0x77
    xchg %1, [M]
    add %1, [M]
%endmacro
    REPEATEDLY
    call new_numbers
    SINGLE inc
    SINGLE dec
    SINGLE neg
    SINGLE not
    SINGLE setc
    SINGLE sets
    SINGLE rcl_1
    SINGLE sar_3
    SINGLE swap_with_memory
    mov rdx, [left]
    movzx eax, dh
    mov rcx, rdx
    shr rcx, 8
    and ecx, 0xFF
    EXPECT rax, rcx
    movsx eax, dh
    movsx ecx, cl
    EXPECT rax, rcx
    mov r8d, 0x12345678
    mov esi, 0x12345678
    shr rdx, 8
    crc32 r8d, dl
    mov rbx, [left]
    crc32 esi, bh
    EXPECT esi, r8d
    mov rax, [left]
    mov dl, ah
    mul ah                              ; AX := AL * AH
    mov rbx, [left]
    movzx ecx, bl
    movzx edx, dl
    imul ecx, edx
    EXPECT ax, cx
    AGAIN
    CLAIM "high_bytes_in_single_operations"
    EXPECT dword [f_count], 0
    jmp finish

left:  dq 0x123456789ABCDEF0
right: dq 0xFEDCBA9876543210
want:  dq 0
got:   dq 0
shift: dd 0
mask:  dd 0
new_numbers:
    mov rax, 6364136223846793005
    imul rax, [left]
    mov rcx, 1442695040888963407
    add rax, rcx
    mov [left], rax
    ror rax, 29
    mov [right], rax
    ret
    MODEL add
    MODEL adc
    MODEL sbb
    MODEL xor
    MODEL mov
