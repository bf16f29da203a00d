; Memory that a device answers for, byte by byte: the 64 KBytes of pc-testdev behave like RAM, so whatever is done to them has
; the result it has in RAM: accesses of all widths at all offsets, over page ends, half in RAM; locked operations, strings, the
; stack, and code. docs/devices/testdev.md; SDM Vol. 3A, "Memory Types" (UC).
;
; Pitfalls: C4 C7 E11 E12 H6
;
; native: avx
; options: -device pc-testdev -global isa-debugcon.iobase=0x99
; expect: all_widths_at_all_offsets: ok
; expect: half_in_a_device: ok
; expect: locked_in_a_device: ok
; expect: flags_over_device_accesses: ok
; expect: strings_in_a_device: ok
; expect: stack_in_a_device: ok
; expect: code_in_a_device: ok
; expect: code_in_a_device_changes: ok
; expect: code_over_the_edge_of_a_device: ok
; expect: dma_into_a_device: ok
; expect: odd_accesses_to_the_local_APIC: ok
%define MACHINE
%define CONSOLE 0x99             ; pc-testdev has E9h
%include "lm64.inc"
DEVICE  equ 0x240000            ; 64 KBytes of testdev; a page of RAM in front, one behind
FRONT   equ DEVICE - 0x1000
TAIL    equ DEVICE + 0x10000
APIC    equ 0x260000
REQUEST equ 0x261000
MODEL   equ 0x1A0000            ; RAM with the same contents

; The bytes around R12 in the device are those of the model.
%macro SAME_BYTES 0
    lea rsi, [r12 + DEVICE - 8]
    lea rdi, [r12 + MODEL - 8]
    call compare_64
%endmacro
%macro BOTH 2+                          ; register that holds the address, instruction
    lea %1, [r12 + MODEL]
    %2
    lea %1, [r12 + DEVICE]
    %2
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE 7
    fninit
    mov dword [PT + 8 * 0x3F], 0x310007
    xor ecx, ecx
.map:
    mov eax, ecx
    shl eax, 12
    add eax, 0xFF000017
    mov [PT + 8 * 0x40 + rcx * 8], rax
    inc ecx
    cmp ecx, 16
    jb .map
    mov dword [PT + 8 * 0x50], 0x320007
    mov eax, 0xFEE0001B
    mov [PT + 8 * 0x60], rax
    mov edi, DEVICE
    mov ecx, 0x2000
    call fill
    mov edi, MODEL
    mov ecx, 0x2000
    call fill

    REPEATEDLY
    mov r12d, [round]
    and r12d, 63
    add r12d, 0x1000 - 32               ; over a page end
    imul rax, [seed], 69069
    inc rax
    mov [seed], rax
    BOTH rbx, mov [rbx], al
    BOTH rbx, mov [rbx + 3], ax
    BOTH rbx, mov [rbx + 7], eax
    BOTH rbx, mov [rbx + 1], rax
    BOTH rbx, add [rbx + 5], rax
    BOTH rbx, not dword [rbx + 6]
    BOTH rbx, rol word [rbx + 3], 5
    vmovq xmm0, rax
    vpbroadcastq ymm0, xmm0
    BOTH rbx, movups [rbx + 2], xmm0
    BOTH rbx, vmovdqu [rbx - 5], ymm0
    BOTH rbx, movlps [rbx], xmm0
    BOTH rbx, {fild qword [seed]}
    BOTH rbx, fstp tword [rbx + 4]
    fninit
    SAME_BYTES
    mov rax, [r12 + DEVICE + 1]
    EXPECT rax, [r12 + MODEL + 1]
    mov eax, [r12 + DEVICE + 2]
    EXPECT eax, [r12 + MODEL + 2]
    movzx eax, word [r12 + DEVICE + 3]
    EXPECT ax, [r12 + MODEL + 3]
    movzx eax, byte [r12 + DEVICE + 5]
    EXPECT al, [r12 + MODEL + 5]
    vmovdqu ymm1, [r12 + DEVICE - 3]
    vpcmpeqb ymm1, ymm1, [r12 + MODEL - 3]
    vpmovmskb eax, ymm1
    EXPECT eax, -1
    movups xmm2, [r12 + DEVICE + 1]
    movups [got], xmm2
    mov rax, [got + 8]
    EXPECT rax, [r12 + MODEL + 9]
    fld tword [r12 + DEVICE + 4]
    fstp tword [got]
    mov rax, [got]
    EXPECT rax, [r12 + MODEL + 4]
    AGAIN
    CLAIM "all_widths_at_all_offsets"

    ; Part of the operand in RAM in front of the device, or behind it.
    REPEATEDLY
    mov r13d, [round]
    and r13d, 7
    imul rax, [seed], 69069
    inc rax
    mov [seed], rax
    lea rbx, [r13 + DEVICE - 7]
    mov [rbx], rax
    mov rcx, [rbx]
    EXPECT rcx, rax
    mov ecx, r13d
    movzx edx, byte [DEVICE - 1]
    neg ecx
    lea ecx, [rcx * 8 + 48]             ; the byte in front of the device is number 6 - r13 ...
    js .not_in_front
    mov r8, rax
    shr r8, cl
    EXPECT dl, r8b
