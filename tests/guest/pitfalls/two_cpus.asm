; Two processors that share memory, page tables and interrupts. Today they take turns on one thread, so what is asked is that
; turns end where they must and that nothing is lost between them; with a thread each the same claims ask for atomicity and
; order. SDM Vol. 3A, "Guaranteed Atomic Operations", "Memory Ordering", "Interrupt Command Register".
;
; Pitfalls: E4 F5 F9 H1 H2 H3 H7 H10
;
; options: -smp 2
; expect: interrupt_ping_pong: ok
; expect: spinning_without_PAUSE: ok
; expect: spinning_with_PAUSE: ok
; expect: page_table_counters: ok
; expect: locked_counters: ok
; expect: locked_over_page_end_of_an_absent_page: ok
; expect: unaligned_quadword_in_a_line: ok
; expect: store_buffering: ok
; expect: message_passing: ok
; expect: memory_map_changes: ok
%define MACHINE
%include "lm64.inc"
PAGE    equ 0x240000            ; 241000h: another frame; its entry comes and goes
ENTRY   equ PT + 8 * 0x41
CODE    equ 0x242000
WINDOW  equ 0x243000
MOVES   equ 5000

; The other processor begins with the procedure.
%macro OTHER 1
    mov qword [order], %1
%endmacro
%macro OTHER_IS_DONE 0
    WAIT_FOR qword [order], 0
%endmacro

start64:
%include "claims.inc"
%include "two_cpus.inc"
    mov qword [hook], note_events
    mov dword [PT + 8 * 0x40], 0x300007
    mov dword [ENTRY], 0x312007
    mov dword [PT + 8 * 0x42], 0x314007
    call start_other

    ; Each waits in HLT for the other's interrupt.
    OTHER answer_interrupts
    mov dword [pongs], 0
    REPEATEDLY
    mov eax, 0x4031
    call send_to_other
    mov ebx, ROUNDS + 1
    sub ebx, [round]
.pong:
    cli
    cmp [pongs], ebx
    je .came
    sti
    hlt
    jmp .pong
.came:
    EXPECT [pings], ebx
    AGAIN
    mov dword [enough], 1
    mov eax, 0x4031
    call send_to_other
    OTHER_IS_DONE
    CLAIM "interrupt_ping_pong"

    mov dword [ball], 0
    OTHER return_ball
    mov dword [round], ROUNDS / 5       ; each round is two turns of 10,000 instructions
.spin:
    inc dword [ball]
.until:
    test dword [ball], 1
    jnz .until
    dec dword [round]
    jnz .spin
    EXPECT dword [ball], ROUNDS / 5 * 2
    OTHER_IS_DONE
    CLAIM "spinning_without_PAUSE"
    mov dword [ball], 0
    OTHER return_ball_pausing
    REPEATEDLY
    inc dword [ball]
.until_2:
    pause
    test dword [ball], 1
    jnz .until_2
    AGAIN
    EXPECT dword [ball], ROUNDS * 2
    OTHER_IS_DONE
    CLAIM "spinning_with_PAUSE"

    ; Bits 58:52 and 11:9 of an entry belong to software: the other counts there by CMPXCHG while walks here set A and D, and
    ; clears A and D, which must come again.
    mov eax, 0x312007
    mov [ENTRY], rax
    OTHER count_in_entry
    REPEATEDLY
    invlpg [PAGE + 0x1000]
    mov ebx, [PAGE + 0x1008]
    invlpg [PAGE + 0x1000]
    mov [PAGE + 0x1008], ebx
    pause
    AGAIN
    OTHER_IS_DONE
    mov rax, [ENTRY]
    mov rcx, rax
    shr rcx, 52
    EXPECT ecx, MOVES & 0x7F
    and eax, 0xFFFFF01F
    EXPECT eax, 0x312007
    invlpg [PAGE + 0x1000]
    mov [PAGE + 0x1008], ebx
    mov eax, [ENTRY]
    and eax, 0x60
    EXPECT eax, 0x60
    mov eax, 0x312007
    mov [ENTRY], rax
    CLAIM "page_table_counters"

    ; All kinds of counters, inside a line, over its end, over a page end.
    mov edi, PAGE + 0xF00
    mov ecx, 0x200
    xor eax, eax
    rep stosb
    mov dword [bits_taken], 0
    OTHER count_locked
    mov r12d, MOVES
    call counting
    OTHER_IS_DONE
    EXPECT qword [PAGE + 0xF00], MOVES * 2
    EXPECT qword [PAGE + 0xF3D], MOVES * 2
    EXPECT qword [PAGE + 0xFFD], MOVES * 2
    EXPECT qword [PAGE + 0xF10], MOVES * 2
    EXPECT qword [PAGE + 0xF18], MOVES * 2
    EXPECT dword [PAGE + 0xF20], MOVES * 2
    EXPECT dword [PAGE + 0xF24], - MOVES * 2
    CLAIM "locked_counters"

    ; LOCK ADD over a page end into a page that the other one takes away and gives back: it faults and is made again, once.
    mov qword [PAGE + 0xFFC], 0
    OTHER take_page_away
    mov qword [hook], give_back
    mov dword [faults], 0
    mov r12d, 2000
