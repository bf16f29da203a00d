#!/bin/sh
# icount.sh DROSTE: two runs of a Linux boot with --icount print exactly the same, time stamps included,
# with one CPU and with two.
. "$(dirname "$0")/lib.sh"
need_guests vmlinuz-6.1 busybox
sh "$here/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio"
for cpus in 1 2; do
    for run in a b; do
        "$droste" --icount -kernel "$guests/vmlinuz-6.1" -initrd "$scratch/initramfs.cpio" -m 256 -smp $cpus -no-reboot \
            -append "console=ttyS0 poweroff panic=-1" --timeout 600 --stats </dev/null >"$scratch/$cpus$run" 2>"$scratch/stats.$cpus$run"
        equal "run $run with $cpus CPUs powers off" 0 $?
    done
    contains "with $cpus CPUs reaches userland" "$scratch/${cpus}a" DROSTE-USERLAND
    if cmp -s "$scratch/${cpus}a" "$scratch/${cpus}b"; then
        ok "two runs with $cpus CPUs print the same"
    else
        bad "two runs with $cpus CPUs print the same" "$(diff "$scratch/${cpus}a" "$scratch/${cpus}b" | head -n 4)"
    fi
    equal "and retire the same number of instructions" "$(grep '^instructions' "$scratch/stats.${cpus}a")" \
        "$(grep '^instructions' "$scratch/stats.${cpus}b")"
done
finish
