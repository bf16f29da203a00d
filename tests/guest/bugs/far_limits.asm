; Transfers check the limit of a 32-bit code segment in compatibility mode as in legacy mode, that of 64-bit code never;
; selectors are checked against the end of their table to the byte.
;
; limit: 30000000
; expect: from 64-bit mode: ok
; expect: from compatibility mode: ok
; expect: near branches in a small segment: ok
; expect: 64-bit code has no limit: ok
; expect: table ends: ok
; expect: SYSRET: ok
%include "lm64.inc"
SMALL   equ FREE                ; 32-bit code, base 8000h, limit FFFh
SMALL64 equ FREE + 0x08         ; 64-bit code that says the same
LDTSEL  equ FREE + 0x10
LAST    equ FREE + 0x20         ; the last descriptor of a shortened GDT
BASE    equ 0x8000

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, 0x00409B0080000FFF
    mov [gdt + SMALL], rax
    mov rax, 0x00209B0080000FFF
    mov [gdt + SMALL64], rax
    jmp test_from_64

%macro RETURN_FRAME 2           ; CS, RIP
    mov rax, rsp
    push qword DATA0
    push rax
    push qword 2
    push qword %1
    push qword %2
%endmacro
test_from_64:
    REPEATEDLY
    FAULTS 13, 0, jmp far dword [beyond]
    FAULTS 13, 0, call far dword [beyond]
    FAULTS 13, 0, jmp far qword [beyond64]
    push qword SMALL
    push qword 0x1000
    FAULTS 13, 0, o64 retf
    add rsp, 16
    RETURN_FRAME SMALL, 0x1000
    FAULTS 13, 0, iretq
    add rsp, 40
    RETURN_FRAME SMALL, 0x100000000 + (in_small - BASE)
    FAULTS 13, 0, iretq
    add rsp, 40
    mov dword [inside], in_small - BASE
    jmp far dword [inside]                    ; and inside the limit it goes there
bits 32
in_small:
    jmp CODE0:from_small
bits 64
from_small:
    AGAIN
    CLAIM "from 64-bit mode"

    REPEATEDLY
    jmp far dword [compatibility]
bits 32
in_compatibility:
    FAULTS 13, 0, jmp SMALL:0x1000
    FAULTS 13, 0, call SMALL:0x1000
    FAULTS 13, 0, jmp SMALL:0xFFFFFFFF
    push dword SMALL
    push dword 0x1000
    FAULTS 13, 0, retf
    add esp, 8
    push dword 2
    push dword SMALL
    push dword 0x1000
    FAULTS 13, 0, iretd
    add esp, 12
    jmp CODE0:from_compatibility
bits 64
from_compatibility:
    AGAIN
    CLAIM "from compatibility mode"

    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], small_back - BASE
    jmp far dword [to_near]
bits 32
in_near:
    jmp near in_near + 0x2000
small_back:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0
    EXPECT dword [f_rip], in_near - BASE
    mov dword [f_vector], -1
    mov dword [resume], small_back_2 - BASE
    mov eax, 0x1000
in_near_2:
    call eax
small_back_2:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_rip], in_near_2 - BASE
    mov dword [f_vector], -1
    mov dword [resume], small_back_3 - BASE
    push dword 0x1000
in_near_3:
    ret
small_back_3:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_rip], in_near_3 - BASE
    add esp, 4
    jmp CODE0:from_near
bits 64
from_near:
    AGAIN
    CLAIM "near branches in a small segment"

    REPEATEDLY
    jmp far dword [to_64]
in_64:
    jmp near in_64_far
in_64_far:
    RETURN_FRAME SMALL64, in_64_again
    iretq
in_64_again:
    RETURN_FRAME CODE0, in_64_done
    iretq
in_64_done:
    AGAIN
    CLAIM "64-bit code has no limit"

    mov rax, [gdt + DATA0]
    mov [gdt + LAST], rax
    REPEATEDLY
    mov eax, LAST
    lgdt [whole_gdt]
    WORKS mov ds, eax
    lgdt [short_gdt]
    FAULTS 13, LAST, mov ds, eax
    lgdt [usual_gdtr]
    mov dword [gdt + LDTSEL], 0x3000FFFF        ; LDT at 1F3000h, 64 KBytes: its last one is at 202FF8h
    mov dword [gdt + LDTSEL + 4], 0x0000821F
    mov qword [gdt + LDTSEL + 8], 0
    mov rdx, [gdt + DATA0]
    mov [0x202FF8], rdx
    mov eax, LDTSEL
    lldt ax
    mov eax, 0xFFFC
    WORKS mov es, eax
    mov word [gdt + LDTSEL], 0xFFFE
    mov eax, LDTSEL
    lldt ax
    mov eax, 0xFFFC
    FAULTS 13, 0xFFFC, mov es, eax
    xor eax, eax
    lldt ax
    mov eax, 4
    FAULTS 13, 4, mov es, eax
    mov eax, DATA0
    mov ds, eax
    mov es, eax
    AGAIN
    CLAIM "table ends"

    SET_MSR 0xC0000081, (CODE3C & 0xFFF8) << 48         ; selectors without RPL
    REPEATEDLY
    mov ecx, at_ring3
    mov r11d, 0x3002
    o64 sysret
at_ring3:
    mov eax, cs
    EXPECT eax, CODE3
    mov eax, ss
    EXPECT eax, DATA3
    mov eax, after_sysret
    int 0x3C
after_sysret:
    AGAIN
    CLAIM "SYSRET"
    jmp finish

align 8
beyond:         dd 0x1000
                dw SMALL
beyond64:       dq 0x100000000 + (in_small - BASE)
                dw SMALL
inside:         dd 0
                dw SMALL
compatibility:  dd in_compatibility
                dw CODE0C
to_near:        dd in_near - BASE
                dw SMALL
to_64:          dd in_64
                dw SMALL64
whole_gdt:      dw LAST + 7
                dq gdt
usual_gdtr:     dw FREE + 0x3F
                dq gdt
short_gdt:      dw LAST + 6
                dq gdt
times 0xF00 - (small_back_3 - entry) nop     ; (negative: beyond the limit of the small segment)
