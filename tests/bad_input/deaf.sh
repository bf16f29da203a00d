#!/bin/sh
# deaf.sh DROSTE DEAF_KERNEL: whatever a guest does, --timeout and SIGTERM end the run, with the clock of the machine and
# with --icount. The kernels retire no instruction, or few, in a state that never ends by itself; before they were
# bounded, the program had to be killed.
. "$(dirname "$0")/../boot/lib.sh"
kernel=$2

# listens NAME LETTER [OPTION...]
listens() {
    name=$1
    letter=$2
    shift 2
    timeout -s KILL 60 "$droste" -kernel "$kernel" -append "$letter" -m 64 -no-reboot -display none -serial null \
        --timeout 1 "$@" </dev/null >"$scratch/out" 2>&1
    equal "$name: --timeout is heard" 124 $?
    contains "$name: and is what ended the run" "$scratch/out" "--timeout ran out"
    timeout -s KILL 60 "$droste" -kernel "$kernel" -append "$letter" -m 64 -no-reboot -display none -serial null \
        "$@" </dev/null >"$scratch/out" 2>&1 &
    guard=$!
    sleep 1
    # The signal is for the program, not for timeout, which would pass the wrong one on.
    kill -TERM "$(cat "/proc/$guard/task/$guard/children")"
    wait $guard
    equal "$name: SIGTERM is heard" 143 $?
}

for mode in "" "--icount"; do
    listens "#AC in #AC $mode" a $mode
    listens "#DB in #DB $mode" d $mode
    listens "interrupt storm $mode" s $mode
    listens "fw_cfg DMA $mode" f $mode
    listens "REP INSB $mode" r $mode
    listens "a timer of one tick $mode" h $mode
    listens "a deadline behind the end of time $mode" t $mode
done
finish
