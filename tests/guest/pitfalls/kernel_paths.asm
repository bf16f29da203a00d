; What kernels do at each entry and exit, a thousand times over: flags, GS, access control, levels. SDM Vol. 2, the pages of the
; instructions; Vol. 3A, "Masking Exceptions and Interrupts When Switching Stacks".
;
; Pitfalls: C6 E2 F1 F3
;
; limit: 60000000
; expect: CLAC_closes_the_stack: ok
; expect: STAC_and_CLAC_by_turns: ok
; expect: CLAC_closes_what_hot_code_has_reached: ok
; expect: SWAPGS: ok
; expect: PUSHF_and_POPF: ok
; expect: IF_is_seen_at_once: ok
; expect: fault_in_the_shadow: ok
; expect: interrupt_from_within_the_shadow: ok
; expect: branches_in_the_shadow: ok
; expect: selectors: ok
; expect: SYSCALL_and_SYSRET: ok
; expect: system_flags_at_levels: ok
; expect: bit_strings: ok
%include "lm64.inc"
VECTOR  equ 0x31
USER    equ 0x202800            ; in a user page
ABSENT  equ 0x204000

%macro SELF_IPI 0                       ; x2APIC: self-IPI register
    mov ecx, 0x83F
    mov eax, VECTOR
    xor edx, edx
    wrmsr
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_event
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00                       ; x2APIC
    wrmsr
    SET_MSR 0x80F, 0x1FF
    mov dword [PD], 0x83                ; code, stacks and tables become supervisor memory
    SET_IST 14, 1
    mov rax, cr3
    mov cr3, rax
    mov rax, cr4
    or eax, 0x200000                    ; SMAP
    mov cr4, rax

    REPEATEDLY                          ; a stack in a user page is one as long as AC says so
    mov [kept], rsp
    stac
    mov rsp, USER
    push rax
    pop rcx
    EXPECT rcx, rax
    push rbp
    mov rbp, rsp
    clac
    mov rdx, rsp
    FAULTS 14, 3, push rax
    EXPECT qword [f_rsp], rdx
    FAULTS 14, 1, pop rcx
    FAULTS 14, 1, mov rcx, [rbp]
    FAULTS 14, 3, mov [rsp - 16], rcx
    mov rsp, [kept]
    push rax
    pop rcx
    EXPECT rcx, rax
    AGAIN
    CLAIM "CLAC_closes_the_stack"

    REPEATEDLY
    mov ebx, USER
    stac
    stac
    mov dword [rbx], 5
    clac
    FAULTS 14, 1, mov eax, [rbx]
    stac
    mov eax, [rbx]
    add eax, [rbx]
    clac
    clac
    EXPECT eax, 10
    FAULTS 14, 3, inc dword [rbx]
    call opens
    mov eax, [rbx + 8]
    call closes
    FAULTS 14, 1, mov eax, [rbx + 8]
    AGAIN
    CLAIM "STAC_and_CLAC_by_turns"

    mov ebx, string                     ; a loop that kernels spend their time in
    mov edi, string
    mov ecx, 1000000
    mov r8d, .hot
    jmp copies
.hot:
    REPEATEDLY
    mov ebx, USER
    mov edi, string
    mov r8d, .read
    mov ecx, 2
    stac
    jmp copies
.read:
    clac
    mov dword [f_vector], -1
    mov dword [resume], .read_closed
    mov r8d, .read_closed
    mov ecx, 1
    jmp copies
.read_closed:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 1
    EXPECT dword [f_rip], copies
    mov ebx, string
    mov edi, USER
    mov r8d, .written
    mov ecx, 2
    stac
    jmp copies
.written:
    clac
    mov dword [f_vector], -1
    mov dword [resume], .write_closed
    mov r8d, .write_closed
    mov ecx, 1
    jmp copies
