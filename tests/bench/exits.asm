; The cost of a bare VM exit and entry: a multiboot kernel whose guest executes CPUID in a loop. The hypervisor does the least one
; can: reads the exit reason and the instruction's length, moves RIP on, resumes. EPT and VPID are on.
;
; Prints "EXITS start" and "EXITS end N" on COM1, nested.py takes the time between the lines, then powers off: port 604h here,
; B004h in Bochs.
bits 32
org 0x100000
N equ 2000000

LOADED equ 0x100000
header:
    dd 0x1BADB002, 0x00010002, -(0x1BADB002 + 0x00010002)
    dd header, LOADED, 0, bss_end, start

PML4   equ 0x200000
PDPT   equ 0x201000
PD     equ 0x202000
EPML4  equ 0x203000
EPDPT  equ 0x204000
EPD    equ 0x205000
VMXON_AT  equ 0x206000
VMCS_AT equ 0x207000
STACK  equ 0x300000
GSTACK equ 0x310000

start:
    cli
    mov esp, STACK
    mov edi, PML4                 ; clear all tables and regions
    mov ecx, 0x8000 / 4
    xor eax, eax
    rep stosd
    mov dword [PML4], PDPT + 3
    mov dword [PDPT], PD + 3
    mov dword [EPML4], EPDPT + 7
    mov dword [EPDPT], EPD + 7
    xor ecx, ecx                  ; 1 GiB, 2-MiB pages: identity, in both
.page:
    mov eax, ecx
    shl eax, 21
    lea edx, [eax + 0x83]
    mov [PD + ecx * 8], edx
    lea edx, [eax + 0xB7]         ; large, write-back, RWX
    mov [EPD + ecx * 8], edx
    inc ecx
    cmp ecx, 512
    jb .page
    mov eax, cr4
    or eax, 1 << 5 | 1 << 13      ; PAE, VMXE
    mov cr4, eax
    mov eax, PML4
    mov cr3, eax
    mov ecx, 0xC0000080
    rdmsr
    or eax, 1 << 8
    wrmsr
    mov eax, cr0
    or eax, 0x80000021            ; PG, NE, PE
    mov cr0, eax
    lgdt [gdt.pointer]
    jmp 8:long_mode

bits 64
default rel
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov ax, 24
    ltr ax
    mov ecx, 0x3A                 ; IA32_FEATURE_CONTROL
    rdmsr
    test al, 1
    jnz .locked
    or eax, 5
    wrmsr
.locked:
    mov ecx, 0x480                ; IA32_VMX_BASIC: the revision
    rdmsr
    mov [abs VMXON_AT], eax
    mov [abs VMCS_AT], eax
    mov rax, VMXON_AT
    mov [operand], rax
    vmxon [operand]
    jbe failed
    mov rax, VMCS_AT
    mov [operand], rax
    vmclear [operand]
    vmptrld [operand]
    jbe failed

    ; Controls: what must be 1 of the TRUE capability MSRs, and what is wanted.
%macro control 3                  ; field, capability MSR, wanted
    mov ecx, %2
    rdmsr
    or eax, %3
    and eax, edx
    mov edx, %1
    vmwrite rdx, rax
    jbe failed
%endmacro
    control 0x4000, 0x48D, 0                                ; pin-based
    control 0x4002, 0x48E, 1 << 31                          ; primary: secondary controls
    control 0x401E, 0x48B, 1 << 1 | 1 << 5                  ; secondary: EPT, VPID
    control 0x400C, 0x48F, 1 << 9                           ; exit: 64-bit host
    control 0x4012, 0x490, 1 << 9                           ; entry: IA-32e guest
    mov rsi, fields
.field:
    mov edx, [rsi]
    mov rax, [rsi + 4]
    add rsi, 12
    test edx, edx
    js .live
    vmwrite rdx, rax
    jbe failed
    jmp .field
.live:                            ; what this program runs with
    mov rax, cr0
    mov edx, 0x6800
    vmwrite rdx, rax
    mov edx, 0x6C00
    vmwrite rdx, rax
    mov rax, cr4
    mov edx, 0x6804
    vmwrite rdx, rax
    mov edx, 0x6C04
    vmwrite rdx, rax
    mov rsi, uart                 ; 115200 baud, 8 bits
