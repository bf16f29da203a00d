#!/bin/sh
# Builds droste and boots a Debian kernel in it to a busybox shell on this terminal. Works on a bare
# Debian 12; installs what is missing.
#
#   ./demo.sh            a shell in the guest; Ctrl-A x ends the machine
#   ./demo.sh --batch    runs a few commands in the guest and powers off
set -eu
cd "$(dirname "$0")"
. tests/boot/setup.sh

case "${1:-}" in
--batch | '') ;;
*)
    sed -n '2,6p' "$0" | sed 's/^# \{0,1\}//'
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

if ! sh tests/boot/guests.sh build/guests vmlinuz-6.1 busybox; then
    say "no guest to boot: linux-image-6.1*-cloud-amd64 and busybox-static could not be fetched (no network?)"
    say "what works without: build/frontends/cli/droste starts its built-in ROM, and any kernel of yours with -kernel FILE"
    exit 1
fi

options="console=ttyS0 quiet panic=-1"
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
