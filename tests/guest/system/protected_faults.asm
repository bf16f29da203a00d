; Faults of segment loads and far transfers in protected mode, with their error codes, at ring 0 and ring 3.
; SDM Vol. 3A, "Exception Reference"; Vol. 2A/2B, the instructions' "Protected Mode Exceptions".
;
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0D E=0100 +00 R=0 F=1
; expect: V=0D E=0028 +00 R=0 F=1
; expect: V=0B E=0050 +00 R=0 F=1
; expect: V=0C E=0050 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0D E=0020 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0C E=0000 +00 R=0 F=1
; expect: V=0D E=0008 +00 R=0 F=1
; expect: V=0D E=0000 +00 R=0 F=1
; expect: V=0B E=0058 +00 R=0 F=1
; expect: V=0D E=0058 +00 R=0 F=1
; expect: V=0D E=0202 +00 R=0 F=1
; expect: V=0B E=0192 +00 R=0 F=1
; expect: V=06 E=0000 +00 R=0 F=1
; expect: V=00 E=0000 +00 R=0 F=1
; expect: V=05 E=0000 +00 R=0 F=1
; expect: ring 3
; expect: V=0D E=0000 +00 R=3 F=1
; expect: V=0D E=0000 +00 R=3 F=1
; expect: V=0D E=0010 +00 R=3 F=1
; expect: V=0D E=0008 +00 R=3 F=1
; expect: V=0D E=0202 +00 R=3 F=1
; expect: V=0D E=0102 +00 R=3 F=1
; expect: V=0D E=0000 +00 R=3 F=1
; expect: none
; expect: done
%include "pm32.inc"

start32:
    ; ring 0
    mov eax, 0
    TRY mov ss, ax              ; null into SS
    mov eax, 0x100
    TRY mov ds, ax              ; beyond the GDT
    mov eax, TSS0
    TRY mov es, ax              ; system descriptor
    SET_DESCRIPTOR FREE, 0x0000FFFF, 0x00CF1300     ; data, not present
    mov eax, FREE
    TRY mov fs, ax
    TRY mov ss, ax
    xor eax, eax
    mov gs, ax
    TRY mov al, [gs:0]          ; null segment used
    mov eax, DATA3 & ~3
    TRY mov ss, ax              ; DPL is not CPL
    SET_DESCRIPTOR FREE, 0x00007FFF, 0x00409300     ; data, limit 7FFFh
    mov eax, FREE
    mov fs, ax
    TRY mov eax, [fs:0x7FFD]
    mov ss, ax
    mov ebp, 0x7FFD
    TRY mov eax, [ss:ebp]
    mov eax, DATA0
    mov ss, ax
    mov eax, CODE0
    TRY mov ss, ax
    TRY jmp 0:0
    SET_DESCRIPTOR FREE + 8, 0x00081234, 0x00000C00 ; call gate, not present
    TRY call FREE + 8:0
    SET_DESCRIPTOR FREE + 8, 0x00000067, 0x00008B00 ; busy TSS
    TRY jmp FREE + 8:0
    TRY int 0x40                ; beyond the IDT limit
    and byte [IDT + 0x32 * 8 + 5], 0x7F
    TRY int 0x32                ; gate not present
    TRY ud2
    xor edx, edx
    xor ecx, ecx
    TRY div ecx
    mov eax, 5
    TRY bound eax, [bounds]

    mov eax, user
    mov edx, 2
    jmp enter_ring3
bounds: dd 0, 4

user:
    SAY {"ring 3", 10}
    TRY hlt
    TRY mov eax, cr0
    mov eax, DATA0
    TRY mov ds, ax
    TRY jmp CODE0:0
    TRY int 0x40
    TRY int 0x20                ; gate of DPL 0
    TRY cli
    TRY nop
    RING0 .end
.end:
    SAY {"done", 10}
    jmp finish
