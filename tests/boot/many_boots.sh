#!/bin/sh
# many_boots.sh DROSTE [COUNT]: boots in a row (20), with 1, 2 and 4 CPUs in turn; none may fail.
. "$(dirname "$0")/lib.sh"
count=${2:-20}
need_guests vmlinuz-6.1 vmlinuz-6.12 busybox
sh "$here/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio"
for n in $(seq "$count"); do
    case $((n % 3)) in 0) cpus=1 ;; 1) cpus=2 ;; *) cpus=4 ;; esac
    if [ $((n % 2)) -eq 0 ]; then kernel=vmlinuz-6.1; else kernel=vmlinuz-6.12; fi
    "$droste" -kernel "$guests/$kernel" -initrd "$scratch/initramfs.cpio" -m 256 -smp $cpus -no-reboot \
        -append "console=ttyS0 poweroff panic=-1" --timeout 300 </dev/null >"$scratch/out" 2>&1
    status=$?
    if [ $status -eq 0 ] && grep -a -q DROSTE-USERLAND "$scratch/out"; then
        ok "boot $n: $kernel, $cpus CPUs"
    else
        bad "boot $n: $kernel, $cpus CPUs" "status $status: $(tail -n 3 "$scratch/out" | tr '\r\n' '  ')"
    fi
done
finish
