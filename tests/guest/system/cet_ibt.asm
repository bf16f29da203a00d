; Indirect-branch tracking: CALL and JMP, ENDBR, NOTRACK, what else arms the tracker, its state over events, the bit map
; of legacy pages, compatibility mode. SDM Vol. 1, "Indirect Branch Tracking", "Legacy Compatibility Treatment".
;
; expect: ring 0
; expect: V=0D E=0000 +=00 R=0
; expect: none
; expect: 0000000000000004
; expect: V=15 E=0003 +=00 R=0
; expect: 0000000000000008
; expect: V=15 E=0003 +=00 R=0
; expect: V=15 E=0003 +=00 R=0
; expect: none
; expect: V=15 E=0003 +=00 R=0
; expect: 0000000000000004
; expect: CALL and JMP at ring 3
; expect: none
; expect: none
; expect: V=15 E=0003 +=00 R=3
; expect: 0000000000000800
; expect: 0000000000000008
; expect: V=15 E=0003 +=00 R=3
; expect: 0000000000000000
; expect: V=15 E=0003 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: none
; expect: 0000000000000004
; expect: targets
; expect: V=15 E=0003 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: V=03 E=0000 +=01 R=3
; expect: 0000000000000800
; expect: V=01 E=0000 +=01 R=3
; expect: 0000000000000800
; expect: V=0E E=0014 +=00 R=3
; expect: 0000000000000800
; expect: NOTRACK
; expect: V=15 E=0003 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: none
; expect: V=15 E=0003 +=00 R=3
; expect: events between branch and target
; expect: V=01 E=0000 +=00 R=3
; expect: none
; expect: 0000000000000800
; expect: 0000000000000004
; expect: V=01 E=0000 +=00 R=3
; expect: V=15 E=0003 +=00 R=3
; expect: V=01 E=0000 +=00 R=3
; expect: 0000000000000800
; expect: far transfers
; expect: none
; expect: V=15 E=0003 +=00 R=3
; expect: 0000000000000800
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: none
; expect: SUPPRESS
; expect: none
; expect: 0000000000000404
; expect: V=15 E=0003 +=00 R=3
; expect: 0000000000000800
; expect: 0000000000000004
; expect: entries to ring 0
; expect: 0000000000000004
; expect: none
; expect: V=15 E=0003 +=00 R=0
; expect: none
; expect: V=15 E=0003 +=00 R=0
; expect: none
; expect: none
; expect: V=15 E=0003 +=00 R=0
; expect: none
; expect: 0000000000000004
; expect: legacy pages
; expect: none
; expect: 000000000020240C
; expect: none
; expect: 000000000020200C
; expect: V=15 E=0003 +=00 R=3
; expect: 0000000000000800
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: 000000000020202C
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: V=0E E=0004 +=00 R=3
; expect: 0000000000204006
; expect: 0000000000000800
; expect: compatibility mode
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: V=15 E=0003 +=00 R=3
; expect: none
; expect: done
%include "lm64.inc"
%include "cet.inc"

GATE    equ FREE
GATE_E  equ FREE + 0x10         ; to a target with ENDBR64
PROBE   equ 0x38                ; INT 39h without ENDBR64
LEGACY  equ 0x30000             ; page with bit 0 of byte 6 in the bit map
LEGACY2 equ 0x31000             ; bit 1 of it

; `branch`, by RAX, to `target`, where the fault is expected.
%macro BRANCH 2+
    mov eax, %1
    TRY_AT %1, %2
    mov rsp, [stack]
%endmacro
%macro NOTRACK 1+
    db 0x3E
    %1
%endmacro
%macro SET_U_CET 1
    mov r8d, %1
    AT0 set_u_cet
%endmacro
; CALL `target` with a single step behind the branch.
%macro STEP_TO 1
    mov eax, %1
    mov [step_to], rax
    mov [try_ip], rax
    mov qword [resume], %%after
    push 0x102                          ; TF
    popfq
    call rax
    int 0x3F
%%after:
    mov rsp, STACK3
%endmacro
%macro FAR_TO 2
    mov dword [pointer], %2
    mov word [pointer + 4], %1
%endmacro
; The next event is expected at ring 0 at `entry` and resumes at `leave`.
%macro ENTRY_AT 2
    mov qword [try_ip], %1
    mov qword [resume], %2
%endmacro
%macro SHOW_SEEN 0              ; TRACKER and SUPPRESS when the last fault came
    SHOW [seen]
%endmacro

