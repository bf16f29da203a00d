; One processor changes the code of the other. A reader that executes a serializing instruction behind the writer's flag runs the
; new code, whichever instruction that is; one that does not comes to it in the end. SDM Vol. 3A, "Handling Self- and
; Cross-Modifying Code". Here the processors take turns on one thread; with threads of their own the claims stay the same.
;
; Pitfalls: A1 A2 A9 A14 A15 A16 A18
;
; options: -smp 2
; expect: smc_from_other_cpu_after_CPUID: ok
; expect: smc_from_other_cpu_after_IRET: ok
; expect: smc_from_other_cpu_after_MOV_CR3: ok
; expect: smc_from_other_cpu_after_INVLPG: ok
; expect: smc_from_other_cpu_after_WRMSR: ok
; expect: smc_from_other_cpu_after_SERIALIZE: ok
; expect: smc_two_stores_in_a_row: ok
; expect: smc_unserialized_loop_ends: ok
; expect: smc_indirect_target_rewritten: ok
; expect: smc_generated_here_run_there: ok
%define MACHINE
%include "lm64.inc"
PAGE    equ 0x240000            ; routines of the reader: mov ebx, imm32; ret
TARGETS equ 0x250000

; The reader: until the writer says stop, it takes the number that was announced, serializes, and calls the routine, which
; must give that number or a later one.
%macro READER 1+
    call begin_writing
%%again:
    mov r12d, [announced]
    %1
    mov edi, 4
%%call:
    mov eax, PAGE
    call rax
    mov edx, ebx
    sub edx, r12d
    shr edx, 31                 ; 1: older than what was announced
    EXPECT edx, 0
    inc dword [readings]
    dec edi
    jnz %%call
    pause
    cmp dword [order], 0
    jne %%again
    %1
    mov eax, PAGE
    call rax
    EXPECT ebx, ROUNDS
%endmacro

start64:
%include "claims.inc"
%include "two_cpus.inc"
    mov qword [hook], note_fault
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [PT + 8 * 0x50], 0x301007
    mov byte [PAGE], 0xBB
    mov byte [PAGE + 5], 0xC3
    call start_other

    READER call serialize_by_cpuid
    CLAIM "smc_from_other_cpu_after_CPUID"
    READER call serialize_by_iret
    CLAIM "smc_from_other_cpu_after_IRET"
    READER call serialize_by_cr3
    CLAIM "smc_from_other_cpu_after_MOV_CR3"
    READER invlpg [SIPI_PAGE]
    CLAIM "smc_from_other_cpu_after_INVLPG"
    READER call serialize_by_wrmsr
    CLAIM "smc_from_other_cpu_after_WRMSR"
    READER db 0x0F, 0x01, 0xE8
    CLAIM "smc_from_other_cpu_after_SERIALIZE"

    ; The writer stores twice in a row, the second time into a page that the first store has just met.
    mov byte [PAGE + 0x100], 0xBB
    mov byte [PAGE + 0x105], 0xC3
    mov dword [announced], 0
    mov dword [PAGE + 1], 0
    mov dword [PAGE + 0x101], 0
    mov dword [order], 2
.twice:
    mov r12d, [announced]
    xor eax, eax
    cpuid
    mov eax, PAGE + 0x100
    call rax
    mov r13d, ebx
    mov eax, PAGE
    call rax
    sub ebx, r12d
    sub r13d, r12d
    or ebx, r13d
    shr ebx, 31
    EXPECT ebx, 0
    pause
    cmp dword [order], 0
    jne .twice
    EXPECT dword [PAGE + 1], ROUNDS
    EXPECT dword [PAGE + 0x101], ROUNDS
    CLAIM "smc_two_stores_in_a_row"

    ; JMP $ that becomes RET: nothing serializes, nothing pauses.
    mov dword [round], ROUNDS / 5       ; each is a turn of 10,000 instructions
