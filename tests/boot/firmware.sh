#!/bin/sh
# firmware.sh DROSTE: Debian's SeaBIOS runs until it finds nothing to boot, and sees the machine as it is.
. "$(dirname "$0")/lib.sh"
need_guests seabios
"$droste" -bios "$guests/seabios" -m 256 -smp 2 -display none -chardev "file,id=log,path=$scratch/log" \
    -device isa-debugcon,iobase=0x402,chardev=log --until "No bootable device" --timeout 120 </dev/null >"$scratch/out" 2>&1
equal "SeaBIOS finds nothing to boot" 0 $?
contains "finds the CPUs" "$scratch/log" "Found 2 cpu(s)"
contains "takes the ACPI tables from fw_cfg" "$scratch/log" "(via xsdt)"
contains "finds the ISA bridge" "$scratch/log" "id=8086:7000"
contains "uses the PM timer" "$scratch/log" "Using pmtimer, ioport 0x608"
contains "initializes the keyboard" "$scratch/log" "PS2 keyboard initialized"
# A second run: the banner on a serial console as well.
"$droste" -bios "$guests/seabios" -m 64 -nographic --until "SeaBIOS (version" --timeout 120 </dev/null >"$scratch/serial" 2>&1
equal "prints its banner on the serial console" 0 $?
finish
