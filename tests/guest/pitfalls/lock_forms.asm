; LOCK is for the instructions that the manual lists, with a memory destination; with anything else it is #UD, before anything
; has happened, on code that runs hot beside the legal forms. SDM Vol. 2A, "LOCK-Assert LOCK# Signal Prefix".
;
; Pitfalls: H4
;
; limit: 30000000
; expect: legal_forms: ok
; expect: register_destinations: ok
; expect: other_instructions: ok
; expect: other_instructions_of_two_bytes: ok
%include "lm64.inc"
M equ 0x202100

%macro REFUSED 1+
    FAULTS 6, 0, {db 0xF0, %1}
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov ebx, M
    REPEATEDLY
    mov eax, 1
    mov qword [M], 0
    WORKS lock add [rbx], eax
    WORKS lock or [rbx], al
    WORKS lock adc qword [rbx], 2
    WORKS lock sbb [rbx], ax
    WORKS lock and [rbx], rax
    WORKS lock sub [rbx], eax
    WORKS lock xor byte [rbx], 1
    WORKS lock inc dword [rbx]
    WORKS lock dec word [rbx]
    WORKS lock not dword [rbx]
    WORKS lock neg qword [rbx]
    WORKS lock bts dword [rbx], 3
    WORKS lock btr [rbx], eax
    WORKS lock btc qword [rbx], 7
    WORKS lock xchg [rbx], eax
    WORKS lock xadd [rbx], eax
    WORKS lock cmpxchg [rbx], ecx
    WORKS lock cmpxchg8b [rbx]
    WORKS lock cmpxchg16b [rbx]
    AGAIN
    CLAIM "legal_forms"

    REPEATEDLY
    mov eax, 0x77
    REFUSED 0x01, 0xC8                  ; add eax, ecx
    REFUSED 0x03, 0x03                  ; add eax, [rbx]
    REFUSED 0x83, 0xC0, 0x01            ; add eax, 1
    REFUSED 0xFF, 0xC0                  ; inc eax
    REFUSED 0xF7, 0xD8                  ; neg eax
    REFUSED 0x0F, 0xC1, 0xC8            ; xadd eax, ecx
    REFUSED 0x0F, 0xB1, 0xC8            ; cmpxchg eax, ecx
    REFUSED 0x87, 0xC8                  ; xchg eax, ecx
    REFUSED 0x0F, 0xAB, 0xC8            ; bts eax, ecx
    REFUSED 0x0F, 0xBA, 0xE8, 0x01      ; bts eax, 1
    EXPECT eax, 0x77
    AGAIN
    CLAIM "register_destinations"

    REPEATEDLY
    mov dword [M], 0x55
    REFUSED 0x39, 0x03                  ; cmp [rbx], eax
    REFUSED 0x83, 0x3B, 0x01            ; cmp dword [rbx], 1
    REFUSED 0x85, 0x03                  ; test [rbx], eax
    REFUSED 0xF7, 0x03, 1, 0, 0, 0      ; test dword [rbx], 1
    REFUSED 0x89, 0x03                  ; mov [rbx], eax
    REFUSED 0x8B, 0x03                  ; mov eax, [rbx]
    REFUSED 0xC7, 0x03, 1, 0, 0, 0
    REFUSED 0xD1, 0x23                  ; shl dword [rbx], 1
    REFUSED 0xF7, 0x23                  ; mul dword [rbx]
    REFUSED 0xF7, 0x3B                  ; idiv dword [rbx]
    REFUSED 0xFF, 0x33                  ; push qword [rbx]
    REFUSED 0x8F, 0x03                  ; pop qword [rbx]
    REFUSED 0x90                        ; nop
    REFUSED 0x50                        ; push rax
    REFUSED 0xA4                        ; movsb
    REFUSED 0xAA                        ; stosb
    REFUSED 0xEB, 0x00                  ; jmp
    REFUSED 0x8D, 0x03                  ; lea eax, [rbx]
    REFUSED 0xF8                        ; clc
    REFUSED 0xD9, 0xE8                  ; fld1
    EXPECT dword [M], 0x55
    EXPECT rsp, STACK0
    AGAIN
    CLAIM "other_instructions"

    REPEATEDLY
    REFUSED 0x0F, 0xA3, 0x03            ; bt [rbx], eax
    REFUSED 0x0F, 0xBA, 0x23, 0x01      ; bt dword [rbx], 1
    REFUSED 0x0F, 0xAF, 0x03            ; imul eax, [rbx]
    REFUSED 0x0F, 0xA5, 0x03            ; shld [rbx], eax, cl
    REFUSED 0x0F, 0x90, 0x03            ; seto [rbx]
    REFUSED 0x0F, 0x28, 0x03            ; movaps xmm0, [rbx]
    REFUSED 0x0F, 0xC3, 0x03            ; movnti [rbx], eax
    REFUSED 0x0F, 0xA2                  ; cpuid
    REFUSED 0x0F, 0x31                  ; rdtsc
    REFUSED 0x0F, 0x20, 0xC0            ; mov rax, cr0: not what it is on other vendors' processors
    REFUSED 0x0F, 0xC7, 0x3B            ; vmptrst [rbx]
    REFUSED 0x0F, 0xC7, 0xF0            ; rdrand eax
    REFUSED 0x0F, 0x38, 0xF0, 0x03      ; movbe eax, [rbx]
    AGAIN
    CLAIM "other_instructions_of_two_bytes"
    jmp finish
