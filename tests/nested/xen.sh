#!/bin/sh
# xen.sh DROSTE [CPUS [MODEL]]: Debian's Xen 4.17 starts by multiboot, finds VT-x with EPT, and runs a Debian kernel as PV dom0 to userland,
# which runs guest_script.sh with the right results and switches the machine off.
. "$(dirname "$0")/../boot/lib.sh"
cpus=${2:-1}
model=${3:-nested,+vmx}
need_guests xen vmlinuz-6.1-dom0 busybox
cat "$root/tests/boot/guest_check.sh" "$here/guest_script.sh" >"$scratch/script.sh"
sh "$root/tests/boot/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio" "$scratch/script.sh"

"$droste" -kernel "$guests/xen" -append "console=com1 com1=115200,8n1 dom0_mem=512M noreboot=1 loglvl=all" \
    -initrd "$guests/vmlinuz-6.1-dom0 console=hvc0 quiet panic=-1 poweroff,$scratch/initramfs.cpio" \
    -cpu "$model" -m 1024 -smp "$cpus" -no-reboot -nographic --timeout 600 </dev/null >"$scratch/out" 2>&1
equal "exit status after power-off" 0 $?
tr -d '\r' <"$scratch/out" >"$scratch/text"
for claim in "VMX: Supported advanced features" "HVM: ASIDs enabled" "HVM: VMX enabled" "HVM: Hardware Assisted Paging (HAP) detected" \
    "HVM: HAP page sizes: 4kB, 2MB, 1GB" "Dom0 has maximum $cpus VCPU" "DROSTE-USERLAND" "SCRIPT-DONE failed=0"; do
    contains "$claim" "$scratch/text" "$claim"
done
case $model in
max*) contains "Xen itself runs on shadow stacks" "$scratch/text" "Enabling Supervisor Shadow Stacks" ;;
esac
if grep -a -q -E 'Xen (BUG|WARN) at|Panic on CPU|BUG:|Oops|WARNING:' "$scratch/text"; then
    bad "neither Xen nor its dom0 complains" "$(grep -a -E 'Xen (BUG|WARN) at|Panic on CPU|BUG:|Oops|WARNING:' "$scratch/text" | head -n 3)"
else
    ok "neither Xen nor its dom0 complains"
fi
[ -z "${DROSTE_KEEP:-}" ] || cp "$scratch/text" "$DROSTE_KEEP"
[ $failed -eq 0 ] || { echo "--- console"; tail -n 40 "$scratch/text"; }
finish
