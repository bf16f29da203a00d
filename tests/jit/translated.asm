; A multiboot kernel that goes to 64-bit mode and there does what the words of its command line say, each often
; enough to be translated and each moving one counter of the translator (witness.py), or printing a digest of what
; it computed on the debug console. It ends by switching the machine off.
bits 32
org 0x100000

MAGIC equ 0x1BADB002
FLAGS equ (1 << 16) | 2
CODE32 equ 8
CODE64 equ 0x10
DATA equ 0x18
APIC equ 0xFEE00000
TIMER equ 0x30                    ; vector
REPEATS equ 20                    ; witness.py asks for as many
HOT equ 100                       ; rounds after which code is translated for certain
SLED equ 0x400000                 ; 4 MiB of code that is made as it is needed, and pages to touch
SLED_BYTES equ 0x200000

header:
    dd MAGIC, FLAGS, -(MAGIC + FLAGS)
    dd header, header, end_of_file, end_of_memory, entry

entry:
    mov esp, stack_top
    mov esi, [ebx + 16]
    ; 1 GiB one to one, in 2-MiB pages.
    mov dword [pml4], pdpt + 3
    mov dword [pdpt], directory + 3
    mov edi, directory
    mov eax, 0x83
    mov ecx, 512
.page:
    mov [edi], eax
    mov dword [edi + 4], 0
    add eax, 0x200000
    add edi, 8
    loop .page
    mov dword [pdpt + 3 * 8], apic_directory + 3
    mov dword [apic_directory + (APIC >> 21 & 511) * 8], (APIC & 0xFFE00000) + 0x9B  ; not cached
    mov eax, pml4
    mov cr3, eax
    mov eax, 1 << 5 | 1 << 9        ; PAE, OSFXSR
    mov cr4, eax
    mov ecx, 0xC0000080             ; EFER: LME
    rdmsr
    or eax, 1 << 8
    wrmsr
    mov eax, cr0
    and eax, ~(1 << 2)
    or eax, 1 << 31 | 1 << 1
    mov cr0, eax
    lgdt [gdt_pointer]
    jmp CODE64:long_mode

bits 64
long_mode:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov edi, idt
    mov ecx, 64
    mov eax, on_fault
.gate:
    mov [rdi], ax
    mov word [rdi + 2], CODE64
    mov word [rdi + 4], 0x8E00
    mov edx, eax
    shr edx, 16
    mov [rdi + 6], edx
    mov qword [rdi + 8], 0
    add edi, 16
    loop .gate
    mov eax, on_timer
    mov [idt + TIMER * 16], ax
    lidt [idt_pointer]
.skip_file_name:
    lodsb
    cmp al, ' '
    jne .skip_file_name
.next_word:
    mov edi, words
.row:
    cmp edi, words_end
    jae off
    mov ebx, edi
    mov ecx, esi
.compare:
    mov al, [rcx]
    cmp al, ' '
    ja .letter
    cmp byte [rbx], 0
    je .found
.letter:
    cmp al, [rbx]
    jne .other
    inc ebx
    inc ecx
    jmp .compare
.other:
    add edi, NAME_BYTES + 8
    jmp .row
.found:
    push rcx
    mov ecx, REPEATS
    call [rdi + NAME_BYTES]
    pop rsi
    cmp byte [rsi], 0
    je off
    inc esi
    jmp .next_word

off:
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    jmp $

on_fault:
    mov al, '!'
    out 0xE9, al
    jmp off

on_timer:
    push rax
    inc dword [ticks_seen]
    mov eax, APIC
    mov dword [rax + 0xB0], 0       ; EOI
    pop rax
    iretq

nothing:
    ret

; Prints RAX in hexadecimal on the debug console.
digest:
    mov [saved], rax
    mov ebx, 16
.digit:
    mov rax, [saved]
    rol rax, 4
    mov [saved], rax
    and eax, 15
    add al, '0'
    cmp al, '9'
    jbe .decimal
    add al, 'a' - '0' - 10
.decimal:
    out 0xE9, al
    dec ebx
    jnz .digit
    mov al, 10
    out 0xE9, al
    ret

; REPEATS loops of their own, each hot: translations, links, code.
hot:
%assign n 0
%rep REPEATS
    mov edx, HOT
.again_%+n:
    add rax, rdx
    xor rbx, rax
    dec edx
    jnz .again_%+n
    jmp $ + 2
%assign n n + 1
%endrep
    ret

; Instructions that run once.
cold:
%rep 64
    add eax, 1
    jmp $ + 2
%endrep
    ret

