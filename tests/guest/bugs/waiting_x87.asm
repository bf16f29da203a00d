; An unmasked x87 exception is reported by the next waiting instruction, whichever that is and wherever in its block, and not
; by those that do not wait.
;
; limit: 5000000
; expect: waiting instructions: ok
; expect: instructions that do not wait: ok
; expect: the instruction that made it: ok
%include "lm64.inc"

%macro MAKE_PENDING 0                   ; 1 / 0 with #Z unmasked
    fninit
    fldcw [unmasked]
    fld1
    fldz
    fdivp
%endmacro
%macro WAITING 1+
    MAKE_PENDING
    nop
    FAULTS 16, 0, %1
    fnclex
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr0
    or eax, 0x22                        ; NE, MP
    mov cr0, rax
    REPEATEDLY
    WAITING fwait
    WAITING fld1
    WAITING fadd st0, st1
    WAITING fst qword [scratch]
    EXPECT qword [scratch], 0
    WAITING fld dword [unmasked]
    WAITING fldcw [unmasked]
    WAITING fxch
    WAITING fincstp
    WAITING fnop
    WAITING fcomi st0, st1
    WAITING fcmovb st0, st1
    WAITING emms
    WAITING movq mm0, [scratch]
    WAITING fldenv [environment]
    AGAIN
    CLAIM "waiting instructions"
    fninit
    fnstenv [environment]
    REPEATEDLY
    MAKE_PENDING
    mov dword [f_vector], -1
    mov dword [resume], .unexpected
    fnstsw ax
    fnstcw [scratch]
    fnstenv [saved]
    fnsave [saved]
    MAKE_PENDING
    fnclex
    fwait
    MAKE_PENDING
    fninit
    fwait
.unexpected:
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "instructions that do not wait"
    REPEATEDLY
    fninit
    fldcw [unmasked]
    fld1
    fldz
.divides:
    fdivp
    nop
    FAULTS 16, 0, fwait
    FAULTS 16, 0, fwait                 ; until somebody clears it
    fnstenv [saved]
    EXPECT dword [saved + 12], .divides
    mov eax, [saved + 4]
    and eax, 0x8084
    EXPECT eax, 0x8084                  ; #Z and its summary
    fnclex
    WORKS fwait
    AGAIN
    CLAIM "the instruction that made it"
    jmp finish

align 8
unmasked:    dw 0x37B
             dw 0, 0, 0
scratch:     dq 0
environment: times 28 db 0
saved:       times 108 db 0