.write_closed:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 3
    AGAIN
    CLAIM "CLAC_closes_what_hot_code_has_reached"

    SET_MSR 0xC0000101, there
    SET_MSR 0xC0000102, elsewhere
    REPEATEDLY
    mov rax, [gs:0]
    swapgs
    mov rbx, [gs:0]
    swapgs
    mov rcx, [gs:8]
    swapgs
    mov rdx, [gs:8]
    EXPECT rax, 1
    EXPECT rbx, 3
    EXPECT rcx, 2
    EXPECT rdx, 4
    mov ecx, 0xC0000102
    rdmsr
    EXPECT eax, there
    swapgs
    AGAIN
    CLAIM "SWAPGS"

    REPEATEDLY
    mov eax, [round]
    and eax, 0xCD5                      ; status flags and DF
    mov ebx, [round]
    and ebx, 0x120
    shl ebx, 9                          ; bit 14, NT
    and ebx, 0x4000
    or eax, ebx
    or eax, 2
    push rax
    popfq
    pushfq
    pop rdx
    EXPECT rdx, rax
    push rax
    popfq
    lea rcx, [rsp - 8]
    pushfq
    mov rbx, rsp
    mov rdx, [rsp]
    add rsp, 8
    EXPECT rbx, rcx
    EXPECT rdx, rax
    push qword 2
    popfq
    mov ebx, -1
    add ebx, 1                          ; CF ZF AF PF
    pushfq
    pop rdx
    EXPECT edx, 0x57
    mov ebx, 0x7FFFFFFF
    inc ebx                             ; OF SF AF PF
    pushfq
    pop rdx
    EXPECT edx, 0x896
    std
    pushfq
    pop rdx
    cld
    pushfq
    pop rbx
    and edx, 0x400
    EXPECT edx, 0x400
    and ebx, 0x400
    EXPECT ebx, 0
    AGAIN
    CLAIM "PUSHF_and_POPF"

    REPEATEDLY
    cli
    pushfq
    sti
    pushfq
    cli
    pushfq
    sti
    nop
    pushfq
    popfq
    pushfq
    cli
    pop rax
    pop rbx
    pop rcx
    pop rdx
    and eax, 0x200
    EXPECT eax, 0x200
    and ebx, 0x200
    EXPECT ebx, 0
    and ecx, 0x200
    EXPECT ecx, 0x200
    and edx, 0x200
    EXPECT edx, 0
    AGAIN
    CLAIM "IF_is_seen_at_once"

    REPEATEDLY                          ; the handler sees IF, and behind it no shadow is left
    cli
    mov dword [f_vector], -1
    mov dword [resume], .resumed
    sti
.faults:
    mov eax, [ABSENT]
.resumed:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], .faults
    mov eax, [f_flags]
    and eax, 0x200
    EXPECT eax, 0x200
    SELF_IPI
.at_once:
    cli
    EXPECT dword [f_vector], VECTOR
    EXPECT dword [f_rip], .at_once
    AGAIN
    CLAIM "fault_in_the_shadow"

    REPEATEDLY
    mov dword [f_vector], -1
    mov ecx, 0x83F
    mov eax, VECTOR
    xor edx, edx
    sti
    wrmsr                               ; the shadow ends with the instruction that asks
.asked:
    cli
    EXPECT dword [f_vector], VECTOR
    EXPECT dword [f_rip], .asked
    AGAIN
    CLAIM "interrupt_from_within_the_shadow"

    REPEATEDLY
    mov dword [f_vector], -1
    mov ebx, [round]
    and ebx, 3
    cmp ebx, 1
    sti
    je .taken
    sti
    jmp .joined
.taken:
    inc ebx
.joined:
    cli
    test ebx, ebx
    sti
    jnz .over
    nop
.over:
    SELF_IPI
.came:
    cli
    EXPECT dword [f_vector], VECTOR
    EXPECT dword [f_rip], .came
    AGAIN
    CLAIM "branches_in_the_shadow"

    REPEATEDLY
    mov rax, -1
    mov ax, ss
    EXPECT rax, -65536 + DATA0
    mov rcx, -1
    mov ecx, cs
    EXPECT rcx, CODE0
    mov r13, -1
    mov r13w, ds
    EXPECT r13, -65536 + DATA0
    mov r14, -1
    mov r14, cs
    EXPECT r14, CODE0
    mov r12, -1
    mov r12w, cs
    EXPECT r12, -65536 + CODE0
    AGAIN
    CLAIM "selectors"

    mov rax, cr4
    and eax, ~0x200000
    mov cr4, rax
    mov dword [PD], 0x87
    mov rax, cr3
    mov cr3, rax
    OPEN_GATE 0x3B
    SET_MSR 0xC0000081, (CODE3 - 16) << 48 | CODE0 << 32
    SET_MSR 0xC0000082, first
    SET_MSR 0xC0000084, 0x40601         ; FMASK: AC, DF, IF, CF
    mov r9d, first
    mov r10d, second
    TO_USER .ring3
.ring3:
    REPEATEDLY
    mov r8, rsp
    xor ebx, ebx
    std
    stc
    syscall                             ; 1 or 2 in EBX, the other one next time
.behind:
    setc dl
    EXPECT dl, 1                        ; as it was
    pushfq
    pop rdx
    cld
    and edx, 0x600
    EXPECT edx, 0x400
    EXPECT rcx, .behind
    EXPECT rsp, r8
    mov eax, cs
    EXPECT eax, CODE3
    mov eax, ss
    EXPECT eax, DATA3
    mov eax, [round]
    and eax, 1
    inc eax
    cmp ebx, eax
    je .as_expected
    EXPECT ebx, -1