; Reads more pages than the TLB has entries, twice.
touch:
    mov ebp, 2
.round:
    mov rdi, SLED
    mov edx, 4096
.page:
    mov rax, [rdi]
    add rdi, 4096
    dec edx
    jnz .page
    dec ebp
    jnz .round
    ret

; Accesses that are checked together, in more pages than the TLB has entries.
windows:
    mov ebp, 2
.round:
    mov rdi, SLED
    mov edx, 4096
.page:
    mov rax, [rdi]
    add rax, [rdi + 8]
    mov [rdi + 16], rax
    mov [rdi + 24], rax
    add rdi, 4096
    dec edx
    jnz .page
    dec ebp
    jnz .round
    ret

; One access that goes to another page each time, none beside another.
slots:
    mov ebp, 20000
.round:
    mov rdi, SLED
    mov edx, 64
.page:
    mov rax, [rdi]
    add rdi, 8192
    dec edx
    jnz .page
    dec ebp
    jnz .round
    ret

; The same, and each page has one beside it that the access reached, too: two and two.
pairs:
    mov ebp, 10000
.round:
    mov rdi, SLED
    mov edx, 128
.page:
    mov rax, [rdi]
    add rdi, 3 * 4096
    cmp edx, 65
    jne .next
    mov rdi, SLED + 4096
.next:
    dec edx
    jnz .page
    dec ebp
    jnz .round
    ret

; An instruction that is not translated.
odd:
    mov edx, HOT
.again:
    sldt eax
    dec edx
    jnz .again
    ret

; A hot function that is changed REPEATS times.
rewrite:
    mov byte [changed + 1], cl
    mov edx, HOT
.again:
    call changed
    dec edx
    jnz .again
    loop rewrite
    ret
align 64
changed:
    mov eax, 0
    ret
align 64

; The memory layout changes: PAM0 of the host bridge, the BIOS area read-only and writable again.
layout:
    mov edx, HOT
.again:
    call changed
    dec edx
    jnz .again
    mov eax, 0x80000058
    mov dx, 0xCF8
    out dx, eax
    mov dx, 0xCFD
    in al, dx
    xor al, 0x20
    out dx, al
    loop layout
    ret

; As much code as no cache holds.
room:
    mov rdi, SLED
    mov ecx, SLED_BYTES
    mov al, 0x90                    ; NOP
    rep stosb
    mov byte [rdi], 0xC3            ; RET
    mov rax, SLED
    jmp rax

; An address space is loaded while code with indirect branches is hot.
switch:
    mov edx, HOT
    mov eax, changed
.again:
    call rax
    mov eax, changed
    dec edx
    jnz .again
    mov rax, cr3
    mov cr3, rax
    loop switch
    ret

; MOV to CR3 is interpreted, and no jump table knows what comes behind it.
behind:
    mov edx, HOT
.again:
    mov rax, cr3
    mov cr3, rax
    dec edx
    jnz .again
    ret

; A digest of instructions that not every native CPU has, each hot and with operands in registers and in memory.
bits_and_carries:
    mov r12, 0x123456789ABCDEF1
    mov r8, 0x9E3779B97F4A7C15
    xor r9d, r9d
    mov ebp, 2000
.again:
    imul r12, r8
    mov [saved], r12
    andn rax, r12, r8
    add r9, rax
    bextr rax, r12, r8
    xor r9, rax
    blsi rax, r12
    add r9, rax
    blsmsk rax, r12
    xor r9, rax
    blsr rax, [saved]
    add r9, rax
    bzhi rax, r12, rbp
    xor r9, rax
    pdep rax, r12, r8
    add r9, rax
    pext rax, r12, [saved]
    xor r9, rax
    rorx rax, r12, 17
    add r9, rax
    sarx rax, r12, rbp
    xor r9, rax
    shlx rax, [saved], r12
    add r9, rax
    shrx r13, r12, rbp
    xor r9, r13
    mov rdx, r12
    mulx r14, r15, r8
    add r9, r14
    xor r9, r15
    tzcnt rax, r12
    adc r9, rax
    lzcnt rax, [saved]
    adc r9, rax
    movbe rax, [saved]
    add r9, rax
    movbe [saved], r9d
    stc
    adcx rax, r12
    adox r9, rax
    adcx r9, [saved]
    popcnt eax, r12d
    add r9, rax
    dec ebp
    jnz .again
    mov rax, r9
    jmp digest

; A digest of everyday integer code.
mix:
    mov r12, 0x123456789ABCDEF1
    mov r8, 0x9E3779B97F4A7C15
    xor r9d, r9d
    mov ebp, 5000
    mov r10, SLED
