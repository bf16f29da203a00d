; Real-address mode: the interrupt vector table, faults without error codes, big real mode, and the way to protected
; mode and back. SDM Vol. 3B, "Real-Address Mode"; Vol. 3A, "Mode Switching".
;
; expect: INT n and IRET
; expect: 0000
; expect: 0200
; expect: 7000
; expect: 0200
; expect: faults
; expect: 0000 0000 7000
; expect: 000D 0000 7000
; expect: 000C 0000 7000
; expect: 000D 0000 7000
; expect: 0006 0000 7000
; expect: 0006 0000 7000
; expect: 0005 0000 7000
; expect: big real mode
; expect: 12345678
; expect: 000D 0000 7000
; expect: 32-bit protected mode and back
; expect: DEADBEEF
; expect: 00007000
; expect: stack wrap
; expect: FFFC
; expect: 4321
; expect: 000C 0000 0002
; expect: done
org 0x8000
bits 16

%macro SAY 1
    jmp %%over
%%text: db %1, 10, 0
%%over:
    push si
    mov si, %%text
    call put_string
    pop si
%endmacro
%macro SHOW16 1
    push ax
    mov ax, %1
    call put_hex16
    pop ax
%endmacro
%macro SHOW32 1
    push eax
    mov eax, %1
    ror eax, 16
    call put_hex16n
    ror eax, 16
    call put_hex16
    pop eax
%endmacro
%macro TRY 1+
    mov word [cs:try_ip], %%insn
    mov word [cs:resume], %%after
%%insn:
    %1
    SAY "none"
%%after:
%endmacro

entry:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    in al, 0x92
    or al, 2
    and al, 0xFE
    out 0x92, al
    cld
    mov di, 0                   ; vectors 0..3Fh -> stubs
    mov cx, 64
    mov ax, stubs
.fill:
    stosw
    mov word [es:di], 0
    add di, 2
    add ax, 8
    loop .fill

    SAY "INT n and IRET"
    sti
    int 0x30
    pushf
    pop bx
    and bx, 0x300
    SHOW16 bx                   ; IF is back
    cli

    SAY "faults"
    TRY div byte [zero]
    TRY mov ax, [0xFFFF]        ; word at the limit: #GP
    mov bp, 0xFFFF
    TRY mov ax, [bp]            ; through SS: #SS
    mov ebx, 0x10000
    TRY mov al, [ebx]           ; beyond 64 KBytes
    TRY ud2
    TRY lldt ax                 ; no such instruction here
    mov ax, 5
    TRY bound ax, [bounds]

    SAY "big real mode"
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov bx, 8                   ; flat data
    mov gs, bx
    and al, 0xFE
    mov cr0, eax
    mov ebx, 0x200000
    mov dword [gs:ebx], 0x12345678
    xor ax, ax
    mov gs, ax                  ; the limit stays, the base is 0
    SHOW32 [gs:ebx]
    TRY mov al, [ebx]           ; DS still has 64 KBytes

    SAY "32-bit protected mode and back"
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x10:protected
bits 32
protected:
    mov ax, 8
    mov ss, ax
    mov esp, 0x7000
    mov ecx, esp
    push dword 0xDEADBEEF
    pop edx
    mov ax, 0x20                ; 64-KByte data
    mov ss, ax
    mov ds, ax
    jmp 0x18:leave16            ; 16-bit code
bits 16
leave16:
    mov eax, cr0
    and al, 0xFE
    mov cr0, eax
    jmp 0:real
real:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    SHOW32 edx
    SHOW32 ecx

    SAY "stack wrap"
    mov bp, sp
    mov sp, 0
    push word 0x4321
    SHOW16 sp
    mov bx, [ss:0xFFFE]
    mov sp, bp
    SHOW16 bx
    mov bp, sp
    mov sp, 2
    mov word [0], 0             ; (vector 0 is not needed any more)
    TRY push dword 0x11112222   ; SP = 2: the push wraps to FFFEh and does not fit
    mov sp, bp

    SAY "done"
    cli
    hlt

zero:   db 0
bounds: dw 0, 4
try_ip: dw 0
resume: dw 0
align 8
gdt:
    dq 0
    dq 0x00CF93000000FFFF
    dq 0x00CF9B000000FFFF
    dq 0x00009B000000FFFF
    dq 0x000093000000FFFF
gdtr: dw $ - gdt - 1
      dd gdt

put_string:
    cs lodsb
    test al, al
    jz .done
    out 0xE9, al
    jmp put_string
.done:
    ret
put_hex16n:                     ; AX
    push ax
    push cx
    mov cx, 4
.digit:
    rol ax, 4
    push ax
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe .out
    add al, 7
.out:
    out 0xE9, al
    pop ax
    loop .digit
    pop cx
    pop ax
    ret
put_hex16:
    call put_hex16n
    push ax
    mov al, 10
    out 0xE9, al
    pop ax
    ret

align 8
stubs:
%assign vector 0
%rep 64
    align 8, nop
    push word vector
    jmp near event
%assign vector vector + 1
%endrep

; Stack: vector IP CS FLAGS. Prints "vector +offset SP", resumes a TRY; INT 30h shows its frame and returns.
event:
    push bp
    mov bp, sp
    push ax
    push cx
    push si
    cmp word [bp + 2], 0x30
    jne .fault
    pushf
    pop ax
    and ax, 0x300
    SHOW16 ax                   ; IF and TF are clear in the handler
    mov ax, [bp + 8]
    and ax, 0x300
    SHOW16 ax
    lea ax, [bp + 10]
    SHOW16 ax
    jmp .out
.fault:
    mov ax, [bp + 2]
    call put_hex16n
    mov al, ' '
    out 0xE9, al
    mov ax, [bp + 4]
    sub ax, [cs:try_ip]
    call put_hex16n
    mov al, ' '
    out 0xE9, al
    lea ax, [bp + 10]
    SHOW16 ax
    mov ax, [cs:resume]
    mov [bp + 4], ax
.out:
    pop si
    pop cx
    pop ax
    pop bp
    add sp, 2
    iret
