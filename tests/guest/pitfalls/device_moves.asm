; A write to a device that changes where memory or ports lie takes effect with the next access, which is in the same hot block:
; the RAM of the BIOS area (82441FX, PAM), the ACPI block (PIIX4, PMBA), the local APIC's page (IA32_APIC_BASE), address line
; 20 (port 92h). docs/devices/pci.md, docs/devices/port92.md; SDM Vol. 3A, "Relocating the Local APIC Registers".
;
; Pitfalls: E6 E10
;
; expect: PAM_for_data: ok
; expect: PAM_for_code: ok
; expect: ACPI_block_moves: ok
; expect: local_APIC_page_moves: ok
; expect: A20_for_data: ok
; expect: A20_for_code: ok
; expect: A20_for_page_tables: ok
%define MACHINE
%include "lm64.inc"
WINDOW  equ 0x240000            ; C4000h
HIGH    equ 0x241000            ; 150000h, and 50000h without A20
PLACE   equ 0x242000            ; where the APIC moves to: a page of RAM
PLACE_AT equ 0x320000

; Config register of 00.0 or 01.3; AL or EAX.
%macro CONFIG 1
    mov dx, 0xCF8
    mov eax, 0x80000000 | (%1 & ~3)
    out dx, eax
    mov dx, 0xCFC + (%1 & 3)
%endmacro
%macro PAM_C4 1                         ; bits of C4000h-C7FFFh
    CONFIG 0x5A
    in al, dx
    and al, 0x0F
    or al, %1 << 4
    out dx, al
%endmacro
%macro A20 1
    in al, 0x92
    and al, 0xFC
    or al, %1 << 1
    out 0x92, al
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0xC4007
    mov dword [PT + 8 * 0x41], 0x150007
    mov dword [PT + 8 * 0x42], PLACE_AT + 7

    REPEATEDLY
    mov r12d, [round]
    PAM_C4 3
    mov [WINDOW + 0x40], r12d
    PAM_C4 1
    EXPECT dword [WINDOW + 0x40], r12d
    mov dword [WINDOW + 0x40], 0x77
    EXPECT dword [WINDOW + 0x40], r12d
    PAM_C4 0
    EXPECT dword [WINDOW + 0x40], -1
    mov dword [WINDOW + 0x40], 0x77
    PAM_C4 3
    EXPECT dword [WINDOW + 0x40], r12d
    not dword [WINDOW + 0x40]
    not r12d
    EXPECT dword [WINDOW + 0x40], r12d
    AGAIN
    CLAIM "PAM_for_data"

    mov byte [WINDOW], 0xBB             ; mov ebx, imm32; ret
    mov byte [WINDOW + 5], 0xC3
    REPEATEDLY
    mov r12d, [round]
    mov [WINDOW + 1], r12d
    call WINDOW
    EXPECT ebx, r12d
    PAM_C4 1
    xor ebx, ebx
    mov dword [WINDOW + 1], 0x77        ; lost
    call WINDOW
    EXPECT ebx, r12d
    PAM_C4 3
    mov dword [WINDOW + 1], 0x78        ; not lost
    call WINDOW
    EXPECT ebx, 0x78
    AGAIN
    CLAIM "PAM_for_code"

    REPEATEDLY
    mov r8d, 0x700
    mov r9d, 0x600
    call move_block
    mov r8d, 0x600
    mov r9d, 0x700
    call move_block
    AGAIN
    CLAIM "ACPI_block_moves"

    mov dword [PLACE + 0x30], 0x1234
    mov eax, 0xFEE0001B
    mov [PT + 8 * 0x43], rax
    mov r12d, [PLACE + 0x1030]          ; the version
    REPEATEDLY
    mov eax, [PLACE + 0x30]
    EXPECT eax, 0x1234
    mov ecx, 0x1B
    rdmsr
    and eax, 0xFFF
    or eax, PLACE_AT
    wrmsr
    mov eax, [PLACE + 0x30]
    EXPECT eax, r12d
    mov dword [PLACE + 0x80], 0x30
    mov ecx, 0x1B
    rdmsr
    and eax, 0xFFF
    or eax, 0xFEE00000
    wrmsr
    mov eax, [PLACE + 0x30]
    EXPECT eax, 0x1234
    mov eax, [PLACE + 0x80]
    EXPECT eax, 0
    mov eax, [PLACE + 0x1080]
    EXPECT eax, 0x30
    mov dword [PLACE + 0x1080], 0
    AGAIN
    CLAIM "local_APIC_page_moves"

    mov al, 0xD1                        ; the keyboard controller holds the line, too: it lets go
    out 0x64, al
    mov al, 0xDD
    out 0x60, al
    mov dword [0x50000], 0x5555
    mov dword [0x150000], 0xAAAA
    REPEATEDLY
    EXPECT dword [HIGH], 0xAAAA
    mov eax, [round]
    mov [HIGH + 8], eax
    A20 0
    EXPECT dword [HIGH], 0x5555
    mov eax, [round]
    not eax
    mov [HIGH + 8], eax
    EXPECT dword [0x150000], 0x5555
    EXPECT dword [0x50008], eax
    A20 1
    EXPECT dword [HIGH], 0xAAAA
    mov eax, [round]
    EXPECT dword [HIGH + 8], eax
    not eax
    EXPECT dword [0x50008], eax
    AGAIN
    CLAIM "A20_for_data"

    mov dword [0x50010], 0x0001BB
    mov word [0x50014], 0xC300
    mov dword [0x150010], 0x0002BB
    mov word [0x150014], 0xC300
    REPEATEDLY
    call HIGH + 0x10
    EXPECT ebx, 2
    A20 0
    call HIGH + 0x10
    EXPECT ebx, 1
    call 0x150010
    EXPECT ebx, 1
    mov byte [0x150011], 3              ; changes what runs at 50010h
    call 0x50010
    EXPECT ebx, 3
    mov byte [0x50011], 1
    call 0x150010
    EXPECT ebx, 1
    A20 1
    call 0x150010
    EXPECT ebx, 2
    AGAIN
    CLAIM "A20_for_code"

    ; The table at 151000h, and another at 51000h, map 400000h.
    mov dword [PD + 16], 0x151007
    mov edi, 0x51000
    mov ecx, 1024
    xor eax, eax
    rep stosd
    mov edi, 0x151000
    mov ecx, 1024
    rep stosd
    mov dword [0x51000], 0x52007
    mov dword [0x151000], 0x53007
    mov dword [0x52000], 0x1111
    mov dword [0x53000], 0x2222
    REPEATEDLY
    invlpg [0x400000]
    EXPECT dword [0x400000], 0x2222
    A20 0
    invlpg [0x400000]
    EXPECT dword [0x400000], 0x1111
    A20 1
    AGAIN
    EXPECT dword [f_count], 0
    CLAIM "A20_for_page_tables"
    jmp finish

; The block goes from port R9 to R8: the timer counts there, and nothing answers here.
move_block:
    CONFIG 0xB40      ; 01.3, PMBA
    mov eax, r8d
    or eax, 1
    out dx, eax
    lea edx, [r8 + 8]
    in eax, dx
    mov r10d, eax
    mov ecx, 30
.wait:
    loop .wait
    in eax, dx
    sub eax, r10d
    and eax, 0xFFFFFF
    dec eax
    cmp eax, 1000                       ; it moved by 1 to 1000
    setbe al
    EXPECT al, 1
    lea edx, [r9 + 8]
    in eax, dx
    EXPECT eax, -1
    ret