start64:
    call make_shadow_pages
    mov qword [on_resume], note
    mov ax, [IDT + 0x39 * 16]
    add ax, 4
    mov [IDT + PROBE * 16], ax
    OPEN_GATE PROBE
    OPEN_GATE 3
    SET_CALL_GATE GATE, gate_target
    SET_CALL_GATE GATE_E, gate_target_endbr
    mov dword [LEGACY], 0xC390          ; NOP, RET
    mov dword [LEGACY2], 0xC390
    mov edi, LEGACY + 0x10              ; 15 prefixes
    mov al, 0x66
    mov ecx, 15
    rep stosb
    mov al, 0x90
    stosb

    SAY "ring 0"
    mov ecx, S_CET
    xor edx, edx
    mov eax, ENDBR | SUPPRESS | TRACKER
    TRY wrmsr
    SET_MSR S_CET, ENDBR
    CET_ON
    BRANCH good, call rax
    SHOW_MSR S_CET                      ; the handler's ENDBR64 came first
    mov rbp, rsp
    mov eax, bad
    TRY_AT bad, call rax                ; CALL is done, its target refused
    sub rbp, rsp
    SHOW rbp
    mov rsp, STACK0
    BRANCH bad, jmp rax
    BRANCH bad, NOTRACK call rax
    call bad
    int 0x3F
    mov qword [try_ip], .next
    mov qword [resume], .resumed
    mov ecx, S_CET
    mov eax, ENDBR | TRACKER
    xor edx, edx
    wrmsr
.next:
    nop
    int 0x3F
.resumed:
    SHOW_MSR S_CET
    SET_MSR S_CET, 0
    SET_MSR U_CET, ENDBR
    mov qword [stack], STACK3
    TO_USER user

; --- ring 3 -------------------------------------------------------------------------------------------
user:
    SAY "CALL and JMP at ring 3"
    BRANCH good, call rax
    mov eax, good
    mov [pointer], rax
    BRANCH good, call [pointer]
    mov eax, bad
    TRY_AT bad, call rax
    SHOW_SEEN
    mov rbp, STACK3
    sub rbp, rsp
    SHOW rbp
    mov eax, bad
    TRY_AT bad, jmp rax
    mov rbp, STACK3 - 8
    sub rbp, rsp
    SHOW rbp
    mov rsp, STACK3
    mov eax, bad
    mov [pointer], rax
    BRANCH bad, call [pointer]
    BRANCH bad, jmp [pointer]
    BRANCH bad, call bad                ; direct branches and RET need none
    push .returned
    ret
.returned:
    int 0x3F
    SHOW_MSR U_CET

    SAY "targets"
    BRANCH endbr32_target, call rax     ; of another mode
    BRANCH ud_target, call rax          ; before the opcode matters,
    BRANCH LEGACY + 0x10, call rax      ; or the length
    BRANCH int_target, call rax         ; INT n is no breakpoint
    BRANCH int3_target, call rax
    SHOW_SEEN
    BRANCH int1_target, call rax
    SHOW_SEEN
    BRANCH ABSENT, call rax
    SHOW_SEEN

    SAY "NOTRACK"
    BRANCH bad, NOTRACK call rax        ; not enabled
    BRANCH bad, NOTRACK jmp rax
    SET_U_CET ENDBR | NO_TRACK
    BRANCH bad, NOTRACK call rax
    mov eax, bad
    mov [pointer], rax
    BRANCH bad, NOTRACK call [pointer]
    BRANCH bad, call rax

    SAY "events between branch and target"
    SET_U_CET ENDBR
    STEP_TO good
    SHOW_SEEN                           ; and good's ENDBR64 found it again
    SHOW_MSR U_CET
    STEP_TO bad
    AT0 break_at_bad
    BRANCH bad, call rax                ; an instruction breakpoint comes before #CP
    SHOW_SEEN
    AT0 no_breakpoints

    SAY "far transfers"
    FAR_TO CODE3, good_far
    TRY call far dword [pointer]
    FAR_TO CODE3, bad
    TRY_AT bad, call far dword [pointer]
    SHOW_SEEN
    mov rsp, STACK3
    TRY_AT bad, jmp far dword [pointer]
    push CODE3
    push .far_returned
    o64 retf
.far_returned:
    int 0x3F
    push DATA3
    push STACK3
    push 2
    push CODE3
    push .event_returned
    iretq
