; A fault finds all registers as the instruction found them, whatever kind of operand or register the instruction has: each
; register has a value of its own, and the handler looks at all sixteen and at the flags. Every fourth round faults.
; SDM Vol. 3A, "Program or Task Restart".
;
; Pitfalls: B8
;
; limit: 60000000
; expect: gs_relative_faults: ok
; expect: rip_relative_faults: ok
; expect: high_byte_faults: ok
; expect: stack_faults: ok
; expect: string_faults: ok
; expect: read_modify_write_faults: ok
; expect: indexed_and_vector_faults: ok
%include "lm64.inc"
WINDOW  equ 0x240000            ; absent every fourth round
FARCODE equ 0x23FF00            ; code whose RIP-relative operands are in the window

; One instruction between others.
%macro CASE 1+
    REPEATEDLY
    BEGIN %%insn, %%after
    jmp %%block
%%block:
    mov dword [before], 1
%%insn:
    %1
    mov dword [behind], 1
%%after:
    END
    AGAIN
%endmacro
%macro BEGIN 2
    mov dword [resume], %2
    mov dword [expected_rip], %1
    call load_registers
    mov rsp, WINDOW + 0x800
%endmacro
%macro END 0
    mov esp, STACK0
    call look
%endmacro
; The instruction whose bytes are %1 up to ModRM, then a displacement to the window, then the bytes %2.
%macro RIP_RELATIVE 1-2+
    jmp %%over
%%bytes:
    db %1
    dd WINDOW + 8 - (FARCODE + %%insn_end - %%bytes)
%if %0 > 1
    db %2
%endif
%%insn_end:
    db 0xE9
    dd %%back - (FARCODE + %%bytes_end - %%bytes)
%%bytes_end:
%%over:
    mov esi, %%bytes
    mov edi, FARCODE
    mov ecx, %%bytes_end - %%bytes
    rep movsb
    REPEATEDLY
    BEGIN FARCODE, %%after
    mov dword [before], 1
    jmp FARCODE
%%back:
    mov dword [behind], 1
%%after:
    END
    AGAIN
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_registers
    SET_IST 14, 1
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov dword [PT + 8 * 0x3F], 0x30F007
    SET_MSR 0xC0000101, 0x1000
    CASE mov rax, [gs:r15 - 0x1000]
    CASE mov [gs:WINDOW - 0x1000 + 8], rbx
    CASE lock add [gs:r15 - 0x1000], ecx
    CASE adc r9, [gs:r15 + r14 * 4 - 0x1000]
    CASE push qword [gs:r15 - 0x1000]
    CASE call qword [gs:rdi - 0x1000]
    CLAIM "gs_relative_faults"

    RIP_RELATIVE {0x48, 0x8B, 0x05}                     ; mov rax, [m]
    RIP_RELATIVE {0x4C, 0x89, 0x2D}                     ; mov [m], r13
    RIP_RELATIVE {0x81, 0x05}, 0x78, 0x56, 0x34, 0x12   ; add dword [m], 12345678h
    RIP_RELATIVE {0x48, 0x83, 0x15}, 0x7F               ; adc qword [m], 7Fh
    RIP_RELATIVE {0x48, 0xC7, 0x05}, 1, 2, 3, 4         ; mov qword [m], 04030201h
    RIP_RELATIVE {0xF0, 0x48, 0x0F, 0xC1, 0x05}         ; lock xadd [m], rax
    RIP_RELATIVE {0x0F, 0x10, 0x05}                     ; movups xmm0, [m]
    RIP_RELATIVE {0x66, 0x0F, 0x3A, 0x22, 0x05}, 1      ; pinsrd xmm0, [m], 1
    CLAIM "rip_relative_faults"

    CASE mov ah, [rsi]
    CASE mov bh, [abs WINDOW + 3]
    CASE mov [abs WINDOW + 3], dh
    CASE add ch, [rsp + 3]
    CASE xchg [abs WINDOW + 3], bh
    CASE lock cmpxchg [rbp], ch
    CASE movzx eax, byte [rbp]
    CASE sbb [rsp], ah
    CLAIM "high_byte_faults"

    CASE push rbx
    CASE push rsp
    CASE pop rcx
    CASE pop rsp
    CASE pop qword [rsp]
    CASE push qword [rsp + 8]
    CASE mov rdx, [rsp + 8]
    CASE mov rsp, [rsp]
    CASE add [rsp + r14 * 2], rsp
    CASE xadd [rsp], rsp
    CASE call returns
    CASE pushfq
    CASE leave
    CASE enter 16, 0
    CASE enter 16, 2
    CLAIM "stack_faults"

    CASE lodsq
    CASE stosb
    CASE movsd
    CASE cmpsw
    CASE scasq
    CASE rep movsb
    CASE repe cmpsb
    CASE repne scasw
    CASE rep stosq
    CLAIM "string_faults"

    CASE add [r15], rax
    CASE sbb [r15], r14
    CASE inc qword [r15]
    CASE neg byte [r12]
    CASE rcl qword [r15], cl
    CASE shr dword [r13], 1
    CASE shld [r15], rbx, cl
    CASE bts [r15], r14
    CASE lock xadd [r15], rbx
    CASE lock cmpxchg8b [r15]
    CASE mul qword [r15]
    CASE mulx rax, rbx, [r15]
    CASE idiv qword [r15]
    CLAIM "read_modify_write_faults"

    CASE mov rax, [r15 + r14 * 8]
    CASE mov r13, [r13]
    CASE mov r12d, [r12]
    CASE mov [r15 + 0x7F], r12
    CASE imul rbx, [r15], 0x12345
    CASE crc32 rcx, qword [r15]
    CASE cmovc rdx, [r15]
    CASE cmovnc rdx, [r15]
    CASE pinsrq xmm0, [r15], 1
    CASE movups [r15 + r14 * 8], xmm1
    CASE cvtsi2sd xmm2, qword [r12]
    CASE fild qword [r13]
    CLAIM "indexed_and_vector_faults"
    jmp finish

