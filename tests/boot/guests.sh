#!/bin/sh
# Fetches the guests of the boot tests and of demo.sh by Debian package name and unpacks them into a cache.
#
#   guests.sh CACHE_DIR [GUEST...]      GUEST: vmlinuz-6.1 vmlinuz-6.12 busybox memtest seabios xen
#                                              kvm-6.1 kvm-6.12 vmlinuz-6.1-dom0 qemu (for tests/nested)
#
# Each GUEST becomes CACHE_DIR/GUEST: a file; kvm-* a folder with the KVM modules of that kernel, qemu a folder
# with qemu-system-x86_64, its libraries and its ROM images. What is already there is not fetched again, so a filled
# cache works without a network. Exit 0 when all are there, 1 when one could not be had (each is named).
# Without GUEST all but qemu, which only the long tests need.
# Nothing is installed: packages are downloaded and unpacked, which needs no root. If the system's package
# lists do not know a package, a private list inside CACHE_DIR (Debian 12, security, backports, from the system's own mirrors) is used.
set -eu

[ $# -ge 1 ] || { sed -n '2,12p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
mkdir -p "$1"
cache=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- vmlinuz-6.1 vmlinuz-6.12 busybox memtest seabios xen kvm-6.1 kvm-6.12 vmlinuz-6.1-dom0

private_apt="$cache/apt"
private=no

# apt with its own lists and cache, so that no root and no change of the system is needed.
apt_options() {
    [ "$private" = yes ] || return 0
    printf '%s\n' -o "Dir::State=$private_apt/state" -o "Dir::State::status=/var/lib/dpkg/status" \
        -o "Dir::Cache=$private_apt/cache" -o "Dir::Etc::sourcelist=$private_apt/sources.list" \
        -o "Dir::Etc::sourceparts=-" -o "APT::Sandbox::User="
}

use_private_apt() {
    [ "$private" = no ] || return 1
    private=yes
    mkdir -p "$private_apt/state/lists/partial" "$private_apt/cache/archives/partial"
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    # The mirrors are the system's own: each archive it knows, with the suites the guests come from.
    apt-get indextargets --format '$(REPO_URI) $(SUITE)' 2>/dev/null | sort -u | while read -r uri suite; do
        case $suite in
        *-security) echo "deb [signed-by=$key] $uri bookworm-security main" ;;
        *) printf "deb [signed-by=$key] $uri %s main\n" bookworm bookworm-updates bookworm-backports ;;
        esac
    done | sort -u >"$private_apt/sources.list"
    # shellcheck disable=SC2046
    apt-get $(apt_options) -qq update >/dev/null 2>&1 || true
}

# The newest package whose name matches the regular expression.
newest() {
    # shellcheck disable=SC2046
    apt-cache $(apt_options) search --names-only "$1" 2>/dev/null | cut -d' ' -f1 | sort -V | tail -n 1
}

# Downloads and unpacks the newest package matching $1 into $cache/$2.root.
unpack() {
    work="$cache/$2.root"
    rm -rf "$work"
    mkdir -p "$work"
    for attempt in system private; do
        [ "$attempt" = system ] || use_private_apt || break
        package=$(newest "$1")
        [ -n "$package" ] || continue
        # shellcheck disable=SC2046
        if (cd "$work" && apt-get $(apt_options) -qq -o APT::Sandbox::User= download "$package") >/dev/null 2>&1; then
            dpkg-deb -x "$work"/*.deb "$work"
            rm -f "$work"/*.deb
            echo "$package" >"$cache/$2.package"
            return 0
        fi
    done
    rm -rf "$work"
    return 1
}

# fetch GUEST PACKAGE-REGEX PATH-PATTERN: takes the first file matching PATH-PATTERN out of the package.
fetch() {
    [ ! -s "$cache/$1" ] || return 0
    unpack "$2" "$1" || { echo "guests.sh: cannot get $1 (Debian package $2): no network?" >&2; return 1; }
    found=$(find "$cache/$1.root" -path "$cache/$1.root/$3" -type f | sort | head -n 1)
    [ -n "$found" ] || { echo "guests.sh: no $3 in package $(cat "$cache/$1.package")" >&2; return 1; }
    cp "$found" "$cache/$1.part"
    mv "$cache/$1.part" "$cache/$1"
    rm -rf "$cache/$1.root"
}

# fetch_kernel VERSION PACKAGE-REGEX: vmlinuz-VERSION and kvm-VERSION, which belong together, so both are taken
# out of one package. The modules are kept uncompressed, in the order they load in.
fetch_kernel() {
    [ ! -s "$cache/vmlinuz-$1" ] || [ ! -f "$cache/kvm-$1/kvm-amd.ko" ] || return 0
    [ "$guest" != "vmlinuz-$1" ] || [ ! -s "$cache/vmlinuz-$1" ] || return 0
    unpack "$2" "vmlinuz-$1" || { echo "guests.sh: cannot get $guest (Debian package $2): no network?" >&2; return 1; }
    tree="$cache/vmlinuz-$1.root"
    rm -rf "$cache/kvm-$1" "$cache/kvm-$1.part"
    mkdir "$cache/kvm-$1.part"
    for module in irqbypass kvm kvm-intel kvm-amd; do
        found=$(find "$tree" -name "$module.ko*" -type f | head -n 1)
        case $found in
        *.xz) xz -dc "$found" >"$cache/kvm-$1.part/$module.ko" ;;
        *) cp "$found" "$cache/kvm-$1.part/$module.ko" ;;
        esac || { echo "guests.sh: no $module.ko in package $(cat "$cache/vmlinuz-$1.package")" >&2; return 1; }
    done
    cp "$tree"/boot/vmlinuz-* "$cache/vmlinuz-$1.part"
    mv "$cache/vmlinuz-$1.part" "$cache/vmlinuz-$1"
    mv "$cache/kvm-$1.part" "$cache/kvm-$1"
    rm -rf "$tree"
}

# QEMU with what it needs to run as a VMM inside a guest: every package it depends on is unpacked, and the program's own
# loader says which libraries it takes.
fetch_qemu() {
    [ ! -d "$cache/qemu" ] || return 0
    work="$cache/qemu.root"
    part="$cache/qemu.part"
    rm -rf "$work" "$part"
    mkdir -p "$work" "$part/lib" "$part/lib64" "$part/bin" "$part/share/qemu"
    for attempt in system private; do
        [ "$attempt" = system ] || use_private_apt || break
        # shellcheck disable=SC2046
        packages=$(apt-get $(apt_options) -s -o Dir::State::status=/dev/null install --no-install-recommends \
            qemu-system-x86 2>/dev/null | sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -E '^(lib|qemu-system-(x86|data|common)|seabios|zlib1g)')
        [ -n "$packages" ] || continue
        # shellcheck disable=SC2046,SC2086
        (cd "$work" && apt-get $(apt_options) -qq -o APT::Sandbox::User= download $packages) >/dev/null 2>&1 && break
    done
    for package in "$work"/*.deb; do
        [ -f "$package" ] || { echo "guests.sh: cannot get qemu (Debian package qemu-system-x86): no network?" >&2; return 1; }
        dpkg-deb -x "$package" "$work"
    done
    cp "$work/usr/bin/qemu-system-x86_64" "$part/bin/"
    loader=$(find "$work" -name 'ld-linux-x86-64.so.2' | head -n 1)
    paths=$(find "$work" -name '*.so*' ! -path '*/qemu/*' -exec dirname {} + | sort -u | tr '\n' ':')
    "$loader" --library-path "$paths" --list "$part/bin/qemu-system-x86_64" | sed -n 's/.* => \(.*\) (0x.*/\1/p' |
        while read -r library; do
            case $library in
            "$work"/*) cp -L "$library" "$part/lib/" ;;
            *) echo "guests.sh: qemu takes $library from this system" >&2; exit 1 ;;
            esac
        done || return 1
    cp -L "$loader" "$part/lib64/"
    for image in bios-256k.bin bios-microvm.bin linuxboot_dma.bin linuxboot.bin kvmvapic.bin pvh.bin; do
        found=$(find "$work" -name "$image" | head -n 1)
        cp "$found" "$part/share/qemu/" || return 1
    done
    echo qemu-system-x86 >"$cache/qemu.package"
    mv "$part" "$cache/qemu"
    rm -rf "$work"
}

status=0
for guest in "$@"; do
    case $guest in
    vmlinuz-6.1 | kvm-6.1) fetch_kernel 6.1 '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' ;;
    vmlinuz-6.12 | kvm-6.12) fetch_kernel 6.12 '^linux-image-6\.12[0-9.]*[+~].*-cloud-amd64$' ;;
    vmlinuz-6.1-dom0) fetch "$guest" '^linux-image-6\.1\.0-[0-9]+-amd64$' 'boot/vmlinuz-*' ;;
    qemu) fetch_qemu ;;
    busybox) fetch "$guest" '^busybox-static$' 'bin/busybox' ;;
    memtest) fetch "$guest" '^memtest86\+$' 'boot/memtest86+x64.bin' ;;
    seabios) fetch "$guest" '^seabios$' 'usr/share/seabios/bios-256k.bin' ;;
    xen) fetch "$guest" '^xen-hypervisor-4\.17-amd64$' 'boot/xen-*-amd64.gz' ;;
    *) echo "guests.sh: unknown guest '$guest'" >&2; false ;;
    esac || status=1
done
exit $status
