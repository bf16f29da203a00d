; Supervisor shadow stacks: tokens, events from both rings, the interrupt shadow-stack table, IRET, SYSCALL, far CALL
; and RET, call gates. SDM Vol. 1, "Supervisor Shadow Stack Token", "Shadow Stack Usage on Privilege Level Transitions";
; Vol. 2, the operation sections of INT n, IRET, CALL, RET, SETSSBSY, CLRSSBSY.
;
; expect: SETSSBSY and CLRSSBSY
; expect: 00000000002121F8
; expect: 00000000002121F9
; expect: V=15 E=0005 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: 0000000000000000
; expect: 0000000000000000
; expect: 00000000002121F8
; expect: 0000000000000001
; expect: 00000000002121F8
; expect: 00000000002121F8
; expect: 00000000002121F9
; expect: INT at ring 0
; expect: 00000000002121E0
; expect: 00000000002121F8
; expect: 0000000000000000
; expect: 0000000000000008
; expect: 00000000002121F8
; expect: V=15 E=0002 +=00 R=0
; expect: 00000000002121E0
; expect: V=15 E=0002 +=00 R=0
; expect: 00000000002121E0
; expect: V=15 E=0002 +=00 R=0
; expect: 00000000002121E0
; expect: V=0D E=0000 +=00 R=0
; expect: 00000000002121E0
; expect: IST
; expect: 00000000002123E0
; expect: 00000000002121F8
; expect: 0000000000000000
; expect: 0000000000000008
; expect: 00000000002123F9
; expect: 00000000002123F8
; expect: 00000000002121F8
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0E E=0043 +=00 R=0
; expect: V=0E E=0000 +=00 R=0
; expect: 00000000002121F8
; expect: far CALL at ring 0
; expect: 00000000002121E0
; expect: 00000000002121F8
; expect: 0000000000000000
; expect: 0000000000000008
; expect: 00000000002121F8
; expect: V=15 E=0002 +=00 R=0
; expect: 00000000002121E0
; expect: 00000000002121F8
; expect: an SSP aligned to 4 bytes
; expect: 00000000002121D8
; expect: 00000000002121F4
; expect: 0000000000000000
; expect: 0000000000000008
; expect: 00000000002121F4
; expect: 0000000000000000
; expect: 00000000002121EC
; expect: 00000000002121F4
; expect: V=15 E=0002 +=00 R=0
; expect: V=15 E=0002 +=00 R=0
; expect: 00000000002121F8
; expect: IRET to compatibility mode
; expect: V=0D E=0000 +=00 R=0
; expect: 00000000002121F9
; expect: INT at ring 3
; expect: 0000000000210800
; expect: 00000000002121F0
; expect: 00000000002121F9
; expect: 0000000000210800
; expect: 0000000000210800
; expect: SYSCALL
; expect: 0000000000000000
; expect: 00000000002107F8
; expect: 00000000002121F8
; expect: 00000000002123F8
; expect: 0000000000210800
; expect: call gate
; expect: 00000000002121F8
; expect: 00000000002121F9
; expect: 0000000000210800
; expect: 0000000000210800
; expect: 00000000002121F8
; expect: far CALL at ring 3
; expect: 00000000002107E8
; expect: 0000000000210800
; expect: 0000000000000000
; expect: 000000000000002B
; expect: 0000000000210800
; expect: IST from ring 3
; expect: 00000000002123F0
; expect: 00000000002121F8
; expect: 00000000002123F9
; expect: 00000000002123F8
; expect: 0000000000210800
; expect: tokens that stop a transfer
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0E E=0043 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=08 E=0000 R=3
; expect: 0000000000210800
; expect: done
%include "lm64.inc"
%include "cet.inc"

GATE    equ FREE
OTHER   equ SUPER + 0x2F8       ; for tokens that are wrong
IST1_SS equ SUPER + 0x3F8
IST2_SS equ SUPER + 0x4F8
IST2    equ 0x4800
PROBE   equ 0x38                ; like INT 39h, through a gate that the test may change

; INT PROBE, expected to fault at %1 inside.
%macro PROBE_AT 2
    mov eax, %2
    TRY_AT %1, int PROBE
%endmacro
; The same at the INT, with ssp_table[1] = %1 and `token` there.
%macro BAD_IST 2
    mov qword [ssp_table + 8], %1
    mov qword [(%1 & ~7) + ALIAS], %2
    mov eax, nothing
    TRY int PROBE
%endmacro
%macro DROP_FRAME 0             ; of an event that IRET cannot leave
    SHOW_SSP
    mov rsp, STACK0
    mov eax, 3
    incsspq rax
%endmacro

