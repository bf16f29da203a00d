#!/bin/sh
# Runs a guest program that defines MACHINE (system/machine.inc) in a whole machine:
#   tests/guest/machine.sh DROSTE TEST.bin TEST.asm [OPTIONS]
# What it writes to port E9h is compared with the "; expect: TEXT" lines of TEST.asm; it ends by switching off. "; options: TEXT"
# there are further options of the machine. "; native: avx" says that the program has AVX instructions: it is skipped where the
# native CPU has none.
set -eu
droste=$1 image=$2 source=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046  # a word each
set -- "$@" $(sed -n 's/^; options: //p' "$source")
status=0
# --icount refuses a model that this machine's own CPU cannot run in full; so the model has no more of it than the program.
model=max,-aes,-pclmulqdq,-sha-ni,-gfni
grep -q '^; native: avx$' "$source" || model=$model,-avx
count=--icount
case "$*" in *thread=multi*) count= ;; esac
# shellcheck disable=SC2086  # a word or none
timeout 170 "$droste" -kernel "$image" -cpu $model -m 64 -nodefaults -debugcon stdio $count -no-reboot "$@" \
    < /dev/null > "$work/got" 2> "$work/errors" || status=$?
if grep "own CPU lacks" "$work/errors"; then
    exit 77  # skipped
fi
sed -n 's/^; expect: //p' "$source" > "$work/want"
if ! diff "$work/want" "$work/got" || [ $status -ne 0 ]; then
    cat "$work/errors"
    echo "status $status"
    exit 1
fi
