; Code that is not written by a store of the processor's: by a device's DMA, by a string instruction that reads a port, by the
; page walker's accessed and dirty bits. What runs then is compared with what the device says through its data port, and with
; the bits the manual says. fw_cfg: docs/devices/fw_cfg.md; SDM Vol. 3A, "Accessed and Dirty Flags".
;
; Pitfalls: A7 A8 E4
;
; expect: smc_by_dma: ok
; expect: smc_by_dma_answer: ok
; expect: smc_by_dma_over_page_end: ok
; expect: smc_by_INS: ok
; expect: smc_by_accessed_bit: ok
; expect: smc_by_dirty_bit: ok
%define MACHINE
%include "lm64.inc"
PAGE    equ 0x240000
FRAME   equ 0x300000
REQUEST equ 0x202100

; fw_cfg DMA of EBX bytes of item EAX to physical EDI.
%macro DMA 0
    bswap edi
    mov [REQUEST + 12], edi
    mov dword [REQUEST + 8], 0
    bswap ebx
    mov [REQUEST + 4], ebx
    shl eax, 16
    or eax, 0x0A                ; select, read
    bswap eax
    mov [REQUEST], eax
    mov dx, 0x514
    xor eax, eax
    out dx, eax
    mov dx, 0x518
    mov eax, REQUEST
    bswap eax
    out dx, eax
%endmacro
; EAX := the first four bytes of item EAX, by the data port.
%macro BY_PORT 0
    mov dx, 0x510
    out dx, ax
    mov dx, 0x511
    in al, dx
    movzx ecx, al
    in al, dx
    mov ch, al
    in al, dx
    movzx esi, al
    shl esi, 16
    or ecx, esi
    in al, dx
    movzx eax, al
    shl eax, 24
    or eax, ecx
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], FRAME + 7
    mov dword [PT + 8 * 0x41], FRAME + 0x1007
    mov byte [PAGE], 0xBB       ; mov ebx, imm32; ret
    mov byte [PAGE + 5], 0xC3
    mov dword [PAGE + 1], 0
    xor r12d, r12d
    REPEATEDLY
    test byte [round], 15       ; hot in between
    jnz .no_dma
    mov r13d, [round]
    shr r13d, 4
    and r13d, 3                 ; item 0 ("QEMU"), 1, 3 (RAM size) or 5 (processors)
    mov r13b, [items + r13]
    mov eax, r13d
    BY_PORT
    mov r12d, eax
    mov eax, r13d
    mov ebx, 4
    mov edi, FRAME + 1
    DMA
.no_dma:
    mov eax, PAGE
    call rax
    EXPECT ebx, r12d
    AGAIN
    CLAIM "smc_by_dma"

    ; The device's answer to a request, four bytes of 0, is the immediate of an instruction.
    mov dword [PAGE + 0x40], 0xBB909090
    mov byte [PAGE + 0x48], 0xC3
    REPEATEDLY
    mov dword [PAGE + 0x44], 0x04000000 ; skip: read as 04000000h
    mov dword [PAGE + 0x48], 0xC3       ; (its length, as 000000C3h big-endian: the RET)
    mov dword [PAGE + 0x4C], 0
    mov dword [PAGE + 0x50], 0
    mov eax, PAGE + 0x40
    call rax
    EXPECT ebx, 0x04000000
    mov dx, 0x514
    xor eax, eax
    out dx, eax
    mov dx, 0x518
    mov eax, FRAME + 0x44
    bswap eax
    out dx, eax
    mov eax, PAGE + 0x40
    call rax
    EXPECT ebx, 0
    AGAIN
    CLAIM "smc_by_dma_answer"

    mov byte [PAGE + 0xFFE], 0xBB
    mov dword [PAGE + 0xFFF], 0
    mov byte [PAGE + 0x1003], 0xC3
    xor r12d, r12d
    REPEATEDLY
    test byte [round], 15
    jnz .no_dma_2
    mov r13d, [round]
    shr r13d, 4
    and r13d, 3
    mov r13b, [items + r13]
    mov eax, r13d
    BY_PORT
    mov r12d, eax
    mov eax, r13d
    mov ebx, 4
    mov edi, FRAME + 0xFFF
    DMA
.no_dma_2:
    mov eax, PAGE + 0xFFE
    call rax
    EXPECT ebx, r12d
    AGAIN
    CLAIM "smc_by_dma_over_page_end"

    mov dword [PAGE + 1], 0
    xor r12d, r12d
    REPEATEDLY
    test byte [round], 15
    jnz .no_ins
    mov r13d, [round]
    shr r13d, 4
    and r13d, 3
    movzx eax, byte [items + r13]
    mov r13d, eax
    BY_PORT
    mov r12d, eax
    mov eax, r13d
    mov dx, 0x510
    out dx, ax
    mov dx, 0x511
    mov edi, PAGE + 1
    mov ecx, 4
    rep insb
.no_ins:
    mov eax, PAGE
    call rax
    EXPECT ebx, r12d
    AGAIN
    CLAIM "smc_by_INS"

    ; A page directory whose entry for 400000h is the immediate of MOV RAX, imm64: the code gives the entry back.
    mov eax, 0x302007
    mov [PT + 8 * 0x42], rax            ; code and table
    mov eax, 0x303007                   ; the page of 400000h
    mov [PT + 8 * 0x43], rax
    mov edi, PAGE + 0x2000
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov dword [PD + 8 * 2], 0x302007    ; the page table is the frame of the code
    mov word [PAGE + 0x2000 - 2], 0xB848
    mov byte [PAGE + 0x2008], 0xC3
    REPEATEDLY
    mov eax, 0x303007
    mov [PAGE + 0x2000], rax
    invlpg [0x400000]
    mov edx, PAGE + 0x2000 - 2
    call rdx
    EXPECT eax, 0x303007
    mov ebx, [0x400000]                 ; the walk sets A
    call rdx
    EXPECT eax, 0x303027
    AGAIN
    CLAIM "smc_by_accessed_bit"
    REPEATEDLY
    mov eax, 0x303007
    mov [PAGE + 0x2000], rax
    invlpg [0x400000]
    mov edx, PAGE + 0x2000 - 2
    mov ebx, [0x400000]
    call rdx
    EXPECT eax, 0x303027
    mov [0x400000], ebx                 ; the next one sets D
    call rdx
    EXPECT eax, 0x303067
    AGAIN
    CLAIM "smc_by_dirty_bit"
    jmp finish
items: db 0, 1, 3, 5
