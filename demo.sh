#!/bin/sh
# Builds droste and boots a Debian kernel in it to a busybox shell on this terminal. Works on a bare
# Debian 12; installs what is missing.
#
#   ./demo.sh            a shell in the guest; Ctrl-A x ends the machine
#   ./demo.sh --batch    runs a few commands in the guest and powers off
#   ./demo.sh --nested   KVM in the guest runs the same kernel as its guest; a script runs in that, all power off
#   ./demo.sh --qemu     the same with Debian's QEMU as the VMM in the guest
#   ./demo.sh --xen      Xen with a Debian kernel as its dom0, to a shell
#   ./demo.sh --rom      the built-in ROM, a hypervisor that runs itself eight levels deep: a second
set -eu
cd "$(dirname "$0")"
. tests/boot/setup.sh

case "${1:-}" in
--batch | --nested | --qemu | --xen | --rom | '') ;;
*)
    sed -n '2,10p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac

build() {
    if [ ! -f build/build.ninja ]; then
        meson setup --buildtype release -Dtests=disabled build >/dev/null
    fi
    say "building (a few minutes the first time)"
    ninja -C build frontends/cli/droste >build/demo-build.log 2>&1 || {
        tail -n 30 build/demo-build.log
        say "the build failed; all of it is in build/demo-build.log"
        exit 1
    }
}

# shellcheck disable=SC2086
if need_packages $build_packages $guest_packages; then
    build
elif [ -x build/frontends/cli/droste ]; then
    say "going on with the program that was built before"
else
    say "without them nothing can be built; once built, and with build/guests filled, this works offline"
    exit 1
fi

[ "${1:-}" != --rom ] || exec build/frontends/cli/droste -nographic </dev/null

case "${1:-}" in
--nested) guests="kvm-6.1" ;;
--qemu) guests="kvm-6.1 qemu" ;;
--xen) guests="xen vmlinuz-6.1-dom0" ;;
*) guests= ;;
esac
# shellcheck disable=SC2086
if ! sh tests/boot/guests.sh build/guests vmlinuz-6.1 busybox $guests; then
    say "no guest to boot: the Debian packages named above could not be fetched (no network?)"
    say "what works without: build/frontends/cli/droste starts its built-in ROM, and any kernel of yours with -kernel FILE"
    exit 1
fi

options="console=ttyS0 quiet panic=-1"
nested() { # MEMORY MAKER-OPTION...
    memory=$1
    shift
    sh tests/nested/make_nested_initramfs.sh -g build/guests "$@" build/guests/nested.cpio
    exec build/frontends/cli/droste -kernel build/guests/vmlinuz-6.1 -initrd build/guests/nested.cpio -m "$memory" \
        -cpu nested,+vmx -no-reboot -append "$options poweroff" -nographic </dev/null
}
case "${1:-}" in
--nested) nested 768 ;;
--qemu) nested 1024 -v 2=qemu-pc ;;
--xen)
    sh tests/boot/make_initramfs.sh build/guests/busybox build/guests/shell.cpio
    echo "Booting Xen; Ctrl-A x ends the machine, Ctrl-A h helps."
    exec build/frontends/cli/droste -kernel build/guests/xen -append "console=com1 com1=115200,8n1 dom0_mem=512M noreboot=1" \
        -initrd "build/guests/vmlinuz-6.1-dom0 console=hvc0 quiet,build/guests/shell.cpio" \
        -cpu nested,+vmx -m 1024 -no-reboot -nographic
    ;;
esac
if [ "${1:-}" = --batch ]; then
    cat >build/guests/batch.sh <<'SCRIPT'
echo "--- uname -a"; uname -a
echo "--- /proc/cpuinfo"; grep -m 3 -E 'vendor_id|model name|MHz' /proc/cpuinfo
echo "--- free -m"; free -m
echo "--- pi, summed up in awk"; awk 'BEGIN { for (i = 0; i < 20000; i++) s += (i % 2 ? -4 : 4) / (2 * i + 1); print s }'
echo "--- seq 1 1000 | sha256sum"; seq 1 1000 | sha256sum
echo "--- ps"; ps | tail -n 3
SCRIPT
    sh tests/boot/make_initramfs.sh build/guests/busybox build/guests/batch.cpio build/guests/batch.sh
    exec build/frontends/cli/droste -kernel build/guests/vmlinuz-6.1 -initrd build/guests/batch.cpio -m 512 -no-reboot \
        -append "$options poweroff" -nographic </dev/null
fi
sh tests/boot/make_initramfs.sh build/guests/busybox build/guests/shell.cpio
echo "Booting Debian's 6.1 kernel; Ctrl-A x ends the machine, Ctrl-A h helps."
exec build/frontends/cli/droste -kernel build/guests/vmlinuz-6.1 -initrd build/guests/shell.cpio -m 512 -no-reboot \
    -append "$options" -nographic
