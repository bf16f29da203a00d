; Which bytes a store must touch to change code: stores of every width, at every distance at which they touch the code with one
; byte at least or miss it by one, over page ends too; and code of several pages whose middle one changes. What the code
; gives is compared with its own bytes, read as data. SDM Vol. 3A, "Handling Self- and Cross-Modifying Code".
;
; Pitfalls: A10 A11
;
; limit: 60000000
; expect: smc_store_ranges_inside_a_page: ok
; expect: smc_store_ranges_at_page_start: ok
; expect: smc_store_ranges_over_page_end: ok
; expect: smc_middle_of_three_pages: ok
; expect: smc_through_another_address: ok
%include "lm64.inc"
PAGES   equ 0x240000            ; four pages, in frames that are no neighbors
ALIAS   equ 0x250000            ; the same
MASKS   equ 0x1F0000            ; beside each other like the code they are for

BLOCK_BYTES equ 17
; The routine, at RBP: gives four values. Mask: which bits of its bytes may change without its ceasing to be one.
;   B8/B9 imm32     mov eax/ecx, imm32              01 FF FF FF FF
;   BA imm32        mov edx, imm32                  00 FF FF FF FF
;   BE imm32        mov esi, imm32                  00 FF FF FF FF
;   EB rel8         jmp to 40h or 50h behind        00 10
%macro RANGES 1
    mov ebp, %1
    call lay_out
    call vary
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x40600             ; OSXSAVE, OSFXSR, OSXMMEXCPT
    mov cr4, rax
    xor ecx, ecx
    mov eax, 7
    xor edx, edx
    xsetbv
    xor ecx, ecx
.map:
    mov eax, ecx
    xor eax, 2
    imul eax, eax, 0x3000
    add eax, 0x300007
    mov [PT + 8 * 0x40 + rcx * 8], rax
    mov [PT + 8 * 0x50 + rcx * 8], rax
    inc ecx
    cmp ecx, 4
    jb .map

    RANGES PAGES + 0x1400
    CLAIM "smc_store_ranges_inside_a_page"
    RANGES PAGES + 0x1000
    CLAIM "smc_store_ranges_at_page_start"
    mov r15d, 1
.over:
    mov ebp, PAGES + 0x1000
    sub ebp, r15d
    call lay_out
    call vary
    add r15d, 5
    cmp r15d, BLOCK_BYTES
    jb .over
    CLAIM "smc_store_ranges_over_page_end"

    ; A run from the end of page 0 through pages 1 and 2 to page 3, each page with an immediate at its start, in its middle
    ; and near its end.
    call lay_three_pages
    mov dword [offset], 0
    REPEATEDLY
    mov edi, PAGES
    call change_middle
    AGAIN
    CLAIM "smc_middle_of_three_pages"
    REPEATEDLY
    mov edi, ALIAS
    call change_middle
    AGAIN
    CLAIM "smc_through_another_address"
    jmp finish

offset: dd 0
; Every 8th round one of the immediates of page 1 and 2 changes, by the address in EDI.
change_middle:
    test byte [round], 7
    jnz .run
    mov edx, [offset]
    inc edx
    cmp edx, 6
    jb .in_range
    xor edx, edx
.in_range:
    mov [offset], edx
    mov eax, [round]
    mov edx, [.places + rdx * 4]
    mov [rdi + rdx], eax
.run:
    xor ebx, ebx
    mov eax, PAGES + 0xFE0
    call rax
    mov edx, [PAGES + 0x1001]
    add edx, [PAGES + 0x1801]
    add edx, [PAGES + 0x1FEF]
    add edx, [PAGES + 0x2002]
    add edx, [PAGES + 0x2801]
    add edx, [PAGES + 0x2FFD]   ; over the page end
    EXPECT ebx, edx
    ret
.places: dd 0x1001, 0x1801, 0x1FEF, 0x2002, 0x2801, 0x2FFD

; mov eax, imm32; add ebx, eax at six places, NOPs between, RET at 3010h.
lay_three_pages:
    mov edi, PAGES + 0xFE0
    mov ecx, 0x2040
    mov al, 0x90
    rep stosb
    mov esi, change_middle.places
    mov ecx, 6
.next:
    lodsd
    mov byte [PAGES + rax - 1], 0xB8
    mov [PAGES + rax], ecx
    mov word [PAGES + rax + 4], 0xC301
    loop .next
    mov byte [PAGES + 0x3010], 0xC3
    ret

; The routine and its masks at RBP.
lay_out:
    lea edi, [rbp - 0x80]
    mov ecx, 0x100
    mov al, 0xCC
    rep stosb
    lea edi, [rbp + (MASKS - PAGES) - 0x80]
    mov ecx, 0x100
    xor eax, eax
    rep stosb
    mov edi, ebp
    mov esi, routine
    mov ecx, BLOCK_BYTES
    rep movsb
    lea edi, [rbp + (MASKS - PAGES)]
    mov esi, masks
    mov ecx, BLOCK_BYTES
    rep movsb
    mov dword [rbp + 0x51], 0xCCC301B3  ; mov bl, 1; ret
    mov dword [rbp + 0x61], 0xCCC302B3  ; mov bl, 2; ret
    ret
routine:
    db 0xB8, 1, 2, 3, 4, 0xBA, 5, 6, 7, 8, 0xBE, 9, 10, 11, 12, 0xEB, 0x40
masks:
    db 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0x10

; Each width at each offset; RBP = the routine.
vary:
%assign width 1
%rep 6
    mov r12, -width
.next_%+width:
    call warm
    imul r14d, r14d, 1103515245
    add r14d, 12345
    mov eax, r14d
    shr eax, 16
    or al, 0x11
    vmovd xmm2, eax
    vpbroadcastb ymm2, xmm2
    lea r8, [rbp + r12]
%if width < 16
    vmovq rax, xmm2
    %if width == 1
    and al, [r8 + (MASKS - PAGES)]
    xor [r8], al
    %elif width == 2
    and ax, [r8 + (MASKS - PAGES)]
    xor [r8], ax
    %elif width == 4
    and eax, [r8 + (MASKS - PAGES)]
    xor eax, [r8]
    mov [r8], eax
    %else
    and rax, [r8 + (MASKS - PAGES)]
    lock xor [r8], rax
    %endif
%elif width == 16
    movdqu xmm0, [r8]
    movdqu xmm1, [r8 + (MASKS - PAGES)]
    pand xmm1, xmm2
    pxor xmm0, xmm1
    movdqu [r8], xmm0
%else
    vmovdqu ymm0, [r8]
    vpand ymm1, ymm2, [r8 + (MASKS - PAGES)]
    vpxor ymm0, ymm0, ymm1
    vmovdqu [r8], ymm0
%endif
    call once
    inc r12
    cmp r12, BLOCK_BYTES
    jle .next_%+width
%assign width width * 2
%endrep
    ret

warm:
    mov r13d, 24
.again:
    call once
    dec r13d
    jnz .again
    ret
once:
    mov eax, 0x5555
    mov ecx, 0x5555
    xor ebx, ebx
    call rbp
    cmp byte [rbp], 0xB8
    je .is_eax
    xchg eax, ecx
.is_eax:
    EXPECT eax, [rbp + 1]
    EXPECT ecx, 0x5555
    EXPECT edx, [rbp + 6]
    EXPECT esi, [rbp + 11]
    movzx edi, byte [rbp + 16]
    shr edi, 4
    sub edi, 3
    EXPECT ebx, edi
    ret
