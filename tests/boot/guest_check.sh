# Goes before a script that runs in the guest, in busybox's shell. It calls start_checks, then `check` for each claim, which
# compares an output with the known right one and prints one line, then finish_checks, whose line tells the test outside
# that everything was reached.
start_checks() {
    failed=0
    work=$(mktemp -d)
    cd "$work" || exit 1
}
check() { # NAME EXPECTED COMMAND
    got=$(eval "$3" 2>&1)
    if [ "$got" = "$2" ]; then
        echo "CHECK $1 ok"
    else
        echo "CHECK $1 BAD: expected '$2', got '$got'"
        failed=$((failed + 1))
    fi
}
finish_checks() {
    cd /
    rm -rf "$work"
    echo "SCRIPT-DONE failed=$failed"
}
