# Runs in the last level behind tests/boot/guest_check.sh. A shorter relative of tests/boot/guest_script.sh, for the many
# variants.
start_checks
check "arithmetic" 5000050000 'expr 100000 \* 100001 / 2'
check "pipes" 3334 'seq 1 10000 | cat | cat | awk "\$1 % 3 == 1" | wc -l'
check "sha256" "67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f  -" 'seq 1 1000 | sha256sum'
check "files" "two 1000 0001" 'seq -w 1 1000 >a; mv a b; ln b c; echo two >a; echo $(cat a) $(wc -l <c) $(sort -r c | sort | head -n 1)'
check "processes" "20 42" 'for i in $(seq 20); do (echo $i >p.$i) & done; wait; (exit 42); a=$?; echo $(cat p.* | wc -l) $a'
check "floating point" 1.6439345667 'awk "BEGIN { for (i = 1; i <= 1000; i++) s += 1 / (i * i); printf \"%.10f\", s }"'
check "signals" 143 'timeout 1 sleep 100 2>/dev/null; echo $?'
check "processors" ok '[ "$(grep -c ^processor /proc/cpuinfo)" = "$(nproc)" ] && echo ok'
finish_checks
