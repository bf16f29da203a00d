; What the processor keeps of page tables: accessed and dirty bits are set when the manual says, whatever filled the entry, and
; an entry that was pushed out, read for data or invalidated never comes back. SDM Vol. 3A, "Accessed and Dirty Flags",
; "Invalidation of TLBs and Paging-Structure Caches".
;
; Pitfalls: E3 E4 E5
;
; limit: 90000000
; expect: dirty_after_a_read_filled_it: ok
; expect: accessed_of_all_levels: ok
; expect: no_dirty_without_a_write: ok
; expect: data_entry_is_no_code_entry: ok
; expect: remapped_after_eviction: ok
; expect: large_page_split: ok
%include "lm64.inc"
PAGE    equ 0x240000
ENTRY   equ PT + 8 * 0x40
MANY    equ 0x400000            ; 4,096 pages from here on
TABLES  equ 0x1E0000            ; eight PTs for them
LARGE   equ 0x1400000           ; a 2-MByte page, and then 4-KByte ones
PTL     equ 0x1F0000

%macro FAULTS_AT 2+
    mov dword [f_vector], -1
    mov dword [resume], %%after
    %2
%%after:
    EXPECT dword [f_rip], %1
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    REPEATEDLY
    mov eax, 0x300007
    mov [ENTRY], rax
    invlpg [PAGE]
    mov ebx, [PAGE]
    mov ebx, [PAGE + 8]
    EXPECT dword [ENTRY], 0x300027
    mov [PAGE], ebx
    EXPECT dword [ENTRY], 0x300067
    mov [PAGE], ebx
    and dword [ENTRY], ~0x40
    invlpg [PAGE]
    mov [PAGE + 16], ebx
    EXPECT dword [ENTRY], 0x300067
    and dword [ENTRY], ~0x60
    invlpg [PAGE]
    mov [PAGE + 16], ebx
    EXPECT dword [ENTRY], 0x300067
    and dword [ENTRY], ~0x60
    invlpg [PAGE]
    lock or dword [PAGE], 0
    EXPECT dword [ENTRY], 0x300067
    and dword [ENTRY], ~0x60
    invlpg [PAGE]
    mov edi, PAGE
    mov ecx, 4
    rep stosb
    EXPECT dword [ENTRY], 0x300067
    and dword [ENTRY], ~0x60
    invlpg [PAGE]
    mov ebx, [PAGE]
    push rsp
    mov rbp, rsp
    mov rsp, PAGE + 0x800
    push rax
    mov rsp, rbp
    pop rsp
    EXPECT dword [ENTRY], 0x300067
    AGAIN
    CLAIM "dirty_after_a_read_filled_it"

    REPEATEDLY
    and dword [ENTRY], ~0x60
    and dword [PD + 8], ~0x20
    and dword [PDPT], ~0x20
    and dword [PML4], ~0x20
    mov rax, cr3
    mov cr3, rax
    mov ebx, [PAGE]
    EXPECT dword [ENTRY], 0x300027
    mov eax, [PD + 8]
    and eax, 0x60
    EXPECT eax, 0x20
    mov eax, [PDPT]
    and eax, 0x60
    EXPECT eax, 0x20
    mov eax, [PML4]
    and eax, 0x60
    EXPECT eax, 0x20
    mov byte [PAGE + 0x100], 0xC3
    and dword [ENTRY], ~0x60
    invlpg [PAGE]
    call PAGE + 0x100                   ; a fetch
    EXPECT dword [ENTRY], 0x300027
    AGAIN
    CLAIM "accessed_of_all_levels"

    REPEATEDLY
    mov eax, 0x300005                   ; read-only
    mov [ENTRY], rax
    invlpg [PAGE]
    mov ebx, [PAGE]
    FAULTS 14, 3, {mov [PAGE], ebx}
    EXPECT dword [ENTRY], 0x300025
    FAULTS 14, 3, {lock xadd [PAGE], ebx}
    EXPECT dword [ENTRY], 0x300025
    mov eax, 0x300007
    mov [ENTRY], rax
    invlpg [PAGE]
    mov ecx, 0
    mov edi, PAGE
    rep stosb                           ; nothing
    EXPECT dword [ENTRY], 0x300007
    cmp [PAGE], ebx
    test byte [PAGE], 1
    bt dword [PAGE], 3
    EXPECT dword [ENTRY], 0x300027
    AGAIN
    CLAIM "no_dirty_without_a_write"

    mov eax, 0x320007
    xor ecx, ecx
