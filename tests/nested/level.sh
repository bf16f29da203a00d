# Runs in each level that has another below it, in busybox's shell: loads KVM, starts the level below under the VMM, and
# unloads KVM again. Lines of its own begin with LEVEL-N:
#
#   LEVEL-1-USERLAND kernel=... cpus=... uptime=...     uptime in seconds of this level's clock
#   LEVEL-1-KVM ept=Y vpid=Y ...                        what kvm_intel made of its parameters
#   LEVEL-1-CHILD-EXIT status seconds vmm
#   LEVEL-1-KVM-UNLOADED
. /data/level.conf
seconds() {
    cut -d ' ' -f 1 /proc/uptime
}
/data/say_level "$level"
echo "LEVEL-$level-USERLAND kernel=$(uname -r) cpus=$(nproc) uptime=$(seconds)"

insmod /data/irqbypass.ko
insmod /data/kvm.ko
# shellcheck disable=SC2086
insmod /data/kvm-intel.ko $kvm_parameters || dmesg | tail -n 5
parameters=
for name in ept vpid unrestricted_guest flexpriority enable_apicv enable_shadow_vmcs pml nested; do
    parameters="$parameters $name=$(cat /sys/module/kvm_intel/parameters/$name)"
done
echo "LEVEL-$level-KVM$parameters"

append="console=ttyS0 quiet reboot=t panic=-1 poweroff"
before=$(seconds)
case $vmm in
minivmm) /data/minivmm -m "$memory" -smp "$cpus" /data/vmlinuz /data/next.cpio "$append" ;;
qemu-*)
    mkdir -p /lib /lib64
    ln -sf /data/qemu/lib/* /lib/
    ln -sf /data/qemu/lib64/* /lib64/
    /data/qemu/bin/qemu-system-x86_64 -accel kvm -cpu host -M "${vmm#qemu-}" -m "$memory" -smp "$cpus" -L /data/qemu/share/qemu \
        -nodefaults -no-user-config -display none -serial stdio -no-reboot \
        -kernel /data/vmlinuz -initrd /data/next.cpio -append "$append" </dev/null
    ;;
esac
status=$?
/data/say_level "$level"
echo "LEVEL-$level-CHILD-EXIT $status $(awk "BEGIN { print $(seconds) - $before }") $vmm"
rmmod kvm_intel && rmmod kvm && echo "LEVEL-$level-KVM-UNLOADED"
