; 32-bit code in segments that are not flat, hot: limits and rights of each access, bases that are added before or behind the wrap,
; segment registers that change in the midst of a block, ESP at the ends of its segment, string instructions, code that another
; segment changes. SDM Vol. 3A, "Limit Checking", "Type Checking"; Vol. 1, "Memory Organization".
;
; Pitfalls: D7 D9 I1 I7 B4 A4
;
; limit: 8000000
; expect: limits_of_FS: ok
; expect: bases_wrap: ok
; expect: DS_changes_in_a_block: ok
; expect: rights: ok
; expect: expand_down: ok
; expect: null_segments: ok
; expect: code_segment_is_read: ok
; expect: ESP_wraps: ok
; expect: stack_segment_with_a_limit: ok
; expect: stored_selectors: ok
; expect: smc_through_a_based_segment: ok
%include "pm32.inc"
BASED   equ FREE                ; base WHERE, limit FFFh
HIGH    equ FREE + 8            ; base FFFFF000h, 4 GiB
READ    equ FREE + 16           ; flat, read-only
DOWN    equ FREE + 24           ; base 0, offsets from 30000h on
STACKS  equ FREE + 32           ; base 0, limit 6FFFh
EXECUTE equ FREE + 40           ; code that cannot be read
WHERE   equ 0x20000

%macro SEG 2                    ; register, selector
    mov eax, %2
    mov %1, eax
%endmacro

start32:
%include "claims.inc"
    mov dword [hook], note_fault
    SET_DESCRIPTOR BASED, WHERE << 16 & 0xFFFF0000 | 0x0FFF, 0x00409300 | WHERE >> 16
    SET_DESCRIPTOR HIGH, 0xF000FFFF, 0xFFCF93FF
    SET_DESCRIPTOR READ, 0x0000FFFF, 0x00CF9100
    SET_DESCRIPTOR DOWN, 0x0000002F, 0x00C09700
    SET_DESCRIPTOR STACKS, 0x00006FFF, 0x00409300
    SET_DESCRIPTOR EXECUTE, 0x0000FFFF, 0x00CF9900
    mov dword [WHERE], 0x11111111
    mov dword [WHERE + 0xFFC], 0x22222222
    mov dword [WHERE + 0x1000], 0x33333333

    SEG fs, BASED
    mov edi, 0xFFC
    mov esi, 0
    REPEATEDLY
    EXPECT dword [fs:edi], 0x22222222
    EXPECT dword [fs:esi], 0x11111111
    WORKS {mov eax, [fs:edi]}
    FAULTS 13, 0, {mov eax, [fs:edi + 1]}
    FAULTS 13, 0, {mov [fs:edi + 4], al}
    FAULTS 13, 0, {inc dword [fs:esi - 1]}
    FAULTS 13, 0, {push dword [fs:0x1000]}
    WORKS {mov al, [fs:edi + 3]}
    FAULTS 13, 0, {call dword [fs:edi + 2]}
    mov [fs:esi + 0x10], edi
    EXPECT dword [WHERE + 0x10], 0xFFC
    AGAIN
    CLAIM "limits_of_FS"

    ; The offset wraps at 4 GiB, and so does the sum with the base.
    SEG gs, HIGH
    mov ebx, 0xFFFFFFF0
    REPEATEDLY
    EXPECT dword [gs:WHERE + 0x1000], 0x11111111
    EXPECT dword [gs:ebx + WHERE + 0x1010], 0x11111111
    EXPECT dword [gs:ebx + WHERE + 0x2010], 0x33333333
    mov ecx, (WHERE + 0x1000) / 4
    EXPECT dword [gs:ecx * 4], 0x11111111
    lea edx, [gs:ebx + 0x20]
    EXPECT edx, 0x10
    AGAIN
    CLAIM "bases_wrap"

    mov dword [0x10], 0x44444444
    mov dword [WHERE + 0x10], 0x55555555
    mov esi, 0x10
    REPEATEDLY
    mov ebx, [esi]
    SEG ds, BASED
    mov ecx, [esi]
    mov [esi + 4], ebx
    mov dx, DATA0
    mov ds, edx
    mov edx, [esi]
    EXPECT ebx, 0x44444444
    EXPECT ecx, 0x55555555
    EXPECT edx, 0x44444444
    EXPECT dword [WHERE + 0x14], 0x44444444
    push ds
    push dword BASED
    pop ds
    mov ecx, [esi]
    pop ds
    EXPECT ecx, 0x55555555
    SEG es, BASED
    mov edi, 0x18
    mov esi, 0x10
    mov ecx, 3
    rep movsb                   ; ES is not overridden
    es lodsb
    mov esi, 0x10
    EXPECT dword [WHERE + 0x18], 0x444444
    mov dword [WHERE + 0x18], 0
    AGAIN
    SEG es, DATA0
    CLAIM "DS_changes_in_a_block"

    SEG fs, READ
    mov esi, WHERE
    REPEATEDLY
    EXPECT dword [fs:esi], 0x11111111
    FAULTS 13, 0, {mov [fs:esi], eax}
    FAULTS 13, 0, {inc dword [fs:esi]}
    FAULTS 13, 0, {mov [cs:esi], eax}
    FAULTS 13, 0, {xchg [cs:esi], eax}
    FAULTS 13, 0, {cs pop dword [esi]}
    EXPECT esp, STACK0
    EXPECT dword [esi], 0x11111111
    AGAIN
    CLAIM "rights"

    mov dword [0x30000], 0x66666666
    SEG gs, DOWN
    REPEATEDLY
    mov ebx, 0x30000
    EXPECT dword [gs:ebx], 0x66666666
    FAULTS 13, 0, {mov eax, [gs:ebx - 1]}
    FAULTS 13, 0, {mov eax, [gs:ebx - 0x1000]}
    mov ebx, 0xFFFFFFFC
    FAULTS 13, 0, {mov eax, [gs:ebx + 1]}       ; past the end
    AGAIN
    CLAIM "expand_down"

    xor eax, eax
    mov fs, eax
    mov es, eax
    mov ebx, WHERE
    REPEATEDLY
    FAULTS 13, 0, {mov eax, [fs:ebx]}
    FAULTS 13, 0, {mov [es:ebx], eax}
    EXPECT dword [ebx], 0x11111111
    mov edi, WHERE
    FAULTS 13, 0, {stosb}
    EXPECT edi, WHERE
    lea eax, [es:ebx]
    EXPECT eax, WHERE
    SEG es, DATA0
    EXPECT dword [es:ebx], 0x11111111
    xor eax, eax
    mov es, eax
    AGAIN
    SEG es, DATA0
    CLAIM "null_segments"

    ; A code segment that may be executed only: its own code is no data.
    SEG gs, DATA0
    REPEATEDLY
    EXPECT dword [cs:WHERE], 0x11111111
    jmp EXECUTE:.unreadable
