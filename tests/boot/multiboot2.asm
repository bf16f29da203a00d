; A multiboot2 kernel that looks at everything the loader hands over and says on COM1 what is right.
;
; Without defines it is an ELF file linked at C0100000h and loaded at 100000h, its entry a linear address that
; nothing translates yet. -DFLAT: no ELF, the header has the addresses, linked at 100000h, and asks to be moved
; as high as possible below 64 MiB at a multiple of 64 KiB. -DTAG=N,F,V adds a header tag of type N with flags F
; and one value V, for what a loader has to refuse.
;
; Every address is relative to EBP, which holds how far the kernel is from where it was linked.
bits 32

MAGIC equ 0xE85250D6
%ifdef FLAT
LINKED equ 0x100000
%else
LINKED equ 0xC0100000
%endif
PHYSICAL equ 0x100000
org LINKED

%ifndef FLAT
elf:
    db 0x7F, "ELF", 1, 1, 1
    times 9 db 0
    dw 2, 3                     ; executable, 386
    dd 1, entry, programs - elf, sections - elf, 0
    dw 52, 32, 2, 40, 5, 3      ; sections 0 to 4, their names in section 3
programs:
    ; What is loaded, and the stack: memory that is not in the file.
    dd 1, 0, LINKED, PHYSICAL, loaded_end - elf, loaded_end - elf, 7, 4096
    dd 1, 0, stack, PHYSICAL + (stack - elf), 0, 4096, 6, 4096
%endif

    align 8
header:
    dd MAGIC, 0, header_end - header, -(MAGIC + (header_end - header)) & 0xFFFFFFFF
    ; Information request: all that this machine has.
    dw 1, 0
    dd 48, 1, 2, 3, 4, 5, 6, 9, 14, 15, 21
    ; A wish for a mode, which is no more than that.
    align 8
    dw 5, 0
    dd 20, 80, 25, 0
    align 8
    dw 6, 0                     ; modules page-aligned
    dd 8
    dw 4, 0                     ; EGA text is supported, a console not required
    dd 12, 2
    align 8
    dw 77, 1                    ; unknown, but optional
    dd 8
%ifdef FLAT
    dw 2, 0
    dd 24, header, LINKED, loaded_end, loaded_end + 0x3000
    dw 3, 0
    dd 12, entry
    align 8
    dw 10, 0
    dd 24, 0x200000, 0x4000000, 0x10000, 2
%endif
%ifdef TAG
    dw TAG
    dw 0
    dd 12
    dd VALUE
    align 8
%endif
    dw 0, 0
    dd 8
header_end:

%macro check 1                  ; flag Z: the claim holds
    call report
    jmp %%behind
    db %1, 0
%%behind:
%endmacro

; Prints CHECK, the text behind the caller's jump, and how it went.
report:
    pushfd
    lea esi, [ebp + check_text]
    call print
    mov esi, [esp + 4]
    add esi, 2                  ; a short jump
    call print
    lea esi, [ebp + bad_text]
    popfd
    jnz .print
    lea esi, [ebp + ok_text]
.print:
    call print
    ret

; The information tag of type EAX, its index in ECX (0: the first): its address in EDI; flag Z if it is there.
find_tag:
    lea edi, [ebx + 8]
.next:
    cmp dword [edi], 0
    je .none
    cmp [edi], eax
    jne .other
    dec ecx
    js .found
.other:
    mov edx, [edi + 4]
    add edx, 7
    and edx, -8
    add edi, edx
    jmp .next
.found:
    cmp eax, eax
    ret
.none:
    or edx, 1
    ret

; Are the bytes at EDI the text at ESI with its zero? Flag Z.
same_text:
    mov al, [esi]
    cmp al, [edi]
    jne .done
    inc esi
    inc edi
    test al, al
    jnz same_text
.done:
    ret

; Do ECX bytes at EDI sum up to 0? Flag Z.
sums_up:
    xor al, al
.next:
    add al, [edi]
    inc edi
    loop .next
    test al, al
    ret

%macro tag 2                    ; find_tag(type, index)
    mov eax, %1
    mov ecx, %2
    call find_tag
%endmacro

entry:
    mov ecx, eax
    ; Where are we? Before there is a stack of our own, EBX's information holds one dword nobody needs.
    lea esp, [ebx + 8]
    call .here
.here:
    pop ebp
    mov dword [ebx + 4], 0
    sub ebp, .here
    lea esp, [ebp + stack + 4096]
    mov edx, cr0
    cmp ecx, 0x36D76289
    check "magic in EAX"
    test bl, 7
    check "information is 8-byte aligned"
    test edx, edx
    setns al
    cmp al, 1
    check "paging is off"
%ifndef FLAT
    cmp ebp, PHYSICAL - LINKED
    check "loaded where the ELF file says"
