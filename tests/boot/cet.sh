#!/bin/sh
# cet.sh DROSTE: with -cpu max Debian's 6.12 kernel tracks its own indirect branches (it tests at boot that a missing ENDBR
# faults), and a program that turns on shadow stacks for itself finds them as the kernel promises.
. "$(dirname "$0")/lib.sh"
need_guests vmlinuz-6.12 busybox
${CC:-cc} -O1 -static -fcf-protection=none -fno-omit-frame-pointer -o "$scratch/shstk" "$root/tests/guest/shstk.c" || exit 1
echo 'dmesg | grep "CET detected"; dmesg | grep -i -E "BUG|Oops|WARNING|self-test"; /data/shstk' >"$scratch/script.sh"
sh "$here/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio" "$scratch/script.sh" "$scratch/shstk"

"$droste" -kernel "$guests/vmlinuz-6.12" -initrd "$scratch/initramfs.cpio" -cpu max -m 512 -no-reboot --timeout 600 \
    -append "console=ttyS0 quiet poweroff panic=-1" </dev/null >"$scratch/out" 2>&1
equal "exit status after power-off" 0 $?
tr -d '\r' <"$scratch/out" >"$scratch/text"
contains "the kernel tracks indirect branches" "$scratch/text" "CET detected: Indirect Branch Tracking enabled"
if grep -q -E 'BUG|Oops|WARNING|self-test' "$scratch/text"; then
    bad "the kernel has no complaint" "$(grep -E 'BUG|Oops|WARNING|self-test' "$scratch/text" | head -n 3)"
else
    ok "the kernel has no complaint"
fi
guest_checks "$scratch/text"
contains "the program reaches its end" "$scratch/text" "SHSTK-DONE failed=0"
[ $failed -eq 0 ] || { echo "--- console"; tail -n 40 "$scratch/text"; }
finish