.unreadable:
    FAULTS 13, 0, {mov eax, [cs:WHERE]}
    EXPECT dword [WHERE], 0x11111111
    jmp CODE0:.readable
.readable:
    AGAIN
    CLAIM "code_segment_is_read"

    ; The bytes below 0 are the last ones of 4 GiB, where no memory need be: what is pushed there is gone.
    REPEATEDLY
    mov esp, 0
    mov dword [0], 0x77777777
    pop eax
    EXPECT eax, 0x77777777
    EXPECT esp, 4
    push dword 0x12121212
    push dword 0x13131313
    EXPECT esp, 0xFFFFFFFC
    EXPECT dword [0], 0x12121212
    add esp, -12
    EXPECT esp, 0xFFFFFFF0
    lea eax, [esp + 0x20]
    EXPECT eax, 0x10
    EXPECT dword [esp + 0x10], 0x12121212
    lea esp, [esp + 0x10]
    EXPECT esp, 0
    sub esp, 4
    EXPECT esp, 0xFFFFFFFC
    add esp, 8
    EXPECT esp, 4
    mov ebp, 0
    leave
    EXPECT ebp, 0x12121212
    EXPECT esp, 4
    AGAIN
    mov esp, STACK0
    CLAIM "ESP_wraps"

    ; The stack itself stays within the limit: #SS has no other one at the same ring.
    REPEATEDLY
    SEG ss, STACKS
    mov esp, 0x6800
    mov eax, 0x20202020
    push eax
    EXPECT dword [0x67FC], 0x20202020
    call .pushed
.pushed:
    pop ebx
    EXPECT ebx, .pushed
    mov ebp, 0x6FFC
    mov ecx, [ebp]
    FAULTS 12, 0, {mov ecx, [ebp + 1]}
    FAULTS 12, 0, {mov [esp + 0x4000], ecx}
    FAULTS 12, 0, {mov ecx, [ss:0x7000]}
    mov ebp, 0x7000
    FAULTS 12, 0, {leave}
    EXPECT ebp, 0x7000
    pop eax
    EXPECT esp, 0x6800
    SEG ss, DATA0
    mov esp, STACK0
    AGAIN
    CLAIM "stack_segment_with_a_limit"

    ; To a register zero-extended, to memory two bytes; pushed in the operand size.
    SEG fs, BASED
    REPEATEDLY
    mov eax, -1
    mov eax, fs
    EXPECT eax, BASED
    mov dword [WHERE + 0x40], -1
    mov [WHERE + 0x40], fs
    EXPECT dword [WHERE + 0x40], 0xFFFF0000 | BASED
    push dword -1
    push fs
    pop ecx
    EXPECT ecx, BASED
    EXPECT esp, STACK0 - 4
    pop ecx
    AGAIN
    CLAIM "stored_selectors"

    SET_DESCRIPTOR BASED, 0x00000FFF, 0x00409300
    mov word [gdt + BASED + 2], routine - 0x10
    SEG fs, BASED
    mov esi, 0x10
    REPEATEDLY
    mov eax, [round]
    mov [fs:esi + 1], eax
    call routine
    EXPECT ebx, [round]
    AGAIN
    CLAIM "smc_through_a_based_segment"
    jmp finish
    align 16
routine:
    mov ebx, 0
    ret
