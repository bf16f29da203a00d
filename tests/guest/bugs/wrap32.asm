; Offsets wrap at 4 GiB and instruction pointers where their size ends, in code that runs often.
;
; limit: 3000000
; expect: data offsets: ok
; expect: jumps over EIP FFFFFFFFh: ok
; expect: jumps over IP FFFFh: ok
; expect: running off IP FFFFh: ok
%include "pm32.inc"
CODE_AT equ 0x10000             ; linear, of EIP 0 in the segments below
NEAR32  equ FREE
NEAR16  equ FREE + 8

start32:
%include "claims.inc"
    mov dword [hook], note_fault
    mov dword [0x7810], 0x12345678
    REPEATEDLY
    mov eax, 0xFFFFFFF0
    EXPECT dword [eax + 0x7820], 0x12345678
    mov ebx, 0x20000F02
    EXPECT dword [eax + ebx * 8 + 0x10], 0x12345678
    mov eax, 0x80000011
    mov ebx, 0
    EXPECT dword [eax + ebx * 8 + 0x800077FF], 0x12345678
    lea ecx, [eax + 0x7FFFFFFF]
    EXPECT ecx, 0x10
    AGAIN
    CLAIM "data offsets"

    ; A 32-bit code segment: EIP FFFFFFFEh is the linear address FFFEh.
    SET_DESCRIPTOR NEAR32, (CODE_AT << 16) & 0xFFFFFFFF | 0xFFFF, 0x00CF9B00 | (CODE_AT >> 16)
    mov word [CODE_AT - 2], 0x04EB              ; jmp short $+6: over the end to 4
    mov dword [CODE_AT + 4], 0xCB41             ; inc ecx; retf
    REPEATEDLY
    xor ecx, ecx
    call far [.over]
    EXPECT ecx, 1
    AGAIN
    mov word [CODE_AT - 2], 0x9090              ; nop, nop: then EIP 0
    mov dword [CODE_AT], 0xCB41
    REPEATEDLY
    xor ecx, ecx
    call far [.over]
    EXPECT ecx, 1
    AGAIN
    mov word [CODE_AT + 0x20], 0xDCEB           ; jmp short back over 0 to FFFFFFFEh
    REPEATEDLY
    xor ecx, ecx
    call far [.back]
    EXPECT ecx, 1
    AGAIN
    CLAIM "jumps over EIP FFFFFFFFh"

    ; 16-bit code: IP FFFEh is linear 1FFFEh, a jump over FFFFh stays in the segment.
    SET_DESCRIPTOR NEAR16, (CODE_AT << 16) & 0xFFFFFFFF | 0xFFFF, 0x00009B00 | (CODE_AT >> 16)
    mov word [CODE_AT + 0xFFFE], 0x04EB
    mov dword [CODE_AT + 4], 0xCB6641           ; inc cx; retfd
    REPEATEDLY
    xor ecx, ecx
    call far [.over16]
    EXPECT ecx, 1
    AGAIN
    mov word [CODE_AT + 0x20], 0xDCEB           ; back
    REPEATEDLY
    xor ecx, ecx
    call far [.back16]
    EXPECT ecx, 1
    AGAIN
    CLAIM "jumps over IP FFFFh"

    mov word [CODE_AT + 0xFFFE], 0x9090
    mov dword [hook], note_and_leave
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .off
    jmp far [.over16]
.off:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0
    EXPECT dword [f_cs], NEAR16
    EXPECT dword [f_rip], 0x10000
    AGAIN
    CLAIM "running off IP FFFFh"
    jmp finish
align 4
.over:   dd 0xFFFFFFFE
         dw NEAR32
.back:   dd 0x20
         dw NEAR32
.over16: dd 0xFFFE
         dw NEAR16
.back16: dd 0x20
         dw NEAR16

note_and_leave:                                 ; the fault was in another code segment
    call note_fault
    mov dword [ebx + F_CS], CODE0
    cmp eax, eax
    ret
