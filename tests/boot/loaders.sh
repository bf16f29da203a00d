#!/bin/sh
# loaders.sh DROSTE MULTIBOOT2 FLAT TAG CONSOLE INFORMATION LOW: kernels that look at what a loader hands over, and
# kernels that ask for what cannot be.
. "$(dirname "$0")/lib.sh"
elf=$2
flat=$3
unknown_tag=$4
console=$5
information=$6
low=$7

printf 'first one' >"$scratch/one"
printf 'second one' >"$scratch/two"

# run LAST-LINE OPTION...: a kernel that prints CHECK lines.
run() {
    last=$1
    shift
    timeout 60 "$droste" -serial "file:$scratch/console" -display none -no-reboot "$@" </dev/null 2>"$scratch/err"
    equal "$last: exit status" 0 $?
    guest_checks "$scratch/console"
    contains "$last: reached its end" "$scratch/console" "$last"
}
modules="$scratch/one,$scratch/two with arguments"
run "multiboot2 done" -kernel "$elf" -m 128 -append "alpha=1 beta" -initrd "$modules"
run "multiboot2 done" -kernel "$flat" -m 128 -append "alpha=1 beta" -initrd "$modules"
gzip -c "$elf" >"$scratch/kernel.gz"
run "multiboot2 done" -kernel "$scratch/kernel.gz" -m 128 -append "alpha=1 beta" -initrd "$modules"
run "low memory done" -kernel "$low" -m 5G

refused_as "unknown required tag" "requires a feature that is unknown (tag 77)" -kernel "$unknown_tag" -display none
refused_as "console that must be there" "requires a console" -kernel "$console" -display none
refused_as "unknown information" "requests information of type 99" -kernel "$information" -display none
refused_as "moved kernel without room" "wants 0x" -kernel "$flat" -display none -m 2
finish
