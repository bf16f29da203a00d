; Real-mode code that runs often: address line 20 masks data, code and the stack, code changes itself, and 16-bit offsets wrap.
; SDM Vol. 3B, "Real-Address Mode Operation"; docs/devices/port92.md.
;
; Pitfalls: A4 E10
;
; expect: A20_in_real_mode: ok
; expect: A20_code_in_real_mode: ok
; expect: smc_in_real_mode: ok
; expect: offsets_wrap_in_real_mode: ok
%define MACHINE
org 0x8000
%include "machine.inc"
bits 16
ROUNDS equ 1000

%macro EXPECT 2
    cmp %1, %2
    je %%same
    mov word [wrong_at], %%same
%%same:
%endmacro
%macro CLAIM 1
    jmp %%over
%%text: db %1, 0
%%over:
    mov si, %%text
    call tell_claim
%endmacro
%macro A20 1
    in al, 0x92
    and al, 0xFC
    or al, %1 << 1
    out 0x92, al
%endmacro

entry:
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7000
    mov al, 0xD1                        ; the keyboard controller lets the line go
    out 0x64, al
    mov al, 0xDD
    out 0x60, al
    mov ax, 0xFFFF
    mov fs, ax

    ; FFFF:xxxx + 10h is 1 MiB + xxxx, or xxxx.
    A20 1
    mov dword [0x5000], 0x1111
    mov dword [fs:0x5010], 0x2222
    mov cx, ROUNDS
.data:
    EXPECT dword [fs:0x5010], 0x2222
    A20 0
    EXPECT dword [fs:0x5010], 0x1111
    mov [fs:0x5014], cx
    EXPECT [0x5004], cx
    push word [fs:0x5014]
    pop dx
    EXPECT dx, cx
    A20 1
    EXPECT word [fs:0x5014], 0
    dec cx
    jnz .data
    CLAIM "A20_in_real_mode"

    mov dword [0x5100], 0xCB0001BB      ; mov bx, 1; retf
    mov dword [fs:0x5110], 0xCB0002BB
    mov cx, ROUNDS
.code:
    call 0xFFFF:0x5110
    EXPECT bx, 2
    A20 0
    call 0xFFFF:0x5110
    EXPECT bx, 1
    mov byte [0x5101], 3
    call 0xFFFF:0x5110
    EXPECT bx, 3
    mov byte [fs:0x5111], 1
    call 0:0x5100
    EXPECT bx, 1
    A20 1
    dec cx
    jnz .code
    CLAIM "A20_code_in_real_mode"

    mov cx, ROUNDS
    mov bp, 0
.smc:
    mov di, .patched + 1
    test cl, 15
    jz .here
    mov di, scratch
.here:
    test cl, 15
    mov [di], cl
    jnz .old
    movzx bp, cl
.old:
    jmp .patched
.patched:
    mov al, 0
    mov ah, 0
    EXPECT ax, bp
    dec cx
    jnz .smc
    CLAIM "smc_in_real_mode"

    mov ax, 0x2000
    mov gs, ax
    mov dword [gs:0x0020], 0x12345678
    mov byte [gs:0xFFFF], 0x9A
    mov cx, ROUNDS
.wrap:
    mov bx, 0xFFF0
    mov si, 0x0030
    EXPECT dword [gs:bx + si], 0x12345678
    EXPECT dword [gs:bx + 0x30], 0x12345678
    mov di, 0xFFFF
    mov al, [gs:di]
    EXPECT al, 0x9A
    cld
    push ds
    push gs
    pop ds
    mov si, 0xFFFF
    lodsb
    pop ds
    EXPECT al, 0x9A
    EXPECT si, 0
    dec cx
    jnz .wrap
    CLAIM "offsets_wrap_in_real_mode"
    mov dx, 0x604
    mov ax, 0x2000
    out dx, ax
    hlt

wrong_at: dw 0
scratch:  dw 0
tell_claim:
    call put_string
    mov si, ok_text
    cmp word [wrong_at], 0
    je put_string
    mov si, wrong_text
    mov word [wrong_at], 0
put_string:
    lodsb
    test al, al
    jz .done
    out 0xE9, al
    jmp put_string
.done:
    ret
ok_text:    db ": ok", 10, 0
wrong_text: db ": wrong", 10, 0
