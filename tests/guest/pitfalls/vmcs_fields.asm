; VMREAD and VMWRITE in hot code, of fields that the code names by a constant: a translator reaches the VMCS without asking anybody.
; Whatever is current, whoever runs and whatever was written, the fields are those of the manual. SDM Vol. 3C, "VMREAD-Read Field
; from Virtual-Machine Control Structure", "VMWRITE-Write Field to Virtual-Machine Control Structure", "Changes to Instruction
; Behavior in VMX Non-Root Operation".
;
; Pitfalls: J1 J2
;
; expect: fields_have_their_width: ok
; expect: status_flags_are_cleared_or_tell: ok
; expect: any_register_names_and_holds: ok
; expect: the_field_need_not_be_a_constant: ok
; expect: what_was_written_is_checked: ok
; expect: the_current_vmcs_is_meant: ok
; expect: shadowed_by_turns: ok
%define MACHINE
%include "lm64.inc"

SHADOW      equ 0x1DF000                ; a VMCS region
READ_MAP    equ IO_BITMAPS
WRITE_MAP   equ IO_BITMAPS + 0x1000
STATUS      equ 0x8D5

; Field %1 := RAX; RCX := field, and RAX in its width (%2 := %3) is what is expected of it.
%macro WIDTH 3
    mov edx, %1
    vmwrite rdx, rax
    vmread rcx, rdx
    %2 ebx, %3
    EXPECT rcx, rbx
%endmacro
; What %1 does with all status flags set: they are %2.
%macro STATUS_OF 2+
    push STATUS | 2
    popf
    %2
    pushf
    pop rbx
    and ebx, STATUS
    EXPECT ebx, %1
%endmacro

start64:
%include "claims.inc"
%include "vmx64.inc"
    mov qword [hook], note_fault
    call vmx_start

    REPEATEDLY
    mov eax, [round]
    imul rax, rax, 0x7FEDCBA9
    mov rbx, 0xF00F0F0FF0F0A55A
    xor rax, rbx
    WIDTH 0x0806, movzx, ax             ; guest DS selector
    WIDTH 0x4806, mov, eax              ; guest DS limit
    mov edx, 0x2010                     ; TSC offset
    vmwrite rdx, rax
    vmread rcx, rdx
    EXPECT rcx, rax
    mov edx, 0x2011                     ; its upper half
    vmread rcx, rdx
    mov rbx, rax
    shr rbx, 32
    EXPECT rcx, rbx
    mov edx, 0x6824                     ; guest IA32_SYSENTER_ESP
    vmwrite rdx, rax
    vmread rcx, rdx
    EXPECT rcx, rax
    mov edx, 0x0804                     ; beside the first: as it was
    vmread rcx, rdx
    EXPECT rcx, DATA0
    AGAIN
    VMSET 0x0806, DATA0
    VMSET 0x4806, 0xFFFFFFFF
    CLAIM "fields_have_their_width"

    REPEATEDLY
    mov edx, 0x4806
    STATUS_OF 0, vmread rcx, rdx
    mov edx, 0x4806
    STATUS_OF 0, vmwrite rdx, rcx
    mov edx, 0x4806
    vmread rcx, rdx
    EXPECT ecx, -1
    xor edx, edx                        ; VPID
    STATUS_OF 0, vmread rcx, rdx
    EXPECT ecx, 1
    mov edx, 0x7FFE                     ; no field
    STATUS_OF 0x40, vmread rcx, rdx
    EXPECT ecx, 1
    VMGET 0x4400
    EXPECT eax, 12
    mov edx, 0x7FFE
    STATUS_OF 0x40, vmwrite rdx, rcx
    mov rdx, 0x100004806                ; no field either
    STATUS_OF 0x40, vmread rcx, rdx
    stc
    mov edx, 0x4806
    vmread rcx, rdx
    jbe .told
    setbe cl
    EXPECT cl, 0
    jmp .next
.told:
    EXPECT ecx, ebx
