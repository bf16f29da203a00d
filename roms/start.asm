; Entry: the multiboot header, the way from 32-bit protected mode into 64-bit mode, the interrupt stubs,
; and the VM entry itself. Every level starts here, the first one from the machine's loader and each other
; one from its parent, which imitates that loader.
;
; Multiboot Specification 0.6.96, "OS image format": the header carries addresses ("a.out kludge"), so the
; image is a flat binary that any loader takes.

MULTIBOOT_MAGIC  equ 0x1BADB002
MULTIBOOT_FLAGS  equ (1 << 16) | (1 << 1)  ; addresses valid, wants the memory size
CODE64           equ 0x08
DATA             equ 0x10
CODE32           equ 0x18

; Descriptors carry the accessed bit from the start: they lie in the image, which is never written.
ACCESSED_CODE64  equ 0x00AF9B000000FFFF
ACCESSED_DATA    equ 0x00CF93000000FFFF
ACCESSED_CODE32  equ 0x00CF9B000000FFFF

CR0_PG equ 1 << 31
CR0_WP equ 1 << 16
CR0_NE equ 1 << 5
CR4_PAE equ 1 << 5
EFER equ 0xC0000080
EFER_LME equ 1 << 8
PAGE_P_RW_A_D equ 0x63
PAGE_LARGE equ 0x80

extern rom_main, on_interrupt
extern bss_start, bss_end, image_end
global start, vm_enter, vm_exit_entry, interrupt_stubs, probe_read, probe_write
global guest_registers, exit_stack_top, boot_gdt

section .multiboot progbits alloc exec nowrite align=4
bits 32
header:
        dd MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        dd header, header, image_end, 0x200000  ; header, load, end of load, end of bss: all up to 2 MiB is ours
        dd start

start:
        cli
        cld
        mov esi, eax  ; the loader's magic
        mov ebp, ebx  ; its boot information
        ; Memory that is not part of the image holds anything.
        mov edi, bss_start
        mov ecx, bss_end
        sub ecx, edi
        shr ecx, 2
        xor eax, eax
        rep stosd
        ; Identity map of the first GiB with 2 MiB pages. Accessed and dirty are set already, so the tables
        ; are never written again.
        mov dword [pml4], pdpt + PAGE_P_RW_A_D
        mov dword [pdpt], page_directory + PAGE_P_RW_A_D
        mov edi, page_directory
        mov eax, PAGE_P_RW_A_D | PAGE_LARGE
.map:
        mov [edi], eax
        add edi, 8
        add eax, 0x200000
        cmp edi, page_directory + 4096
        jne .map
        ; SDM Vol. 3A, "Initializing IA-32e Mode".
        mov eax, CR4_PAE
        mov cr4, eax
        mov eax, pml4
        mov cr3, eax
        mov ecx, EFER
        rdmsr
        or eax, EFER_LME
        wrmsr
        mov eax, cr0
        or eax, CR0_PG | CR0_WP | CR0_NE
        mov cr0, eax
        lgdt [boot_gdt_pointer]
        jmp CODE64:start64

bits 64
start64:
        mov eax, DATA
        mov ds, eax
        mov es, eax
        mov ss, eax
        mov fs, eax
        mov gs, eax
        mov rsp, stack_top
        mov edi, esi
        mov esi, ebp
        call rom_main
.stop:
        cli
        hlt
        jmp .stop

section .rodata
align 8
boot_gdt:
        dq 0, ACCESSED_CODE64, ACCESSED_DATA, ACCESSED_CODE32
boot_gdt_pointer:
        dw 4 * 8 - 1
        dd boot_gdt

section .text

; int vm_enter(bool launched): VMLAUNCH or VMRESUME of the current VMCS with guest_registers.
; Returns 0 after the next VM exit, 1 on VMfail. The host's RSP field is a constant, and the stack pointer
; that counts is kept in memory: no entry has to write the field.
vm_enter:
        push rbx
        push rbp
        push r12
        push r13
        push r14
        push r15
        mov [saved_rsp], rsp
        test edi, edi  ; nothing below changes the flags
        mov rax, [guest_registers + 0 * 8]
        mov rcx, [guest_registers + 1 * 8]
        mov rdx, [guest_registers + 2 * 8]
        mov rbx, [guest_registers + 3 * 8]
        mov rbp, [guest_registers + 5 * 8]
        mov rsi, [guest_registers + 6 * 8]
        mov rdi, [guest_registers + 7 * 8]
        mov r8, [guest_registers + 8 * 8]
        mov r9, [guest_registers + 9 * 8]
        mov r10, [guest_registers + 10 * 8]
        mov r11, [guest_registers + 11 * 8]
        mov r12, [guest_registers + 12 * 8]
        mov r13, [guest_registers + 13 * 8]
        mov r14, [guest_registers + 14 * 8]
        mov r15, [guest_registers + 15 * 8]
        jnz .resume
        vmlaunch
        jmp .failed
.resume:
        vmresume
.failed:
        mov eax, 1
        jmp leave_guest

vm_exit_entry:
        mov [guest_registers + 0 * 8], rax
        mov [guest_registers + 1 * 8], rcx
        mov [guest_registers + 2 * 8], rdx
        mov [guest_registers + 3 * 8], rbx
        mov [guest_registers + 5 * 8], rbp
        mov [guest_registers + 6 * 8], rsi
        mov [guest_registers + 7 * 8], rdi
        mov [guest_registers + 8 * 8], r8
        mov [guest_registers + 9 * 8], r9
        mov [guest_registers + 10 * 8], r10
        mov [guest_registers + 11 * 8], r11
        mov [guest_registers + 12 * 8], r12
        mov [guest_registers + 13 * 8], r13
        mov [guest_registers + 14 * 8], r14
        mov [guest_registers + 15 * 8], r15
        xor eax, eax
leave_guest:
        mov rsp, [saved_rsp]
        pop r15
        pop r14
        pop r13
        pop r12
        pop rbp
        pop rbx
        ret

; u64 probe_read(u64 address), u64 probe_write(u64 address): accesses that the parent may have to emulate.
; It decodes exactly these two forms (exits.c).
probe_read:
        mov rax, [rdi]  ; 48 8B 07
        ret
probe_write:
        mov [rdi], rax  ; 48 89 07
        ret

; One stub a vector, 16 bytes apart: pushes a zero where the CPU pushes no error code, then the vector.
%define ERROR_CODES ((1 << 8) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13) | (1 << 14) | (1 << 17) | (1 << 21))
align 16
interrupt_stubs:
%assign vector 0
%rep 96
        align 16
    %if vector >= 32
        push qword 0
    %elif ((ERROR_CODES >> vector) & 1) == 0
        push qword 0
    %endif
        push qword vector
        jmp interrupt_common
    %assign vector vector + 1
%endrep

interrupt_common:
        push rax
        push rcx
        push rdx
        push rsi
        push rdi
        push r8
        push r9
        push r10
        push r11
        lea rdi, [rsp + 9 * 8]  ; struct InterruptFrame: vector, error code, RIP, ...
        cld
        call on_interrupt
        pop r11
        pop r10
        pop r9
        pop r8
        pop rdi
        pop rsi
        pop rdx
        pop rcx
        pop rax
        add rsp, 16
        iretq

section .bss.pages nobits alloc noexec write align=4096
pml4:           resb 4096
pdpt:           resb 4096
page_directory: resb 4096

section .bss nobits alloc noexec write align=16
guest_registers: resq 16  ; in the order of the encoding; [4], RSP, is in the VMCS
saved_rsp:       resq 1
alignb 16
                resb 256
exit_stack_top:
                resb 16384
stack_top:
