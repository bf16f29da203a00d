#!/usr/bin/env python3
"""native_limits.py DROSTE KERNEL: what the native machine refuses (memory, descriptors, system calls) ends in a run all the
same or in exit status 10 and one sentence, never in a signal."""

import ctypes
import errno
import os
import resource
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from claims import claim, finish  # noqa: E402

DROSTE, KERNEL = sys.argv[1:3]
NATIVE_FAILURE = 10


def run(options, prepare):
    result = subprocess.run(
        [DROSTE, "-kernel", KERNEL, "-append", "off", "-display", "none", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60, preexec_fn=prepare)
    return result.returncode, result.stderr


def limited(what, value):
    return lambda: resource.setrlimit(what, (value, value))


# SECCOMP_RET_ERRNO for the system calls of these numbers (x86-64), by a classic BPF program.
MREMAP, GETRANDOM, MEMFD_CREATE = 25, 318, 319


def without(*numbers):
    def instruction(code, true, false, value):
        return struct.pack("HBBI", code, true, false, value)

    program = instruction(0x20, 0, 0, 0)  # load the number
    for number in numbers:
        program += instruction(0x15, 0, 1, number) + instruction(0x06, 0, 0, 0x00050000 | errno.EPERM)
    return filtered(program + instruction(0x06, 0, 0, 0x7FFF0000))


def filtered(program):
    buffer = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer)))
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare(kept=buffer):  # the header has only its address
        if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, header, 0, 0) != 0:
            os._exit(77)

    return prepare


# Executable memory that is no file's: mmap() with PROT_EXEC and MAP_ANONYMOUS ends in EPERM.
MMAP, PROT_EXEC, MAP_ANONYMOUS = 9, 4, 0x20


def without_anonymous_code():
    def instruction(code, true, false, value):
        return struct.pack("HBBI", code, true, false, value)

    protection, flags = 16 + 8 * 2, 16 + 8 * 3
    return filtered(instruction(0x20, 0, 0, 0) + instruction(0x15, 0, 5, MMAP) +
                    instruction(0x20, 0, 0, protection) + instruction(0x45, 0, 3, PROT_EXEC) +
                    instruction(0x20, 0, 0, flags) + instruction(0x45, 0, 1, MAP_ANONYMOUS) +
                    instruction(0x06, 0, 0, 0x00050000 | errno.EPERM) + instruction(0x06, 0, 0, 0x7FFF0000))


def one_sentence(text):
    return text.startswith("droste: ") and text.count("\n") == 1


def main():
    status, text = run([], limited(resource.RLIMIT_AS, 130000 * 1024))
    claim("130 MB of address space: status 10 and a sentence", status == NATIVE_FAILURE and one_sentence(text),
          f"{status}: {text}")
    claim("... that says what was wanted", "address space" in text, text)

    # Wherever the room runs out on the way.
    ended = {}
    for megabytes in range(30, 300, 6):
        status, text = run(["-m", "64"], limited(resource.RLIMIT_AS, megabytes << 20))
        good = status == 0 or status == 127 or (status == NATIVE_FAILURE and one_sentence(text))
        claim(f"{megabytes} MiB of address space end well", good, f"{status}: {text}")
        ended[status] = ended.get(status, 0) + 1
    claim("some of them too few, some enough", ended.get(NATIVE_FAILURE, 0) > 1 and ended.get(0, 0) > 1, str(ended))

    for count in (3, 4, 5, 6, 8):
        status, text = run([], limited(resource.RLIMIT_NOFILE, count))
        good = status in (0, 127) or (status == NATIVE_FAILURE and one_sentence(text))
        claim(f"{count} file descriptors end well", good, f"{status}: {text}")

    status, text = run([], without(MEMFD_CREATE))
    if status == 77:
        print("skip system calls cannot be forbidden here")
        finish()
    claim("without memfd_create() it runs", status == 0, f"{status}: {text}")
    status, text = run([], without(MEMFD_CREATE, MREMAP))
    claim("without any way to executable memory: status 10 and a sentence",
          status == NATIVE_FAILURE and one_sentence(text) and "executable memory" in text, f"{status}: {text}")
    status, text = run(["-accel", "jit"], without_anonymous_code())
    claim("-accel jit without memory for code: status 10 and a sentence that names the way out",
          status == NATIVE_FAILURE and one_sentence(text) and "executable memory" in text and "-accel interp" in text, f"{status}: {text}")
    status, text = run(["-accel", "interp"], without_anonymous_code())
    claim("... which leads out", status == 0 and not text, f"{status}: {text}")
    status, text = run(["-accel", "jit,tb-size=2047"], limited(resource.RLIMIT_AS, 1200 << 20))
    claim("-accel jit,tb-size=2047 in 1200 MiB of address space: the same",
          status == NATIVE_FAILURE and one_sentence(text) and "executable memory" in text, f"{status}: {text}")
    status, text = run(["-accel", "jit,tb-size=1"], limited(resource.RLIMIT_AS, 1200 << 20))
    claim("... tb-size=1 fits", status == 0 and not text, f"{status}: {text}")
    status, text = run([], without(GETRANDOM))
    claim("without getrandom() it runs", status == 0, f"{status}: {text}")
    return below_v2()


# A native CPU below x86-64-v2, feature by feature.
def below_v2():
    for name in ("cx16", "lahf-lm", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"):
        hidden = ["-cpu", "max", "--native-features", "-" + name]
        status, text = run(["-accel", "jit", *hidden], lambda: None)
        last = text.splitlines()[-1] if text else ""
        claim(f"-accel jit without {name}: status 10 and a sentence",
              status == NATIVE_FAILURE and f"'{name}'" in last and "-accel interp" in last, f"{status}: {text}")
        status, text = run(["-accel", "interp", *hidden], lambda: None)
        claim(f"-accel interp without {name} runs", status == 0, f"{status}: {text}")
        status, text = run(hidden, lambda: None)
        claim(f"without {name} and -accel it is interpreted", status == 0 and not text, f"{status}: {text}")
    finish()


main()
