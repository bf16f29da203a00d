; RFLAGS.RF holds back an instruction breakpoint for one instruction, also when that is a branch to the next breakpoint.
;
; limit: 5000000
; expect: RF for one instruction: ok
; expect: RF, then a jump onto a breakpoint: ok
; expect: RF and a fault: ok
%include "lm64.inc"

%macro RETURN_WITH_RF 1
    mov rax, rsp
    push qword DATA0
    push rax
    push qword 0x10002
    push qword CODE0
    push qword %1
    iretq
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_breakpoint
    mov eax, .one
    mov dr0, rax
    mov eax, 0x402                      ; G0, execution
    mov dr7, rax
    REPEATEDLY
    mov dword [f_count], 0
    RETURN_WITH_RF .one
.one:
    inc ebx
    EXPECT dword [f_count], 0
    mov ecx, 2
    jmp .one_again
    align 64
.one_again:
    jmp .meets
.meets:
    mov dword [f_count], 0
    mov eax, .target                    ; a breakpoint on what RF does not cover
    mov dr0, rax
    RETURN_WITH_RF .before
.before:
    nop
.target:
    nop
    EXPECT dword [f_count], 1
    EXPECT dword [f_rip], .target
    mov eax, .one
    mov dr0, rax
    AGAIN
    CLAIM "RF for one instruction"

    mov eax, .jump
    mov dr0, rax
    mov eax, .landed
    mov dr1, rax
    mov eax, 0x40A
    mov dr7, rax
    REPEATEDLY
    mov dword [f_count], 0
    RETURN_WITH_RF .jump
.landed:
    nop
    EXPECT dword [f_count], 1
    EXPECT dword [f_rip], .landed
    jmp .next
.jump:
    jmp .landed
.next:
    AGAIN
    CLAIM "RF, then a jump onto a breakpoint"

    mov eax, .faulty                    ; the fault pushes RF = 1, so returning there does not break again
    mov dr0, rax
    mov eax, 0x402
    mov dr7, rax
    REPEATEDLY
    mov dword [f_count], 0
    mov edi, 0x204000                   ; the handler corrects it
.faulty:
    mov eax, [rdi]
    EXPECT dword [f_count], 2
    EXPECT dword [f_vector], 14
    EXPECT dword [f_rip], .faulty
    mov rax, [f_flags]
    and eax, 0x10000
    EXPECT eax, 0x10000
    AGAIN
    CLAIM "RF and a fault"
    xor eax, eax
    mov dr7, rax
    jmp finish

; A breakpoint: noted, and past it by RF. A page fault: RDI is corrected.
note_breakpoint:
    mov rax, [rbx + F_RIP]
    mov [resume], rax
    call note_fault
    cmp dword [rbx + F_VECTOR], 14
    jne .breakpoint
    mov edi, 0x202000
    cmp eax, eax
    ret
.breakpoint:
    or dword [rbx + F_RFLAGS], 0x10000
    cmp eax, eax
    ret
