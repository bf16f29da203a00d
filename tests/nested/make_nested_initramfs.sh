#!/bin/sh
# Makes the initramfs of level 1 of a stack of KVM guests: it holds the KVM modules, a VMM, and kernel and initramfs of
# level 2, which may hold those of level 3 and so on. The last level runs a script.
#
#   make_nested_initramfs.sh [OPTION...] OUTPUT
#
#   -g DIR        the guest cache (tests/boot/guests.sh fills it with what is missing)      build/guests
#   -l LEVELS     how many levels, 2 or more                                                2
#   -k N=VERSION  the kernel of level N: 6.1 or 6.12; level 1's is the one to boot          6.1
#   -p N=PARAMS   parameters of kvm_intel in level N, separated by spaces
#   -c N=CPUS     vCPUs of level N, from 2 on                                               1
#   -m N=MIB      memory of level N, from 2 on                     256 for the last, 256 more a level above
#   -v N=VMM      what runs level N, from 2 on: minivmm, qemu-pc or qemu-microvm            minivmm
#   -s SCRIPT     runs in the last level, behind tests/boot/guest_check.sh                  guest_script.sh here
#
# Each level prints lines that begin with LEVEL-N: see level.sh.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
guests=$root/build/guests
levels=2
script=$here/guest_script.sh
settings=
usage() {
    sed -n '2,16p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
}
newline='
'
while getopts g:l:k:p:c:m:v:s: option; do
    case $option in
    g) guests=$OPTARG ;;
    l) levels=$OPTARG ;;
    s) script=$OPTARG ;;
    k | p | c | m | v) settings="$settings$option$OPTARG$newline" ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage
output=$1

# setting LETTER LEVEL DEFAULT: what the last option -LETTER LEVEL=... said.
setting() {
    value=$(printf %s "$settings" | sed -n "s/^$1$2=//p" | tail -n 1)
    echo "${value:-$3}"
}

needed=busybox
level=1
while [ "$level" -le "$levels" ]; do
    version=$(setting k "$level" 6.1)
    needed="$needed vmlinuz-$version"
    [ "$level" -eq "$levels" ] || needed="$needed kvm-$version"
    case $(setting v "$level" minivmm) in qemu*) needed="$needed qemu" ;; esac
    level=$((level + 1))
done
# shellcheck disable=SC2086
sh "$root/tests/boot/guests.sh" "$guests" $needed
# compile SOURCE: made into the guest cache.
compile() {
    name=$(basename "$1" .c)
    if [ ! -x "$guests/$name" ] || [ "$1" -nt "$guests/$name" ]; then
        ${CC:-cc} -O2 -static -pthread -o "$guests/$name.$$" "$1"
        mv "$guests/$name.$$" "$guests/$name"
    fi
}
compile "$root/tests/guest/minivmm.c"
compile "$here/say_level.c"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    echo "/data/say_level $levels"
    echo "echo \"LEVEL-$levels-USERLAND kernel=\$(uname -r) cpus=\$(nproc) uptime=\$(cut -d ' ' -f 1 /proc/uptime)\""
    cat "$root/tests/boot/guest_check.sh" "$script"
} >"$work/script.sh"
sh "$root/tests/boot/make_initramfs.sh" "$guests/busybox" "$work/next.cpio" "$work/script.sh" "$guests/say_level"
level=$((levels - 1))
while [ "$level" -ge 1 ]; do
    next=$((level + 1))
    vmm=$(setting v $next minivmm)
    cat >"$work/level.conf" <<CONF
level=$level
kvm_parameters="$(setting p "$level" '')"
vmm=$vmm
cpus=$(setting c $next 1)
memory=$(setting m $next $((256 * (levels - level))))
CONF
    cp "$guests/vmlinuz-$(setting k $next 6.1)" "$work/vmlinuz"
    case $vmm in qemu*) program=$guests/qemu ;; *) program=$guests/minivmm ;; esac
    sh "$root/tests/boot/make_initramfs.sh" "$guests/busybox" "$work/this.cpio" "$here/level.sh" "$work/level.conf" \
        "$work/vmlinuz" "$work/next.cpio" "$program" "$guests/say_level" "$guests/kvm-$(setting k "$level" 6.1)"/*.ko
    mv "$work/this.cpio" "$work/next.cpio"
    level=$((level - 1))
done
mv "$work/next.cpio" "$output"
