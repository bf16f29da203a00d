#!/bin/sh
# The second witness: the self-nesting hypervisor under Bochs, which must print the same report, exit
# counts included, as rom_test.py expects of Droste.
#
#   rom_bochs.sh ROM [LEVELS [WORDS]]
#
# Needs bochs with its sdl2 display, isolinux, syslinux-common and xorriso; without them it is skipped (77).
set -eu

[ $# -ge 1 ] || { sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }
rom=$1
levels=${2:-8}
words=${3:-}
modules=/usr/lib/syslinux/modules/bios
for needed in /usr/bin/bochs /usr/bin/xorriso /usr/lib/ISOLINUX/isolinux.bin $modules/mboot.c32 \
    /usr/share/bochs/BIOS-bochs-latest; do
    [ -e "$needed" ] || { echo "skipped: no $needed"; exit 77; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/iso" "$work/iso/isolinux"
cp /usr/lib/ISOLINUX/isolinux.bin $modules/ldlinux.c32 $modules/libcom32.c32 $modules/mboot.c32 "$work/iso/isolinux"
cp "$rom" "$work/iso/rom.bin"
cat >"$work/iso/isolinux/isolinux.cfg" <<END
DEFAULT rom
PROMPT 0
LABEL rom
  KERNEL mboot.c32
  APPEND /rom.bin levels=$levels $words
END
xorriso -as mkisofs -quiet -o "$work/rom.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table "$work/iso" 2>/dev/null
cat >"$work/bochsrc" <<END
megs: 128
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_haswell_4770, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=1700000000
ata0: enabled=1
ata0-master: type=cdrom, path=$work/rom.iso, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev=$work/com1
display_library: sdl2
speaker: enabled=0
sound: driver=dummy
log: $work/log
panic: action=fatal
error: action=report
END
echo c >"$work/commands"
# Bochs ends a guest's power-off with a panic, so its exit status says nothing; the report does.
SDL_VIDEODRIVER=dummy timeout 240 bochs -q -f "$work/bochsrc" -rc "$work/commands" >"$work/out" 2>&1 || true
tr -d '\r' <"$work/com1" >"$work/report"
cat "$work/report"
last=$(tail -n 1 "$work/report")
[ "$last" = "droste: $levels levels, all checks passed" ] || { grep -a '>>PANIC<<' "$work/log"; exit 1; }
# Exits level 1 saw, as in rom_test.py.
case "$levels $words" in
    "8 ") want=3872 ;;
    "4 plain") want=3498 ;;
    *) exit 0 ;;
esac
grep -q "^level 1: .* (exits $want)\$" "$work/report" || { echo "level 1: expected $want exits"; exit 1; }