%else
    lea eax, [ebp + LINKED]
    test ax, ax
    check "moved: aligned"
    lea eax, [ebp + loaded_end + 0x3000 + 0x10000]
    cmp eax, 0x4000000
    seta al
    cmp al, 1
    check "moved: as high as possible"
    lea eax, [ebp + loaded_end + 0x3000]
    cmp eax, 0x4000000
    setbe al
    cmp al, 1
    check "moved: below its limit"
    xor eax, eax
    lea edi, [ebp + stack + 4096]
    mov ecx, 0x2000 / 4
    repe scasd
    check "bss is clear"
%endif
    tag 1, 0
    lea edi, [edi + 8]
    lea esi, [ebp + cmdline_text]
    call same_text
    check "command line is -append"
    tag 2, 0
    lea edi, [edi + 8]
    lea esi, [ebp + loader_text]
    call same_text
    check "boot loader name"
    tag 3, 0
    test dword [edi + 8], 0xFFF
    check "module 1 is page-aligned"
    mov edx, [edi + 8]
    mov eax, [edi + 12]
    sub eax, edx
    cmp eax, 9
    check "module 1 has its size"
    cmp dword [edx], "firs"
    check "module 1 has its contents"
    tag 3, 1
    mov edx, [edi + 8]
    cmp dword [edx], "seco"
    check "module 2 has its contents"
    lea edi, [edi + 16]
.skip_path:
    mov al, [edi]
    inc edi
    cmp al, ' '
    jne .skip_path
    lea esi, [ebp + module_text]
    call same_text
    check "module 2 has its arguments"
    tag 3, 2
    setnz al
    cmp al, 1
    check "no third module"
    tag 4, 0
    cmp dword [edi + 8], 639
    check "lower memory"
    tag 4, 0
    cmp dword [edi + 12], 127 * 1024
    check "upper memory"
    tag 5, 0
    cmp dword [edi + 8], 0x80
    check "boot device"
    tag 6, 0
    cmp dword [edi + 8], 24
    check "memory map: entry size"
    mov ecx, [edi + 4]
    sub ecx, 16
    add edi, 16
.entry:
    cmp dword [edi], 0xFEC00000
    je .chips
    add edi, 24
    sub ecx, 24
    jnz .entry
.chips:
    cmp dword [edi + 8], 0x1400000
    check "memory map: chips and flash are there"
    cmp dword [edi + 16], 2
    check "memory map: and reserved"
%ifndef FLAT
    tag 9, 0
    cmp dword [edi + 8], 5
    check "ELF sections: number"
    cmp dword [edi + 12], 40
    check "ELF sections: size of an entry"
    cmp dword [edi + 16], 3
    check "ELF sections: index of the names"
    mov esi, [edi + 20 + 3 * 40 + 12]
    cmp dword [esi + 1], ".tex"
    check "ELF sections: the names are in memory"
    mov esi, [edi + 20 + 4 * 40 + 12]
    cmp dword [esi], "only"
    check "ELF sections: so is what no segment loads"
    cmp dword [edi + 20 + 1 * 40 + 12], entry
    check "ELF sections: others keep their address"
%else
    tag 9, 0
    setnz al
    cmp al, 1
    check "no ELF sections"
%endif
    tag 14, 0
    lea edi, [edi + 8]
    mov ecx, 20
    call sums_up
    check "ACPI old RSDP"
    tag 15, 0
    cmp byte [edi + 8 + 15], 2
    check "ACPI new RSDP: revision"
    lea edi, [edi + 8]
    mov ecx, 36
    call sums_up
    check "ACPI new RSDP: checksum"
    tag 21, 0
    lea eax, [ebp + LINKED]
    cmp [edi + 8], eax
    check "load base address"
    tag 8, 0
    setnz al
    cmp al, 1
    check "no framebuffer"
    tag 12, 0
    setnz al
    cmp al, 1
    check "no EFI"
    mov eax, [ebx]
    cmp dword [ebx + eax - 8], 0
    check "end tag ends the structure"
    cmp dword [ebx + eax - 4], 8
    check "end tag has its size"
    lea esi, [ebp + end_text]
    call print
    jmp power_off

%include "serial.inc"

check_text:   db "CHECK ", 0
ok_text:      db " ok", 10, 0
bad_text:     db " BAD", 10, 0
end_text:     db "multiboot2 done", 10, 0
cmdline_text: db "alpha=1 beta", 0
loader_text:  db "droste", 0
module_text:  db "with arguments", 0

    align 4096, db 0
loaded_end:
stack equ loaded_end

%ifndef FLAT
; Not loaded by any segment.
names:
    db 0, ".text", 0, ".stack", 0, ".names", 0, ".comment", 0
names_end:
comment:
    db "only the loader reads this"
comment_end:
    align 4
sections:
    times 10 dd 0
    dd 1, 1, 6, entry, entry - elf, loaded_end - entry, 0, 0, 1, 0
    dd 7, 8, 3, stack, 0, 4096, 0, 0, 1, 0
    dd 14, 3, 0, 0, names - elf, names_end - names, 0, 0, 1, 0
    dd 21, 1, 0, 0, comment - elf, comment_end - comment, 0, 0, 1, 0
%endif