.others_of_table:
    mov [PT + 8 * 0x44 + rcx * 8], rax
    inc ecx
    cmp ecx, 16
    jb .others_of_table
    mov rax, 0x8000000000300007
    mov [ENTRY], rax
    invlpg [PAGE]
    REPEATEDLY
    mov dword [PAGE + 0x200], 0xC3C3C3C3
    mov eax, [PAGE + 0x200]
    mov [stack], rsp
    FAULTS_AT PAGE + 0x200, {call PAGE + 0x200}
    mov rsp, [stack]
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x11
    EXPECT dword [f_rip], PAGE + 0x200
    mov edi, PAGE + 0x4000
    mov ecx, 16
.push_out:                              ; others of the same places
    mov eax, [rdi]
    add edi, 0x1000
    loop .push_out
    mov dword [f_vector], -1
    FAULTS_AT PAGE + 0x200, {call PAGE + 0x200}
    mov rsp, [stack]
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x11
    AGAIN
    CLAIM "data_entry_is_no_code_entry"

    ; 4,096 pages in sixteen frames, each of which has its number in it.
    xor ecx, ecx
.frames:
    mov eax, ecx
    shl eax, 12
    add eax, 0x310007
    mov [ENTRY], rax
    invlpg [PAGE]
    mov [PAGE], ecx
    inc ecx
    cmp ecx, 16
    jb .frames
    xor ecx, ecx
.tables:
    mov eax, ecx
    shl eax, 12
    add eax, TABLES + 7
    mov [PD + 16 + rcx * 8], rax
    inc ecx
    cmp ecx, 8
    jb .tables
    xor ecx, ecx
.entries:
    mov eax, ecx
    and eax, 15
    shl eax, 12
    add eax, 0x310007
    mov [TABLES + rcx * 8], rax
    inc ecx
    cmp ecx, 4096
    jb .entries
    xor r12d, r12d
.page:
    mov esi, r12d
    shl esi, 12
    add esi, MANY
    mov eax, [rsi]
    mov edx, r12d
    and edx, 15
    EXPECT eax, edx
    mov [rsi + 8], eax                  ; for writing, too
    mov r13d, 1                         ; others 1,024 pages further each, and a near one
.others:
    mov edi, r13d
    shl edi, 10
    add edi, r12d
    and edi, 4095
    mov edx, edi
    and edx, 15
    shl edi, 12
    mov eax, [rdi + MANY]
    EXPECT eax, edx
    mov [rdi + MANY + 8], eax
    inc r13d
    cmp r13d, 4
    jb .others
    lea edx, [r12 + 1]                  ; it gets the next frame
    and edx, 15
    mov ecx, edx
    shl ecx, 12
    add ecx, 0x310067
    mov [TABLES + r12 * 8], rcx
    invlpg [rsi]
    mov eax, [rsi]
    EXPECT eax, edx
    mov dword [rsi + 12], 0x77
    EXPECT dword [rsi + 12], 0x77
    mov eax, r12d
    and eax, 15
    shl eax, 12
    add eax, 0x310067
    mov [TABLES + r12 * 8], rax
    invlpg [rsi]
    inc r12d
    cmp r12d, 4096
    jb .page
    CLAIM "remapped_after_eviction"

    ; One 2-MByte page becomes 512 of 4 KBytes, of other frames, and one again.
    mov edi, PTL
    mov eax, 0x310007
    mov ecx, 512
.split:
    mov [rdi], rax
    add edi, 8
    loop .split
    mov dword [PD + 8 * 10], 0x1400087
    mov dword [LARGE], 0xAAAA
    mov dword [LARGE + 0x5000], 0xBBBB
    mov dword [LARGE + 0x1FF000], 0xCCCC
    REPEATEDLY
    mov dword [PD + 8 * 10], 0x1400087
    mov rax, cr3                        ; (INVLPG would do for one of the small pages)
    mov cr3, rax
    EXPECT dword [LARGE], 0xAAAA
    EXPECT dword [LARGE + 0x5000], 0xBBBB
    EXPECT dword [LARGE + 0x1FF000], 0xCCCC
    mov dword [PD + 8 * 10], PTL + 7
    invlpg [LARGE + 0x3000]             ; any address of the large page
    EXPECT dword [LARGE], 0             ; frame 0 of the sixteen
    EXPECT dword [LARGE + 0x5000], 0
    EXPECT dword [LARGE + 0x1FF000], 0
    AGAIN
    CLAIM "large_page_split"
    jmp finish
stack: dq 0
