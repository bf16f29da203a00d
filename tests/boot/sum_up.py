#!/usr/bin/env python3
"""sum_up.py TESTLOG.JSON: adds up what meson's tests report and prints "N passed, N failed" as the last line.

A Catch2 program counts its test cases and a script the line "N passed, N failed" it closes with; any other test
counts as one. A test that failed without saying how counts as one failure. Exit status 1 if anything failed.
"""
import json
import re
import sys

CATCH_ALL_PASSED = re.compile(r"All tests passed \(.* in (\d+) test cases?\)")
CATCH_COUNTS = re.compile(r"^test cases:.*$", re.MULTILINE)
SCRIPT_COUNTS = re.compile(r"^(\d+) passed, (\d+) failed", re.MULTILINE)


def counts(test):
    output = test.get("stdout") or ""
    passed = failed = 0
    if match := CATCH_ALL_PASSED.findall(output):
        passed = int(match[-1])
    elif match := CATCH_COUNTS.findall(output):
        numbers = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed)", match[-1])}
        passed, failed = numbers.get("passed", 0), numbers.get("failed", 0)
    elif match := SCRIPT_COUNTS.findall(output):
        passed, failed = (int(n) for n in match[-1])
    elif test["result"] == "OK":
        passed = 1
    if test["result"] not in ("OK", "EXPECTEDFAIL") and failed == 0:
        failed = 1
    return passed, failed


def main():
    passed = failed = 0
    skipped = []
    with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
        for line in log:
            test = json.loads(line)
            if test["result"] == "SKIP":
                skipped.append(test["name"])
                continue
            good, bad = counts(test)
            passed += good
            failed += bad
            if bad:
                print(f"failed: {test['name']} ({test['result']}): {bad} of {good + bad}")
    if skipped:
        print("skipped:", ", ".join(skipped))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
