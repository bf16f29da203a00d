; A data breakpoint is met by every kind of access to its bytes, in the middle of the widest store too, and by no other.
;
; limit: 8000000
; expect: writes: ok
; expect: reads and writes: ok
; expect: neighbors: ok
; expect: strings: ok
%include "lm64.inc"
WATCHED equ 0x202104            ; 4 bytes

%macro TRAPS_AT 1
    EXPECT dword [f_count], 1
    EXPECT dword [f_rip], %1
    mov dword [f_count], 0
    mov dword [f_rip], 0
%endmacro
%macro MEETS 1+
    %1
%%behind:
    TRAPS_AT %%behind
%endmacro
%macro MISSES 1+
    %1
    EXPECT dword [f_count], 0
    mov dword [f_count], 0
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_trap
    mov rax, cr4
    or eax, 0x600
    mov cr4, rax
    mov edi, WATCHED
    mov rax, rdi
    mov dr1, rax
    mov eax, 0x00D00408         ; DR1: write, 4 bytes
    mov dr7, rax
    mov dword [f_count], 0
    xor eax, eax
    REPEATEDLY
    MEETS mov [rdi], al
    MEETS mov [rdi + 3], al
    MEETS mov [rdi - 7], rax
    MEETS movups [rdi - 15], xmm0
    MEETS movups [rdi + 3], xmm0
    MEETS lock xadd [rdi], eax
    MEETS xchg [rdi], ecx
    MEETS bts dword [rdi], 3
    MEETS inc byte [rdi + 2]
    MEETS fnstcw [rdi]
    MEETS fst qword [rdi - 4]
    MEETS movnti [rdi], eax
    MEETS setz [rdi]
    mov eax, [rdi]
    MEETS lock cmpxchg [rdi], ecx
    mov rbp, rsp
    mov esp, WATCHED + 4
    push rax
.pushed:
    mov rsp, rbp
    EXPECT dword [f_count], 1
    EXPECT dword [f_rip], .pushed
    mov dword [f_count], 0
    AGAIN
    CLAIM "writes"
    mov eax, 0x00F00408         ; read or write
    mov dr7, rax
    REPEATEDLY
    MEETS mov al, [rdi + 3]
    MEETS movups xmm0, [rdi - 15]
    MEETS cmp eax, [rdi]
    MEETS test [rdi], al
    MEETS fld dword [rdi]
    fninit
    mov eax, [rdi - 4]
    not eax
    mov dword [f_count], 0
    mov ecx, [WATCHED + 4]
    MEETS lock cmpxchg [rdi], ecx       ; does not match: reads all the same
    mov dword [f_count], 0
    MEETS bt dword [rdi], 5
    AGAIN
    CLAIM "reads and writes"
    REPEATEDLY
    MISSES mov [rdi - 1], al
    MISSES mov [rdi + 4], al
    MISSES mov [rdi - 4], eax
    MISSES movups xmm0, [rdi + 4]
    MISSES lea eax, [rdi]
    MISSES prefetcht0 [rdi]
    MISSES nop dword [rdi]
    AGAIN
    CLAIM "neighbors"
    ; A repeated instruction stops behind the iteration that met it, and goes on.
    REPEATEDLY
    mov esi, 0x202800
    mov edi, WATCHED - 16
    mov ecx, 8
.copy:
    rep movsd
.copied:
    EXPECT dword [f_count], 1
    EXPECT dword [f_rip], .copy
    EXPECT dword [f_rcx], 3
    EXPECT ecx, 0
    EXPECT edi, WATCHED + 16
    mov dword [f_count], 0
    mov edi, WATCHED
    MEETS stosd
    mov esi, WATCHED
    MEETS lodsd
    mov edi, WATCHED
    MEETS scasb
    AGAIN
    CLAIM "strings"
    xor eax, eax
    mov dr7, rax
    jmp finish
f_rcx: dd 0
note_trap:
    mov eax, [rbx + 16]                 ; RCX as saved
    mov [f_rcx], eax
    mov rax, [rbx + F_RIP]
    mov [resume], rax
    jmp note_fault
