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
org 0x8000
bits 16

CODE0   equ 0x08
DATA0   equ 0x10
CODE3C  equ 0x1B                ; compatibility mode, ring 3 (SYSRET wants +0 compat, +8 data, +16 64-bit)
DATA3   equ 0x23
CODE3   equ 0x2B
TSS0    equ 0x30
CODE0C  equ 0x40
GATE    equ 0x48                ; 64-bit call gate

PML4    equ 0x10000
PDPT    equ 0x11000
PD      equ 0x12000
PT      equ 0x13000             ; 2 MBytes to 4 MBytes by 4-KByte pages
IDT     equ 0x2000
TSS     equ 0x3000
STACK0  equ 0x7000
STACK3  equ 0x6000
IST1    equ 0x5000

%macro SAY 1
    jmp %%over
%%text: db %1, 10, 0
%%over:
    push rsi
    mov rsi, %%text
    int 0x3E
    pop rsi
%endmacro
%macro SHOW 1
    push rax
    mov rax, %1
    int 0x3D
    pop rax
%endmacro
%macro TRY 1+
    mov qword [try_ip], %%insn
    mov qword [resume], %%after
%%insn:
    %1
    int 0x3F
%%after:
%endmacro
%macro RING0 1
    mov eax, %1
    int 0x3C
%endmacro

entry:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, STACK0
    in al, 0x92
    or al, 2
    and al, 0xFE
    out 0x92, al
    lgdt [gdtr]
    cld
    mov edi, PML4 & 0xFFFF
    mov ax, PML4 >> 4
    mov es, ax
    xor di, di
    xor eax, eax
    mov cx, 4 * 4096 / 4
    rep stosd
    mov dword [es:0], PDPT | 7
    mov dword [es:0x1000], PD | 7
    mov dword [es:0x2000], 0x87         ; first 2 MBytes, user
    mov dword [es:0x2008], PT | 7
    mov dword [es:0x3000], 0x200000 | 3 ; 200000h: supervisor, writable
    mov dword [es:0x3008], 0x201000 | 5 ; 201000h: user, read-only
    mov dword [es:0x3010], 0x202000 | 7
    mov dword [es:0x301C], 0x80000000   ; 203000h: NX
    mov dword [es:0x3018], 0x203000 | 7
    mov dword [es:0x3020], 0x204006     ; 204000h: not present
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xC0000080
    rdmsr
    or eax, 0x901                       ; NXE, LME, SCE
    wrmsr
    mov eax, cr0
    or eax, 0x80010001                  ; PG, WP, PE
    mov cr0, eax
    jmp CODE0:enter64

bits 64
enter64:
    mov ax, DATA0
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, STACK0
    mov edi, IDT
    mov eax, stubs
    mov ecx, 64
.gates:
    mov [rdi], ax
    mov word [rdi + 2], CODE0
    mov word [rdi + 4], 0x8E00
    mov word [rdi + 6], 0
    mov qword [rdi + 8], 0
    add rdi, 16
    add eax, 16
    loop .gates
    or byte [IDT + 0x3C * 16 + 5], 0x60
    or byte [IDT + 0x3D * 16 + 5], 0x60
    or byte [IDT + 0x3E * 16 + 5], 0x60
    or byte [IDT + 0x3F * 16 + 5], 0x60
    lidt [idtr]
    mov edi, TSS
    xor eax, eax
    mov ecx, 32
    rep stosd
    mov qword [TSS + 4], STACK0 - 0x400
    mov qword [TSS + 0x24], IST1
    mov ax, TSS0
    ltr ax

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
frame_rsp:  dq 0
try_ip:     dq 0
resume:     dq 0

align 16
stubs:
%assign vector 0
%rep 64
    align 16, nop
    %if vector != 8 && (vector < 10 || vector > 14) && vector != 17
    push byte 0
    %endif
    push byte vector
    jmp near stub_entry
%assign vector vector + 1
%endrep

; RSP -> RSI RDX RCX RBX RAX vector error RIP CS RFLAGS RSP SS
stub_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    cld
    mov rbx, rsp
    mov rax, [rbx + 40]
    cmp al, 0x3C
    je .to_ring0
    cmp al, 0x3D
    je .show
    cmp al, 0x3E
    je .say
    cmp al, 0x3F
    je .none
    cmp al, 0x3B
    je .probe
    mov al, 'V'
    mov rdx, [rbx + 40]
    mov cl, 2
    call field
    mov al, 'E'
    mov rdx, [rbx + 48]
    mov cl, 4
    call field
    mov al, '+'
    mov rdx, [rbx + 56]
    cmp qword [rbx + 40], 8
    je .df                              ; the saved RIP of an abort says nothing
    sub rdx, [try_ip]
    mov cl, 2
    call field
.df:
    mov al, 'R'
    mov rdx, [rbx + 64]
    and edx, 3
    mov cl, 1
    call field
    mov al, 10
    out 0xE9, al
    mov rax, [resume]
    mov [rbx + 56], rax
    jmp .out
.none:
    mov rsi, none_text
    call put_string
    jmp .out
.probe:
    lea rax, [rbx + 56]
    mov [frame_rsp], rax
    jmp .out
.show:
    mov rdx, [rbx + 32]
    mov cl, 16
    call put_hex
    mov al, 10
    out 0xE9, al
    jmp .out
.say:
    mov rsi, [rbx]
    call put_string
    jmp .out
.to_ring0:
    mov eax, [rbx + 32]
    mov rsp, STACK0
    jmp rax
.out:
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

put_string:
    lodsb
    test al, al
    jz .done
    out 0xE9, al
    jmp put_string
.done:
    ret
field:                                  ; AL '=' RDX in CL digits, space
    out 0xE9, al
    mov al, '='
    out 0xE9, al
    call put_hex
    mov al, ' '
    out 0xE9, al
    ret
put_hex:                                ; RDX, CL digits
    movzx ecx, cl
.digit:
    dec ecx
    mov rax, rdx
    push rcx
    shl ecx, 2
    shr rax, cl
    pop rcx
    and eax, 15
    add al, '0'
    cmp al, '9'
    jbe .out
    add al, 7
.out:
    out 0xE9, al
    test ecx, ecx
    jnz .digit
    ret
none_text: db "none", 10, 0

align 8
gdt:
    dq 0
    dq 0x00AF9B000000FFFF       ; 08 CODE0
    dq 0x00CF93000000FFFF       ; 10 DATA0
    dq 0x00CFFB000000FFFF       ; 18 CODE3C
    dq 0x00CFF3000000FFFF       ; 20 DATA3
    dq 0x00AFFB000000FFFF       ; 28 CODE3
    dw 0x0067, TSS, 0x8900, 0   ; 30 TSS0
    dq 0
    dq 0x00CF9B000000FFFF       ; 40 CODE0C
    dw gate_target, CODE0, 0xEC00, 0    ; 48 GATE
    dq 0
gdtr: dw $ - gdt - 1
      dd gdt
idtr: dw 64 * 16 - 1
      dq IDT
