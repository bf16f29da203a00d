; The bare kernel's way from multiboot to 64-bit mode: flat memory, SSE and AVX on, interrupts off. The first GiB is
; mapped by 2-MiB pages; map_small_pages() of main.c splits some.
bits 32
extern bare_main
global start, page_directory

section .multiboot
align 4
    dd 0x1BADB002, 0x00000002, -(0x1BADB002 + 0x00000002)

section .text
start:
    cli
    mov esp, stack_end
    mov [information], ebx
    mov edi, page_map             ; map, pointers, directory: one after the other
    mov ecx, 3 * 4096 / 4
    xor eax, eax
    rep stosd
    mov dword [page_map], page_pointers + 3
    mov dword [page_pointers], page_directory + 3
    mov eax, 0x83                 ; present, writable, large
    mov edi, page_directory
    mov ecx, 512
.page:
    mov [edi], eax
    add eax, 0x200000
    add edi, 8
    loop .page
    mov eax, cr4
    or eax, 1 << 5 | 1 << 9 | 1 << 10  ; PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, page_map
    mov cr3, eax
    mov ecx, 0xC0000080           ; IA32_EFER: LME
    rdmsr
    or eax, 1 << 8
    wrmsr
    mov eax, cr0
    and eax, ~(1 << 2)            ; EM
    or eax, 0x80000023            ; PG, NE, MP, PE
    mov cr0, eax
    lgdt [gdt.pointer]
    jmp 8:long_mode

bits 64
long_mode:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    fninit
    mov eax, 1
    cpuid
    bt ecx, 26                    ; XSAVE
    jnc .no_avx
    bt ecx, 28                    ; AVX
    jnc .no_avx
    mov rax, cr4
    or eax, 1 << 18               ; OSXSAVE
    mov cr4, rax
    xor ecx, ecx
    xgetbv
    or eax, 7                     ; x87, SSE, AVX
    xsetbv
.no_avx:
    mov edi, [information]
    call bare_main
.halt:
    cli
    hlt
    jmp .halt

section .data
align 16
gdt:
    dq 0
    dq 0x00AF9B000000FFFF         ; 8: 64-bit code
    dq 0x00CF93000000FFFF         ; 16: data
.pointer:
    dw $ - gdt - 1
    dd gdt

section .bss
align 4096
page_map:       resb 4096
page_pointers:  resb 4096
page_directory: resb 4096
stack:          resb 65536
stack_end:
information:    resd 1
