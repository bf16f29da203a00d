; Whoever loads MXCSR, the next operation rounds by it and its flags land in it, and whoever stores it sees them: all loaders with
; all storers. XRSTOR initializes the components it is asked for and that are not in its image, one by one, and leaves the
; others. SDM Vol. 1, "MXCSR Control and Status Register", "Operation of XRSTOR".
;
; Pitfalls: G3 G5
;
; limit: 60000000
; expect: mxcsr_loaders_and_storers: ok
; expect: mxcsr_flags_collect: ok
; expect: xrstor_each_component: ok
; expect: xrstor_loads_MXCSR_by_its_own_rule: ok
%include "lm64.inc"
XSTATE equ 7                            ; x87, SSE, AVX

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    ENABLE_XSAVE XSTATE

    mov dword [round], ROUNDS / 4       ; 42 pairs each
.again:
    mov r12d, LOADERS - 1
.loader:
    mov r13d, STORERS - 1
.storer:
    mov ebp, 0x5F80                     ; up
    mov r14d, 0x3F800001
    mov eax, [round]
    and eax, 1
    jz .up
    mov ebp, 0x3F80                     ; down, and one flag is there
    or ebp, 1
    mov r14d, 0x3F800000
.up:
    mov [wanted], ebp
    mov ebx, r12d
    call [loaders + rbx * 8]
    movss xmm0, [one]
    addss xmm0, [little]                ; inexact
    movd ecx, xmm0
    EXPECT ecx, r14d
    mov dword [given], -1
    mov ebx, r13d
    call [storers + rbx * 8]
    or ebp, 0x20
    EXPECT [given], ebp
    dec r13d
    jns .storer
    dec r12d
    jns .loader
    dec dword [round]
    jnz .again
    ldmxcsr [usual]
    CLAIM "mxcsr_loaders_and_storers"

    ; Flags stay until somebody loads them away; each comes from an operation of its own.
    REPEATEDLY
    ldmxcsr [usual]
    movss xmm0, [one]
    divss xmm0, [zero]                  ; Z
    stmxcsr [given]
    EXPECT dword [given], 0x1F84
    xorps xmm1, xmm1
    divss xmm1, xmm1                    ; I
    movaps xmm2, xmm1
    stmxcsr [given]
    EXPECT dword [given], 0x1F85
    movss xmm0, [denormal]
    addss xmm0, xmm0                    ; D
    stmxcsr [given]
    EXPECT dword [given], 0x1F87
    movss xmm0, [huge]
    mulss xmm0, xmm0                    ; O and P
    vstmxcsr [given]
    EXPECT dword [given], 0x1FAF
    movss xmm0, [little]
    mulss xmm0, xmm0                    ; 2^-60: nothing new
    mulss xmm0, xmm0
    mulss xmm0, [little]                ; 2^-150: U
    stmxcsr [given]
    EXPECT dword [given], 0x1FBF
    fxsave [area]
    EXPECT dword [area + 24], 0x1FBF
    paddd xmm0, xmm1
    movaps xmm3, xmm2
    stmxcsr [given]
    EXPECT dword [given], 0x1FBF
    AGAIN
    CLAIM "mxcsr_flags_collect"

    ; All 64 pairs of what is asked for and what the image has.
    REPEATEDLY
    mov ecx, [round]
    and ecx, 7
    mov r12d, ecx                       ; asked
    mov r13d, [round]
    shr r13d, 3
    and r13d, 7                         ; in the image
    call fill_state
    mov edi, area
    mov ecx, 1024 / 8
    xor eax, eax
    rep stosq
    mov eax, 7
    xor edx, edx
    xsave [area]                        ; a good image with the values of fill_state
    mov [area + 512], r13
    call change_state
    mov eax, r12d
    xor edx, edx
    xrstor [area]
    ; x87: FCW 127Fh changed, 137Fh in the image, 37Fh initial
    mov r8d, 0x127F
    mov r9d, 0x137F
    mov r10d, 0x37F
    mov eax, 1
    call choose
    fnstcw [given]
    EXPECT word [given], r8w
    mov r8d, 7 << 11                    ; one number on the stack after the change, two in the image
    mov r9d, 6 << 11
    mov r10d, 0
    mov eax, 1
    call choose
    fnstsw ax
    and eax, 0x3800
    EXPECT eax, r8d
    mov r8d, 0x11111111                 ; XMM9
    mov r9d, 0x22222222
    xor r10d, r10d
    mov eax, 2
    call choose
    movd eax, xmm9
    EXPECT eax, r8d
    mov r8d, 0x33333333                 ; the upper half of YMM9
    mov r9d, 0x44444444
    xor r10d, r10d
    mov eax, 4
    call choose
    vextractf128 xmm0, ymm9, 1
    movd eax, xmm0
    EXPECT eax, r8d
    AGAIN
    CLAIM "xrstor_each_component"

    ; MXCSR is loaded when SSE or AVX is asked for, whatever the image says it has.
    REPEATEDLY
    ldmxcsr [usual]
    mov eax, 7
    xor edx, edx
    xsave [area]
    mov qword [area + 512], 0
    mov qword [area + 520], 0
    mov dword [area + 24], 0x9F80
    mov eax, 1
    xrstor [area]
    stmxcsr [given]
    EXPECT dword [given], 0x1F80
    mov eax, 4
    xrstor [area]
    stmxcsr [given]
    EXPECT dword [given], 0x9F80
    mov dword [area + 24], 0x3F80
    mov eax, 2
    xrstor [area]
    stmxcsr [given]
    EXPECT dword [given], 0x3F80
    mov dword [area + 24], 0x10000      ; reserved
    mov eax, 2
    FAULTS 13, 0, {xrstor [area]}
    mov eax, 1
    WORKS xrstor [area]
    mov dword [area + 24], 0x5F80
    mov rax, 1 << 63 | 3                ; compacted: it is initialized with SSE
    mov [area + 520], rax
    mov eax, 2
    xrstor [area]
    stmxcsr [given]
    EXPECT dword [given], 0x1F80
    AGAIN
    CLAIM "xrstor_loads_MXCSR_by_its_own_rule"
    jmp finish