.next:
    AGAIN
    CLAIM "status_flags_are_cleared_or_tell"

    REPEATEDLY
    mov r14d, [round]
    mov r13d, 0x6824
    vmwrite r13, r14
    vmread r15, r13
    EXPECT r15, r14
    mov r12d, 0x6824
    lea r8, [r14 + 1]
    vmwrite r12, r8
    vmread r12, r12
    EXPECT r12, r8
    mov ebp, 0x6824
    vmwrite rbp, rsp
    mov rbx, rsp
    push rax
    vmread rsp, rbp
    EXPECT rsp, rbx
    mov r15d, 0x6824
    vmwrite r15, r15
    vmread rax, r15
    EXPECT rax, 0x6824
    mov esi, 0x6826
    mov esi, 0x6824
    inc r14
    vmwrite rsi, r14
    vmread rdi, rsi
    EXPECT rdi, r14
    AGAIN
    CLAIM "any_register_names_and_holds"

    ; The names are read from memory: each width, upper halves, and what is no field.
    REPEATEDLY
    mov eax, [round]
    imul rax, rax, 0x7FEDCBA9
    mov rbx, 0xF00F0F0FF0F0A55A
    xor rax, rbx
    mov esi, names
.name:
    movzx edx, word [rsi]
    mov r14, rax
    vmwrite rdx, r14
    vmread rcx, rdx
    vmread r13, rdx
    movzx edi, byte [rsi + 2]           ; bits that it has not
    mov rbx, -1
    xchg rcx, rdi
    shr rbx, cl
    xchg rcx, rdi
    and rbx, rax
    EXPECT r13, rbx
    vmread rdx, rdx
    EXPECT rdx, rbx
    vmwrite rsi, rax                    ; no field
    setz dl
    EXPECT dl, 1
    add esi, 3
    cmp esi, names_end
    jb .name
    movzx edx, word [no_field]
    mov ecx, 5
    STATUS_OF 0x40, vmread rcx, rdx
    EXPECT rcx, 5
    movzx edx, word [odd_field]
    vmread rcx, rdx
    mov rbx, rax
    shr rbx, 32
    EXPECT rcx, rbx
    mov rdx, [wide_name]
    STATUS_OF 0x40, vmwrite rdx, rax
    movzx edx, word [names]
    STATUS_OF 0, vmread rcx, rdx
    movzx edx, word [names]
    STATUS_OF 0, vmwrite rdx, rcx
    AGAIN
    VMSET 0x0806, DATA0
    VMSET 0x4806, 0xFFFFFFFF
    VMSET 0x6824, 0                     ; canonical again
    CLAIM "the_field_need_not_be_a_constant"

    jmp .behind_guest
.guest:
    vmcall
.behind_guest:
    GUEST .guest
    REPEATEDLY
    mov eax, [round]
    and eax, 1
    or eax, CODE0                       ; with RPL 1 in every other round
    test byte [round], 2                ; host CS selector := EAX, in two ways
    jz .constant
    movzx edx, word [host_cs]
    vmwrite rdx, rax
    jmp .was_written
.constant:
    mov edx, 0x0C02
    vmwrite rdx, rax
.was_written:
    GUEST .guest
    test byte [round], 1
    jz .enters
    EXPECT dword [g_reason], -1
    VMGET 0x4400
    EXPECT eax, 8
    jmp .checked
.enters:
    EXPECT dword [g_reason], 18
