; A multiboot kernel that is a small hypervisor in 32-bit protected mode, for the tests of what VMX
; explains. The first word of its command line says what it does:
;
;   fail     enters its guest once, then makes one failure of each kind and goes on; then switches off
;   loop     runs a guest that executes CPUID for ever
;   triple   runs its guest for three CPUIDs, then makes a triple fault
;   storm    tries the same failing VM entry for ever
;   locked   tells on the debug console whether VMXON works: "on" or "gp", then switches off
;   report   copies fw_cfg's opt/droste/nested to the debug console, then switches off
bits 32
org 0x100000

MAGIC equ 0x1BADB002
FLAGS equ (1 << 16) | 2
CODE equ 8
DATA equ 0x10
TSS equ 0x18

%macro FIELD 2
    dd %1, %2
%endmacro
; VMWRITE of a constant.
%macro VMSET 2
    mov eax, %1
    mov ebx, %2
    vmwrite eax, ebx
%endmacro
; A VM entry after which execution goes on behind the macro, whether it exits or fails.
%macro ENTER_GUEST 1
    mov dword [after_exit], %%next
    %1
%%next:
    mov esp, stack_top
%endmacro

header:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd header, header, end_of_file, end_of_memory, entry

entry:
    mov esp, stack_top
    mov esi, [ebx + 16]
.skip_file_name:
    lodsb
    cmp al, ' '
    jne .skip_file_name
    mov eax, [esi]
    mov [word_at], eax

    ; Flat segments of our own, an IDT with #UD and #GP, 4-MByte pages one to one.
    lgdt [gdt_pointer]
    jmp CODE:.flat
.flat:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov ax, TSS
    ltr ax
    mov eax, on_fault
    mov ecx, 6
    call set_gate
    mov ecx, 13
    call set_gate
    lidt [idt_pointer]
    mov edi, page_directory
    mov eax, 0x83               ; present, writable, 4 MBytes
    mov ecx, 1024
.page:
    stosd
    add eax, 0x400000
    loop .page
    mov eax, page_directory
    mov cr3, eax
    mov eax, cr4
    or eax, 1 << 4 | 1 << 13    ; PSE, VMXE
    mov cr4, eax
    mov eax, cr0
    or eax, 1 << 31 | 1 << 5    ; PG, NE
    mov cr0, eax

    cmp word [word_at], 're'
    je do_report
    mov ecx, 0x480              ; IA32_VMX_BASIC
    rdmsr
    mov [vmxon_region], eax
    mov [vmcs], eax
    cmp dword [word_at], 'lock'
    jne .on
    mov dword [after_fault], do_locked
.on:
    vmxon [vmxon_pointer]
    cmp word [word_at], 'fa'
    jne .prepare
    vmptrld [bad_pointer]       ; its region holds no revision identifier
.prepare:
    vmclear [vmcs_pointer]
    vmptrld [vmcs_pointer]
    call fill_vmcs
    cmp word [word_at], 'fa'
    je do_fail
    cmp word [word_at], 'tr'
    je do_triple
    cmp word [word_at], 'st'
    je do_storm

    cmp dword [word_at], 'lock'
    je do_unlocked
    ENTER_GUEST vmlaunch
.again:
    call skip_instruction
    ENTER_GUEST vmresume
    jmp .again

do_unlocked:
    mov al, 'o'
    out 0xE9, al
    mov al, 'n'
    out 0xE9, al
    jmp off

do_locked:
    mov al, 'g'
    out 0xE9, al
    mov al, 'p'
    out 0xE9, al
    jmp off

do_triple:
    ENTER_GUEST vmlaunch
    call skip_instruction
    ENTER_GUEST vmresume
    call skip_instruction
    ENTER_GUEST vmresume
    lidt [no_idt]
    ud2

do_storm:
    ENTER_GUEST vmlaunch
    VMSET 0x6820, 0             ; guest RFLAGS: bit 1 must be 1
