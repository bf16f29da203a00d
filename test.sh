#!/bin/sh
# Installs what is missing, builds, and runs all tests. The last line is "N passed, N failed".
#
#   ./test.sh            everything but the long runs
#   ./test.sh --long     those too (twenty boots in a row, long fuzzing and differential runs)
set -u
cd "$(dirname "$0")"
. tests/boot/setup.sh

skip_long="--no-suite long"
case "${1:-}" in
--long) skip_long= ;;
'') ;;
*)
    sed -n '2,5p' "$0" | sed 's/^# \{0,1\}//'
    exit 2
    ;;
esac

give_up() {
    say "$1"
    echo "0 passed, 1 failed"
    exit 1
}

# shellcheck disable=SC2086
need_packages $build_packages $test_packages $guest_packages ||
    give_up "without these packages nothing can be built or tested"
if [ ! -f build-test/build.ninja ]; then
    meson setup --buildtype release -Dtests=enabled build-test >/dev/null || give_up "meson setup failed"
fi
ninja -C build-test || give_up "the build failed"

guests=$PWD/build/guests
if ! sh tests/boot/guests.sh "$guests"; then
    say "tests that boot a guest which is not there are skipped; all others run"
fi
# shellcheck disable=SC2086
DROSTE_GUESTS=$guests meson test -C build-test --no-rebuild --print-errorlogs $skip_long
exec python3 tests/boot/sum_up.py build-test/meson-logs/testlog.json
