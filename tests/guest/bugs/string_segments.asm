; A segment prefix on a string instruction moves the source and never the destination.
;
; limit: 3000000
; expect: one by one: ok
; expect: repeated: ok
%include "lm64.inc"
BASE    equ 0x1000
SRC     equ 0x202000            ; FS:SRC is SRC + BASE
DST     equ 0x202800

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    SET_MSR 0xC0000100, BASE
    mov dword [SRC], 0x11111111
    mov dword [SRC + BASE], 0x22222222
    mov dword [DST + BASE], 0x33333333
    REPEATEDLY
    mov dword [DST], 0
    mov esi, SRC
    mov edi, DST
    fs movsd
    EXPECT dword [DST], 0x22222222
    EXPECT dword [DST + BASE], 0x33333333
    mov esi, SRC
    fs lodsd
    EXPECT eax, 0x22222222
    mov esi, SRC
    mov edi, DST
    fs cmpsd                            ; FS:source with ES:destination
    sete al
    EXPECT al, 1
    mov edi, DST
    mov eax, 0x44444444
    db 0x64
    stosd
    EXPECT dword [DST], 0x44444444
    EXPECT dword [DST + BASE], 0x33333333
    mov edi, DST
    db 0x64
    scasd
    sete al
    EXPECT al, 1
    mov ebx, SRC
    xor eax, eax
    fs xlatb
    EXPECT al, 0x22
    AGAIN
    CLAIM "one by one"
    REPEATEDLY
    mov qword [DST], 0
    mov esi, SRC
    mov edi, DST
    mov ecx, 4
    fs rep movsb
    EXPECT dword [DST], 0x22222222
    mov esi, SRC
    mov edi, DST
    mov ecx, 4
    fs repe cmpsb
    EXPECT ecx, 0
    mov edi, DST
    mov ecx, 4
    mov al, 0x55
    db 0x64
    rep stosb
    EXPECT dword [DST], 0x55555555
    EXPECT dword [DST + BASE], 0x33333333
    AGAIN
    CLAIM "repeated"
    jmp finish