.again:
    ENTER_GUEST vmresume
    jmp .again

do_fail:
    ENTER_GUEST vmlaunch        ; good; the dump's "was" values come from here
    call skip_instruction
    ENTER_GUEST vmlaunch        ; error 4: launched already
    mov eax, 0x2FFE
    vmread ebx, eax             ; error 12: no such field
    mov eax, 7
    invvpid eax, [descriptor]   ; error 28: no such type

    VMSET 0x6820, 0             ; guest RFLAGS: reserved bits
    ENTER_GUEST vmresume
    VMSET 0x6820, 2
    VMSET 0x4000, 0             ; pin-based controls: must-be-1 bits
    ENTER_GUEST vmresume
    mov ebx, [pin_controls]
    mov eax, 0x4000
    vmwrite eax, ebx
    VMSET 0x6C04, 0             ; host CR4: VMXE missing
    ENTER_GUEST vmresume
    mov ebx, cr4
    mov eax, 0x6C04
    vmwrite eax, ebx
    VMSET 0x200A, msr_list      ; VM-entry MSR-load area: FS base cannot be loaded
    VMSET 0x4014, 1
    ENTER_GUEST vmresume
    VMSET 0x4014, 0
    ENTER_GUEST vmresume        ; all is well again

    vmxoff
    mov dword [after_fault], off
    vmread ebx, eax             ; #UD outside VMX operation
off:
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    jmp off

; Copies the fw_cfg file to port E9h. The directory is big-endian: count, then 64 bytes a file.
do_report:
    mov dx, 0x510
    mov ax, 0x19
    out dx, ax
    call read_big_endian
    mov ebp, eax
.file:
    call read_big_endian
    mov [file_bytes], eax
    call read_big_endian        ; key and two reserved bytes
    shr eax, 16
    mov [file_key], ax
    mov edi, file_name
    mov ecx, 56
    mov dx, 0x511
    rep insb
    mov esi, wanted_name
    mov edi, file_name
    mov ecx, wanted_name.end - wanted_name
    repe cmpsb
    je .found
    dec ebp
    jnz .file
    jmp off
.found:
    mov dx, 0x510
    mov ax, [file_key]
    out dx, ax
    mov ecx, [file_bytes]
.byte:
    mov dx, 0x511
    in al, dx
    out 0xE9, al
    loop .byte
    jmp off

read_big_endian:
    mov dx, 0x511
    in al, dx
    mov bl, al
    mov ecx, 3
.more:
    shl ebx, 8
    in al, dx
    mov bl, al
    loop .more
    mov eax, ebx
    ret

set_gate:                       ; eax: handler, ecx: vector
    lea edi, [idt + ecx * 8]
    mov [edi], ax
    mov word [edi + 2], CODE
    mov word [edi + 4], 0x8E00
    mov edx, eax
    shr edx, 16
    mov [edi + 6], dx
    ret

on_fault:
    mov esp, stack_top
    cmp dword [after_fault], 0
    je off
    jmp [after_fault]

on_exit:
    jmp [after_exit]

skip_instruction:
    mov eax, 0x440C             ; VM-exit instruction length
    vmread ecx, eax
    mov eax, 0x681E             ; guest RIP
    vmread ebx, eax
    add ebx, ecx
    vmwrite eax, ebx
    ret

; A control word: what the TRUE capability MSR demands, and eax.
; ecx: MSR, edx: field, eax: wanted. Returns the word in ebx.
set_controls:
    push edx
    push eax
    rdmsr
    pop ebx
    or ebx, eax
    pop eax
    vmwrite eax, ebx
    ret

fill_vmcs:
    mov esi, constant_fields
.field:
    mov eax, [esi]
    cmp eax, -1
    je .controls
    mov ebx, [esi + 4]
    vmwrite eax, ebx
    add esi, 8
    jmp .field
