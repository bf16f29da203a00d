; A multiboot kernel (addresses in the header, no ELF) that does what the first word of its command line
; says: one image serves all tests that need a guest with a known behaviour.
;
;   exit N      writes the digit N to isa-debug-exit at F4h
;   info        prints command line, module contents and RAM size on COM1, then switches off
;   off         switches off (ACPI)            reset      resets (CF9h)
;   triple      triple fault                   spin       loops for ever
;   halt        HLT with interrupts off        chatter    prints for ever
;   echo        prints what arrives on COM1 until 'q', then switches off
;   storm       touches every port             wild       reads and writes memory nobody answers
;   mmiojump    jumps into MMIO                romjump    jumps above RAM
;   numbers     prints a digest of results that processors differ in
;   random      prints CF after RDRAND
bits 32
org 0x100000

MAGIC equ 0x1BADB002
FLAGS equ (1 << 16) | 2
COM1  equ 0x3F8

header:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd header, header, end_of_file, end_of_memory, entry

entry:
    mov esp, stack_top
    cmp eax, 0x2BADB002
    jne do_triple
    mov [info], ebx
    mov esi, [ebx + 16]
.skip_file_name:
    lodsb
    test al, al
    jz do_triple
    cmp al, ' '
    jne .skip_file_name
    mov [word_at], esi
    mov ebx, commands
.next:
    mov edi, [ebx]
    test edi, edi
    jz do_triple
    mov esi, [word_at]
.compare:
    mov al, [edi]
    test al, al
    jz .end_of_name
    cmp al, [esi]
    jne .other
    inc esi
    inc edi
    jmp .compare
.end_of_name:
    cmp byte [esi], ' '
    jbe .found
.other:
    add ebx, 8
    jmp .next
.found:
    jmp [ebx + 4]

do_exit:
    movzx eax, byte [esi + 1]
    sub eax, '0'
    mov dx, 0xF4
    out dx, eax
    jmp do_spin

do_off:
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    jmp do_spin

do_reset:
    mov dx, 0xCF9
    mov al, 2
    out dx, al
    mov al, 6
    out dx, al
    jmp do_spin

do_triple:
    lidt [no_idt]
    int3

do_spin:
    jmp do_spin

do_halt:
    cli
    hlt
    jmp do_halt

do_chatter:
    mov esi, chatter_text
    call print
    jmp do_chatter

do_echo:
    mov dx, COM1 + 5
    in al, dx
    test al, 1
    jz do_echo
    mov dx, COM1
    in al, dx
    cmp al, 'q'
    je do_off
    out dx, al
    jmp do_echo

do_info:
    mov ebx, [info]
    mov esi, [ebx + 16]
    call print
    call newline
    mov ecx, [ebx + 20]
    mov edi, [ebx + 24]
.module:
    jecxz .modules_done
    mov esi, [edi + 8]
    call print
    mov al, '='
    call putc
    mov esi, [edi]
    mov edx, [edi + 4]
.contents:
    cmp esi, edx
    jae .contents_done
    lodsb
    push edx
    call putc
    pop edx
    jmp .contents
.contents_done:
    call newline
    add edi, 16
    dec ecx
    jmp .module
.modules_done:
    mov eax, [ebx + 8]  ; mem_upper, KiB
    call print_hex
    call newline
    jmp do_off

do_storm:
    xor edx, edx
.port:
    mov esi, avoided_ports
.avoid:
    movzx eax, word [esi]
    test eax, eax
    jz .touch
    add esi, 2
    sub eax, edx
    cmp eax, 3  ; a 4-byte access would reach it
    ja .avoid
    jmp .skip
.touch:
    in eax, dx
    in ax, dx
    in al, dx
    out dx, al
    out dx, ax
    out dx, eax
.skip:
    inc dx
    jnz .port
    jmp do_off

do_wild:
    mov edi, 0xC0000000
.step:
    mov eax, [edi]
    mov [edi], eax
    mov ax, [edi + 1]
    mov [edi + 3], eax
    mov al, [edi + 0xFFF]
    add edi, 0x10000
    cmp edi, 0xFEC00000
    jb .step
    mov edi, 0xFED10000
.high:
    mov eax, [edi]
    mov [edi], eax
    add edi, 0x1000
    jnz .high
    jmp do_off

do_mmiojump:
    mov eax, 0xFED00000
    jmp eax

do_romjump:
    mov eax, 0xD0000000
    jmp eax

do_random:
    rdrand eax
    sbb eax, eax
    neg eax
    call print_hex
    call newline
    jmp do_off

; Functions of the x87 and estimates of SSE at 2000 drawn arguments, and flags that the manual leaves
; undefined: one hash of all of it. With --icount it is the same on any machine.
do_numbers:
    mov eax, cr0
    and eax, ~4            ; EM
    or eax, 2 | 1 << 5     ; MP, NE
    mov cr0, eax
    mov eax, cr4
    or eax, 1 << 9         ; OSFXSR
    mov cr4, eax
    mov ebp, 2000