start64:
    call make_shadow_pages
    mov qword [on_resume], repair
    mov ax, [IDT + 0x39 * 16]
    mov [IDT + PROBE * 16], ax
    OPEN_GATE PROBE
    mov qword [TSS + 0x2C], IST2
    SET_CALL_GATE GATE, gate_target

    SAY "SETSSBSY and CLRSSBSY"
    mov qword [SS0 + ALIAS], SS0
    mov qword [IST1_SS + ALIAS], IST1_SS
    mov qword [IST2_SS + ALIAS], IST2_SS
    SET_MSR SSP_TABLE, ssp_table
    SET_MSR PL0_SSP, SS0
    SET_MSR S_CET, SH_STK | WR_SHSTK
    CET_ON
    setssbsy
    SHOW_SSP
    SHOW [SS0]
    TRY setssbsy                        ; busy
    SET_MSR PL0_SSP, SS0 + 4
    TRY setssbsy                        ; not aligned
    SET_MSR PL0_SSP, SS0
    TRY clrssbsy [SS0 + 4]
    mov rdi, -1
    stc
    clrssbsy [SS0]                      ; from here on there is no shadow stack: no events
    setc r8b
    rdsspq rdi
    mov r9, [SS0]
    clc
    clrssbsy [SS0]                      ; which is free by now
    setc r10b
    mov r11, [SS0]
    setssbsy
    movzx r8, r8b
    movzx r10, r10b
    SHOW r8
    SHOW rdi
    SHOW r9
    SHOW r10
    SHOW r11
    SHOW_SSP
    SHOW [SS0]

    SAY "INT at ring 0"
    mov eax, show_frame
    mov ebp, .int0
    int PROBE
.int0:
    SHOW_SSP
    PROBE_AT leave_handler, bad_lip
    DROP_FRAME
    PROBE_AT leave_handler, bad_cs
    DROP_FRAME
    PROBE_AT leave_handler, bad_ssp
    DROP_FRAME
    PROBE_AT leave_handler, far_ssp
    DROP_FRAME

    SAY "IST"
    SET_IST PROBE, 1
    mov eax, show_ist_frame
    mov ebp, .int1
    int PROBE
.int1:
    SHOW [IST1_SS]
    SHOW_SSP
    BAD_IST OTHER, OTHER | 1            ; busy
    BAD_IST OTHER, 0                    ; another token
    BAD_IST OTHER + 8, OTHER + 8        ; the frame would lie in other 32 bytes
    BAD_IST OTHER + 4, OTHER + 4        ; not aligned
    BAD_IST OTHER + ALIAS, OTHER + ALIAS ; not a shadow stack
    SET_MSR SSP_TABLE, ABSENT
    mov eax, nothing
    TRY int PROBE                       ; the table is read like data
    SET_MSR SSP_TABLE, ssp_table
    mov qword [ssp_table + 8], IST1_SS
    SET_IST PROBE, 0
    SHOW_SSP

    SAY "far CALL at ring 0"
    mov ebp, .far0
    call far dword [far0]
.far0:
    SHOW_SSP
    call far dword [far0_changed]
    SHOW_SSP

    SAY "an SSP aligned to 4 bytes"
    call .unaligned
.unaligned_back:
    nop
.unaligned:
    mov eax, 1
    incsspd eax
    mov ebp, .far1
    call far dword [far0]
.far1:
    SHOW_SSP
    mov eax, [SS0 - 8]                  ; a hole of 4 bytes
    SHOW rax
    call .near
    SHOW_SSP
    jmp .returns
.near:
    SHOW_SSP
    ret
.returns:
    push CODE0
    push .unaligned_back
    TRY o64 retf
    push DATA0
    push STACK0
    push 2
    push CODE0
    push .unaligned_back
    TRY iretq
    mov rsp, STACK0
    mov eax, 1
    incsspd eax
    SHOW_SSP

    SAY "IRET to compatibility mode"
    SET_MSR U_CET, SH_STK
    SET_MSR PL3_SSP, 0x100000800
    push DATA3
    push STACK3
    push 2
    push CODE3C
    push 0x8000
    TRY iretq                           ; with an SSP beyond 4 GBytes
    mov rsp, STACK0
    SHOW [SS0]                          ; not freed

    SET_MSR PL3_SSP, USER_A + 0x800
    SET_MSR 0xC0000081, (((CODE3C & 0xFFFB) << 16) | CODE0) << 32
    SET_MSR 0xC0000082, syscall_entry
    SET_MSR 0xC0000084, 0x700
    TO_USER user

