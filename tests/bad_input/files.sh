#!/bin/sh
# files.sh DROSTE KERNEL: missing, truncated, empty, directory and garbage files for each loader, and what does
# not fit: one sentence naming the file, exit status 2.
. "$(dirname "$0")/../boot/lib.sh"
kernel=$2

# refused_file NAME SENTENCE-PART OPTION...
refused_file() { refused_as "$@" -display none; }

: >"$scratch/empty"
mkdir "$scratch/directory"
head -c 100000 /dev/zero | tr '\0' 'x' >"$scratch/garbage"
head -c 100 "$kernel" >"$scratch/short"
gzip -c "$kernel" | head -c 200 >"$scratch/short.gz"
{ printf '\037\213\010\000'; head -c 1000 "$scratch/garbage"; } >"$scratch/bad.gz"
printf '#!/bin/sh\n' >"$scratch/script"
head -c 70000000 /dev/zero >"$scratch/large"
[ "$(id -u)" -eq 0 ] || { : >"$scratch/locked" && chmod 0 "$scratch/locked"; }

for option in -kernel -bios; do
    refused_file "$option: missing" "missing': No such file" $option "$scratch/missing"
    refused_file "$option: device" "is a device" $option /dev/zero
    refused_file "$option: empty" "is empty" $option "$scratch/empty"
    refused_file "$option: directory" "is a directory" $option "$scratch/directory"
    [ ! -e "$scratch/locked" ] || refused "$option: unreadable" "Permission denied" $option "$scratch/locked"
done
# The words that runners of test kernels look for.
refused_file "-kernel: missing, in QEMU's words" "could not load kernel '$scratch/missing': No such file" -kernel "$scratch/missing"
refused_file "-kernel: garbage" "neither a Linux bzImage" -kernel "$scratch/garbage"
refused_file "-kernel: script" "neither a Linux bzImage" -kernel "$scratch/script"
refused_file "-kernel: truncated multiboot" "truncated" -kernel "$scratch/short"
refused_file "-kernel: truncated gzip" "gzip" -kernel "$scratch/short.gz"
refused_file "-kernel: damaged gzip" "gzip" -kernel "$scratch/bad.gz"
refused_file "-kernel: an ELF program" "neither a multiboot header nor a PVH" -kernel "$droste" -m 4G
refused_file "-bios: odd size" "multiple of 64 KiB" -bios "$scratch/garbage"
refused_file "-bios: too large" "multiple of 64 KiB up to 16 MiB" -bios "$scratch/large"
refused_file "module: missing" "No such file" -kernel "$kernel" -initrd "$scratch/missing x"
refused_file "module: empty" "is empty" -kernel "$kernel" -initrd "$kernel,$scratch/empty"
refused_file "module: directory" "is a directory" -kernel "$kernel" -initrd "$scratch/directory"
refused_file "module: too large" "do not fit" -kernel "$kernel" -initrd "$scratch/large" -m 32
refused_file "multiboot: RAM too small" "-m" -kernel "$kernel" -m 1

# Linux images: the real one cut at every interesting place.
if sh "$here/../boot/guests.sh" "$guests" vmlinuz-6.1 >/dev/null 2>&1; then
    linux=$guests/vmlinuz-6.1
    for bytes in 512 600 1024 20480 100000 10000000; do
        head -c $bytes "$linux" >"$scratch/cut"
        refused_file "Linux: cut to $bytes bytes" "kernel '" -kernel "$scratch/cut" -m 256
    done
    refused_file "Linux: RAM too small" "needs RAM up to" -kernel "$linux" -m 32
    refused_file "Linux: initrd missing" "No such file" -kernel "$linux" -initrd "$scratch/missing" -m 256
    refused_file "Linux: initrd empty" "is empty" -kernel "$linux" -initrd "$scratch/empty" -m 256
    refused_file "Linux: initrd does not fit" "do not fit" -kernel "$linux" -initrd "$scratch/large" -m 128
    refused_file "Linux: command line too long" "at most 2047" -kernel "$linux" -m 256 -append "$(head -c 3000 "$scratch/garbage")"
    refused_file "Linux: 64-bit entry without long mode" "64-bit" -kernel "$linux" -m 256 -cpu max,-lm -machine entry=64
fi
finish