.not_in_front:
    lea rbx, [r13 + TAIL - 7]
    mov [rbx], rax
    lock add [rbx], rax
    add rax, rax
    EXPECT [rbx], rax
    movups xmm0, [rbx - 4]
    movups [got], xmm0
    EXPECT [got + 4], rax
    AGAIN
    CLAIM "half_in_a_device"

    REPEATEDLY
    mov r12d, [round]
    and r12d, 63
    add r12d, 0x2000 - 32
    mov rax, [seed]
    mov [r12 + DEVICE], rax
    mov [r12 + MODEL], rax
%macro LOCKED 1+
    push qword 0x8D7
    popfq
    lea rbx, [r12 + MODEL]
    %1
    pushfq
    pop r14
    push qword 0x8D7
    popfq
    lea rbx, [r12 + DEVICE]
    %1
    pushfq
    pop r15
    EXPECT r15, r14
    mov rdx, [rbx]
    EXPECT rdx, [r12 + MODEL]
%endmacro
    mov rcx, [seed + 8]
    LOCKED lock neg qword [rbx]
    LOCKED lock inc dword [rbx]
    LOCKED lock dec qword [rbx]
    LOCKED lock adc [rbx], rcx
    LOCKED lock sbb [rbx], cx
    LOCKED lock btc qword [rbx], 33
    LOCKED lock or [rbx], ecx
    mov rax, [r12 + MODEL]
    mov r8, rax
    LOCKED lock cmpxchg [rbx], rcx      ; succeeds
    EXPECT rax, r8
    lea rbx, [r12 + DEVICE]
    lock cmpxchg [rbx], r8              ; fails, unless both are equal
    sete dl
    cmp rcx, r8
    sete dh
    EXPECT dl, dh
    EXPECT rax, rcx
    mov [r12 + DEVICE], rcx
    mov rcx, 5
    lock xadd [r12 + DEVICE], rcx
    mov rdx, rcx
    mov rcx, 5
    lock xadd [r12 + MODEL], rcx
    EXPECT rdx, rcx
    xchg [r12 + DEVICE], rdx
    xchg [r12 + MODEL], rcx
    EXPECT rdx, rcx
    AGAIN
    CLAIM "locked_in_a_device"

    REPEATEDLY
    mov r9d, [round]
    mov r12d, 0x100
    and r9d, 1
    cmp r9d, 1                          ; CF by turns
    mov rax, [r12 + DEVICE]
    mov [r12 + DEVICE + 8], rax
    adc r9d, 0
    EXPECT r9d, 1
    stc
    mov al, [r12 + DEVICE]
    adc r9d, [zero]
    EXPECT r9d, 2
    std
    mov al, [r12 + DEVICE]
    pushfq
    pop rcx
    cld
    and ecx, 0x400
    EXPECT ecx, 0x400
    AGAIN
    CLAIM "flags_over_device_accesses"

    REPEATEDLY
    mov eax, [round]
    mov edi, DEVICE + 0x2FF0
    mov ecx, 5
    rep stosq
    mov esi, DEVICE + 0x2FF1
    mov edi, DEVICE + 0x3021
    mov ecx, 16
    rep movsb
    mov esi, DEVICE + 0x2FF0
    mov edi, DEVICE + 0x3020
    mov ecx, 4
    mov al, [rsi]
    mov [rdi], al
    repe cmpsd
    EXPECT ecx, 0
    sete dl
    EXPECT dl, 1
    mov edi, DEVICE + 0x2FF0
    mov ecx, 100
    mov eax, [round]
    repe scasd
    setne dl
    EXPECT dl, 1
    lodsw
    std
    mov esi, DEVICE + 0x3010
    mov edi, got + 8
    mov ecx, 2
    rep movsq
    cld
    mov eax, [round]
    EXPECT [got], rax
    AGAIN
    CLAIM "strings_in_a_device"

    REPEATEDLY
    mov rsp, DEVICE + 0x5004            ; misaligned, at a page end
    mov rbp, DEVICE + 0x4800
    mov rax, [seed]
    push rax
    push qword [seed + 8]
    call on_device_stack
    pop rcx
    pop rdx
    EXPECT rdx, rax
    EXPECT rcx, [seed + 8]
    enter 32, 1
    mov [rbp - 8], rdx
    leave
    pushfq
    popfq
    int 0x3B                            ; an event's frame lies there, too
    mov rdx, [frame_rsp]
    shr rdx, 16
    EXPECT edx, DEVICE >> 16
    EXPECT rsp, DEVICE + 0x5004
    mov rsp, STACK0
    AGAIN
    CLAIM "stack_in_a_device"

    ; Code that adds, calls, loops and reads its own bytes.
    mov esi, device_code
    mov edi, DEVICE + 0x6000 - 5
    mov ecx, device_code.end - device_code
    rep movsb
    REPEATEDLY
    mov ecx, 3
    xor ebx, ebx
    call DEVICE + 0x6000 - 5
    EXPECT ebx, 0x1234 * 3 + 3
    EXPECT al, 0x81
    AGAIN
    CLAIM "code_in_a_device"
    REPEATEDLY
    mov eax, [round]
    mov [DEVICE + 0x6000 - 5 + 2], eax
    mov ecx, 2
    xor ebx, ebx
    call DEVICE + 0x6000 - 5
    mov eax, [round]
    lea eax, [rax * 2 + 2]
    EXPECT ebx, eax
    AGAIN
    CLAIM "code_in_a_device_changes"

    ; From RAM into the device and out of it, with an instruction half in each.
    REPEATEDLY
    mov dword [DEVICE - 3], 0x00BAC3FF  ; inc ebx; mov edx, imm32 ...
    mov eax, [round]
    mov [DEVICE], eax
    mov byte [DEVICE + 4], 0xC3
    xor ebx, ebx
    call DEVICE - 3
    EXPECT ebx, 1
    EXPECT edx, [round]
    mov dword [TAIL - 2], 0x332211B8    ; mov eax, 44332211h
    mov word [TAIL + 2], 0xC344
    call TAIL - 2
    EXPECT eax, 0x44332211
    AGAIN
    CLAIM "code_over_the_edge_of_a_device"

    ; One device writes into the window of another: refused and nothing written, or done.
    mov eax, 0x330007
    mov [PT + 8 * 0x61], rax
    REPEATEDLY
    mov dword [DEVICE + 0x100], 0x5A5A5A5A
    mov dword [REQUEST], 0x0A000000     ; big-endian: select item 0 ("QEMU"), read
    mov dword [REQUEST + 4], 0x04000000
    mov dword [REQUEST + 8], 0
    mov dword [REQUEST + 12], 0x000100FF        ; FF000100h
    mov dx, 0x514
    xor eax, eax
    out dx, eax
    mov dx, 0x518
    mov eax, 0x330000
    bswap eax
    out dx, eax
    mov ecx, 0x5A5A5A5A
    mov edx, 'QEMU'
    cmp dword [REQUEST], 0
    cmove ecx, edx
    EXPECT [DEVICE + 0x100], ecx
    AGAIN
    CLAIM "dma_into_a_device"

    ; What these give is the processor's own affair; that the aligned register is right in between is not.
    REPEATEDLY
    mov eax, [APIC + 0x30]
    mov bx, [APIC + 0x33]
    mov rcx, [APIC + 0x2C]
    mov rdx, [APIC + 0xFFC - 4]
    movups xmm0, [APIC + 0x28]
    mov edi, [APIC + 0x30]
    EXPECT edi, eax
    mov dword [APIC + 0x80], 0x20
    mov esi, [APIC + 0x80]
    EXPECT esi, 0x20
    mov dword [APIC + 0x80], 0
    AGAIN
    EXPECT dword [f_count], 0
    CLAIM "odd_accesses_to_the_local_APIC"
    jmp finish

seed: dq 0x123456789ABCDEF, 0x8899AABBCCDDEEFF
got:  times 4 dq 0
zero: dd 0
on_device_stack:
    push rbx
    mov ebx, [rsp + 16]
    pop rbx
    ret
fill:
    xor eax, eax
.next:
    mov [rdi], al
    inc edi
    add al, 7
    loop .next
    ret
; 64 bytes at RSI and RDI.
compare_64:
    mov ecx, 64
.next:
    mov al, [rsi]
    EXPECT al, [rdi]
    inc esi
    inc edi
    loop .next
    ret
device_code:
    add ebx, strict dword 0x1234
    inc ebx
    call .inner
    dec ecx
    jnz device_code
    ret
.inner:
    mov al, [rel device_code]
    ret
.end:
