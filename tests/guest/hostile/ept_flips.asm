; The hypervisor changes what lies under running guest code: frames by turns, rights, large pages, presence; at exits that the
; guest asks for and at exits anywhere in a loop. Behind INVEPT the bytes of the new frame run, and only they.
; SDM Vol. 3C, "Extended Page-Table Mechanism (EPT)", "INVEPT-Invalidate Translations Derived from EPT".
;
; expect: frames_by_turns: ok
; expect: frame_rewritten_by_the_hypervisor: ok
; expect: absent_under_running_code: ok
; expect: execute_right_by_turns: ok
; expect: write_right_by_turns: ok
; expect: large_page_by_turns: ok
; expect: flips_at_any_instruction: ok
%define MACHINE
%include "lm64.inc"
CODE    equ 0x240000                    ; guest-physical 300000h
FRAME1  equ 0x310000
FRAME2  equ 0x312000
ENTRY   equ EPT + 8 * 0x100             ; of 300000h
DATA    equ 0x241000                    ; guest-physical 301000h
DENTRY  equ EPT + 8 * 0x101
BIG     equ 0x400000                    ; a 2-MByte page of the guest
LINEAR1 equ 0x250000                    ; the frames, for the host
LINEAR2 equ 0x251000

%macro INVEPT_ALL 0
    mov eax, 2
    invept rax, [descriptor]
%endmacro
%macro INVEPT_ONE 0
    mov eax, 1
    invept rax, [descriptor]
%endmacro
; The guest runs to its VMCALL.
%macro TO_VMCALL 1
    GUEST %1
    EXPECT dword [g_reason], 18
%endmacro

start64:
%include "claims.inc"
%include "vmx64.inc"
    mov qword [hook], note_fault
    call vmx_start
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x41], 0x301007
    mov dword [PT + 8 * 0x50], FRAME1 + 7
    mov dword [PT + 8 * 0x51], FRAME2 + 7
    mov dword [PD + 8 * 2], BIG + 0x87
    mov dword [PD + 8 * 3], BIG + 0x200087
    mov byte [LINEAR1], 0xBB            ; mov ebx, 111h; ret
    mov dword [LINEAR1 + 1], 0x111
    mov byte [LINEAR1 + 5], 0xC3
    mov byte [LINEAR2], 0xBB
    mov dword [LINEAR2 + 1], 0x222
    mov byte [LINEAR2 + 5], 0xC3
    mov byte [BIG + 0x5000], 0xBB
    mov dword [BIG + 0x5001], 0x333
    mov byte [BIG + 0x5005], 0xC3
    mov byte [BIG + 0x205000], 0xBB
    mov dword [BIG + 0x205001], 0x444
    mov byte [BIG + 0x205005], 0xC3

    REPEATEDLY
    mov dword [ENTRY], FRAME1 + 0x37
    INVEPT_ONE
    TO_VMCALL calls_code
    EXPECT dword [g_regs + 96], 0x111 * 4
    mov dword [ENTRY], FRAME2 + 0x37
    INVEPT_ALL
    TO_VMCALL calls_code
    EXPECT dword [g_regs + 96], 0x222 * 4
    AGAIN
    CLAIM "frames_by_turns"

    REPEATEDLY
    mov eax, [round]
    mov [LINEAR2 + 1], eax              ; no invalidation: memory is memory
    TO_VMCALL calls_code
    mov eax, [round]
    shl eax, 2
    EXPECT dword [g_regs + 96], eax
    AGAIN
    mov dword [LINEAR2 + 1], 0x222
    CLAIM "frame_rewritten_by_the_hypervisor"

    REPEATEDLY
    TO_VMCALL calls_code
    mov dword [ENTRY], 0
    INVEPT_ONE
    GUEST calls_code
    EXPECT dword [g_reason], 48
    EXPECT dword [g_rip], CODE
    VMGET GUEST_PHYSICAL
    EXPECT rax, 0x300000
    VMGET QUALIFICATION
    and eax, 0x3F
    EXPECT eax, 4                       ; a fetch, no right at all
    mov dword [ENTRY], FRAME1 + 0x37    ; nothing cached: no INVEPT needed
    call run_guest
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs + 96], 0x111 * 4
    AGAIN
    CLAIM "absent_under_running_code"

    REPEATEDLY
    mov dword [ENTRY], FRAME1 + 0x33    ; read and write
    INVEPT_ONE
    GUEST calls_code
    EXPECT dword [g_reason], 48
    EXPECT dword [g_rip], CODE
    VMGET QUALIFICATION
    and eax, 0x3F
    EXPECT eax, 0x1C
    TO_VMCALL reads_code
    EXPECT dword [g_regs + 96], 0x111
    mov dword [ENTRY], FRAME1 + 0x37
    INVEPT_ONE
    TO_VMCALL calls_code
    EXPECT dword [g_regs + 96], 0x111 * 4
    AGAIN
    CLAIM "execute_right_by_turns"

    REPEATEDLY
    mov dword [DENTRY], 0x301037
    INVEPT_ONE
    TO_VMCALL stores_data
    EXPECT dword [g_regs + 96], 4
    mov dword [DENTRY], 0x301035        ; read and execute
    INVEPT_ONE
    GUEST stores_data
    EXPECT dword [g_reason], 48
    EXPECT dword [g_rip], stores_data.store
    EXPECT dword [g_regs + 96], 0
    VMGET QUALIFICATION
    and eax, 0x3F
    EXPECT eax, 0x2A
    VMGET GUEST_PHYSICAL
    EXPECT rax, 0x301008
    mov dword [DENTRY], 0x301037
    call run_guest
    EXPECT dword [g_reason], 18
    EXPECT dword [g_regs + 96], 4
    AGAIN
    CLAIM "write_right_by_turns"

    REPEATEDLY
    mov dword [EPD + 8 * 2], BIG + 0xB7
    INVEPT_ONE
    TO_VMCALL calls_big
    EXPECT dword [g_regs + 96], 0x333 * 4
    mov dword [EPD + 8 * 2], BIG + 0x2000B7
    INVEPT_ONE
    TO_VMCALL calls_big
    EXPECT dword [g_regs + 96], 0x444 * 4
    mov eax, EPT2 + 7                   ; small pages: the first frame everywhere
    mov [EPD + 8 * 2], rax
    mov ecx, 512
    mov edi, EPT2
    mov eax, FRAME1 + 0x37
