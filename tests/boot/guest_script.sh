# Runs in the guest behind guest_check.sh. `droste.cpus=N` on the kernel's command line says how many CPUs there must be.
start_checks
cpus=$(sed -n 's/.*droste\.cpus=\([0-9]*\).*/\1/p' /proc/cmdline)

[ -z "$cpus" ] || check "processors" "$cpus" 'nproc'
check "processes: exit statuses" "0 1 42" '(exit 0); a=$?; (exit 1); b=$?; (exit 42); echo $a $b $?'
check "processes: forty at once" 40 'for i in $(seq 40); do (echo $i >p.$i) & done; wait; cat p.* | wc -l'
check "processes: deep" 30 'f() { if [ "$1" -eq 0 ]; then echo 30; else (f $(($1 - 1))); fi; }; f 30'
check "pipes: sum" 50005000 'seq 1 10000 | awk "{ s += \$1 } END { print s }"'
check "pipes: long chain" 3334 'seq 1 10000 | cat | cat | grep -v x | awk "\$1 % 3 == 1" | sort -n | wc -l'
check "pipes: broken" y 'yes | head -n 1'
check "files: sort" 0001 'seq -w 1 2000 | sort -r >big; sort big | head -n 1'
check "files: rename and links" "two two 2" 'echo two >a; ln a b; mv a c; echo $(cat b) $(cat c) $(ls -l b | awk "{ print \$2 }")'
check "files: sparse" 1048577 'dd if=/dev/zero of=hole bs=1 count=1 seek=1M 2>/dev/null; stat -c %s hole'
check "files: find" 25 'for i in 1 2 3 4 5; do mkdir -p d/$i; touch d/$i/a d/$i/b d/$i/c d/$i/d d/$i/e; done; find d -type f | wc -l'
check "floating point: pi" 3.14159265358979 'awk "function at(x, s, p, i) { p = x; for (i = 1; i < 60; i += 2) { s += p / i; p *= -x * x }; return s } BEGIN { printf \"%.14f\", 16 * at(1 / 5) - 4 * at(1 / 239) }"'
check "floating point: e" 2.71828182845905 'awk "BEGIN { t = 1; for (i = 1; i < 25; i++) { s += t; t /= i }; printf \"%.14f\", s }"'
check "floating point: series" 1.6439345667 'awk "BEGIN { for (i = 1; i <= 1000; i++) s += 1 / (i * i); printf \"%.10f\", s }"'
check "floating point: square root" 1.4142135623731 'awk "BEGIN { x = 1; for (i = 0; i < 9; i++) x = (x + 2 / x) / 2; printf \"%.13f\", x }"'
check "floating point in four processes" "1.6439345667 1.6439345667 1.6439345667 1.6439345667" \
    'for n in 1 2 3 4; do awk "BEGIN { for (i = 1; i <= 1000; i++) s += 1 / (i * i); printf \"%.10f\\n\", s }" >f.$n & done; wait; echo $(cat f.1 f.2 f.3 f.4)'
check "sha256" "ddac52f3de78c0f86a14fe75887ac9ad8a339e38ec00566231fcc91cb65d202c  -" 'printf hello12345 >x; for i in 1 2 3 4 5 6 7 8 9 10; do cat x x >y; mv y x; done; sha256sum <x'
check "sha512" "3bf970b1460639a39a585cc79acb53ed8be733553a99bc8d41f23f9efb724b2949e6e5b23153ddf210c2dd622e0176942a603d74525cc9a1a8d75576eaa09579  -" 'sha512sum <x'
check "md5 of dd" "b5cfa9d6c8febd618f91ac2843d50a1c  -" 'dd if=/dev/zero bs=64k count=64 2>/dev/null | md5sum'
check "gzip round trip" "same" 'seq 1 20000 >n; gzip -c n >n.gz; gunzip -c n.gz | cmp - n && echo same'
check "signals: trap" got 'sh -c "trap \"echo got\" USR1; kill -USR1 \$\$"'
check "signals: kill" 137 'sleep 100 & kill -9 $!; wait $! 2>/dev/null; echo $?'
check "signals: alarm" 143 'timeout 1 sleep 100 2>/dev/null; echo $?'
check "time passes" ok 'a=$(date +%s); sleep 2; b=$(date +%s); [ $((b - a)) -ge 2 ] && [ $((b - a)) -le 4 ] && echo ok'
finish_checks
