#!/bin/sh
# linux_boot.sh DROSTE KERNEL CPUS [OPTION...]: a Debian kernel boots to userland, runs guest_script.sh with
# the right results, and switches the machine off.
. "$(dirname "$0")/lib.sh"
kernel=$2
cpus=$3
shift 3
need_guests "$kernel" busybox
cat "$here/guest_check.sh" "$here/guest_script.sh" >"$scratch/script.sh"
sh "$here/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio" "$scratch/script.sh"

"$droste" -kernel "$guests/$kernel" -initrd "$scratch/initramfs.cpio" -m 512 -smp "$cpus" -no-reboot --timeout 600 \
    -append "console=ttyS0 quiet poweroff panic=-1 droste.cpus=$cpus" "$@" </dev/null >"$scratch/out" 2>&1
status=$?
tr -d '\r' <"$scratch/out" >"$scratch/text"

equal "exit status after power-off" 0 $status
contains "reaches userland" "$scratch/text" DROSTE-USERLAND
guest_checks "$scratch/text"
contains "guest script reaches its end" "$scratch/text" "SCRIPT-DONE failed=0"
[ $failed -eq 0 ] || { echo "--- console"; tail -n 40 "$scratch/text"; }
finish
