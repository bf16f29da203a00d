#!/bin/sh
# icount.sh DROSTE: with --icount a Linux boot is the same run whatever the length of the interpreter's blocks, and in
# the translator, with one CPU and with two: the console with its time stamps, and how many instructions, exceptions and interrupts there were.
. "$(dirname "$0")/lib.sh"
need_guests vmlinuz-6.1 busybox
sh "$here/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio"
# The rows of --stats that must not change.
counts() {
    grep -E '^(instructions|exceptions|  page faults|interrupts|NMIs|halts|port accesses|MMIO accesses|virtual time)' "$1"
}
for cpus in 1 2; do
    for block in 64 8 1 jit; do
        case $block in jit) engine=jit ;; *) engine=interp,block=$block ;; esac
        "$droste" --icount -accel $engine -kernel "$guests/vmlinuz-6.1" -initrd "$scratch/initramfs.cpio" -m 256 \
            -smp $cpus -no-reboot -append "console=ttyS0 poweroff panic=-1" --timeout 900 --stats \
            </dev/null >"$scratch/console.$block" 2>"$scratch/stats.$block"
        equal "$cpus CPUs, blocks of $block: powers off" 0 $?
        [ $block != 64 ] || continue
        if cmp -s "$scratch/console.64" "$scratch/console.$block"; then
            ok "$cpus CPUs, blocks of $block: the same console as with 64"
        else
            bad "$cpus CPUs, blocks of $block: the same console as with 64" \
                "$(diff "$scratch/console.64" "$scratch/console.$block" | head -n 4)"
        fi
        equal "$cpus CPUs, blocks of $block: the same counts" "$(counts "$scratch/stats.64")" "$(counts "$scratch/stats.$block")"
    done
    contains "$cpus CPUs: reaches userland" "$scratch/console.64" DROSTE-USERLAND
    equal "$cpus CPUs: blocks are as long as asked" yes \
        "$(awk 'FNR == 1 { i = 0 } /^instructions/ { i = $2 } /^blocks entered/ { r[FILENAME] = i / $3 }
            END { s = ARGV[1]; l = ARGV[2]; print (r[s] < 1.5 && r[l] > 3) ? "yes" : r[s] " " r[l] }' \
            "$scratch/stats.1" "$scratch/stats.64")"
done
finish