; R8D := what stays if bit EAX is not asked for, else R9D if it is in the image, else R10D.
choose:
    test r12d, eax
    jz .done
    mov r8d, r9d
    test r13d, eax
    cmovz r8d, r10d
.done:
    ret
fill_state:
    fninit
    fldcw [cw_image]
    fld1
    fldpi
    mov eax, 0x22222222
    movd xmm1, eax
    mov eax, 0x44444444
    movd xmm2, eax
    vinsertf128 ymm9, ymm1, xmm2, 1
    ret
change_state:
    fninit
    fldcw [cw_changed]
    fldz
    mov eax, 0x11111111
    movd xmm1, eax
    mov eax, 0x33333333
    movd xmm2, eax
    vinsertf128 ymm9, ymm1, xmm2, 1
    ret

loaders: dq by_ldmxcsr, by_vldmxcsr, by_fxrstor, by_xrstor, by_xrstor_compact, by_xrstors
LOADERS equ ($ - loaders) / 8
storers: dq to_stmxcsr, to_vstmxcsr, to_fxsave, to_xsave, to_xsavec, to_xsaves, to_xsaveopt
STORERS equ ($ - storers) / 8
%macro CLEAN_AREA 0
    mov edi, area
    mov ecx, 1024 / 8
    xor eax, eax
    rep stosq
    xor edx, edx
%endmacro
by_ldmxcsr:
    ldmxcsr [wanted]
    ret
by_vldmxcsr:
    vldmxcsr [wanted]
    ret
by_fxrstor:
    fxsave [area]
    mov eax, [wanted]
    mov [area + 24], eax
    fxrstor [area]
    ret
by_xrstor:
    CLEAN_AREA
    mov eax, 2
    xsave [area]
    mov eax, [wanted]
    mov [area + 24], eax
    mov qword [area + 512], 2
    mov eax, 2
    xrstor [area]
    ret
by_xrstor_compact:
    CLEAN_AREA
    mov eax, 2
    xsavec [area]
    mov eax, [wanted]
    mov [area + 24], eax
    mov qword [area + 512], 2
    mov eax, 2
    xrstor [area]
    ret
by_xrstors:
    CLEAN_AREA
    mov eax, 2
    xsaves [area]
    mov eax, [wanted]
    mov [area + 24], eax
    mov qword [area + 512], 2
    mov eax, 2
    xrstors [area]
    ret
to_stmxcsr:
    stmxcsr [given]
    ret
to_vstmxcsr:
    vstmxcsr [given]
    ret
%macro STORE_BY 1
    CLEAN_AREA
    mov eax, 2
    %1 [area]
    mov eax, [area + 24]
    mov [given], eax
    ret
%endmacro
to_fxsave:
    STORE_BY fxsave
to_xsave:
    STORE_BY xsave
to_xsavec:
    STORE_BY xsavec
to_xsaves:
    STORE_BY xsaves
to_xsaveopt:
    STORE_BY xsaveopt

align 16
wanted:     dd 0
given:      dd 0
usual:      dd 0x1F80
one:        dd 1.0
little:     dd 0x30800000               ; 2^-30
zero:       dd 0
huge:       dd 0x7F000000
denormal:   dd 0x00000001
cw_image:   dw 0x137F
cw_changed: dw 0x127F
align 64
area:       times 1024 db 0
