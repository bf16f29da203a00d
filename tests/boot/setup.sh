# Shared by demo.sh and test.sh (sourced): installs Debian packages that are missing.

say() {
    echo "$(basename "$0"): $*" >&2
}

# need_packages PACKAGE...: installs those not there yet, with sudo if this is not root. Status 1 and a
# sentence if that fails.
need_packages() {
    missing=
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed'; then
            missing="$missing $package"
        fi
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    as_root=
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            say "missing packages:$missing. Install them as root: apt-get install$missing"
            return 1
        fi
        as_root=sudo
    fi
    # The lists may be old or absent (a fresh container): update them only if installing fails without.
    # shellcheck disable=SC2086
    if $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null 2>&1; then
        return 0
    fi
    $as_root apt-get -qq update >/dev/null 2>&1
    # shellcheck disable=SC2086
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null 2>&1; then
        say "missing packages that could not be installed (no network?):$missing"
        return 1
    fi
}

build_packages="g++ pkg-config meson ninja-build python3 nasm libfmt-dev libxbyak-dev zlib1g-dev libcapstone-dev acpica-tools"
guest_packages="cpio xz-utils"
test_packages="catch2 binutils"
