"""What test scripts share: claims, the line they close with, and reading from a terminal until a text comes."""
import os
import select
import sys
import time

passed = failed = 0


def claim(name, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print("ok  ", name)
    else:
        failed += 1
        print("FAIL", name, str(detail)[:600])


def finish():
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


def read_until(descriptor, text, seconds=20):
    """The bytes read until `text` came, the other end closed or the time was over."""
    got = b""
    end = time.monotonic() + seconds
    while text not in got and time.monotonic() < end:
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                chunk = os.read(descriptor, 65536)
            except OSError:
                break
            if not chunk:
                break
            got += chunk
    return got
