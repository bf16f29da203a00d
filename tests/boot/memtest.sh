#!/bin/sh
# memtest.sh DROSTE: Debian's memtest86+ passes its first four tests without an error. With --icount: its screen is written now and
# then, and free-running translated code is through with test 4 before that.
. "$(dirname "$0")/lib.sh"
need_guests memtest
"$droste" --icount -kernel "$guests/memtest" -append "console=ttyS0,115200" -m 16 --until "#4  [" --timeout 300 </dev/null >"$scratch/out" 2>&1
equal "reaches test 4" 0 $?
tr '\033' '\n' <"$scratch/out" >"$scratch/lines"
contains "shows its screen" "$scratch/lines" "Memtest86+"
if grep -a -q -E 'Errors: +[1-9]' "$scratch/lines"; then
    bad "no errors" "$(grep -a -E 'Errors: +[1-9]' "$scratch/lines" | head -n 1)"
else
    ok "no errors"
fi
finish