.controls:
    xor eax, eax
    mov ecx, 0x48D
    mov edx, 0x4000
    call set_controls
    mov [pin_controls], ebx
    xor eax, eax
    mov ecx, 0x48E
    mov edx, 0x4002
    call set_controls
    xor eax, eax
    mov ecx, 0x48F
    mov edx, 0x400C
    call set_controls
    xor eax, eax
    mov ecx, 0x490
    mov edx, 0x4012
    call set_controls
    mov ebx, cr0
    mov eax, 0x6800
    vmwrite eax, ebx
    mov eax, 0x6C00
    vmwrite eax, ebx
    mov ebx, cr4
    mov eax, 0x6804
    vmwrite eax, ebx
    mov eax, 0x6C04
    vmwrite eax, ebx
    ret

guest:
    cpuid
guest_next:
    jmp guest

align 4
constant_fields:
    FIELD 0x2800, -1            ; VMCS link pointer
    FIELD 0x2801, -1
    FIELD 0x6802, page_directory
    FIELD 0x6C02, page_directory
    FIELD 0x0800, DATA
    FIELD 0x0802, CODE
    FIELD 0x0804, DATA
    FIELD 0x0806, DATA
    FIELD 0x0808, DATA
    FIELD 0x080A, DATA
    FIELD 0x080E, TSS
    FIELD 0x0C00, DATA
    FIELD 0x0C02, CODE
    FIELD 0x0C04, DATA
    FIELD 0x0C06, DATA
    FIELD 0x0C08, DATA
    FIELD 0x0C0A, DATA
    FIELD 0x0C0C, TSS
    FIELD 0x4800, -1            ; limits
    FIELD 0x4802, -1
    FIELD 0x4804, -1
    FIELD 0x4806, -1
    FIELD 0x4808, -1
    FIELD 0x480A, -1
    FIELD 0x480E, 0x67
    FIELD 0x4814, 0xC093        ; access rights
    FIELD 0x4816, 0xC09B
    FIELD 0x4818, 0xC093
    FIELD 0x481A, 0xC093
    FIELD 0x481C, 0xC093
    FIELD 0x481E, 0xC093
    FIELD 0x4820, 0x10000       ; LDTR unusable
    FIELD 0x4822, 0x8B
    FIELD 0x6814, tss
    FIELD 0x6C0A, tss
    FIELD 0x6816, gdt
    FIELD 0x6C0C, gdt
    FIELD 0x4810, gdt_end - gdt - 1
    FIELD 0x6818, idt
    FIELD 0x6C0E, idt
    FIELD 0x4812, 8 * 32 - 1
    FIELD 0x681A, 0x400         ; DR7
    FIELD 0x681C, guest_stack_top
    FIELD 0x681E, guest
    FIELD 0x6820, 2
    FIELD 0x6C14, stack_top
    FIELD 0x6C16, on_exit
    dd -1

align 8
gdt:
    dq 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
    dw 0x67, tss_low, 0x8910, 0
gdt_end:
tss_low equ 0x8000              ; the TSS lies at 108000h
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt
idt_pointer:
    dw 8 * 32 - 1
    dd idt
no_idt:
    dw 0
    dd 0

align 8
vmxon_pointer: dq vmxon_region
vmcs_pointer: dq vmcs
bad_pointer: dq no_vmcs
descriptor: dq 1, 0
msr_list: dd 0xC0000100, 0, 0x1234, 0
wanted_name: db "opt/droste/nested", 0
.end:
word_at: dd 0
after_fault: dd 0
after_exit: dd 0
pin_controls: dd 0
file_bytes: dd 0
file_key: dw 0
file_name: times 56 db 0
end_of_file:

absolute 0x108000
tss: resb 0x1000
idt: resb 0x1000
page_directory: resb 0x1000
vmxon_region: resb 0x1000
vmcs: resb 0x1000
no_vmcs: resb 0x1000
resb 0x1000
guest_stack_top:
resb 0x1000
stack_top:
end_of_memory:
