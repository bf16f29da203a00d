# Shared by the boot and bad-input tests (sourced). A test calls ok/bad per claim and ends with finish.
#
#   $1 of every test: the droste program.   DROSTE_GUESTS: cache of guest images (default build/guests)
set -u

droste=$1
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
guests=${DROSTE_GUESTS:-$root/build/guests}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

ok() {
    passed=$((passed + 1))
    echo "ok   $1"
}
bad() {
    failed=$((failed + 1))
    echo "FAIL $1"
    [ $# -lt 2 ] || echo "     $2"
}
# equal NAME EXPECTED ACTUAL
equal() {
    if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "expected '$2', got '$3'"; fi
}
# contains NAME FILE FIXED-STRING
contains() {
    if grep -a -q -F -e "$3" "$2"; then ok "$1"; else bad "$1" "'$3' is not in: $(tail -c 300 "$2" | tr -d '\r' | tail -n 3)"; fi
}
# refused_as NAME SENTENCE-PART OPTION...: one sentence on standard error that has the part in it, exit status 2, and
# nothing starts.
refused_as() {
    name=$1
    want=$2
    shift 2
    timeout 20 "$droste" "$@" </dev/null >"$scratch/out" 2>"$scratch/err"
    status=$?
    lines=$(wc -l <"$scratch/err")
    if [ $status -eq 2 ] && [ "$lines" -eq 1 ] && [ ! -s "$scratch/out" ] && grep -q -F -e "$want" "$scratch/err"; then
        ok "$name"
    else
        bad "$name" "status $status, $lines lines: $(head -c 300 "$scratch/err" | tr '\n' ' ') (wanted: $want)"
    fi
}
# refused SENTENCE-PART OPTION...: the options are the name.
refused() {
    part=$1
    shift
    refused_as "$*" "$part" "$@"
}
# guest_checks FILE: each CHECK line of a guest's console as a claim.
guest_checks() {
    sed -n 's/^CHECK \(.*\) ok$/\1/p' "$1" >"$scratch/good"
    sed -n 's/^CHECK \(.*BAD.*\)$/\1/p' "$1" >"$scratch/bad"
    while read -r line; do
        ok "guest: $line"
    done <"$scratch/good"
    while read -r line; do
        bad "guest: $line"
    done <"$scratch/bad"
}
finish() {
    echo "$passed passed, $failed failed"
    [ $failed -eq 0 ]
    exit
}
# Guests that must be in the cache (or come there); without them the test is skipped.
need_guests() {
    if ! sh "$root/tests/boot/guests.sh" "$guests" "$@" >"$scratch/guests.log" 2>&1; then
        cat "$scratch/guests.log"
        echo "skipped: no guest image, no network"
        exit 77
    fi
}