; --- ring 3 -------------------------------------------------------------------------------------------
user:
    SAY "INT at ring 3"
    SHOW_SSP
    AT0 show_entry
    SHOW_SSP

    SAY "SYSCALL"
    call system_call
    SHOW r9                             ; SSP there
    SHOW r12                            ; IA32_PL3_SSP there
    SHOW r10                            ; the tokens: freed by IRET
    SHOW r11
    SHOW_SSP

    SAY "call gate"
    call far dword [far_gate]
    SHOW_SSP
    call system_call
    SHOW r10

    SAY "far CALL at ring 3"
    mov ebp, .far3
    call far dword [far3]
.far3:
    SHOW_SSP

    SAY "IST from ring 3"
    SET_IST PROBE, 1
    mov eax, show_ist_entry
    int PROBE
    SET_IST PROBE, 0
    call system_call
    SHOW r11
    SHOW_SSP

    SAY "tokens that stop a transfer"
    SET_IST 8, 2
    SET_IST 13, 1
    SET_IST 14, 1
%macro BAD_PL0 3+                       ; IA32_PL0_SSP, token, what to try
    mov r8d, %1
    mov r9d, %2
    AT0 set_pl0_ssp
    mov eax, nothing
    TRY %3
%endmacro
    BAD_PL0 OTHER, OTHER | 1, int PROBE
    BAD_PL0 OTHER, 0, int PROBE
    BAD_PL0 OTHER + 8, OTHER + 8, int PROBE
    BAD_PL0 OTHER + 4, OTHER + 4, int PROBE
    BAD_PL0 OTHER + ALIAS, OTHER + ALIAS, int PROBE
    BAD_PL0 OTHER, OTHER | 1, call far dword [far_gate]
    call .callee
.callee_back:
    SHOW_SSP
    SAY "done"
    RING0 finish
.callee:
    inc qword [rsp]
    BAD_PL0 OTHER, OTHER | 1, ret       ; #CP, then #GP: #DF
    mov qword [rsp], .callee_back
    ret

system_call:                            ; SYSRET needs R11
    mov r9, -1
    syscall
    mov r11, [saved]
    ret

; --- ring 0 -------------------------------------------------------------------------------------------
syscall_entry:
    rdsspq r9
    mov r10, [SS0]
    mov r13, [IST1_SS]
    mov [saved], r13
    mov r13, rcx
    mov ecx, PL3_SSP
    rdmsr
    mov r12d, eax
    mov rcx, r13
    o64 sysret

gate_target:
    SHOW_SSP
    SHOW [SS0]
    SHOW_MSR PL3_SSP
    o64 retf

; Procedures of INT 39h and PROBE: at SSP are their return address and, for an event of ring 0, its frame.
show_entry:
    SHOW_SSP
    SHOW [SS0]
    SHOW_MSR PL3_SSP
    ret
show_ist_entry:
    SHOW_SSP
    SHOW [SS0]
    SHOW [IST1_SS]
    ret
show_ist_frame:
    rdsspq rdi
    add rdi, 8
    call show_words
    SHOW [IST1_SS]
    ret
show_frame:
    rdsspq rdi
    add rdi, 8
    call show_words
    ret
show_words:                             ; the frame at RDI; LIP is compared with RBP
    SHOW rdi
    SHOW [rdi]
    SHOW_FROM [rdi + 8], rbp
    SHOW [rdi + 16]
    ret
bad_lip:
    rdsspq rdi
    mov rax, [rdi + 16]
    inc rax
    wrssq [rdi + 16], rax
    ret
bad_cs:
    rdsspq rdi
    mov eax, CODE0 | 0x10000            ; all 64 bits are compared
    wrssq [rdi + 24], rax
    ret
bad_ssp:
    rdsspq rdi
    mov rax, [rdi + 8]
    or eax, 2
    wrssq [rdi + 8], rax
    ret
far_ssp:
    rdsspq rdi
    mov rax, 0x800000000000
    wrssq [rdi + 8], rax
    ret
set_pl0_ssp:                            ; R8, with the token R9
    mov r10, r8
    and r10, ~7
    mov [r10 + ALIAS], r9
    mov ecx, PL0_SSP
    mov eax, r8d
    xor edx, edx
    wrmsr
nothing:
    ret
repair:                                 ; the next event needs its shadow stack
    SET_MSR PL0_SSP, SS0
    jmp resume_shadow

far_target:
    rdsspq rdi
    mov rax, rdi
    int 0x3D
    SHOW [rdi]
    SHOW_FROM [rdi + 8], rbp
    SHOW [rdi + 16]
    retf
far_changed:
    inc dword [rsp]
    TRY retf
    SHOW_SSP
    dec dword [rsp]
    retf

ssp_table:  dq 0, IST1_SS, IST2_SS
saved:  dq 0
far0:       dd far_target
            dw CODE0
far0_changed: dd far_changed
            dw CODE0
far3:       dd far_target
            dw CODE3
far_gate:   dd 0
            dw GATE | 3