.round:
    mov edi, number_x
    call draw
    mov edi, number_y
    call draw
    mov esi, functions
.function:
    lodsd
    test eax, eax
    jz .estimates
    fninit
    fld tword [number_y]
    fld tword [number_x]
    call eax
    fnsave [results]
    xor eax, eax           ; without the pointers, which move with this program
    mov edi, results + 12
    mov ecx, 4
    rep stosd
    mov ecx, 108
    call hash_results
    jmp .function
.estimates:
    movups xmm1, [number_x]
    rcpps xmm0, xmm1
    movups [results], xmm0
    rsqrtps xmm0, xmm1
    movups [results + 16], xmm0
    mov eax, [number_x]
    mov ecx, [number_y]
    mul ecx
    pushfd
    pop dword [results + 32]
    shld eax, edx, cl
    pushfd
    pop dword [results + 36]
    bsf eax, edx
    pushfd
    pop dword [results + 40]
    mov ecx, 44
    call hash_results
    dec ebp
    jnz .round
    mov eax, [hash]
    call print_hex
    call newline
    jmp do_off

; A number with a random significand, sign, and exponent from -12 to 3, to [edi].
draw:
    call random
    stosd
    call random
    or eax, 1 << 31
    stosd
    call random
    shr eax, 8
    and eax, 0x800F
    add eax, 0x3FFF - 12
    stosd
    call random
    stosd
    ret

random:
    imul eax, [seed], 1664525
    add eax, 1013904223
    mov [seed], eax
    rol eax, 16
    ret

; FNV-1a of ecx bytes at [results].
hash_results:
    mov edi, results
    mov eax, [hash]
.byte:
    xor al, [edi]
    inc edi
    imul eax, eax, 16777619
    loop .byte
    mov [hash], eax
    ret

f_sin: fsin
    ret
f_cos: fcos
    ret
f_sincos: fsincos
    ret
f_tan: fptan
    ret
f_atan: fpatan
    ret
f_2xm1: f2xm1
    ret
f_yl2x: fabs
    fyl2x
    ret
f_yl2xp1: fld dword [sixteenth]
    fmulp
    fyl2xp1
    ret
f_prem: fld dword [far_away]
    fmulp
    fprem
    ret
f_bld: fbld [number_x]
    ret
f_sqrt: fsqrt
    ret
f_div: fdivp
    ret

putc:  ; al
    push edx
    push eax
    mov dx, COM1 + 5
.wait:
    in al, dx
    test al, 0x20
    jz .wait
    pop eax
    mov dx, COM1
    out dx, al
    pop edx
    ret

print:  ; esi
    lodsb
    test al, al
    jz .done
    call putc
    jmp print
.done:
    ret

newline:
    mov al, 10
    jmp putc

print_hex:  ; eax
    mov ecx, 8
.digit:
    rol eax, 4
    push eax
    and al, 15
    cmp al, 10
    sbb al, 0x69
    das
    call putc
    pop eax
    loop .digit
    ret

%macro command 2
    dd %%name, %2
    [section .names]
%%name: db %1, 0
    __?SECT?__
%endmacro

section .names follows=.text
section .table follows=.names align=4
commands:
    command "exit", do_exit
    command "info", do_info
    command "off", do_off
    command "reset", do_reset
    command "triple", do_triple
    command "spin", do_spin
    command "halt", do_halt
    command "chatter", do_chatter
    command "echo", do_echo
    command "storm", do_storm
    command "wild", do_wild
    command "mmiojump", do_mmiojump
    command "romjump", do_romjump
    command "numbers", do_numbers
    command "random", do_random
    dd 0

; Ports that end or reset the run: 8042 command, port 92h, APM, power control, PCI configuration with CF9h.
avoided_ports: dw 0x64, 0x92, 0xB2, 0xB3, 0x604, 0x605, 0xCF8, 0xCF9, 0xCFB, 0xCFC, 0xCFD, 0xCFE, 0xCFF, 0
no_idt: times 6 db 0
chatter_text: db "chatter chatter chatter chatter chatter", 10, 0
align 4
functions:
    dd f_sin, f_cos, f_sincos, f_tan, f_atan, f_2xm1, f_yl2x, f_yl2xp1, f_prem, f_bld, f_sqrt, f_div, 0
seed: dd 1
hash: dd 2166136261
sixteenth: dd 0x3D800000
far_away: dd 0x7E800000  ; 2^126
end_of_file:

section .bss follows=.table align=16
info: resd 1
word_at: resd 1
number_x: resb 16
number_y: resb 16
results: resb 112
    resb 4096
stack_top:
end_of_memory:
