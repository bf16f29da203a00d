; Control bits that decide about access take effect at once, on code that ran hot under the other value: CR0.WP, CR4.SMEP,
; CR4.SMAP with RFLAGS.AC, EFER.NXE, PKRU. SDM Vol. 3A, "Access Rights", "Protection Keys".
;
; Pitfalls: E2
;
; limit: 60000000
; expect: write_protect: ok
; expect: execute_disable: ok
; expect: protection_keys: ok
; expect: protection_keys_by_XRSTOR: ok
; expect: supervisor_mode_execution_prevention: ok
; expect: supervisor_mode_access_prevention: ok
; expect: rings_by_turns: ok
; expect: key_closed_just_before: ok
%include "lm64.inc"
READONLY equ 0x201008           ; user, read-only
NXPAGE   equ 0x203000           ; user, NX
KEYED    equ 0x240000           ; user, key 1
SUPER    equ 0x241000           ; supervisor, key 1
USER     equ 0x242000           ; user code

; The instruction in `routine`, hot under all values: faults with this error code, or (-1) works.
%macro GIVES 2                          ; error code or -1, routine
    mov dword [f_vector], -1
    mov dword [f_error], -1
    mov [stack], rsp
    mov dword [resume], %%after
    call %2
%%after:
    mov rsp, [stack]
    EXPECT dword [f_error], %1
%if %1 == -1
    EXPECT dword [f_vector], -1
%else
    EXPECT dword [f_vector], 14
%endif
%endmacro
%macro SET_CR0 2                        ; bits to clear, to set
    mov rax, cr0
    and eax, ~(%1)
    or eax, %2
    mov cr0, rax
%endmacro
%macro SET_CR4 2
    mov rax, cr4
    and eax, ~(%1)
    or eax, %2
    mov cr4, rax
%endmacro

start64:
%include "claims.inc"
    mov qword [hook], note_fault
    mov rax, 0x0800000000300007
    mov [PT + 8 * 0x40], rax
    mov rax, 0x0800000000301003
    mov [PT + 8 * 0x41], rax
    mov dword [PT + 8 * 0x42], 0x302007
    mov byte [USER], 0xC3
    REPEATEDLY
    SET_CR0 0, 0x10000
    GIVES 3, stores_readonly
    GIVES 3, adds_readonly
    SET_CR0 0x10000, 0
    GIVES -1, stores_readonly
    GIVES -1, adds_readonly
    AGAIN
    SET_CR0 0, 0x10000
    CLAIM "write_protect"

    REPEATEDLY
    GIVES -1, loads_nx
    GIVES 0x11, jumps_nx
    SET_MSR 0xC0000080, 0x501 & ~0x800
    GIVES 9, loads_nx                   ; bit 63 is reserved now
    and dword [PT + 8 * 3 + 4], 0x7FFFFFFF
    invlpg [NXPAGE]
    mov byte [NXPAGE], 0xC3
    GIVES -1, jumps_nx
    SET_MSR 0xC0000080, 0xD01
    GIVES -1, jumps_nx
    or dword [PT + 8 * 3 + 4], 0x80000000
    invlpg [NXPAGE]
    AGAIN
    CLAIM "execute_disable"

    SET_CR4 0, 0x440000                 ; PKE, OSXSAVE
    REPEATEDLY
    PKRU 0
    GIVES -1, stores_keyed
    GIVES -1, loads_keyed
    PKRU 8                              ; WD of key 1
    GIVES 0x23, stores_keyed
    GIVES -1, loads_keyed
    SET_CR0 0x10000, 0                  ; WD is only for CR0.WP = 1 in ring 0
    GIVES -1, stores_keyed
    SET_CR0 0, 0x10000
    GIVES 0x23, stores_keyed
    PKRU 4                              ; AD
    GIVES 0x23, stores_keyed
    GIVES 0x21, loads_keyed
    GIVES -1, stores_super              ; keys are for user pages
    GIVES -1, loads_super
    SET_CR4 0x400000, 0
    GIVES -1, stores_keyed
    SET_CR4 0, 0x400000
    GIVES 0x21, loads_keyed
    PKRU 0x30                           ; key 2
    GIVES -1, stores_keyed
    AGAIN
    PKRU 0
    CLAIM "protection_keys"

    xor ecx, ecx
    mov eax, 0x203                      ; XCR0: PKRU
    xor edx, edx
    xsetbv
    mov edi, area
    mov ecx, 1024 / 8
    xor eax, eax
    rep stosq
    mov eax, 13
    mov ecx, 9
    cpuid
    mov r12d, ebx                       ; where PKRU lies
    mov eax, 0x200
    xor edx, edx
    REPEATEDLY
    mov eax, 0x200
    xor edx, edx
    mov dword [area + 512], 0x200
    mov dword [area + r12], 4
    xrstor [area]
    GIVES 0x21, loads_keyed
    mov eax, 0x200
    xor edx, edx
    mov dword [area + r12], 8
    xrstor [area]
    GIVES -1, loads_keyed
    GIVES 0x23, stores_keyed
    mov eax, 0x200
    xor edx, edx
    mov dword [area + 512], 0           ; initial: 0
    xrstor [area]
    GIVES -1, stores_keyed
    AGAIN
    CLAIM "protection_keys_by_XRSTOR"

    mov dword [PD], 0x83                ; this code becomes the supervisor's
    mov rax, cr3
    mov cr3, rax
    REPEATEDLY
    SET_CR4 0x100000, 0
    GIVES -1, USER
    SET_CR4 0, 0x100000
    GIVES 0x11, USER
    GIVES -1, stores_keyed              ; data is another matter
    AGAIN
    SET_CR4 0x100000, 0
    CLAIM "supervisor_mode_execution_prevention"

    REPEATEDLY
    SET_CR4 0, 0x200000
    GIVES 1, loads_keyed
    GIVES 3, stores_keyed
    stac
    GIVES -1, loads_keyed
    GIVES -1, stores_keyed
    GIVES -1, loads_super
    clac
    GIVES 1, loads_keyed
    GIVES -1, loads_super
    push qword 0x40002
    popfq
    GIVES -1, loads_keyed
    push qword 2
    popfq
    GIVES 3, stores_keyed
    SET_CR4 0x200000, 0
    GIVES -1, loads_keyed
    stac                                ; means nothing now
    GIVES -1, loads_keyed
    clac
    AGAIN
    CLAIM "supervisor_mode_access_prevention"

    mov dword [PD], 0x87
    mov rax, cr3
    mov cr3, rax
    OPEN_GATE 0x3B
    REPEATEDLY
    GIVES -1, loads_super
    TO_USER .ring3
.ring3:
    GIVES 5, loads_super
    GIVES 7, stores_super
    GIVES -1, loads_keyed
    GIVES 7, stores_readonly
    RING0 .ring0
.ring0:
    GIVES -1, stores_super
    AGAIN
    CLAIM "rings_by_turns"

    ; user code that runs hot; nothing but WRPKRU stands between two accesses
    TO_USER .keys
.keys:
    mov ebx, KEYED + 8
    xor ecx, ecx
    xor edx, edx
    REPEATEDLY
    mov dword [f_vector], -1
    mov dword [resume], .wrong
    mov r12d, 64
.open:                                  ; often, and often once more behind the key's closing
    xor eax, eax
    wrpkru
    mov r13d, [rbx]
    dec r12d
    jnz .open
    mov r12d, 3
.closing:
    mov dword [resume], .wrong
    mov r15d, 0
.turn:
    mov eax, r15d
    wrpkru
    mov r13d, [rbx]
    mov [rbx], r13d
    mov dword [resume], .closed
    add r15d, 4                         ; AD of key 1
    cmp r15d, 4
    je .turn
.wrong:
    mov dword [wrong_at], .wrong
.closed:
    EXPECT dword [f_vector], 14
    EXPECT dword [f_error], 0x25
    EXPECT r15d, 4
    xor eax, eax
    wrpkru
    dec r12d
    jnz .closing
    AGAIN
    RING0 .keyed
.keyed:
    CLAIM "key_closed_just_before"
    jmp finish

stack: dq 0
stores_readonly:
    mov [abs READONLY], eax
    ret
adds_readonly:
    add byte [abs READONLY + 1], 1
    ret
loads_nx:
    mov eax, [abs NXPAGE + 8]
    ret
jumps_nx:
    call NXPAGE
    ret
loads_keyed:
    mov eax, [abs KEYED + 8]
    ret
stores_keyed:
    mov [abs KEYED + 8], eax
    ret
loads_super:
    mov eax, [abs SUPER + 8]
    ret
stores_super:
    mov [abs SUPER + 8], eax
    ret
align 64
area: times 1024 db 0
