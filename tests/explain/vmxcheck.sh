#!/bin/sh
# vmxcheck.sh DROSTE VMXCHECK: the tool for guests sees in a Linux guest what `nested status` says outside, with VMX
# and without; and reads the machine's own report through fw_cfg.
. "$(dirname "$0")/../boot/lib.sh"
vmxcheck=$2
need_guests vmlinuz-6.1 busybox

cat >"$scratch/script" <<'SCRIPT'
/data/vmxcheck; echo "vmxcheck: $?"
echo "fw_cfg begins"; /data/vmxcheck --fw-cfg; echo "fw_cfg ends: $?"
SCRIPT
sh "$root/tests/boot/make_initramfs.sh" "$guests/busybox" "$scratch/initramfs.cpio" "$scratch/script" "$vmxcheck"
for cpu in nested,+vmx,-vmx-pml nested; do
    timeout 300 "$droste" -kernel "$guests/vmlinuz-6.1" -initrd "$scratch/initramfs.cpio" -m 512 -cpu $cpu -nographic \
        -append "console=ttyS0 quiet poweroff" --timeout 280 </dev/null 2>"$scratch/err" | tr -d '\r' >"$scratch/out"
    "$droste" nested status -m 512 -cpu $cpu >"$scratch/status" 2>/dev/null
    sed -n '/^fw_cfg begins/,/^fw_cfg ends/p' "$scratch/out" | sed '1d;$d' >"$scratch/fw_cfg"
    if [ -s "$scratch/status" ] && cmp -s "$scratch/status" "$scratch/fw_cfg"; then
        ok "$cpu: the guest reads what nested status says"
    else
        bad "$cpu: the guest reads what nested status says" "$(head -n 3 "$scratch/fw_cfg"; tail -n 3 "$scratch/err" "$scratch/out")"
    fi
    contains "$cpu: fw_cfg is there" "$scratch/out" "fw_cfg ends: 0"
    contains "$cpu: the CPU has a name" "$scratch/out" "ok       CPU                 GenuineIntel, Droste"
    if [ $cpu = nested ]; then
        contains "VMX is hidden" "$scratch/out" "missing  VMX                 hidden"
        contains "and the status says so" "$scratch/out" "vmxcheck: 1"
    else
        contains "VMX is visible" "$scratch/out" "ok       VMX"
        # The msr driver is a module that is not here.
        contains "what only MSRs tell is unknown" "$scratch/out" "unknown  EPT"
        contains "and the status says so" "$scratch/out" "vmxcheck: 2"
    fi
done
finish
