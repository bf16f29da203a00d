; The same bytes under other rules: with a stack segment of 16 and of 32 bits, with code of 16 and of 32 bits, as protected-mode
; and as virtual-8086 code, with segments that have a base and a limit and with flat ones, at ring 0 and at ring 3, by turns and
; hot. SDM Vol. 3A, "Segment Descriptors"; Vol. 3B, "Virtual-8086 Mode".
;
; Pitfalls: I1
;
; limit: 8000000
; expect: stack_size: ok
; expect: code_size: ok
; expect: virtual_8086_and_protected: ok
; expect: segment_base_and_limit: ok
; expect: rings: ok
%include "pm32.inc"
STACK16 equ FREE                ; 16-bit stack, base 0
BASED   equ FREE + 8            ; data, base 1000h, limit FFFh
ROUTINE equ 0x7800
WHERE   equ 0x20000             ; data at 20010h, 21010h

start32:
%include "claims.inc"
    mov dword [hook], note_fault
    SET_DESCRIPTOR STACK16, 0x0000FFFF, 0x00009300
    SET_DESCRIPTOR BASED, (WHERE + 0x1000) << 16 & 0xFFFF0000 | 0x0FFF, 0x00409300 | WHERE >> 16

    ; PUSH and POP use ESP or SP.
    mov dword [0x47000 - 4], 0
    REPEATEDLY
    mov dword [0x47000 - 4], 0x11111111
    mov dword [0x7000 - 4], 0x22222222
    mov edx, .flat
    mov esp, 0x47000
    mov eax, [round]
    jmp stack_user
.flat:
    EXPECT dword [0x47000 - 4], eax
    EXPECT dword [0x7000 - 4], 0x22222222
    EXPECT esp, 0x47000
    mov ecx, STACK16
    mov ss, ecx
    mov esp, 0x47000
    mov edx, .small
    not eax
    jmp stack_user
.small:
    EXPECT dword [0x7000 - 4], eax
    not eax
    EXPECT dword [0x47000 - 4], eax
    EXPECT esp, 0x47000
    mov ecx, DATA0
    mov ss, ecx
    AGAIN
    mov esp, STACK0
    CLAIM "stack_size"

    ; 16 bits: mov ax, 1; nop; nop; inc ax; retf    32 bits: mov eax, 90900001h; inc eax; retf
    mov dword [ROUTINE], 0x900001B8
    mov dword [ROUTINE + 4], 0x00CB4090
    REPEATEDLY
    mov eax, 0x55550000
    call CODE0:ROUTINE
    EXPECT eax, 0x90900002
    mov eax, 0x55550000
    call far word [far16]
    EXPECT eax, 0x55550002
    AGAIN
    CLAIM "code_size"

    ; mov es, bx; mov cx, [es:10h]; int 3Ch     With BX = 38h that is a descriptor or the base 380h.
    mov dword [ROUTINE + 0x20], 0x8B26C38E
    mov dword [ROUTINE + 0x24], 0xCD00100E
    mov byte [ROUTINE + 0x28], 0x3C
    mov word [0x10], 0x1234
    mov word [0x390], 0x5678
    REPEATEDLY
    mov ebx, DATA16
    xor ecx, ecx
    mov eax, .protected
    jmp far [far16_2]
.protected:
    EXPECT ecx, 0x1234
    push dword 0
    push dword 0
    push dword 0
    push dword 0
    push dword 0
    push dword STACK3
    push dword 0x23002                  ; VM, IOPL 3
    push dword 0
    push dword ROUTINE + 0x20
    mov eax, .virtual
    mov ebx, DATA16
    xor ecx, ecx
    iretd
.virtual:
    EXPECT ecx, 0x5678
    AGAIN
    CLAIM "virtual_8086_and_protected"

    mov dword [WHERE + 0x10], 0x1111
    mov dword [WHERE + 0x1010], 0x2222
    mov dword [WHERE + 0x2010], 0x3333
    REPEATEDLY
    mov ebx, WHERE + 0x10
    call load_es
    EXPECT eax, 0x1111
    mov ecx, BASED
    mov es, ecx
    mov ebx, 0x10
    call load_es
    EXPECT eax, 0x2222
    mov ebx, 0xFFD
    mov dword [f_vector], -1
    mov dword [resume], .beyond
    call load_es
.beyond:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_rip], load_es
    mov esp, STACK0
    mov ecx, DATA0
    mov es, ecx
    mov ebx, WHERE + 0x2010
    call load_es
    EXPECT eax, 0x3333
    xor ecx, ecx
    mov es, ecx                         ; null
    mov dword [f_vector], -1
    mov dword [resume], .null
    call load_es
.null:
    EXPECT dword [f_vector], 13
    mov esp, STACK0
    mov ecx, DATA0
    mov es, ecx
    AGAIN
    CLAIM "segment_base_and_limit"

    ; CLI is allowed at ring 0 and not at ring 3.
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .refused
    mov eax, .allowed
    jmp privileged
.allowed:
    EXPECT dword [f_vector], -1
    mov eax, privileged
    mov edx, 2
    mov esi, .not_refused
    jmp enter_ring3
.not_refused:
    mov dword [wrong_at], .not_refused
.refused:
    RING0 .ring0
.ring0:
    EXPECT dword [f_vector], 13
    EXPECT dword [f_rip], privileged
    AGAIN
    CLAIM "rings"
    jmp finish

stack_user:
    push eax
    pop ecx
    push ecx
    add esp, 4
    jmp edx
load_es:
    mov eax, [es:ebx]
    ret
privileged:
    cli
    jmp eax
align 4
far16:   dw ROUTINE, CODE16
far16_2: dd ROUTINE + 0x20
         dw CODE16