.again:
    mov word [PAGE], 0xFEEB
    mov dword [order], 3
    mov eax, PAGE
    call rax
    EXPECT word [PAGE], 0xC390
    WAIT_FOR dword [order], 0
    dec dword [round]
    jnz .again
    CLAIM "smc_unserialized_loop_ends"

    ; The targets of an indirect call are rewritten between calls; each gives its number and the round.
    mov ecx, 16
    mov edi, TARGETS
.lay:
    mov byte [rdi], 0xBB
    mov dword [rdi + 1], 0
    mov byte [rdi + 5], 0xC3
    add edi, 16
    loop .lay
    mov dword [announced], 0
    mov dword [order], 4
.indirect:
    mov r12d, [announced]
    xor eax, eax
    cpuid
    mov r13d, TARGETS
    mov edi, 16
.next_target:
    call r13
    sub ebx, r12d
    shr ebx, 31
    EXPECT ebx, 0
    add r13d, 16
    dec edi
    jnz .next_target
    pause
    cmp dword [order], 0
    jne .indirect
    EXPECT dword [TARGETS + 15 * 16 + 1], ROUNDS
    CLAIM "smc_indirect_target_rewritten"

    ; This one generates, both run, it generates again.
    mov byte [PAGE], 0xBB
    mov byte [PAGE + 5], 0xC3
    REPEATEDLY
    mov eax, [round]
    mov [PAGE + 1], eax
    mov dword [order], 5
    WAIT_FOR dword [order], 0
    mov eax, [round]
    EXPECT [given], eax
    mov eax, PAGE
    call rax
    EXPECT ebx, [round]
    AGAIN
    CLAIM "smc_generated_here_run_there"
    EXPECT dword [f_count], 0
    jmp finish

announced:  dd 0
order:      dd 0
given:      dd 0
readings:   dd 0

begin_writing:
    mov dword [announced], 0
    mov dword [PAGE + 1], 0
    mov dword [order], 1
    ret
serialize_by_cpuid:
    xor eax, eax
    cpuid
    ret
serialize_by_cr3:
    mov rax, cr3
    mov cr3, rax
    ret
serialize_by_iret:
    mov rax, rsp
    push qword DATA0
    push rax
    pushfq
    push qword CODE0
    push qword .returned
    iretq
.returned:
    ret
serialize_by_wrmsr:
    mov ecx, 0xC0000102
    xor eax, eax
    xor edx, edx
    wrmsr
    ret

; The other processor carries out orders.
other64:
    pause
    mov eax, [order]
    cmp eax, 1
    je .write
    cmp eax, 2
    je .write_twice
    cmp eax, 3
    je .end_loop
    cmp eax, 4
    je .rewrite_targets
    cmp eax, 5
    je .run
    jmp other64
.write:                         ; patch, then announce
    mov r14d, 1
.write_next:
    mov [PAGE + 1], r14d
    mov [announced], r14d
    call .dawdle
    inc r14d
    cmp r14d, ROUNDS
    jbe .write_next
    jmp .done
.write_twice:
    mov r14d, 1
.twice_next:
    mov [PAGE + 0x101], r14d
    mov [PAGE + 1], r14d
    mov [announced], r14d
    call .dawdle
    inc r14d
    cmp r14d, ROUNDS
    jbe .twice_next
    jmp .done
.end_loop:
    call .dawdle
    mov word [PAGE], 0xC390     ; nop, ret
    jmp .done
.rewrite_targets:
    mov r14d, 1
.rewrite_next:
    mov edi, TARGETS + 1
    mov ecx, 16
.one_target:
    mov [rdi], r14d
    add edi, 16
    loop .one_target
    mov [announced], r14d
    call .dawdle
    inc r14d
    cmp r14d, ROUNDS
    jbe .rewrite_next
    jmp .done
.run:
    mov eax, PAGE
    call rax
    mov [given], ebx
.done:
    mov dword [order], 0
    jmp other64
.dawdle:                        ; long enough, and odd enough, to be overtaken anywhere
    imul r15d, r15d, 69069
    inc r15d
    mov ecx, r15d
    shr ecx, 26
    inc ecx
.dawdling:
    test ecx, 3
    jnz .no_pause
    pause
.no_pause:
    loop .dawdling
    ret