.add:
    invlpg [PAGE + 0x1000]
    lock add qword [PAGE + 0xFFC], 1
    test r12b, 7
    jnz .no_pause
    pause
.no_pause:
    dec r12d
    jnz .add
    mov dword [enough], 2
    OTHER_IS_DONE
    or dword [ENTRY], 1
    invlpg [PAGE + 0x1000]
    mov qword [hook], note_events
    EXPECT qword [PAGE + 0xFFC], 2000
    cmp dword [faults], 100
    setae al
    EXPECT al, 1
    CLAIM "locked_over_page_end_of_an_absent_page"

    ; Eight bytes at any offset of a line are all old or all new, beside code that runs, too.
    mov byte [CODE + 0x10], 0xC3
    mov dword [enough], 0
    OTHER write_quadwords
    mov r12d, MOVES * 2
.tear:
    mov esi, [where]
    mov rax, [rsi]
    lea rdx, [rax + 1]
    cmp rdx, 1
    setbe dl
    EXPECT dl, 1
    call CODE + 0x10
    test r12b, 15
    jnz .no_pause_2
    pause
.no_pause_2:
    dec r12d
    jnz .tear
    mov dword [enough], 3
    OTHER_IS_DONE
    CLAIM "unaligned_quadword_in_a_line"

    ; x = 1; MFENCE; read y  |  y = 1; MFENCE; read x: not both may read 0.
    REPEATEDLY
    mov dword [x], 0
    mov dword [y], 0
    mov dword [read_x], -1
    OTHER store_y_read_x
    call dawdle
    mov dword [x], 1
    mfence
    mov r12d, [y]
    OTHER_IS_DONE
    or r12d, [read_x]
    EXPECT r12d, 1
    AGAIN
    CLAIM "store_buffering"

    ; Data, then the flag; who sees the flag sees the data. No fences.
    mov dword [flag], 0
    mov dword [data], 0
    OTHER send_messages
    mov r12d, MOVES
.message:
    mov eax, [flag]
    mov ecx, [data]
    sub ecx, eax
    shr ecx, 31                         ; data is not older
    EXPECT ecx, 0
    mov eax, [flag]
    test r12b, 7
    jnz .no_pause_3
    pause
.no_pause_3:
    dec r12d
    jnz .message
    OTHER_IS_DONE
    EXPECT dword [data], MOVES
    CLAIM "message_passing"

    ; The RAM of C4000h (82441FX, PAM) comes and goes; who reads between two equal flags reads what they say.
    mov dword [PT + 8 * 0x43], 0xC4007
    mov eax, 3
    call change_map
    mov dword [WINDOW + 0x40], 0x1234
    mov dword [flag], 1
    OTHER read_map
    REPEATEDLY
    mov dword [flag], 2
    xor eax, eax
    call change_map
    mov dword [flag], 0
    EXPECT dword [WINDOW + 0x40], -1
    call dawdle
    mov dword [flag], 2
    mov eax, 3
    call change_map
    mov dword [flag], 1
    EXPECT dword [WINDOW + 0x40], 0x1234
    call dawdle
    AGAIN
    mov dword [enough], 4
    OTHER_IS_DONE
    cmp dword [data], MOVES + 100       ; both states were seen
    setae al
    EXPECT al, 1
    CLAIM "memory_map_changes"
    EXPECT dword [f_count], 0
    jmp finish

align 64
order:      dq 0
pings:      dd 0
pongs:      dd 0
ball:       dd 0
enough:     dd 0
faults:     dd 0
where:      dd CODE + 0x80
bits_taken: dd 0
x:          dd 0
y:          dd 0
read_x:     dd 0
flag:       dd 0
data:       dd 0
random:     dd 1

; Vector 31h: the other's; 32h: this one's.
note_events:
    mov rax, [rbx + F_VECTOR]
    cmp al, 0x31
    je .ping
    cmp al, 0x32
    jne note_fault
    inc dword [pongs]
    jmp .end
.ping:
    inc dword [pings]
.end:
    call end_of_interrupt
    mov rax, [rbx + F_RIP]
    mov [rbx + F_RIP], rax
    mov [resume], rax
    cmp eax, eax
    ret
give_back:
    cmp dword [rbx + F_VECTOR], 14
    jne note_fault
    inc dword [faults]
    lock or dword [ENTRY], 1
    cmp eax, eax
    ret

