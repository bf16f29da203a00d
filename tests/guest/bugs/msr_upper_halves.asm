; WRMSR with bits 63:32 set: IA32_FMASK and IA32_SYSENTER_CS drop them, IA32_TSC_AUX refuses them.
;
; limit: 3000000
; expect: dropped: ok
; expect: refused: ok
%include "lm64.inc"

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    mov ecx, 0xC0000084
    mov eax, -1
    mov edx, -1
    WORKS wrmsr
    WORKS rdmsr
    EXPECT eax, -1
    EXPECT edx, 0
    mov ecx, 0x174
    mov eax, 0x12340008
    mov edx, -1
    WORKS wrmsr
    WORKS rdmsr
    EXPECT eax, 0x12340008
    EXPECT edx, 0
    AGAIN
    CLAIM "dropped"
    REPEATEDLY
    mov ecx, 0xC0000103
    mov eax, 5
    mov edx, 1
    FAULTS 13, 0, wrmsr
    xor edx, edx
    WORKS wrmsr
    AGAIN
    CLAIM "refused"
    jmp finish
