; In x2APIC mode an IPI to FFh goes to the APIC with that id, and to nobody where there is none; FFFFFFFFh is everybody.
;
; limit: 8000000
; expect: FFh: ok
; expect: FFFFFFFFh: ok
; expect: the own id: ok
; expect: in xAPIC mode FFh is everybody: ok
%include "lm64.inc"
VECTOR equ 0x31
PAGE   equ 0x240000

; ICR := destination, fixed, VECTOR; then a window for it.
%macro SEND 1
    mov dword [f_vector], -1
    mov ecx, 0x830
    mov edx, %1
    mov eax, VECTOR
    wrmsr
    sti
    nop
    nop
    cli
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_event
    mov rax, 0xFEE0001B                 ; the register page, uncached
    mov [PT + 8 * 0x40], rax
    mov dword [PAGE + 0xF0], 0x1FF
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [PAGE + 0x310], 0xFF000000
    mov dword [PAGE + 0x300], VECTOR
    sti
    nop
    nop
    cli
    EXPECT dword [f_vector], VECTOR
    mov dword [PAGE + 0xB0], 0
    AGAIN
    mov dword [xapic_verdict], 0
    mov eax, [wrong_at]
    mov [xapic_verdict], eax
    mov dword [wrong_at], 0
    mov ecx, 0x1B
    rdmsr
    or eax, 0xC00
    wrmsr
    REPEATEDLY
    SEND 0xFF
    EXPECT dword [f_vector], -1
    SEND 0xFFFFFF
    EXPECT dword [f_vector], -1
    AGAIN
    CLAIM "FFh"
    REPEATEDLY
    SEND 0xFFFFFFFF
    EXPECT dword [f_vector], VECTOR
    call end_of_interrupt
    AGAIN
    CLAIM "FFFFFFFFh"
    REPEATEDLY
    SEND 0
    EXPECT dword [f_vector], VECTOR
    call end_of_interrupt
    AGAIN
    CLAIM "the own id"
    mov eax, [xapic_verdict]
    mov [wrong_at], eax
    CLAIM "in xAPIC mode FFh is everybody"
    jmp finish

xapic_verdict: dd 0
end_of_interrupt:
    mov ecx, 0x80B
    xor eax, eax
    xor edx, edx
    wrmsr
    ret
note_event:
    mov eax, [rbx + F_RIP]
    mov [resume], rax
    jmp note_fault
