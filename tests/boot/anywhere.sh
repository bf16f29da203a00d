#!/bin/sh
# anywhere.sh DROSTE KERNEL: with --icount the machine below does not show. A guest's digest of results that
# processors differ in is one number everywhere, and the same with native features hidden, as on a lesser machine;
# a CPU model that this machine cannot provide is refused, not thinned out.
. "$(dirname "$0")/lib.sh"
kernel=$2

numbers() { # NAME OPTION...
    name=$1
    shift
    timeout 60 "$droste" -kernel "$kernel" -append numbers -nographic --stats "$@" \
        </dev/null >"$scratch/$name" 2>"$scratch/$name.stats"
    equal "$name runs to its end" 0 $?
}

numbers plain --icount -cpu baseline
contains "the digest of all results" "$scratch/plain" 72C13539
contains "they are counted" "$scratch/plain.stats" "vendor-dependent results           20000"
numbers masked --icount -cpu baseline --native-features v2
numbers again --icount -cpu nested,-avx,-aes,-pclmulqdq --native-features v2,-undefined-flags,-undefined-results
for run in masked again; do
    if cmp -s "$scratch/plain" "$scratch/$run"; then
        ok "$run: the same output"
    else
        bad "$run: the same output" "$(cat "$scratch/$run")"
    fi
done
# What happened to the guest. How an engine got there (what it decoded, translated and interpreted, and where it was stopped to
# look at the outside world) is the native machine's affair.
guests='^instructions\|^address-space\|^exceptions\|^  page faults\|^interrupts\|^NMIs\|^halts\|accesses \|^VM e\|^vendor\|^virtual time'
grep "$guests" "$scratch/plain.stats" >"$scratch/a"
grep "$guests" "$scratch/masked.stats" >"$scratch/b"
equal "they are a dozen counters" 1 "$(($(wc -l <"$scratch/a") > 12))"
equal "with native features hidden the counters are the same" "" "$(diff "$scratch/a" "$scratch/b")"

random() { # EXPECTED OPTION...
    expected=$1
    shift
    timeout 60 "$droste" -kernel "$kernel" -append random -nographic "$@" </dev/null >"$scratch/out" 2>&1
    equal "RDRAND: CF = $expected with '$*'" "$expected" "$(tr -d '\r' <"$scratch/out")"
}
random 00000001
random 00000000 --native-features -random
random 00000001 --native-features -random --icount
export DROSTE_NATIVE_WITHOUT=random
random 00000000
unset DROSTE_NATIVE_WITHOUT

refused_as "--icount: the default model is refused without AVX" "lacks 'fma', 'avx', 'f16c', 'avx2'" \
    --native-features -avx --icount -kernel "$kernel" -append off
refused_as "--icount: max, too" "-cpu max: this machine's own CPU lacks" --native-features -avx --icount -cpu max -kernel "$kernel" -append off
timeout 20 "$droste" --native-features -avx --icount -cpu nested,-avx -kernel "$kernel" -append off -display none </dev/null >"$scratch/out" 2>&1
equal "--icount: nested without AVX runs" "0 " "$? $(cat "$scratch/out")"
timeout 20 "$droste" --native-features -avx -kernel "$kernel" -append off -display none </dev/null >"$scratch/out" 2>&1
equal "without --icount the model runs" 0 $?
contains "and the features that the guest loses are said" "$scratch/out" "warning: -cpu nested: this machine's own CPU lacks 'fma'"
timeout 20 "$droste" --native-features -avx -cpu max -kernel "$kernel" -append off -display none </dev/null >"$scratch/out" 2>&1
equal "max is what is there, without a word" "0 " "$? $(cat "$scratch/out")"
finish
