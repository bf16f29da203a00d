#!/bin/sh
# Second opinion on the guest tests: runs them in Debian's Bochs and compares port E9h with their "expect" lines.
#   tests/guest/witness.sh [system/NAME ...]        (needs nasm, bochs, bochs-sdl, bochsbios)
# Known differences: system/debug, where Bochs pushes RF = 0 for the general-detect fault, and where it
# pushes RF = 0 between two iterations of REP (system/debug, system/debug_rep); the manual says 1 for both.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- $(cd "$here" && ls system/*.asm | sed 's/\.asm$//')
nasm -f bin -o "$work/boot" "$here/boot_sector.asm"
echo c > "$work/commands"
cat > "$work/bochsrc" <<RC
megs: 32
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_haswell_4770, reset_on_triple_fault=0
floppya: 1_44=$work/image, status=inserted
boot: floppy
display_library: sdl2
sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
port_e9_hack: enabled=1
log: $work/log
panic: action=report
RC
failed=0
for test in "$@"; do
    nasm -f bin -w-all -I "$here/system/" -o "$work/test" "$here/$test.asm"
    cat "$work/boot" "$work/test" > "$work/image"
    truncate -s 1474560 "$work/image"
    SDL_VIDEODRIVER=dummy timeout 8 bochs -q -f "$work/bochsrc" -rc "$work/commands" \
        < /dev/null > "$work/out" 2>&1 || true
    sed -n '/jmpf 0xf000:e05b/,/^=====\|unk. ctxt): [^j]/p' "$work/out" | sed '1d;/^=====/d;/unk. ctxt/d' |
        sed 's/ *$//' > "$work/got"
    sed -n 's/^; expect: //p' "$here/$test.asm" | sed 's/ *$//' > "$work/want"
    if diff "$work/want" "$work/got"; then
        echo "$test: same"
    else
        echo "$test: differs"
        failed=1
    fi
done
exit $failed