.as_expected:
    EXPECT r15d, 0x3FF & ~0x200
    AGAIN
    CLAIM "SYSCALL_and_SYSRET"

    REPEATEDLY                          ; at level 3 IOPL decides, POPF leaves IF alone
    mov dword [f_vector], -1
    mov dword [resume], .no_cli
    cli
.no_cli:
    EXPECT dword [f_vector], 13
    mov dword [f_vector], -1
    mov dword [resume], .no_sti
    sti
.no_sti:
    EXPECT dword [f_vector], 13
    mov dword [f_vector], -1
    mov dword [resume], .no_swap
    swapgs
.no_swap:
    EXPECT dword [f_vector], 13
    mov dword [f_vector], -1
    mov dword [resume], .no_stac
    stac
.no_stac:
    EXPECT dword [f_vector], 6
    pushfq
    pop rax
    mov ebx, eax
    xor eax, 0x3200                     ; IF, IOPL
    push rax
    popfq
    pushfq
    pop rax
    EXPECT eax, ebx
    AGAIN
    CLAIM "system_flags_at_levels"

    RING0 .ring0                        ; a register offset is signed and reaches whole words away
.ring0:
    REPEATEDLY
    mov qword [string], 0
    mov qword [string + 8], 0
    mov qword [string + 16], 0
    mov ebx, string + 8
    mov rcx, -64
    mov r13d, 67
    mov edx, -1
    xor eax, eax                        ; CF = 0, ZF = 1
    bts [rbx], rcx
    setc al
    EXPECT eax, 0
    EXPECT qword [string], 1
    lock bts [rbx], r13
    setc al
    EXPECT eax, 0
    EXPECT qword [string + 16], 8
    bt [rbx], r13
    setc al
    EXPECT eax, 1
    bts dword [rbx], edx                ; 32 bits of it: bit 31 of the doubleword before
    EXPECT dword [string + 4], 0x80000000
    mov edx, 31
    btc dword [rbx + 12 - 8], edx
    setc al
    EXPECT eax, 0
    EXPECT dword [string + 12], 0x80000000
    bt [rbx - 8], rdx
    setc al
    EXPECT eax, 0
    btr [rbx], rcx
    setc al
    EXPECT eax, 1
    EXPECT dword [string], 0
    EXPECT dword [string + 4], 0x80000000
    lock btr qword [rbx + rcx + 64], r13
    setc al
    EXPECT eax, 1
    EXPECT qword [string + 16], 0
    mov ecx, (ABSENT - 0x8000 - (string - $$) - 8) * 8 + 5
    FAULTS 14, 2, bts [rbx], rcx
    EXPECT dword [f_cr2], ABSENT
    FAULTS 14, 0, bt [rbx], rcx
    mov ebx, string + 9                 ; not aligned
    mov ecx, 1
    lock bts [rbx], rcx
    setc al
    EXPECT eax, 0
    EXPECT dword [string + 8], 0x200
    lock btc [rbx], rcx
    setc al
    EXPECT eax, 1
    EXPECT dword [string + 8], 0
    AGAIN
    CLAIM "bit_strings"
    jmp finish

; R8: where to go on.
copies:
    mov eax, [rbx]
    mov [rdi], eax
    dec ecx
    jnz copies
    jmp r8

opens:
    stac
    ret
closes:
    clac
    ret

; R15 has RFLAGS, 0 for what must be 0: AC, DF, IF, CF
first:
    mov ebx, 1
    jmp handler
second:
    mov ebx, 2
handler:
    pushfq
    pop r15
    and r15d, 0x40601
    add r15d, 0x1FF
    mov r12, rcx
    mov r14, r11
    xchg r9, r10
    mov ecx, 0xC0000082
    mov eax, r9d
    xor edx, edx
    wrmsr
    mov eax, cs
    EXPECT eax, CODE0
    mov eax, ss
    EXPECT eax, DATA0
    mov eax, r14d                       ; what R11 has of DF and CF comes back
    and eax, 0x401
    EXPECT eax, 0x401
    mov rcx, r12
    mov r11, r14
    o64 sysret

align 8
string:    dq 0, 0, 0
kept:      dq 0
there:     dq 1, 2
elsewhere: dq 3, 4

; An interrupt returns where it came, a fault behind the instruction.
note_event:
    cmp dword [rbx + F_VECTOR], VECTOR
    jne note_fault
    jmp note_interrupt