.uart:
    movzx edx, byte [rsi]
    test edx, edx
    jz .ready
    or edx, 0x300
    mov al, [rsi + 1]
    out dx, al
    add rsi, 2
    jmp .uart
.ready:
    mov rsi, text.start
    call print
    mov ebx, N
    vmlaunch
    jmp failed

guest:
    xor eax, eax
    xor ecx, ecx
    push rbx
    cpuid
    pop rbx
    dec ebx
    jnz guest
    vmcall

; The exit handler. RAX, RCX and RDX belong to the guest only across CPUID, which writes them.
exited:
    mov edx, 0x4402               ; exit reason
    vmread rax, rdx
    cmp eax, 10                   ; CPUID
    jne .other
    mov edx, 0x440C               ; instruction length
    vmread rcx, rdx
    mov edx, 0x681E               ; RIP
    vmread rax, rdx
    add rax, rcx
    vmwrite rdx, rax
    vmresume
    jmp failed
.other:
    cmp eax, 18                   ; VMCALL
    jne failed
    mov rsi, text.end
    call print
    jmp power_off
failed:
    mov rsi, text.failed
    call print
power_off:
    mov dx, 0x3FD
.sending:
    in al, dx
    test al, 0x40
    jz .sending
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    mov dx, 0xB004
    out dx, ax
.halt:
    hlt
    jmp .halt

print:                            ; RSI, zero-terminated
    mov dx, 0x3FD
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    lodsb
    test al, al
    jz .done
    mov dx, 0x3F8
    out dx, al
    mov dx, 0x3FD
    jmp .wait
.done:
    ret

uart:    db 0xFB, 0x80, 0xF8, 1, 0xF9, 0, 0xFB, 3, 0
text:
.start:  db "EXITS start", 10, 0
.end:    db "EXITS end 2000000", 10, 0
.failed: db "EXITS failed", 10, 0

    align 16
gdt:
    dq 0
    dq 0x00AF9B000000FFFF         ; 8: 64-bit code
    dq 0x00CF93000000FFFF         ; 16: data
    dq 0x000089000000FFFF, 0      ; 24: TSS at 0, never read
.pointer:
    dw $ - gdt - 1
    dq gdt
    align 8
operand: dq 0

%macro field 2
    dd %1
    dq %2
%endmacro
fields:
    field 0x0000, 1               ; VPID
    field 0x201A, EPML4 + 0x1E    ; EPTP: write-back, 4 levels
    field 0x2800, -1              ; VMCS link pointer
    field 0x4004, 0               ; exception bitmap
    field 0x0800, 16              ; guest selectors: ES CS SS DS FS GS LDTR TR
    field 0x0802, 8
    field 0x0804, 16
    field 0x0806, 16
    field 0x0808, 16
    field 0x080A, 16
    field 0x080C, 0
    field 0x080E, 24
    field 0x4800, 0xFFFFFFFF      ; limits
    field 0x4802, 0xFFFFFFFF
    field 0x4804, 0xFFFFFFFF
    field 0x4806, 0xFFFFFFFF
    field 0x4808, 0xFFFFFFFF
    field 0x480A, 0xFFFFFFFF
    field 0x480C, 0
    field 0x480E, 0xFFFF
    field 0x4810, 0xFFFF          ; GDTR, IDTR limits
    field 0x4812, 0xFFFF
    field 0x4814, 0xC093          ; access rights
    field 0x4816, 0xA09B
    field 0x4818, 0xC093
    field 0x481A, 0xC093
    field 0x481C, 0xC093
    field 0x481E, 0xC093
    field 0x4820, 0x10000
    field 0x4822, 0x008B
    field 0x6802, PML4            ; CR3
    field 0x6816, gdt             ; GDTR base
    field 0x681A, 0x400           ; DR7
    field 0x681C, GSTACK
    field 0x681E, guest
    field 0x6820, 2               ; RFLAGS
    field 0x0C00, 16              ; host selectors: ES CS SS DS FS GS TR
    field 0x0C02, 8
    field 0x0C04, 16
    field 0x0C06, 16
    field 0x0C08, 16
    field 0x0C0A, 16
    field 0x0C0C, 24
    field 0x6C02, PML4
    field 0x6C0A, 0               ; TR, GDTR, IDTR bases
    field 0x6C0C, gdt
    field 0x6C0E, 0
    field 0x6C14, STACK
    field 0x6C16, exited
    dd -1
    dq 0
bss_end:
