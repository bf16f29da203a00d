#!/bin/sh
# options.sh DROSTE KERNEL: absurd or misspelled options are one sentence on standard error that names what is
# wrong, exit status 2, and nothing starts.
. "$(dirname "$0")/../boot/lib.sh"
kernel=$2

run() { # options that must be accepted
    timeout 20 "$droste" -kernel "$kernel" -append off -display none "$@" </dev/null >"$scratch/out" 2>&1
    equal "accepted: $*" 0 $?
}

refused "-append without -kernel" -bios "$kernel" -append x
refused "did you mean -kernel?" -kernal x
refused "did you mean -nographic?" --nografic
refused "unknown option" -frobnicate
refused "not an option" disk.img
refused "needs a value" -kernel
refused "takes no value" --icount=4 -kernel "$kernel"
refused "expected 1 to 1000 ns" --icount-ns 0 -kernel "$kernel"
refused "expected a size" -m lots
refused "expected 1M to 64G" -m 0
refused "expected 1M to 64G" -m 65G
refused "expected 1M to 64G" -m 512K
refused "expected a size" -m 99999999999999999999G
refused "expected a size" -m -5
refused "did you mean 'size'" -m siz=4
refused "1 to 255" -smp 0
refused "1 to 255" -smp 256
refused "1 to 255" -smp many
refused "make 4 CPUs, not 3" -smp 3,sockets=2,cores=2
refused "unknown" -smp 2,sheep=1
refused "nosuch" -cpu nosuch -kernel "$kernel"
refused "nosuch" -cpu max,+nosuch -kernel "$kernel"
refused "known: pc" -machine q35
refused "unknown" -machine pc,frob=1
refused "known: interp" -accel kvm
refused "expected 1 to 64 instructions" -accel interp,block=0
refused "expected 1 to 64 instructions" -accel interp,block=65
refused "known: block" -accel interp,chunk=3
refused "expected 1 to 2047 MiB" -accel jit,tb-size=0
refused "expected 1 to 2047 MiB" -accel jit,tb-size=2048
refused "expected 1 to 2047 MiB" -accel jit,tb-size=99999999999999999999
refused "expected 1 to 2047 MiB" -machine pc,accel=jit -accel jit,tb-size=-1
refused "expected 0 to 1000000 rounds" -accel jit,threshold=1000001
refused "expected 0 to 1000000 rounds" -accel jit,threshold=hot
refused "did you mean 'tb-size'" -accel jit,tbsize=64
refused "known: block" -accel interp,tb-size=64
refused "known: tb-size, threshold" -accel jit,block=8
refused "known: interp" -machine pc,accel=kvm
refused "known: fpu, mmx" --native-features -nosuch
refused "did you mean 'bmi1'" --native-features -bmi3
refused "vmx: unknown" --native-features v2,-vmx
refused "expected v2, -NAME, +NAME, NAME=on or NAME=off" --native-features bmi2
refused "expected v2, -NAME, +NAME, NAME=on or NAME=off" --native-features bmi2=maybe
refused "expected v2, -NAME, +NAME, NAME=on or NAME=off" --native-features ""
refused "unknown; known: fpu" --native-features -
refused "needs a value" --native-features
refused "avx2: this machine's own CPU lacks it" --native-features v2,+avx2
refused "thread=two: expected single" -accel jit,thread=two -kernel "$kernel"
refused "thread=multi with --icount" -accel jit,thread=multi --icount -kernel "$kernel"
refused "--lockstep without --icount" --lockstep -accel jit -kernel "$kernel"
refused "--lockstep without -accel jit" --lockstep --icount -kernel "$kernel"
refused "expected each, every=N or memory=N" --lockstep=often --icount -accel jit
refused "every=0: expected 1 or more instructions" --lockstep=every=0 --icount -accel jit
refused "--perf-map without -accel jit" --perf-map -kernel "$kernel"
refused "--jitdump without -accel jit" --jitdump /tmp -kernel "$kernel"
refused "--jitdump: cannot write /nonexistent/jit-" --jitdump /nonexistent -accel jit -kernel "$kernel"
refused "YYYY-MM-DD" -rtc base=yesterday
refused "YYYY-MM-DD" -rtc base=2024-13-01
refused "known: host" -rtc clock=sundial
refused "unknown" -serial telepathy
refused "no -chardev" -serial chardev:x
refused "at most 4" -serial null -serial null -serial null -serial null -serial null
refused "already taken" -serial stdio -serial stdio -kernel "$kernel"
refused "cannot open" -serial file:/nonexistent/dir/file -kernel "$kernel"
refused "only none" -display sdl
refused "unknown device" -device e1000
refused "did you mean 'isa-debug-exit'" -device isa-debugexit
refused "unknown property" -device isa-debug-exit,port=4
refused "0 to 0xffff" -device isa-debug-exit,iobase=0x10000
refused "not within" -device isa-debug-exit,iobase=0xffff,iosize=4
refused "isa-debug-exit" -kernel "$kernel" -device isa-debug-exit,iobase=0x60
refused "isa-debug-exit" -kernel "$kernel" -device isa-debug-exit,iobase=0x3f8 -nographic
refused "DRIVER.PROPERTY=VALUE" -global nonsense
refused "unknown" -d everything
refused "did you mean 'guest_errors'" -d guest_error
refused "cannot write it" -D /nonexistent/log -kernel "$kernel"
refused "expected a size" -D "$scratch/log,limit=much"
refused "already one with the id 'x'" -chardev null,id=x -chardev stdio,id=x
refused "number of seconds" --timeout soon
refused "number of seconds" --timeout 0
refused "not empty" --until ""
refused "-initrd without -kernel" -initrd x
refused "-append without -kernel" -append x -bios x
refused "-bios with -kernel" -bios x -kernel "$kernel"