dawdle:
    imul ecx, [random], 69069
    inc ecx
    mov [random], ecx
    shr ecx, 25
    inc ecx
.next:
    test ecx, 15
    jnz .no_pause
    pause
.no_pause:
    loop .next
    ret

; PAM of C4000h-C7FFFh := EAX.
change_map:
    shl eax, 4
    mov ecx, eax
    mov dx, 0xCF8
    mov eax, 0x80000058
    out dx, eax
    mov dx, 0xCFE
    in al, dx
    and al, 0x0F
    or al, cl
    out dx, al
    ret

; Counts in seven ways, R12 times.
counting:
    lock inc qword [PAGE + 0xF00]
    lock add qword [PAGE + 0xF3D], 1    ; over a line
    mov eax, 1
    lock xadd [PAGE + 0xFFD], rax       ; over a page
    mov rax, [PAGE + 0xF10]             ; sixteen bytes by CMPXCHG16B: both halves count
    mov rdx, [PAGE + 0xF18]
.again:
    lea rbx, [rax + 1]
    lea rcx, [rdx + 1]
    lock cmpxchg16b [PAGE + 0xF10]
    jnz .again
    mov eax, [PAGE + 0xF20]
.again_2:
    lea ecx, [rax + 1]
    lock cmpxchg [PAGE + 0xF20], ecx
    jnz .again_2
    lock dec dword [PAGE + 0xF24]
    test r12b, 31
    jnz .no_pause
    pause
.no_pause:
    dec r12d
    jnz counting
    ret

; --- the other processor ---
other64:
    pause
    mov rax, [order]
    test rax, rax
    jz other64
    call rax
    mov qword [order], 0
    jmp other64

answer_interrupts:
    mov dword [enough], 0
    xor r13d, r13d
.wait:
    cli
    cmp dword [enough], 1
    je .done
    cmp [pings], r13d
    jne .came
    sti
    hlt
    jmp .wait
.came:
    inc r13d
    xor edx, edx
    mov eax, 0x4032
    call send_ipi
    jmp .wait
.done:
    sti
    nop
    cli
    ret
return_ball:
    mov r13d, ROUNDS / 5
.wait:
    test dword [ball], 1
    jz .wait
    inc dword [ball]
    dec r13d
    jnz .wait
    ret
return_ball_pausing:
    mov r13d, ROUNDS
.wait:
    pause
    test dword [ball], 1
    jz .wait
    inc dword [ball]
    dec r13d
    jnz .wait
    ret
count_in_entry:
    mov r13d, MOVES
.next:
    mov rax, [ENTRY]
.again:
    mov rcx, rax
    mov rdx, 1 << 52
    add rcx, rdx
    mov rdx, ~(0x80 << 52 | 0x60)       ; 7 bits of counter; A and D
    and rcx, rdx
    lock cmpxchg [ENTRY], rcx
    jnz .again
    test r13b, 7
    jnz .no_pause
    pause
.no_pause:
    dec r13d
    jnz .next
    ret
count_locked:
    mov r12d, MOVES
    jmp counting
take_page_away:
.next:
    lock and dword [ENTRY], ~1
    call dawdle_other
    cmp dword [enough], 2
    jne .next
    ret
write_quadwords:
    mov ebp, CODE + 0x80                ; each offset of a line at which eight bytes are inside
    xor eax, eax
.next:
    mov qword [rbp], 0
    mov [where], ebp
    mov r13d, 100
.flip:
    not qword [rbp]
    not rax
    mov [rbp], rax
    call dawdle_other
    dec r13d
    jnz .flip
    mov qword [rbp], 0
    xor eax, eax
    cmp dword [enough], 3
    je .done
    inc ebp
    cmp ebp, CODE + 0x80 + 56
    jbe .next
    mov ebp, CODE + 0x80
    jmp .next
.done:
    ret
store_y_read_x:
    call dawdle_other
    mov dword [y], 1
    mfence
    mov eax, [x]
    mov [read_x], eax
    ret
send_messages:
    mov r13d, 1
.next:
    mov [data], r13d
    mov [flag], r13d
    call dawdle_other
    inc r13d
    cmp r13d, MOVES
    jbe .next
    ret
read_map:
    mov eax, [flag]
    mov ecx, [WINDOW + 0x40]
    cmp eax, [flag]
    jne .next
    cmp eax, 2
    je .next
    inc dword [data]
    mov edx, 0x1234
    cmp eax, 1
    mov eax, -1
    cmove eax, edx
    EXPECT ecx, eax
.next:
    call dawdle_other
    cmp dword [enough], 4
    jne read_map
    ret
dawdle_other:
    imul r15d, r15d, 69069
    inc r15d
    mov ecx, r15d
    shr ecx, 27
    inc ecx
.next:
    test ecx, 15
    jnz .no_pause
    pause
.no_pause:
    loop .next
    ret
