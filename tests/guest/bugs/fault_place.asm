; A fault names its own instruction, and no other has run in its stead, whether it is the first, the third or the last of a
; block that ran often without it.
;
; limit: 3000000
; expect: load from an absent page: ok
; expect: store to a read-only page: ok
; expect: read, modify, write: ok
; expect: non-canonical address: ok
; expect: misaligned MOVAPS: ok
; expect: division by zero: ok
; expect: CR0.TS: ok
; expect: CR4.OSFXSR: ok
; expect: string instruction: ok
%include "lm64.inc"
GOOD equ 0x202000

; %1 vector, %2 error code, %3 what makes it fault, %4.. the instruction. Every other round it faults.
%macro IN_ALL_PLACES 4+
    REPEATEDLY
    mov edi, GOOD
    mov esi, GOOD
    mov ecx, 1
    xor edx, edx
    mov ebp, [round]
    and ebp, 1
    jz %%go
    %3
%%go:
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    mov dword [f_vector], -1
    mov dword [resume], %%behind_first
    jmp %%first
%%first:
    %4
    inc r8d
%%behind_first:
    mov rax, %%first
    call check_place

    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    mov dword [f_vector], -1
    mov dword [resume], %%behind_third
    jmp %%block
%%block:
    inc r9d
    inc r10d
%%third:
    %4
    inc r8d
%%behind_third:
    mov rax, %%third
    call check_place
    EXPECT r9d, 1
    EXPECT r10d, 1

    xor r8d, r8d
    mov dword [f_vector], -1
    mov dword [resume], %%behind_last
    jmp %%block2
%%block2:
    inc r9d
%%last:
    %4
    jmp %%ran
%%ran:
    inc r8d
%%behind_last:
    mov rax, %%last
    call check_place
    EXPECT r9d, 2
    clts
    call set_osfxsr
    AGAIN
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, cr4
    or eax, 0x600               ; OSFXSR, OSXMMEXCPT
    mov cr4, rax
    mov dword [want], 14
    mov dword [want_error], 0
    IN_ALL_PLACES 14, 0, {mov edi, 0x204008}, mov eax, [rdi]
    CLAIM "load from an absent page"
    mov dword [want_error], 3
    IN_ALL_PLACES 14, 3, {mov edi, 0x201008}, mov [rdi], eax
    CLAIM "store to a read-only page"
    IN_ALL_PLACES 14, 3, {mov edi, 0x201008}, {lock add [rdi], eax}
    CLAIM "read, modify, write"
    mov dword [want], 13
    mov dword [want_error], 0
    IN_ALL_PLACES 13, 0, {bts rdi, 62}, mov [rdi], eax
    CLAIM "non-canonical address"
    IN_ALL_PLACES 13, 0, {mov edi, GOOD + 8}, {movaps xmm0, [rdi]}
    CLAIM "misaligned MOVAPS"
    mov dword [want], 0
    IN_ALL_PLACES 0, 0, {xor ecx, ecx}, {div ecx}
    CLAIM "division by zero"
    mov dword [want], 7
    IN_ALL_PLACES 7, 0, {call set_ts}, {movups xmm0, [rdi]}
    CLAIM "CR0.TS"
    mov dword [want], 6
    IN_ALL_PLACES 6, 0, {call clear_osfxsr}, {movups xmm0, [rdi]}
    CLAIM "CR4.OSFXSR"
    mov dword [want], 14
    IN_ALL_PLACES 14, 0, {mov esi, 0x204000}, movsb
    CLAIM "string instruction"
    jmp finish

want:       dd 0
want_error: dd 0
set_osfxsr:
    mov rax, cr4
    or eax, 0x200
    jmp new_cr4
clear_osfxsr:
    mov rax, cr4
    and eax, ~0x200
new_cr4:
    mov cr4, rax
    ret
set_ts:
    mov rax, cr0
    or eax, 8
    mov cr0, rax
    ret
; RAX = the instruction, EBP = 1: it should have faulted, R8 = 1: what is behind it ran.
check_place:
    xor edx, edx
    test ebp, ebp
    jz .ran
    EXPECT [f_rip], rax
    mov eax, [want]
    EXPECT [f_vector], eax
    mov eax, [want_error]
    EXPECT [f_error], eax
    EXPECT r8d, 0
    ret
.ran:
    EXPECT dword [f_vector], -1
    EXPECT r8d, 1
    ret