returns:
    ret

before:         dd 0
behind:         dd 0
expected_rip:   dd 0
flags:          dq 0
xmm_then:       times 2 dq 0
; RAX RCX RDX RBX RSP RBP RSI RDI R8 .. R15
given:          dq 0x1111111111111111, 5, 0x2222222222222222, 0x3333333333333333
                dq WINDOW + 0x800, WINDOW + 0x400, WINDOW + 0x200, WINDOW + 0x300
                dq 0x8888888888888888, 0x9999999999999999, 0xAAAAAAAAAAAAAAAA, 0xBBBBBBBBBBBBBBBB
                dq WINDOW + 0x600, WINDOW + 0x500, 0x10, WINDOW + 0x100

; The window, present or absent; the registers; all six flags, or none.
load_registers:
    fninit
    mov edx, 0x310007
    mov [PT + 8 * 0x40], rdx
    invlpg [WINDOW]
    mov rax, 0x7FFFFFFFFFFFFFFF         ; a divisor that never overflows
    mov [WINDOW + 0x100], rax
    mov dword [WINDOW + 0x300], returns
    mov dword [WINDOW + 0x304], 0
    mov dword [f_vector], -1
    mov dword [before], 0
    mov dword [behind], 0
    test byte [round], 3
    jnz .present
    and dword [PT + 8 * 0x40], ~1
    invlpg [WINDOW]
.present:
    mov eax, 0x002
    mov ecx, 0x8D7
    test byte [round], 4
    cmovz eax, ecx
    mov [flags], rax
    movups xmm0, [given]
    movups xmm1, [given + 16]
    push rax
    mov rax, [given]
    mov rcx, [given + 8]
    mov rdx, [given + 16]
    mov rbx, [given + 24]
    mov rbp, [given + 40]
    mov rsi, [given + 48]
    mov rdi, [given + 56]
    mov r8, [given + 64]
    mov r9, [given + 72]
    mov r10, [given + 80]
    mov r11, [given + 88]
    mov r12, [given + 96]
    mov r13, [given + 104]
    mov r14, [given + 112]
    mov r15, [given + 120]
    popfq
    ret

; It faulted when it had to, and then only.
look:
    cld
    EXPECT dword [before], 1
    test byte [round], 3
    jnz .not
    EXPECT dword [f_vector], 14
    EXPECT dword [behind], 0
    ret
.not:
    EXPECT dword [f_vector], -1
    EXPECT dword [behind], 1
    ret

%macro AS_GIVEN 2
    mov rdx, [given + 8 * %2]
    EXPECT %1, rdx
%endmacro
note_registers:
    AS_GIVEN [rbx + F_RAX], 0
    AS_GIVEN [rbx + F_RAX - 16], 1
    AS_GIVEN [rbx + F_RAX - 24], 2
    AS_GIVEN [rbx + F_RAX - 8], 3
    AS_GIVEN [rbx + F_RSP], 4
    AS_GIVEN rbp, 5
    AS_GIVEN [rbx], 6
    AS_GIVEN rdi, 7
    AS_GIVEN r8, 8
    AS_GIVEN r9, 9
    AS_GIVEN r10, 10
    AS_GIVEN r11, 11
    AS_GIVEN r12, 12
    AS_GIVEN r13, 13
    AS_GIVEN r14, 14
    AS_GIVEN r15, 15
    movups [xmm_then], xmm0
    AS_GIVEN [xmm_then], 0
    AS_GIVEN [xmm_then + 8], 1
    movups [xmm_then], xmm1
    AS_GIVEN [xmm_then], 2
    AS_GIVEN [xmm_then + 8], 3
    mov rdx, [flags]
    or edx, 0x10000                     ; RF
    EXPECT [rbx + F_RFLAGS], rdx
    mov edx, [expected_rip]
    EXPECT [rbx + F_RIP], rdx
    jmp note_fault