.again:
    imul r12, r8
    mov rax, r12
    mov rcx, r12
    shr rcx, 58
    rol rax, cl
    add r9, rax
    adc r9, rcx
    mov [r10 + rcx * 8], r9
    xor [r10 + rcx * 8 + 1], eax
    movzx edx, byte [r10 + rcx * 8 + 3]
    sub r9, rdx
    sbb r13, r9
    push r13
    call .inner
    pop r14
    xor r9, r14
    bt r9, rcx
    setc al
    cmovnc r15, r9
    xchg rax, r15
    lock xadd [r10], rax
    cmp rax, r9
    ja .above
    neg r9
.above:
    lea r9, [r9 + r9 * 4 + 7]
    dec ebp
    jnz .again
    mov rax, r9
    jmp digest
.inner:
    test r9b, 4
    jz .even
    sar r13, 3
    ret
.even:
    inc r13
    ret

; A digest of repeated string instructions: none to 127 elements anywhere in a page and over its end, the two sides perhaps one
; within the other, flags kept.
%macro REPEATED 1
    imul r12, r8
    mov rcx, r12
    shr rcx, 57
    mov edi, r12d
    shr edi, 20
    add edi, SLED
    mov rsi, r12
    shr rsi, 44
    and esi, 0xFFF
    add esi, SLED + 0x400
    cmp r12, r9
    mov rax, r12
    rep %1
    adc r9, rdi
    add r9, rcx
    rol r9, 7
    xor r9, rsi
%endmacro
strings:
    mov r12, 0x123456789ABCDEF1
    mov r8, 0x9E3779B97F4A7C15
    xor r9d, r9d
    mov ebp, 2000
.again:
    REPEATED stosb
    REPEATED movsb
    REPEATED stosw
    REPEATED movsw
    REPEATED stosd
    REPEATED movsd
    REPEATED stosq
    REPEATED movsq
    std
    REPEATED movsd
    cld
    dec ebp
    jnz .again
    mov esi, SLED
    mov ecx, 0x2000 / 8
.sum:
    rol r9, 5
    add r9, [rsi]
    add esi, 8
    loop .sum
    mov rax, r9
    jmp digest

; Interrupts in the midst of hot code, and while it waits in HLT.
ticks:
    mov al, 0xFF
    out 0x21, al
    out 0xA1, al
    mov edi, APIC
    mov dword [rdi + 0xF0], 0x1FF   ; on, spurious vector FFh
    mov dword [rdi + 0x3E0], 0xB    ; the full rate
    mov dword [rdi + 0x320], 0x20000 | TIMER  ; periodic
    mov dword [rdi + 0x380], 7001
    sti
    xor r9d, r9d
.again:
    mov eax, [ticks_seen]
    lea r8, [r9 + rax]
    add r9, r8
    xor [saved], r9
    cmp eax, 3 * REPEATS
    jb .again
.wait:
    hlt
    cmp dword [ticks_seen], 4 * REPEATS
    jb .wait
    cli
    mov dword [rdi + 0x380], 0
    mov rax, r9
    jmp digest

; The first time the machine is reset; RAM keeps what no loader writes.
reset:
    mov edi, 0x3F0000
    cmp dword [rdi], MAGIC
    je .done
    mov dword [rdi], MAGIC
    mov dx, 0xCF9
    mov al, 6
    out dx, al
    jmp $
.done:
    ret

align 8
gdt:
    dq 0, 0x00CF9B000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF
gdt_pointer:
    dw $ - gdt - 1
    dq gdt
idt_pointer:
    dw 64 * 16 - 1
    dq idt

NAME_BYTES equ 16
%macro ON 2
%%row:
    db %1
    times NAME_BYTES - ($ - %%row) db 0
    dq %2
%endmacro
align 8
words:
    ON 'off', nothing
    ON 'hot', hot
    ON 'cold', cold
    ON 'touch', touch
    ON 'windows', windows
    ON 'slots', slots
    ON 'pairs', pairs
    ON 'odd', odd
    ON 'rewrite', rewrite
    ON 'layout', layout
    ON 'room', room
    ON 'switch', switch
    ON 'behind', behind
    ON 'bits', bits_and_carries
    ON 'mix', mix
    ON 'strings', strings
    ON 'ticks', ticks
    ON 'reset', reset
words_end:
end_of_file:

absolute $
alignb 4096
pml4: resb 4096
pdpt: resb 4096
directory: resb 4096
apic_directory: resb 4096
idt: resb 64 * 16
saved: resq 1
ticks_seen: resq 1
    resb 4096
stack_top:
end_of_memory:
