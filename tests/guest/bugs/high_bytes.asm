; AH, CH, DH and BH against everything they can be combined with, and their numbers with REX, where they are SPL to DIL.
;
; limit: 5000000
; expect: with memory: ok
; expect: among themselves: ok
; expect: with REX: ok
; expect: CRC32, MOVZX, SETcc: ok
%include "lm64.inc"
M equ 0x202000

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [f_vector], -1
    REPEATEDLY
    mov ecx, 8
    mov rax, 0x1111111111112233
    mov rbx, M
    mov byte [M + 8], 0x40
    add ah, [rbx + rcx]
    mov rdx, 0x1111111111116233
    EXPECT rax, rdx
    mov [rbx + rcx], ah
    EXPECT byte [M + 8], 0x62
    push qword 0x05
    sub ah, [rsp]
    EXPECT ah, 0x5D
    xchg ah, [rsp]
    EXPECT ah, 0x05
    EXPECT byte [rsp], 0x5D
    pop rdx
    mov edx, 0x7F00
    inc dh
    EXPECT edx, 0x8000
    mov byte [rbx], 0x80
    cmp dh, [rbx]
    sete dl
    EXPECT edx, 0x8001
    mov eax, 0x8000
    mov ecx, 0x1200
    lock cmpxchg [rbx], ch              ; AL is compared, and is 0: 80h comes back
    EXPECT eax, 0x8080
    lock cmpxchg [rbx], ch
    EXPECT byte [rbx], 0x12
    mov eax, 0x0300
    lock xadd [rbx], ah
    EXPECT byte [rbx], 0x15
    EXPECT eax, 0x1200
    AGAIN
    CLAIM "with memory"
    REPEATEDLY
    mov eax, 0x1234
    mov ah, al
    EXPECT eax, 0x3434
    mov al, 0x56
    xchg al, ah
    EXPECT eax, 0x5634
    mov ebx, 0x9900
    mov bl, bh
    EXPECT ebx, 0x9999
    xor bh, bl
    EXPECT ebx, 0x0099
    mov ecx, 0x8103
    rol ch, cl
    EXPECT ecx, 0x0C03
    shr ch, 1
    EXPECT ecx, 0x0603
    mov eax, 0x0507
    mul ah
    EXPECT eax, 35
    mov eax, 0x0064
    mov ch, 7
    div ch
    EXPECT eax, 0x020E
    AGAIN
    CLAIM "among themselves"
    REPEATEDLY
    mov rbp, 0x1111111111111144
    mov rsi, 0x1111111111111155
    mov rdi, 0x1111111111111166
    mov eax, 0x7788
    mov sil, bpl
    EXPECT sil, 0x44
    add dil, al
    EXPECT dil, 0xEE
    EXPECT eax, 0x7788
    mov r8d, 0x99
    mov bpl, r8b
    mov rdx, 0x1111111111111199
    EXPECT rbp, rdx
    mov rdx, rsp
    mov spl, spl
    EXPECT rsp, rdx
    xchg sil, r8b
    EXPECT r8d, 0x44
    EXPECT sil, 0x99
    AGAIN
    CLAIM "with REX"
    REPEATEDLY
    xor eax, eax
    mov ebx, 0x4100
    crc32 eax, bh
    mov edx, eax
    xor eax, eax
    mov r9b, 0x41
    crc32 eax, r9b
    EXPECT eax, edx
    mov ecx, 0xFF00
    movzx eax, ch
    EXPECT eax, 0xFF
    movsx eax, ch
    EXPECT eax, -1
    movzx ax, ch
    mov edx, 0xFFFF00FF
    EXPECT eax, edx
    mov edx, 0
    cmp edx, edx
    sete dh
    EXPECT edx, 0x100
    setne dh
    EXPECT edx, 0
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "CRC32, MOVZX, SETcc"
    jmp finish
