; Single-stepping, breakpoints of every kind, the RF flag and the MOV SS shadow.
; SDM Vol. 3B, "Debug Exceptions".
;
; expect: step
; expect: 0001 4FF0 0
; expect: 0003 4FF0 0
; expect: 0004 4FF0 0
; expect: 0005 4FF0 0
; expect: step over MOV SS
; expect: 0003 4FF0 0
; expect: 0004 4FF0 0
; expect: step POPF that clears TF
; expect: 0001 4FF0 0
; expect: 0002 4FF0 0
; expect: step REP
; expect: 0000 4FF0 1
; expect: 0000 4FF0 1
; expect: 0002 4FF0 0
; expect: 0003 4FF0 0
; expect: step INT
; expect: 0001 4FF0 0
; expect: 0004 4FF0 0
; expect: step a taken and an untaken branch
; expect: 0002 4FF0 0
; expect: 0005 4FF0 0
; expect: 0006 4FF0 0
; expect: execute breakpoint
; expect: 0000 0FF1 0
; expect: 0000 0FF1 0
; expect: write breakpoint
; expect: 0010 0FF2 0
; expect: 0015 0FF2 0
; expect: access breakpoint
; expect: 0005 0FF2 0
; expect: 000C 0FF2 0
; expect: access breakpoint in MOV SS
; expect: 003D 0FF2 0
; expect: 0007 0FF2 0
; expect: two breakpoints at once
; expect: 0005 0FF6 0
; expect: I/O breakpoint
; expect: 0002 0FF8 0
; expect: 0004 0FF8 0
; expect: V=06 E=0000 +00 R=0 F=1
; expect: general detect
; expect: 0000 2FF0 1
; expect: 00000400
; expect: INT3 and INT1
; expect: V=03 E=0000 +01 R=0 F=0
; expect: V=01 E=0000 +01 R=0 F=0
; expect: FFFF0FF0
; expect: done
%include "pm32.inc"

; One line for each #DB: EIP relative to `base`, the new DR6 bits, RF in the image.
on_debug:
    cmp dword [ebx + F_VECTOR], 1
    jne .no
    inc dword [count]
    mov eax, [ebx + F_EIP]
    sub eax, [base]
    mov cl, 4
    call put_hex
    mov al, ' '
    call put_char
    mov eax, dr6
    mov cl, 4
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
    cmp byte [stop_after], 0
    je .keep
    dec byte [stop_after]
    jnz .keep
    and dword [ebx + F_EFLAGS], ~0x100      ; TF off in the image
.keep:
    cmp byte [set_rf], 0
    je .handled
    or dword [ebx + F_EFLAGS], 0x10000
.handled:
    xor eax, eax
    ret
.no:
    or eax, 1
    ret
base:       dd 0
count:      dd 0
stop_after: db 0
set_rf:     db 0

%macro STEPS 1                  ; sets TF for the next %1 traps; the first comes after the instruction behind
    mov byte [stop_after], %1
    mov dword [base], %%here
    pushfd
    or dword [esp], 0x100
    popfd
%%here:
%endmacro

start32:
    mov dword [hook], on_debug
    SAY {"step", 10}
    STEPS 4
    nop                         ; 0
    xor eax, eax                ; 1
    inc eax                     ; 3
    nop                         ; 4
    nop

    SAY {"step over MOV SS", 10}
    mov eax, DATA0
    STEPS 2
    mov ss, ax                  ; 0: no trap
    nop                         ; 2
    nop
    nop

    SAY {"step POPF that clears TF", 10}
    pushfd
    STEPS 2
    nop                         ; 0
    popfd                       ; 1: still traps behind it
    nop
    nop

    SAY {"step REP", 10}
    mov esi, 0x7800
    mov edi, 0x7900
    mov ecx, 3
    STEPS 4
    rep movsb                   ; 0: a trap after each iteration
    nop

    SAY {"step INT", 10}
    SET_GATE 0x2F, CODE0, int_target, 0x8E
    STEPS 2
    nop                         ; 0
    int 0x2F                    ; 1: the handler runs unstepped
    nop                         ; 3
    nop

    SAY {"step a taken and an untaken branch", 10}
    xor eax, eax
    STEPS 3
    jnz .never                  ; 0 (6 bytes or 2)
    jz .taken                   ; 2
    nop
.taken:
    nop
.never:
    nop

    SAY {"execute breakpoint", 10}
    mov dword [base], bp_code
    mov eax, bp_code
    mov dr0, eax
    mov eax, 0x402              ; G0
    mov dr7, eax
    mov byte [set_rf], 1
    call bp_code
    call bp_code
    mov byte [set_rf], 0

    SAY {"write breakpoint", 10}
    mov dword [base], .w
    mov eax, 0x7804
    mov dr1, eax
    mov eax, 0x00D00408         ; G1, write, 4 bytes
    mov dr7, eax
.w:
    mov eax, [0x7804]           ; no
    mov [0x7803], al            ; no
    mov [0x7803], ax            ; yes: last byte at 7804h
    mov [0x7807], al            ; yes
    mov [0x7808], al            ; no
    SAY {"access breakpoint", 10}
    mov eax, 0x00F00408         ; read or write
    mov dr7, eax
    mov dword [base], .r
.r:
    mov eax, [0x7804]
    xadd [0x7804], eax          ; one trap though it reads and writes
    SAY {"access breakpoint in MOV SS", 10}
    mov word [0x7804], DATA0
    mov dword [base], .s
.s:
    mov ss, [0x7804]            ; the trap waits for the next instruction
    nop
    nop
    SAY {"two breakpoints at once", 10}
    mov eax, 0x7806
    mov dr2, eax
    mov eax, 0x03F00428         ; DR1 access 4 bytes, DR2 access 1 byte
    mov dr7, eax
    mov dword [base], .t
.t:
    mov [0x7804], eax
    SAY {"I/O breakpoint", 10}
    mov eax, 0x80
    mov dr3, eax
    mov eax, cr4
    or al, 8                    ; CR4.DE
    mov cr4, eax
    mov eax, 0x20000480         ; G3, I/O, 1 byte
    mov dr7, eax
    mov dword [base], .io
.io:
    out 0x80, al
    in al, 0x80
    TRY mov eax, dr4            ; DE: #UD
    SAY {"general detect", 10}
    mov eax, 0x2400
    mov dr7, eax
    mov dword [base], .gd
.gd:
    mov eax, dr7                ; faults; the handler finds GD clear and returns here
    SHOW eax
    SAY {"INT3 and INT1", 10}
    mov dword [hook], 0
    mov dword [try_ip], .int3
    mov dword [resume], .next
.int3:
    int3
.next:
    mov dword [try_ip], .int1
    mov dword [resume], .next2
.int1:
    db 0xF1
.next2:
    mov eax, dr6
    SHOW eax
    SAY {"done", 10}
    jmp finish

bp_code:
    nop
    ret
int_target:
    nop
    iretd