run -no-reboot -nodefaults -m 64
run -m 2G -smp cpus=2,sockets=1,cores=2,threads=1
run -smp 8
run -accel tcg -machine pc,accel=tcg -M pc -cpu max
run -accel jit
run -accel jit --icount --lockstep
run -accel jit --icount --lockstep=each,every=10,memory=1000
run -accel jit,tb-size=1,threshold=0
run -accel jit,tb-size=2047,threshold=1000000
run -accel jit --native-features v2 -cpu max
run --native-features -bmi2,adx=off,-random,-undefined-flags,+bmi2 --native-features -undefined-results
run -rtc base=2001-02-03T04:05:06,clock=vm
run -rtc base=localtime
run --serial null --serial "file:$scratch/serial" -vga none -net none -monitor none
run -global kvm-pit.lost_tick_policy=discard -device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4
run -name test,process=x --timeout=10 -icount
run -d guest_errors,int -D "$scratch/log"
run -d guest_errors,int -D "$scratch/log,limit=1M"

set -f  # -device ? is no pattern
for question in "-help" "--help" "-version" "-cpu help" "-machine help" "-accel help" "--native-features help" "-device ?" "-device help" \
    "-device isa-debug-exit,help" "-d help"; do
    # shellcheck disable=SC2086
    timeout 10 "$droste" $question >"$scratch/out" 2>"$scratch/err" </dev/null
    status=$?
    if [ $status -eq 0 ] && [ -s "$scratch/out" ] && [ ! -s "$scratch/err" ]; then
        ok "answers $question"
    else
        bad "answers $question" "status $status"
    fi
done
"$droste" -device '?' >"$scratch/out"
contains "kvm-unit-tests' runner finds its device" "$scratch/out" '"pc-testdev"'
"$droste" -kernel "$kernel" -append off -display none -global a.b=c >"$scratch/out" 2>&1
contains "unknown -global is a warning" "$scratch/out" "warning: -global a.b=c"
finish