.checked:
    AGAIN
    VMSET 0x0C02, CODE0
    CLAIM "what_was_written_is_checked"

    mov ecx, 0x480
    rdmsr
    mov [SHADOW], eax
    mov qword [operand], SHADOW
    vmclear [operand]
    REPEATEDLY
    mov qword [operand], SHADOW
    vmptrld [operand]
    mov edi, [round]
    call .exchange
    mov qword [operand], VMCS_AT
    vmptrld [operand]
    mov edi, [round]
    not edi
    call .exchange
    mov qword [operand], SHADOW
    vmptrld [operand]
    mov edx, 0x6824
    vmread rax, rdx
    EXPECT eax, [round]
    vmclear [operand]                   ; none is current
    mov edi, 0
    mov eax, 5
    call .exchange
    EXPECT ebx, 1                       ; CF: VMfailInvalid
    EXPECT eax, 5
    mov qword [operand], VMCS_AT
    vmptrld [operand]
    mov edx, 0x6824
    vmread rax, rdx
    mov ebx, [round]
    not ebx
    EXPECT eax, ebx
    AGAIN
    CLAIM "the_current_vmcs_is_meant"

    ; A guest with VMCS shadowing, whose two accesses exit or not as the bitmaps say.
    mov qword [operand], SHADOW
    vmclear [operand]
    or dword [SHADOW], 1 << 31
    VMSET 0x2800, SHADOW                ; link pointer
    VMSET 0x2026, READ_MAP
    VMSET 0x2028, WRITE_MAP
    CONTROL SECONDARY, 0, 1 << 14
    REPEATEDLY
    mov eax, [round]
    and byte [WRITE_MAP + 0x681E / 8], ~(1 << (0x681E & 7))
    and byte [READ_MAP + 0x681E / 8], ~(1 << (0x681E & 7))
    mov dword [exits], 0                ; to come
    test al, 4
    jz .may_write
    or byte [WRITE_MAP + 0x681E / 8], 1 << (0x681E & 7)
    inc dword [exits]
.may_write:
    test al, 8
    jz .may_read
    or byte [READ_MAP + 0x681E / 8], 1 << (0x681E & 7)
    inc dword [exits]
.may_read:
    mov [g_regs], rax
    mov qword [g_regs + 8], -5
    GUEST .accesses
    test byte [round], 4
    jz .written
    EXPECT dword [g_reason], 25
    EXPECT qword [g_rip], .write
    SKIP
    call run_guest
    dec dword [exits]
.written:
    test byte [round], 8
    jz .read_back
    EXPECT dword [g_reason], 23
    EXPECT qword [g_rip], .read
    EXPECT qword [g_regs + 8], -5
    SKIP
    call run_guest
    dec dword [exits]
    jmp .ended
.read_back:
    test byte [round], 4
    jnz .ended                          ; what was read is of an earlier round
    mov eax, [round]
    EXPECT [g_regs + 8], rax
.ended:
    EXPECT dword [g_reason], 18
    EXPECT dword [exits], 0
    AGAIN
    mov qword [operand], SHADOW         ; the guest's were not the current VMCS's
    vmptrld [operand]
    VMGET GUEST_RIP
    EXPECT eax, 1                       ; the last round without an exit of the VMWRITE
    mov qword [operand], VMCS_AT
    vmptrld [operand]
    CONTROL SECONDARY, 1 << 14, 0
    mov rax, -1
    mov edx, 0x2800
    vmwrite rdx, rax
    GUEST .accesses                     ; without shadowing both exit
    EXPECT dword [g_reason], 25
    CLAIM "shadowed_by_turns"
    jmp finish

; The field := EDI if that is not 0; EAX := field, EBX := CF of the read.
.exchange:
    mov edx, 0x6824
    test edi, edi
    jz .only_read
    vmwrite rdx, rdi
.only_read:
    mov edx, 0x6824
    xor ebx, ebx
    vmread rax, rdx
    setc bl
    ret

.accesses:
    mov edx, 0x681E
.write:
    vmwrite rdx, rax
    mov edx, 0x681E
.read:
    vmread rcx, rdx
    vmcall

exits:      dd 0
names:
    dw 0x0806                           ; guest DS selector
    db 48
    dw 0x4806                           ; guest DS limit
    db 32
    dw 0x2010                           ; TSC offset
    db 0
    dw 0x6824                           ; guest IA32_SYSENTER_ESP
    db 0
names_end:
odd_field:  dw 0x2011
no_field:   dw 0x7FFE
host_cs:    dw 0x0C02
wide_name:  dq 0x100004806
