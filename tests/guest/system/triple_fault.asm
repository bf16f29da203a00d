; A #DF that cannot be delivered shuts the processor down.
; SDM Vol. 3A, "Interrupt 8—Double Fault Exception (#DF)".
;
; stop: shutdown
;
; expect: IDT gone
%include "pm32.inc"

start32:
    SAY {"IDT gone", 10}
    lidt [empty]
    ud2
    SAY {"still here", 10}
    jmp finish
empty: dw 0
       dd 0
