#!/usr/bin/env python3
"""lockstep.py DROSTE KERNEL [--linux|--nested]: translator and interpreter agree in lockstep, and a difference is found where one is planted.

KERNEL is translated.asm. With --linux a kernel boots to userland instead, with one CPU and with two; with --nested KVM in it boots a guest."""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from claims import claim, finish

droste, kernel = sys.argv[1:3]
TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
DIFFERENCE = 12


def run(lockstep, *options, seconds=250):
    result = subprocess.run([droste, "--icount", "-accel", "jit", f"--lockstep={lockstep}", "-display", "none", *options],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, text=True, errors="replace", check=False)
    return result.returncode, result.stdout, result.stderr


def words(text, *options):
    return ["-kernel", kernel, "-append", text, "-cpu", "nested,+vmx", "-m", "64", "-debugcon", "stdio", *options]


def agrees(name, outcome, complaint="!"):
    status, output, text = outcome
    claim(f"{name}: no difference", status == 0 and "no difference" in text and complaint not in output, f"{status}: {output}{text[:3000]}")


def found(name, outcome, *parts):
    status, _, text = outcome
    good = status == DIFFERENCE and all(re.search(part, text, re.MULTILINE) for part in parts)
    claim(f"{name}: found, with status {DIFFERENCE}", good, f"{status}: {text[:3000]}")


def guests():
    for how in ("", "every=37", "each"):
        agrees(f"everything, '{how}'", run(how, *words("hot cold touch windows odd rewrite layout switch bits mix ticks reset")))
        agrees(f"more code than fits, '{how}'", run(how, *words("room mix")))
    agrees("all code dropped again and again", run("", *words("room mix ticks", "-accel", "jit,tb-size=1,threshold=0")))
    agrees("two CPUs", run("each", *words("mix ticks reset", "-smp", "2")))
    agrees("three levels of the ROM", run("", "-append", "levels=3"))
    agrees("three levels of the ROM, each translation", run("each", "-append", "levels=3"))


def planted():
    for how in ("every=1000", "every=10", "each"):
        found(f"a bit of R15, {how}", run(f"{how},flip=30000", *words("ticks")), r"^  R15 +[0-9a-f]{16}  interpreted [0-9a-f]{16}$",
              r"^lockstep: vCPU 0 is not the same .* after 3[01]\d\d\d instructions", r"^  0x0000000000100[0-9a-f]{3}  ")
    found("a bit of memory that RSP points to", run("flip=30000,flip-address=0x%x" % stack(), *words("ticks")), r"^  memory at 0x10")
    far = run("flip=30000,flip-address=0x2000123,memory=10000", *words("mix"))
    found("a bit of memory that nothing points to", far, r"^  memory at 0x2000120: 00 00 00 01", r"last compared 1\d\d\d\d instructions ago")
    found("... at the end at the latest", run("flip=30000,flip-address=0x2000123", *words("mix")), r"not the same at the end")
    translation = run("each,flip=30000", *words("ticks"))
    found("with 'each' the translation is shown", translation, r"^The translation at 0x100[0-9a-f]{3} was run:", r"^    0x[0-9a-f]+  sub ")


def stack():
    """An address below the top of the guest's stack, out of a report of all registers that a difference in R15 prints."""
    text = run("flip=30000", *words("ticks"))[2]
    return int(re.search(r"RSP=([0-9a-f]{16})", text).group(1), 16)


def guest_images(*names):
    """The folder that has them."""
    cache = os.environ.get("DROSTE_GUESTS", os.path.join(TESTS, "../build/guests"))
    if subprocess.run(["sh", os.path.join(TESTS, "boot/guests.sh"), cache, *names], check=False).returncode != 0:
        print("skipped: no guest image, no network")
        sys.exit(77)
    return cache


def boots(name, cache, initramfs, userland, *options):
    outcome = run("", "-kernel", os.path.join(cache, "vmlinuz-6.1"), "-initrd", initramfs, "-no-reboot",
                  "-append", "console=ttyS0 poweroff panic=-1", "-serial", "stdio", *options, seconds=1500)
    agrees(name, outcome, "Kernel panic")
    claim(f"{name} reaches userland", userland in outcome[1], outcome[1][-300:])


def linux():
    cache = guest_images("vmlinuz-6.1", "busybox")
    with tempfile.TemporaryDirectory() as scratch:
        initramfs = os.path.join(scratch, "initramfs.cpio")
        subprocess.run(["sh", os.path.join(TESTS, "boot/make_initramfs.sh"), os.path.join(cache, "busybox"), initramfs], check=True)
        for cpus in ("1", "2"):
            boots(f"Linux with {cpus} CPUs", cache, initramfs, "DROSTE-USERLAND", "-m", "256", "-smp", cpus)


def nested():
    cache = guest_images("vmlinuz-6.1", "busybox", "kvm-6.1")
    with tempfile.TemporaryDirectory() as scratch:
        initramfs = os.path.join(scratch, "initramfs.cpio")
        subprocess.run(["sh", os.path.join(TESTS, "nested/make_nested_initramfs.sh"), "-g", cache, "-l", "2", initramfs], check=True)
        boots("Linux under KVM", cache, initramfs, "LEVEL-2-USERLAND", "-m", "1024", "-cpu", "nested,+vmx", "-icount-ns", "1")


if sys.argv[3:] == ["--linux"]:
    linux()
elif sys.argv[3:] == ["--nested"]:
    nested()
else:
    guests()
    planted()
finish()
