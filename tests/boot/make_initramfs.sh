#!/bin/sh
# Makes an initramfs around a static busybox.
#
#   make_initramfs.sh BUSYBOX OUTPUT [SCRIPT] [FILE...]
#
# /init mounts proc, sys and dev, prints DROSTE-USERLAND, runs /script.sh (a copy of SCRIPT) if there is
# one, then powers off if the kernel's command line has the word `poweroff`, else gives a shell. Each FILE is
# copied into /data (executable); a folder with all it holds. OUTPUT is compressed when its name ends in .gz. Needs cpio; no root: the console's device
# node is written as a cpio record by hand.
set -eu

[ $# -ge 2 ] || { sed -n '2,9p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
busybox=$1
output=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc" "$root/root" "$root/data"
cp "$busybox" "$root/bin/busybox"
chmod 755 "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
if [ $# -gt 0 ]; then
    [ -z "$1" ] || cp "$1" "$root/script.sh"
    shift
    for file in "$@"; do
        cp -R "$file" "$root/data/"
        [ -d "$file" ] || chmod 755 "$root/data/$(basename "$file")"
    done
fi

cat >"$root/init" <<'INIT'
#!/bin/busybox sh
export PATH=/bin HOME=/root TERM=linux PS1='droste:\w\$ '
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox --install -s /bin
echo DROSTE-USERLAND
[ ! -f /script.sh ] || sh /script.sh
case " $(cat /proc/cmdline) " in
*" poweroff "*) poweroff -f ;;
esac
cd /root
echo "This is a busybox shell inside the machine; 'poweroff -f' or Ctrl-D switches it off."
setsid cttyhack sh
poweroff -f
INIT
chmod 755 "$root/init"

# One record of the cpio newc format: name, mode (hex), device major and minor.
node() {
    printf '070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\0' \
        "$5" "$2" 0 0 1 0 0 0 0 "$3" "$4" $((${#1} + 1)) 0 "$1"
    padding=$(((4 - (110 + ${#1} + 1) % 4) % 4))
    [ $padding -eq 0 ] || head -c $padding /dev/zero
}

archive() {
    node dev 0x41ed 0 0 1
    node dev/console 0x2180 5 1 2
    node 'TRAILER!!!' 0 0 0 0
    (cd "$root" && find . -mindepth 1 | sort | cpio --quiet -o -H newc -R 0:0)
}
case $output in
*.gz) archive | gzip -n -9 >"$output.part" ;;
*) archive >"$output.part" ;;
esac
mv "$output.part" "$output"