.small:
    stosq
    loop .small
    INVEPT_ONE
    TO_VMCALL calls_big
    EXPECT dword [g_regs + 96], 0x111 * 4
    AGAIN
    CLAIM "large_page_by_turns"

    ; The preemption timer stops the guest anywhere; then the other frame. The routine gives 1 in one frame and 2^32 in the other,
    ; so that the sum counts both: since the last exit only that of the frame that was there, and at most one more, which was
    ; loaded and not yet added.
    CONTROL PIN_BASED, 0, 1 << 6
    mov word [LINEAR1 + 0x20], 0xBB48   ; mov rbx, imm64; ret
    mov qword [LINEAR1 + 0x22], 1
    mov byte [LINEAR1 + 0x2A], 0xC3
    mov word [LINEAR2 + 0x20], 0xBB48
    mov rax, 1 << 32
    mov [LINEAR2 + 0x22], rax
    mov byte [LINEAR2 + 0x2A], 0xC3
    mov dword [ENTRY], FRAME1 + 0x37
    INVEPT_ONE
    mov qword [g_rip], adds_for_ever
    mov qword [g_regs + 96], 0
    xor r14d, r14d                      ; the sum at the last exit
    xor r15d, r15d                      ; loaded and not added then
    xor ebp, ebp                        ; 1: the second frame
    mov dword [round], 5000
.flip:
    imul eax, [random], 69069
    inc eax
    mov [random], eax
    shr eax, 28                         ; up to 15 of its ticks
    mov edx, PREEMPTION_TIMER
    vmwrite rdx, rax
    call run_guest
    EXPECT dword [g_reason], 52
    mov rax, [g_regs + 96]
    mov rcx, rax
    sub rcx, r14
    mov r14, rax
    jz .nothing
    sub rcx, r15
.nothing:
    mov rdx, rcx
    shr rdx, 32                         ; of the second frame
    mov eax, ecx                        ; of the first
    cmp ebp, 1
    cmove edx, eax
    EXPECT edx, 0
    xor r15d, r15d
    mov eax, CODE + 0x2A
    cmp [g_rip], rax
    je .loaded
    mov eax, adds_for_ever.add
    cmp [g_rip], rax
    jne .not_loaded
.loaded:
    mov r15, [g_regs + 24]
.not_loaded:
    xor ebp, 1
    mov edx, FRAME1 + 0x37
    mov ecx, FRAME2 + 0x37
    cmovnz edx, ecx
    mov [ENTRY], edx
    INVEPT_ONE
    dec dword [round]
    jnz .flip
    mov eax, r14d
    shr r14, 32
    cmp eax, 5000
    setae al
    cmp r14d, 5000
    setae ah
    EXPECT ax, 0x101
    CONTROL PIN_BASED, 1 << 6, 0
    CLAIM "flips_at_any_instruction"
    jmp finish

EPT2 equ 0x1DF000
random:     dd 1
align 16
descriptor: dq EPTP, 0

; --- guests: R12 is the sum ---
calls_code:
    xor r12d, r12d
    mov r13d, 4
.next:
    call CODE
    add r12d, ebx
    dec r13d
    jnz .next
    vmcall
reads_code:
    mov r12d, [CODE + 1]
    vmcall
stores_data:
    xor r12d, r12d
    mov r13d, 4
    mov esi, DATA
.next:
    nop
.store:
    mov [rsi + 8], r12d
    inc r12d
    dec r13d
    jnz .next
    vmcall
calls_big:
    xor r12d, r12d
    mov r13d, 4
.next:
    call BIG + 0x5000
    add r12d, ebx
    dec r13d
    jnz .next
    vmcall
adds_for_ever:
    call CODE + 0x20
.add:
    add r12, rbx
    jmp adds_for_ever
