; A task switch looks at one bit of the word with the T flag, and the word above it, the I/O map base, is another field.
;
; limit: 3000000
; expect: T = 0 with an I/O map base: ok
; expect: T = 1: ok
%include "pm32.inc"
NEWTSS  equ FREE

start32:
%include "claims.inc"
    mov dword [hook], note_trap
    SET_DESCRIPTOR NEWTSS, (TSS2 << 16) | 0x67, 0x00008900
    REPEATEDLY
    mov word [TSS2 + 0x64], 0xFFFE              ; reserved bits, T = 0
    call prepare
    call NEWTSS:0
    EXPECT dword [f_count], 0
    AGAIN
    CLAIM "T = 0 with an I/O map base"
    REPEATEDLY
    mov word [TSS2 + 0x64], 1
    call prepare
    call NEWTSS:0
    EXPECT dword [f_count], 1
    EXPECT dword [f_vector], 1
    EXPECT dword [f_rip], in_task
    mov eax, dr6
    and eax, 0xE00F
    EXPECT eax, 0x8000                          ; BT
    xor eax, eax
    mov dr6, eax
    AGAIN
    CLAIM "T = 1"
    jmp finish

prepare:
    mov dword [f_count], 0
    mov word [TSS2 + 0x66], 0xFFFF              ; I/O map base
    mov dword [TSS2 + 0x1C], 0                  ; CR3
    mov dword [TSS2 + 0x20], in_task
    mov dword [TSS2 + 0x24], 2
    mov dword [TSS2 + 0x38], 0x5800
    mov dword [TSS2 + 0x48], DATA0              ; ES CS SS DS FS GS
    mov dword [TSS2 + 0x4C], CODE0
    mov dword [TSS2 + 0x50], DATA0
    mov dword [TSS2 + 0x54], DATA0
    mov dword [TSS2 + 0x58], 0
    mov dword [TSS2 + 0x5C], 0
    mov dword [TSS2 + 0x60], 0
    mov byte [gdt + NEWTSS + 5], 0x89
    ret
in_task:
    iretd
note_trap:
    mov eax, [ebx + F_EIP]
    mov [resume], eax
    jmp note_fault
