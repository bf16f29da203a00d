; An x87 error with CR0.NE = 0 goes the way of a PC: FERR# raises IRQ 13, port F0h lets the handler's own x87 instructions through,
; and the program goes on. By turns with CR0.NE = 1, where the next waiting instruction is #MF, in the same hot block.
; SDM Vol. 1, "x87 FPU Exception Handling", "MS-DOS Compatibility Sub-mode".
;
; Pitfalls: F13 H6
;
; expect: FERR_and_IRQ13: ok
; expect: MF_by_turns: ok
%define MACHINE
%include "lm64.inc"

start64:
%include "claims.inc"
    mov qword [hook], note_error
    mov al, 0x11                        ; 8259s at 20h and 28h
    out 0x20, al
    out 0xA0, al
    mov al, 0x20
    out 0x21, al
    mov al, 0x28
    out 0xA1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1
    out 0x21, al
    out 0xA1, al
    mov al, 0xFB
    out 0x21, al
    mov al, 0xDF                        ; IRQ 13 alone
    out 0xA1, al
    mov dword [interrupts], 0
    mov dword [faults], 0
    REPEATEDLY
    mov rax, cr0
    and eax, ~0x20
    mov cr0, rax
    sti
    call divide
    nop
    nop
    cli
    EXPECT dword [interrupts], 1
    EXPECT dword [faults], 0
    mov dword [interrupts], 0
    AGAIN
    CLAIM "FERR_and_IRQ13"
    REPEATEDLY
    mov rax, cr0
    and eax, ~0x20
    mov cr0, rax
    sti
    call divide
    nop
    nop
    cli
    EXPECT dword [interrupts], 1
    EXPECT dword [faults], 0
    mov rax, cr0
    or eax, 0x20
    mov cr0, rax
    sti
    call divide
    nop
    nop
    cli
    EXPECT dword [interrupts], 1
    EXPECT dword [faults], 1
    mov dword [interrupts], 0
    mov dword [faults], 0
    AGAIN
    CLAIM "MF_by_turns"
    jmp finish

interrupts: dd 0
faults:     dd 0
unmasked:   dw 0x37B                    ; zero divide is not masked
divide:
    fninit
    fldcw [unmasked]
    fld1
    fldz
    fdivp
.waits:
    fwait
    ret
note_error:
    cmp dword [rbx + F_VECTOR], 0x2D
    je .irq13
    EXPECT dword [rbx + F_VECTOR], 16
    mov eax, [rbx + F_RIP]
    EXPECT eax, divide.waits
    inc dword [faults]
    fnclex
    jmp .done
.irq13:
    inc dword [interrupts]
    out 0xF0, al
    fnclex
    mov al, 0x20
    out 0xA0, al
    out 0x20, al
.done:
    cmp eax, eax
    ret
