; IA-32e mode: activation, 64-bit frames and stacks, ring 3 with SYSCALL and INT, compatibility mode, IST, page faults.
; SDM Vol. 3A, "Initializing IA-32e Mode", "Exception and Interrupt Handling in 64-bit Mode".
;
; expect: activation
; expect: 0000000000000D01
; expect: 0000000000006FC8
; expect: faults at ring 0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0C E=0000 +=00 R=0
; expect: V=0E E=0000 +=00 R=0
; expect: V=0E E=0003 +=00 R=0
; expect: V=0D E=0000 +=00 R=0
; expect: V=0E E=0011 +=00 R=0
; expect: V=0E E=0002 +=00 R=0
; expect: 0000000000400000
; expect: V=0D E=0030 +=00 R=0
; expect: V=0D E=0030 +=00 R=0
; expect: null SS
; expect: V=0D E=0000 +=00 R=0
; expect: IST
; expect: V=08 E=0000 R=0
; expect: 0000000000204FF8
; expect: ring 3
; expect: 000000000000002B
; expect: 0000000000000001
; expect: 0000000000000008
; expect: 0000000000000010
; expect: 0000000000000077
; expect: 0000000000000601
; expect: 0000000000000601
; expect: V=0E E=0005 +=00 R=3
; expect: V=0E E=0007 +=00 R=3
; expect: V=0E E=0004 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0102 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: V=0D E=0000 +=00 R=3
; expect: 0000000000000008
; expect: 0000000000000000
; expect: 000000000000002B
; expect: 0000000000000023
; expect: V=0D E=0010 +=00 R=3
; expect: compatibility mode at ring 3
; expect: 0000000012345678
; expect: V=06 E=0000 +=00 R=3
; expect: back in 64-bit mode
; expect: L
%include "lm64.inc"

GATE    equ FREE

start64:
    SET_CALL_GATE GATE, gate_target
    SAY "activation"
    mov ecx, 0xC0000080
    rdmsr
    SHOW rax
    mov rsp, STACK0 - 8                 ; misaligned: frames are aligned all the same
    int 0x3B
    mov rsp, STACK0
    mov rax, [frame_rsp]
    SHOW rax

    SAY "faults at ring 0"
    mov rax, 0x800000000000
    TRY mov rbx, [rax]                  ; not canonical: #GP
    mov rbp, rax
    TRY mov rbx, [rbp]                  ; through SS: #SS
    TRY mov rbx, [0x204000]             ; not present
    TRY mov [0x201000], rbx             ; read-only with CR0.WP
    TRY jmp [rip_bad]
    mov rax, 0x203000
    mov byte [rax], 0xC3
    mov qword [resume], .nx
    mov qword [try_ip], 0x203000
    call rax                            ; NX
.nx:
    mov rsp, STACK0
    TRY mov [0x400000], al              ; beyond everything
    mov rax, cr2
    SHOW rax
    mov eax, TSS0
    TRY mov ds, ax
    TRY call far dword [far_bad]
    xor eax, eax
    mov ss, ax                          ; null SS is fine here
    SAY "null SS"
    push qword DATA3
    push qword STACK3
    push qword 2
    push qword CODE3
    mov rax, 0x800000000000
    push rax
    TRY iretq                           ; not canonical
    mov rsp, STACK0

    SAY "IST"
    mov byte [IDT + 8 * 16 + 4], 1      ; #DF on IST1
    mov rsp, 0x205000                   ; the page below is not present
    mov qword [resume], .after_df
    mov qword [try_ip], 0
    db 0x0F, 0x0B                       ; ud2: #UD, then #PF while delivering: #PF; its delivery: #DF
.after_df:
    mov rsp, STACK0
    mov rax, cr2
    SHOW rax

    SAY "ring 3"
    mov ecx, 0xC0000081                 ; STAR
    xor eax, eax
    mov edx, ((CODE3C & 0xFFFB) << 16) | CODE0
    wrmsr
    mov ecx, 0xC0000082                 ; LSTAR
    mov eax, syscall_entry
    xor edx, edx
    wrmsr
    mov ecx, 0xC0000084                 ; FMASK: IF, DF, TF
    mov eax, 0x700
    wrmsr
    push qword DATA3
    push qword STACK3
    push qword 0x202
    push qword CODE3
    push qword user
    iretq

user:
    mov ax, cs
    movzx eax, ax
    SHOW rax
    std
    stc
    mov edx, 0x77
    syscall
    pushfq
    pop rax
    and eax, 0x601
    cld
    SHOW rax                            ; DF, CF and IF as before
    TRY mov rax, [0x200000]             ; supervisor page
    TRY mov [0x201000], rax             ; read-only
    TRY mov rax, [0x204000]
    TRY hlt
    TRY int 0x20
    TRY mov rax, cr3
    TRY o64 sysret
    call far dword [far_gate]
    mov eax, DATA0
    TRY mov ds, ax
    SAY "compatibility mode at ring 3"
    mov dword [far_compat], compat
    jmp far dword [far_compat]
bits 32
compat:
    mov ax, DATA3
    mov ds, ax
    mov eax, 0x12345678
    int 0x3D
    mov dword [try_ip], .sys
    mov dword [resume], .next
.sys:
    db 0x0F, 0x05                       ; SYSCALL is undefined here on Intel
.next:
    jmp CODE3:user64
bits 64
user64:
    SAY "back in 64-bit mode"
    RING0 .compat0
.compat0:
    push qword CODE0C
    push qword compat0
    retfq
bits 32
compat0:
    mov ax, DATA0
    mov ss, ax
    mov esp, STACK0
    mov eax, cr0
    and eax, 0x7FFFFFFF
    mov cr0, eax                        ; leaves IA-32e mode
    mov ecx, 0xC0000080
    rdmsr
    test ah, 4
    mov al, 'L'
    jz .out
    mov al, 'l'
.out:
    out 0xE9, al
    mov al, 10
    out 0xE9, al
    cli
    hlt
bits 64

syscall_entry:
    pushfq
    pop rax
    and eax, 0x701
    push rcx
    SHOW rax                            ; flags were masked (CF stays)
    mov ax, cs
    movzx eax, ax
    SHOW rax
    mov ax, ss
    movzx eax, ax
    SHOW rax
    SHOW rdx
    mov rax, r11
    and eax, 0x701
    SHOW rax
    pop rcx
    o64 sysret

gate_target:
    mov ax, cs
    movzx eax, ax
    SHOW rax
    mov ax, ss
    movzx eax, ax
    SHOW rax                            ; null, RPL 0
    mov rax, [rsp + 8]
    SHOW rax
    mov rax, [rsp + 24]
    SHOW rax
    retfq

rip_bad:    dq 0x800000000000
far_bad:    dd 0
            dw TSS0
far_gate:   dd 0
            dw GATE | 3
far_compat: dd 0
            dw CODE3C
