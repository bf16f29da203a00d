; A data breakpoint met by a repeated string instruction traps after the iteration that met it; the
; pushed RF is 1 between two iterations and 0 after the last.
; SDM Vol. 3B, "Data Memory and I/O Breakpoint Exception Conditions", "Instruction-Breakpoint
; Exception Condition".
;
; expect: 0014 FF1 1
; expect: 0014 FF1 1
; expect: 0016 FF1 0
; expect: done
%include "pm32.inc"

on_debug:
    mov eax, [ebx + F_EIP]
    sub eax, repeat
    mov cl, 4
    call put_hex
    mov al, ' '
    call put_char
    mov eax, dr6
    mov cl, 3
    call put_hex
    mov al, ' '
    call put_char
    mov eax, [ebx + F_EFLAGS]
    shr eax, 16
    and eax, 1
    mov cl, 1
    call put_hex
    mov al, 10
    call put_char
    mov eax, 0xFFFF0FF0
    mov dr6, eax
    xor eax, eax
    ret

start32:
    mov dword [hook], on_debug
    mov eax, 0x7804
    mov dr0, eax
    mov eax, 0x000F0402         ; G0, read or write, 4 bytes
    mov dr7, eax
repeat:
    mov esi, 0x7803
    mov edi, 0x7900
    mov ecx, 4
    nop
    nop
    nop
    nop
    nop
    rep movsb                   ; 7803h is outside, 7804h to 7806h are watched
    SAY {"done", 10}
    jmp finish
