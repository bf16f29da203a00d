; What user code remembers of the pages that its accesses reached last is given up with the translations it came from: behind a
; WRPKRU or an INVLPG in its midst, and behind a page fault, which forgets its address. SDM Vol. 3A, "Protection Keys",
; "Invalidation of TLBs and Paging-Structure Caches" (operations that do so: page faults).
;
; Pitfalls: E1, E2
;
; limit: 60000000
; expect: key_closed_behind_a_hot_access: ok
; expect: another_page_behind_INVLPG: ok
; expect: page_fault_forgets_data: ok
; expect: page_fault_forgets_what_the_TLB_has_not: ok
; expect: page_fault_forgets_code: ok
%include "lm64.inc"
KEYED   equ 0x240000                    ; user, key 1
PAGE    equ 0x241000
CODE    equ 0x242000
ONE     equ 0x301000                    ; frames; linear addresses for ring 0, too
TWO     equ 0x302000
RIVAL   equ 0x800000                    ; added: the same page, in the same entry of the TLB

; So often that what misses once a round is remembered all the same.
%macro OFTEN 1
    mov r12d, 1000
%%again:
    call %1
    dec r12d
    jnz %%again
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_and_act
    mov rax, cr4
    or eax, 0x440000                    ; PKE, OSXSAVE
    mov cr4, rax
    mov rax, 0x0800000000300007
    mov [PT + 8 * 0x40], rax
    mov dword [PD + 8 * 5], PT | 7
    mov dword [PT + 8 * 0x101], ONE | 3
    mov dword [PT + 8 * 0x102], TWO | 3
    mov dword [ONE + 8], 1
    mov dword [TWO + 8], 2
    mov dword [ONE + 0x800], 0xC301B0   ; mov al, 1; ret
    mov dword [TWO + 0x800], 0xC302B0   ; mov al, 2; ret

    AT_RING3
    mov ebx, KEYED
    REPEATEDLY
    PKRU 0
    OFTEN reads
    OFTEN stores
    mov dword [f_vector], -1
    mov dword [resume], .closed
    mov rbp, rsp
    PKRU 4                              ; AD of key 1
    call reads
    mov dword [wrong_at], .closed
.closed:
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x25
    EXPECT dword [f_rip], reads
    PKRU 0
    OFTEN stores
    mov dword [f_vector], -1
    mov dword [resume], .protected
    PKRU 8                              ; WD
    call reads
    call stores
    mov dword [wrong_at], .protected
.protected:
    mov rsp, rbp
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x27
    EXPECT dword [f_rip], stores
    AGAIN
    PKRU 0
    AT_RING0
    CLAIM "key_closed_behind_a_hot_access"

    AT_RING3
    mov ebx, PAGE
    REPEATEDLY
    AT0 map_one
    OFTEN reads
    EXPECT eax, 1
    AT0 map_two
    OFTEN reads
    EXPECT eax, 2
    AGAIN
    AT_RING0
    CLAIM "another_page_behind_INVLPG"

    ; Who resumes finds the other page there: nobody has said so to the processor but by the fault.
    AT_RING3
    mov ebx, PAGE
    REPEATEDLY
    AT0 map_one
    OFTEN reads
    EXPECT eax, 1
    mov dword [f_vector], -1
    mov dword [resume], .faulted
    mov qword [on_fault], turn_to_two
    mov dword [rbx + 16], 0             ; read-only
    mov dword [wrong_at], .faulted
.faulted:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 7
    call reads
    EXPECT eax, 2
    AGAIN
    AT_RING0
    CLAIM "page_fault_forgets_data"

    ; The same, when the TLB has not had the page any more.
    AT_RING3
    mov ebx, PAGE
    REPEATEDLY
    AT0 map_one
    OFTEN reads
    EXPECT eax, 1
    mov eax, [rbx + RIVAL]
    mov dword [f_vector], -1
    mov dword [resume], .evicted
    mov qword [on_fault], turn_to_two
    mov dword [rbx + 16], 0
    mov dword [wrong_at], .evicted
.evicted:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 7
    call reads
    EXPECT eax, 2
    AGAIN
    AT_RING0
    CLAIM "page_fault_forgets_what_the_TLB_has_not"

    AT_RING3
    mov ebx, CODE
    REPEATEDLY
    AT0 code_one
    OFTEN runs
    EXPECT al, 1
    mov dword [f_vector], -1
    mov dword [resume], .code_faulted
    mov qword [on_fault], turn_code_to_two
    mov dword [rbx + 16], 0
    mov dword [wrong_at], .code_faulted
.code_faulted:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 7
    call runs
    EXPECT al, 2
    AGAIN
    AT_RING0
    CLAIM "page_fault_forgets_code"
    jmp finish

reads:
    mov eax, [rbx + 8]
    ret
stores:
    mov [rbx + 16], eax
    ret
runs:
    call CODE + 0x800
    ret

; --- at ring 0 ----------------------------------------------------------------------------------------
map_one:
    mov dword [PT + 8 * 0x41], ONE | 5
    invlpg [PAGE]
    ret
map_two:
    mov dword [PT + 8 * 0x41], TWO | 5
    invlpg [PAGE]
    ret
code_one:
    mov dword [PT + 8 * 0x42], ONE | 5
    invlpg [CODE]
    ret
turn_to_two:
    mov dword [PT + 8 * 0x41], TWO | 5
    ret
turn_code_to_two:
    mov dword [PT + 8 * 0x42], TWO | 5
    ret
note_and_act:
    call [on_fault]
    mov qword [on_fault], nothing
    jmp note_fault
nothing:
    ret
on_fault: dq nothing