.event_returned:
    int 0x3F

    SAY "SUPPRESS"
    SET_U_CET ENDBR | SUPPRESS
    BRANCH bad, call rax
    SHOW_MSR U_CET
    TRY_AT bad, call far dword [pointer]
    SHOW_SEEN
    mov rsp, STACK3
    SET_U_CET ENDBR | SUPPRESS
    endbr64
    SHOW_MSR U_CET

    SAY "entries to ring 0"
    AT0 track_ring0
    SHOW_MSR S_CET
    mov r8d, syscall_entry
    AT0 set_lstar
    syscall
    int 0x3F
    mov r8d, syscall_no_endbr
    AT0 set_lstar
    ENTRY_AT syscall_no_endbr, leave_syscall
    syscall
    int 0x3F
    ENTRY_AT stubs + 0x39 * 16 + 4, leave_handler
    int PROBE
    int 0x3F
    FAR_TO GATE_E | 3, 0
    call far dword [pointer]
    int 0x3F
    FAR_TO GATE | 3, 0
    ENTRY_AT gate_target, leave_gate
    call far dword [pointer]
    int 0x3F
    SHOW_MSR S_CET
    AT0 ignore_ring0

    SAY "legacy pages"
    mov byte [NORMAL3 + (LEGACY >> 15)], 1 << ((LEGACY >> 12) & 7)
    SET_U_CET NORMAL3 | ENDBR | LEG_IW
    BRANCH LEGACY, call rax
    SHOW_MSR U_CET
    BRANCH bad, call rax                ; suppressed
    endbr64
    SHOW_MSR U_CET
    BRANCH bad, call rax                ; the bit of its page is clear
    SHOW_SEEN
    BRANCH LEGACY2, call rax
    SET_U_CET NORMAL3 | ENDBR | LEG_IW | SUPPRESS_DIS
    BRANCH LEGACY, call rax
    SHOW_MSR U_CET
    BRANCH bad, call rax
    SET_U_CET ABSENT | ENDBR | LEG_IW
    BRANCH good, call rax               ; does not look there
    BRANCH LEGACY, call rax
    AT0 get_cr2
    SHOW r8
    SHOW_SEEN

    SAY "compatibility mode"
    SET_U_CET ENDBR
    mov ax, DATA3
    mov ds, ax
    FAR_TO CODE3C, bad32
    mov qword [try_ip], bad32
    mov qword [resume], compat
    jmp far dword [pointer]
bits 32
compat:
    mov eax, good32
    call eax
    int 0x3F
    mov dword [try_ip], bad32
    mov dword [resume], .refused
    mov eax, bad32
    call eax
    int 0x3F
.refused:
    jmp CODE3:user64
good32:
    endbr32
    ret
bad32:
    endbr64
    ret
bits 64
user64:
    endbr64
    int 0x3F
    SAY "done"
    RING0 finish

; Targets, for both rings.
good:
    endbr64
    ret
bad:
    nop
    ret
good_far:
    endbr64
    retf
endbr32_target:
    endbr32
    ret
ud_target:
    ud2
int_target:
    int 3
int3_target:
    int3
int1_target:
    db 0xF1

; --- ring 0 -------------------------------------------------------------------------------------------
syscall_entry:
    endbr64
leave_syscall:
    o64 sysret
syscall_no_endbr:
    o64 sysret
gate_target_endbr:
    endbr64
leave_gate:
    o64 retf
gate_target:
    o64 retf

; Of a fault at ring 3: what the tracker was. It is stopped, for the fault resumes somewhere else, unless a single step
; is to find its way back.
note:
    endbr64
    test byte [rbx + F_CS], 3
    jz .done
    mov ecx, U_CET
    rdmsr
    mov esi, eax
    and esi, SUPPRESS | TRACKER
    mov [seen], rsi
    mov rsi, [step_to]
    test rsi, rsi
    jnz .step
    and eax, ~TRACKER
    wrmsr
.done:
    ret
.step:
    mov [rbx + F_RIP], rsi
    and dword [rbx + F_RFLAGS], ~0x100
    mov qword [step_to], 0
    ret
set_u_cet:
    SET_MSR U_CET, r8
    ret
set_lstar:
    endbr64
    SET_MSR 0xC0000082, r8
    ret
track_ring0:
    SET_MSR 0xC0000081, (((CODE3C & 0xFFFB) << 16) | CODE0) << 32
    SET_MSR 0xC0000084, 0x700
    SET_MSR S_CET, ENDBR
    ret
ignore_ring0:
    endbr64
    SET_MSR S_CET, 0
    ret
break_at_bad:
    mov eax, bad
    mov dr0, rax
    mov eax, 0x401
    mov dr7, rax
    ret
no_breakpoints:
    mov eax, 0x400
    mov dr7, rax
    ret
get_cr2:
    mov r8, cr2
    ret

seen:    dq 0
step_to: dq 0
stack:   dq STACK0
pointer: dq 0
