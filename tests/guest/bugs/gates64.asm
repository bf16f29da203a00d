; Gates in IA-32e mode: to conforming code the privilege level stays, with an IST too, and the error code of a gate that is not
; there says whether an instruction asked for it.
;
; limit: 3000000
; expect: conforming handler: ok
; expect: conforming handler with an IST: ok
; expect: hardware interrupt beyond the IDT: ok
; expect: INT n beyond the IDT: ok
; expect: INT n at ring 3 through a closed gate: ok
%include "lm64.inc"
CONF    equ FREE
USTACK  equ 0x202800            ; an IST stack that ring 3 can write

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, [gdt + CODE0]
    bts rax, 42                         ; conforming, DPL 0
    mov [gdt + CONF], rax
    mov word [IDT + 0x30 * 16 + 2], CONF
    mov eax, at_conforming
    mov [IDT + 0x30 * 16], ax
    OPEN_GATE 0x30
    mov qword [TSS + 0x2C], USTACK      ; IST2
%macro ENTER_RING3 1
    push qword DATA3
    push qword STACK3
    push qword 0x3002
    push qword CODE3
    push qword %1
    iretq
%endmacro
    REPEATEDLY
    mov ebp, .behind
    ENTER_RING3 .ring3
.ring3:
    int 0x30
.behind:
    RING0 .back
.back:
    EXPECT dword [seen_cs], CONF | 3
    EXPECT dword [seen_ss], DATA3
    EXPECT dword [seen_rsp], STACK3 - 40
    EXPECT dword [frame_cs], CODE3
    AGAIN
    CLAIM "conforming handler"
    SET_IST 0x30, 2
    REPEATEDLY
    mov ebp, .behind_ist
    ENTER_RING3 .ring3_ist
.ring3_ist:
    int 0x30
.behind_ist:
    RING0 .back_ist
.back_ist:
    EXPECT dword [seen_cs], CONF | 3
    EXPECT dword [seen_ss], DATA3
    EXPECT dword [seen_rsp], USTACK - 40
    EXPECT dword [frame_cs], CODE3
    EXPECT dword [frame_rsp_seen], STACK3
    AGAIN
    CLAIM "conforming handler with an IST"

    mov ecx, 0x1B                       ; x2APIC on
    rdmsr
    or eax, 0xC00
    wrmsr
    mov ecx, 0x80F
    mov eax, 0x1FF
    xor edx, edx
    wrmsr
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .unblocked
    mov ecx, 0x83F
    mov eax, 0x80                       ; the IDT ends with vector 3Fh
    xor edx, edx
    wrmsr
    sti
    nop
.unblocked:
    cli
    EXPECT dword [f_vector], 13
    EXPECT dword [f_error], 0x80 * 8 + 3        ; IDT and EXT
    EXPECT dword [f_rip], .unblocked
    mov ecx, 0x80B
    xor eax, eax
    wrmsr
    AGAIN
    CLAIM "hardware interrupt beyond the IDT"
    REPEATEDLY
    FAULTS 13, 0x80 * 8 + 2, int 0x80
    AGAIN
    CLAIM "INT n beyond the IDT"
    REPEATEDLY
    ENTER_RING3 .closed
.closed:
    FAULTS 13, 0x31 * 8 + 2, int 0x31
    FAULTS 13, 3 * 8 + 2, int3
    mov dword [f_vector], -1
    mov dword [resume], .int1
    db 0xF1                             ; INT1 asks for no privilege
.int1:
    EXPECT dword [f_vector], 1
    EXPECT dword [f_rip], .int1
    RING0 .open
.open:
    AGAIN
    CLAIM "INT n at ring 3 through a closed gate"
    jmp finish

seen_cs:        dd 0
seen_ss:        dd 0
seen_rsp:       dd 0
frame_cs:       dd 0
frame_rsp_seen: dd 0
at_conforming:                          ; runs at ring 3
    mov eax, cs
    mov [seen_cs], eax
    mov eax, ss
    mov [seen_ss], eax
    mov [seen_rsp], esp
    mov eax, [rsp + 8]
    mov [frame_cs], eax
    mov eax, [rsp + 24]
    mov [frame_rsp_seen], eax
    iretq
