#!/bin/sh
# guests.sh DROSTE KERNEL: what a guest does never crashes or hangs the emulator, and ends with the documented
# exit status.
. "$(dirname "$0")/../boot/lib.sh"
kernel=$2

# ends NAME STATUS WORDS OPTION...
ends() {
    name=$1
    want=$2
    words=$3
    shift 3
    timeout 60 "$droste" -kernel "$kernel" -append "$words" -display none --timeout 30 "$@" </dev/null >"$scratch/out" 2>&1
    equal "$name" "$want" $?
}

ends "power-off is 0" 0 off
ends "debug exit of 0 is 1" 1 "exit 0" -device isa-debug-exit,iobase=0xf4,iosize=4
ends "debug exit of 5 is 11" 11 "exit 5" -device isa-debug-exit,iobase=0xf4,iosize=4
ends "triple fault with -no-reboot is 4" 4 triple -no-reboot
contains "and says so" "$scratch/out" "triple fault"
ends "triple fault without it resets, again and again" 124 triple --timeout 1
ends "reset with -no-reboot is 0" 0 reset -no-reboot
ends "a spinning guest runs into --timeout, 124" 124 spin --timeout 1
ends "a halted guest too" 124 halt --timeout 1
ends "and with --icount" 124 halt --timeout 1 --icount
ends "every port may be touched" 0 storm
ends "and with the test device" 0 storm -device pc-testdev
ends "unmapped memory may be touched" 0 wild -d guest_errors -D "$scratch/log"
contains "which -d guest_errors shows" "$scratch/log" "nothing answers"
ends "execution may go to MMIO" 4 mmiojump -no-reboot
ends "or to where nothing is" 4 romjump -no-reboot
ends "--until ends the run with 0" 0 chatter -serial "file:$scratch/serial" --until "chatter chatter"
ends "--until without a match is 6" 6 off -serial null --until "never"
contains "and says so" "$scratch/out" "before --until"
ends "information reaches the guest" 0 "info and arguments" -serial "file:$scratch/serial" -m 256
contains "its command line" "$scratch/serial" "info and arguments"
contains "its memory size" "$scratch/serial" "0003FC00"
printf 'NR_CPUS=2' >"$scratch/env"
ends "modules" 0 info -serial "file:$scratch/serial" -initrd "$scratch/env -x,$scratch/env"
contains "their contents" "$scratch/serial" "/env -x=NR_CPUS=2"
ends "no shutdown: the machine pauses" 124 off -no-shutdown --timeout 1
printf 'hello, guest q' | timeout 30 "$droste" -kernel "$kernel" -append echo -serial stdio -display none --timeout 20 >"$scratch/out" 2>&1
equal "piped input arrives" "hello, guest " "$(cat "$scratch/out")"
{ head -c 300000 /dev/zero | tr '\0' z; printf q; } >"$scratch/input"
timeout 60 "$droste" -kernel "$kernel" -append echo -serial stdio -display none --timeout 50 <"$scratch/input" >"$scratch/out" 2>&1
equal "a long one without loss" 300000 "$(wc -c <"$scratch/out")"
ends "-S waits" 124 off -S --timeout 1
finish
