; A load of a whole state that ends in an absent page has loaded nothing.
;
; limit: 8000000
; expect: FLDENV: ok
; expect: FRSTOR: ok
; expect: FXRSTOR: ok
; expect: XRSTOR: ok
; expect: FLD m80 and FBLD: ok
%include "lm64.inc"
END equ 0x204000

; %1 bytes before the page end, %2.. the load from [rdi]
%macro LOAD 2+
    REPEATEDLY
    mov edi, END - %1
    mov eax, 3
    xor edx, edx
    fxsave [before]
    FAULTS 14, 0, %2
    and dword [f_cr2], ~0xFFF            ; (XRSTOR looks at its header first)
    EXPECT dword [f_cr2], END
    EXPECT edi, END - %1
    fxsave [after]
    mov esi, before
    mov edi, after
    mov ecx, 416
    repe cmpsb
    EXPECT ecx, 0
    AGAIN
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x40600             ; OSFXSR, OSXMMEXCPT, OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xor edx, edx
    mov eax, 3
    xsetbv
    mov edi, END - 1024         ; what would be loaded: other control words, other registers
    mov ecx, 1024 / 4
    mov eax, 0x00020000         ; every field legal: MXCSR and FCW too
    rep stosd
    fninit
    fld1
    fldpi
    ldmxcsr [mxcsr]
    movups xmm0, [mxcsr]
    movups xmm15, [mxcsr]
    mov byte [before + 415], 0
    LOAD 2, fldenv [rdi]
    LOAD 14, fldenv [rdi]
    LOAD 26, fldenv [rdi]
    CLAIM "FLDENV"
    LOAD 28, frstor [rdi]
    LOAD 60, frstor [rdi]
    LOAD 106, frstor [rdi]
    CLAIM "FRSTOR"
    LOAD 32, fxrstor [rdi]
    LOAD 160, fxrstor [rdi]
    LOAD 400, fxrstor [rdi]
    CLAIM "FXRSTOR"
    mov edi, END - 1024
    mov ecx, 1024 / 4
    xor eax, eax
    rep stosd
    LOAD 64, xrstor [rdi]
    LOAD 256, xrstor [rdi]
    LOAD 512, xrstor [rdi]
    CLAIM "XRSTOR"
    LOAD 9, fld tword [rdi]
    LOAD 2, fld tword [rdi]
    LOAD 5, fbld [rdi]
    CLAIM "FLD m80 and FBLD"
    jmp finish

align 16
mxcsr:  dd 0x9FC0, 0x12345678, 0x9ABCDEF0, 0x55AA55AA
before: times 512 db 0
after:  times 512 db 0
