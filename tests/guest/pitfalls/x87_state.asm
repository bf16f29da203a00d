; The x87's pointers, precision control, and the top of its stack at a fault in the midst of a block. FIP, FOP and FDP are those
; of the guest's instructions; precision control rounds sums, products, quotients and roots, and nothing else. SDM Vol. 1,
; "x87 FPU Instruction and Data (Operand) Pointers", "Precision Control Field".
;
; Pitfalls: G1 G2 G10
;
; limit: 30000000
; expect: x87_pointers: ok
; expect: pointers_stay_at_control_instructions: ok
; expect: precision_control_rounds: ok
; expect: precision_control_does_not_round: ok
; expect: x87_fault_in_a_block: ok
; expect: x87_stack_through_a_handler: ok
%include "lm64.inc"
ABSENT equ 0x204000

; The instruction, then FNSTENV: FIP is its address, FOP this.
%macro POINTS 2+
%%insn:
    %2
    fnstenv [env]
    EXPECT dword [env + 12], %%insn
    movzx eax, word [env + 18]
    EXPECT eax, %1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    REPEATEDLY
    fninit
    POINTS 0x1E8, fld1                  ; D9 E8
    POINTS 0x1EB, fldpi
    POINTS 0x0C1, {fadd st0, st1}       ; D8 C1
    fldcw [cw_64]                     ; (FNSTENV masked everything; it was masked)
    POINTS 0x1FA, fsqrt
    POINTS 0x1C9, {fxch st1}
    mov ebx, number
    POINTS 0x003, {fadd dword [rbx]}    ; D8 03
    POINTS 0x503, {fld qword [rbx]}     ; DD 03
    POINTS 0x5D8, {fstp st0}
    fxsave64 [area]
    mov rax, [area + 8]
    EXPECT eax, [env + 12]
    AGAIN
    CLAIM "x87_pointers"

    REPEATEDLY
    fninit
    fld1
.last:
    fldpi
    fldcw [cw_64]
    fnstcw [slot]
    fnstsw ax
    fnclex
    nop
    fnstenv [env]
    fldenv [env]
    fwait
    fnstenv [env]
    EXPECT dword [env + 12], .last
    EXPECT dword [env + 4], 0xFFFF3000
    fninit
    fnstenv [env]
    EXPECT dword [env + 12], 0
    EXPECT word [env + 18], 0
    AGAIN
    CLAIM "pointers_stay_at_control_instructions"

    ; Sums that fit into 64 bits and not into 24 or 53: rounded once, by the operation or by a store.
%macro ROUNDS_ONCE 1+
    fldcw [cw_64]
    fld tword [circle]
    fld tword [euler]
    %1
    fst dword [as_single]               ; (an exact or once rounded result of 64 bits ends well between two of 24)
    fst qword [as_double]
    fstp st0
    fldcw [cw_24]
    fld tword [circle]
    fld tword [euler]
    %1
    fstp tword [given]
    fld dword [as_single]
    fstp tword [wanted]
    mov rax, [given]
    EXPECT rax, [wanted]
    movzx eax, word [given + 8]
    EXPECT ax, [wanted + 8]
    fldcw [cw_53]
    fld tword [circle]
    fld tword [euler]
    %1
    fstp tword [given]
    fld qword [as_double]
    fstp tword [wanted]
    mov rax, [given]
    EXPECT rax, [wanted]
    fninit
%endmacro
    REPEATEDLY
    ROUNDS_ONCE faddp
    ROUNDS_ONCE fsubp
    ROUNDS_ONCE fmulp
    ROUNDS_ONCE fdivp
    ROUNDS_ONCE fdivrp
    ROUNDS_ONCE {fsqrt}
    ROUNDS_ONCE {fadd dword [number]}
    ROUNDS_ONCE {fimul dword [three]}
    AGAIN
    CLAIM "precision_control_rounds"

%macro ROUNDS_NOT 1+
    fldcw [cw_64]
    fld tword [circle]
    fld tword [euler]
    %1
    fstp tword [wanted]
    fninit
    fldcw [cw_24]
    fld tword [circle]
    fld tword [euler]
    %1
    fstp tword [given]
    fninit
    mov rax, [given]
    EXPECT rax, [wanted]
    movzx eax, word [given + 8]
    EXPECT ax, [wanted + 8]
    test byte [given], 0x7F             ; and it has bits that would have been rounded away
    setnz al
    EXPECT al, 1
%endmacro
    REPEATEDLY
    ROUNDS_NOT {nop}
    ROUNDS_NOT {fchs}
    ROUNDS_NOT {fld st0}
    ROUNDS_NOT fxch
    ROUNDS_NOT {fldpi}
    ROUNDS_NOT {fprem}
    ROUNDS_NOT {fscale}
    ROUNDS_NOT {fsin}
    ROUNDS_NOT {fpatan}
    ROUNDS_NOT {fyl2x}
    ROUNDS_NOT {fabs}
    ROUNDS_NOT {fild qword [integer]}
    AGAIN
    CLAIM "precision_control_does_not_round"

    ; Two x87 instructions, then one that faults: the stack is as the two left it.
    REPEATEDLY
    fninit
    mov dword [f_vector], -1
    mov dword [resume], .faulted
    mov ebx, ABSENT
    test byte [round], 3
    jz .go
    mov ebx, number
.go:
    fld1
    fldpi
.third:
    fadd dword [rbx]
    fld1
    jmp .ran
.faulted:
    EXPECT dword [f_rip], .third
    EXPECT dword [f_vector], 14
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, 6 << 11
    fldpi
    fcomip st0, st1                     ; not touched
    sete al
    EXPECT al, 1
    fstp st0
    fld1
    fcomip st0, st1
    sete al
    EXPECT al, 1
    jmp .next
.ran:
    EXPECT dword [f_vector], -1
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, 5 << 11
.next:
    AGAIN
    CLAIM "x87_fault_in_a_block"

    ; The handler saves the state, uses the unit and puts the state back.
    mov qword [hook], use_x87
    REPEATEDLY
    fninit
    mov dword [resume], .handled
    fldpi
    fld1
    fld dword [number]
    ud2
.handled:
    faddp
    fmulp                               ; pi * (1 + 2.5)
    fldpi
    fmul dword [three_and_a_half]
    fcomip st0, st1
    sete al
    EXPECT al, 1
    fstp st0
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, 0
    AGAIN
    CLAIM "x87_stack_through_a_handler"
    jmp finish

use_x87:
    fnsave [saved]
    fldz
    fldz
    fld1
    fadd st0
    frstor [saved]
    jmp note_fault

cw_64:      dw 0x37F
cw_53:      dw 0x27F
cw_24:      dw 0x07F
number:     dd 2.5
            dd 1.0                      ; as a double: 1 and something
three_and_a_half: dd 3.5
three:      dd 3
integer:    dq 0x7123456789ABCDE7
align 16
circle:     dq 0xC90FDAA22168C235       ; pi, and
            dw 0x4000
align 16
euler:      dq 0xADF85458A2BB4A9B       ; e
            dw 0x4000
align 16
given:      times 2 dq 0
wanted:     times 2 dq 0
as_single:  dd 0
as_double:  dq 0
slot:       dw 0
env:        times 32 db 0
align 16
area:       times 512 db 0
saved:      times 112 db 0
