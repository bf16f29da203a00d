#!/bin/sh
# explain.sh DROSTE KERNEL: bad values and files of the options about VMX and of --config: one sentence on standard
# error that names what is wrong, exit status 2, and nothing starts.
. "$(dirname "$0")/../boot/lib.sh"
kernel=$2

# A file of options with these lines.
config() { printf '%s\n' "$@" >"$scratch/conf"; }

refused "needs a value" --vmexit-trace
refused "expected FILE" --vmexit-trace ""
refused "cannot write it: No such file" --vmexit-trace /nonexistent/dir/trace
refused "cannot write it: Is a directory" --vmexit-trace "$scratch"
refused "did you mean 'json'" --vmexit-trace "$scratch/t,format=jsn"
refused "expected a size" --vmexit-trace "$scratch/t,limit=much"
refused "did you mean 'limit'" --vmexit-trace "$scratch/t,limt=1"
refused "did you mean -vmexit-trace" --vmexittrace x
refused "cannot write it" --vmcs-dump=/nonexistent/dir/dump
refused "cannot write it" --vmcs-dump /nonexistent/dir/dump
refused "did you mean -vmcs-dump" --vmcs-dmp

: >"$scratch/empty"
head -c 10000 /dev/urandom >"$scratch/garbage"
printf '\177ELF\002\001\001' >"$scratch/short.elf"
head -c 5000 "$droste" >"$scratch/truncated.elf"
printf 'ffffffff81000000 T _text\nffffffff81000010 T \n' >"$scratch/map"
printf 'ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n' >"$scratch/stub"
printf '0000000000001000 D data\n' >"$scratch/data"
printf '\177ELF\002\001\001\000\000\000\000\000\000\000\000\000\002\000>\000' >"$scratch/stripped.elf"
head -c 200 /dev/zero >>"$scratch/stripped.elf"
refused "LEVEL:FILE" --symbols "$scratch/map"
refused "LEVEL:FILE" --symbols "0:$scratch/map"
refused "level from 1 to 9" --symbols "10:$scratch/map"
refused "no file name" --symbols "2:"
refused "expected a number" --symbols "2:$scratch/map,offset=far"
refused "did you mean 'offset'" --symbols "2:$scratch/map,ofset=1"
refused "missing': No such file" --symbols "L2:$scratch/missing"
refused "is a directory" --symbols "2:$scratch"
refused "is a device" --symbols "1:/dev/zero"
refused "empty': it is empty" --symbols "2:$scratch/empty"
refused "garbage': " --symbols "2:$scratch/garbage"
refused "short.elf': the ELF file is truncated" --symbols "2:$scratch/short.elf"
refused "truncated.elf': the ELF file is truncated" --symbols "2:$scratch/truncated.elf"
refused "stripped.elf': there are no symbols of code" --symbols "2:$scratch/stripped.elf"
refused "map': line 2: expected" --symbols "2:$scratch/map"
refused "stub': line 1: expected" --symbols "2:$scratch/stub"
refused "data': there are no symbols of code" --symbols "2:$scratch/data"

refused "did you mean 'vmx-ept'" -cpu nested,+vmx,-vmx-epd
refused "no VMX feature 'vmx-frobnicate'" -cpu max,vmx-frobnicate=off
refused "is not implemented" -cpu max,+vmx-exit-load-perf-global-ctrl
refused "exclude each other" -cpu nested,-vmx,+vmx-ept
refused "needs vmx-ept" -cpu max,-vmx-ept,+vmx-pml
refused "cannot be had" -cpu baseline,+vmx-invpcid-exit
refused "known: enabled, disabled, unlocked" -machine feature-control=on

refused "could not load options file" --config "$scratch/missing"
refused "is a directory" --config "$scratch"
refused "garbage:1: not a text file" --config "$scratch/garbage"
config "m = 64" "" "kernal = x"
refused "conf:3: kernal: unknown option, did you mean -kernel?" --config "$scratch/conf"
config "m = lots"
refused "conf:1: -m lots: expected a size" --config "$scratch/conf"
config "# a comment" "m"
refused "conf:2: m: needs a value" --config "$scratch/conf"
config "S = 1"
refused "conf:1: S: takes no value" --config "$scratch/conf"
config "config = $scratch/conf"
refused "conf:1: a file of options cannot name another" --config "$scratch/conf"
config "m 64"
refused "conf:1: expected NAME = VALUE" --config "$scratch/conf"
config "= 64"
refused "conf:1: expected NAME = VALUE" --config "$scratch/conf"
head -c 2000000 /dev/zero | tr '\0' '#' >"$scratch/large"
refused "larger than 1 MiB" --config "$scratch/large"

refused "expected status or enable" nested
refused "did you mean 'status'" nested stauts
refused "unknown option" nested status -frobnicate
refused "nosuch" nested status -cpu nosuch
refused "expected a size" nested enable -m lots
refused "did you mean 'vmx-vpid'" nested enable -cpu max,-vmx-vpd
refused "changes one file" nested enable --config "$scratch/a" --config "$scratch/b"
refused "cannot write it" nested enable --config /nonexistent/dir/conf
refused "is a directory" nested enable --config "$scratch"
refused "is a device" nested enable --config /dev/null
config "kernal = x"
refused "conf:1:" nested enable --config "$scratch/conf"
equal "and leaves a bad file alone" "kernal = x" "$(cat "$scratch/conf")"
if [ "$(id -u)" -ne 0 ]; then
    mkdir "$scratch/locked" && chmod 500 "$scratch/locked"
    refused "cannot write it" nested enable --config "$scratch/locked/conf"
fi

for question in "nested help" "nested --help" "nested status -cpu help"; do
    # shellcheck disable=SC2086
    timeout 10 "$droste" $question >"$scratch/out" 2>"$scratch/err" </dev/null
    equal "answers $question" 0 $?
done
timeout 20 "$droste" -kernel "$kernel" -append off -display none --vmcs-dump -cpu nested,vmx=on,-vmx-ept,vmx-vpid=off,-vmx_pml \
    -machine feature-control=unlocked --symbols "2:$droste,offset=0x1000" >"$scratch/out" 2>&1 </dev/null
equal "accepted: QEMU's spellings of VMX features" 0 $?
config "kernel = $kernel" "append = \"off\"" "display=none" "--m = 64" "  # done"
timeout 20 "$droste" --config "$scratch/conf" >"$scratch/out" 2>&1 </dev/null
equal "accepted: a file of options" 0 $?
timeout 20 "$droste" --config "$scratch/empty" --config "$scratch/conf" >"$scratch/out" 2>&1 </dev/null
equal "accepted: two, one of them empty" 0 $?
finish
