; Boot sector for tests/guest/witness.sh: loads the next 32 sectors of the floppy to 8000h and jumps there.
org 0x7C00
bits 16
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7C00
    sti
    mov si, 1
    mov bx, 0x800
next:
    mov es, bx
    push bx
    mov ax, si
    xor dx, dx
    mov cx, 18
    div cx
    mov cl, dl
    inc cl
    xor dx, dx
    mov bx, 2
    div bx
    mov ch, al
    mov dh, dl
    mov dl, 0
    xor bx, bx
    mov ax, 0x0201
    int 0x13
    pop bx
    add bx, 0x20
    inc si
    cmp si, 33
    jb next
    jmp 0:0x8000
times 510 - ($ - $$) db 0
dw 0xAA55
