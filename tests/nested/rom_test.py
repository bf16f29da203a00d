#!/usr/bin/env python3
"""rom_test.py DROSTE ROM [CASE...]: runs the self-nesting hypervisor (roms/, docs/vmx/rom.md).

Checks every line of its report, the exact number of VM exits each level saw, and the exit status. The
numbers are architectural: Bochs gives the same (rom_bochs.sh). Without CASE all are run.
"""
import subprocess
import sys

# VM exits a level sees, by the number of levels below it. Plain: VMREAD and VMWRITE exit too.
EXITS = [0, 14, 68, 184, 424, 912, 1896, 3872]
EXITS_PLAIN = [0, 14, 243, 3498]
DEBUG_EXIT = ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]
CHECKS = "arithmetic ok, isolation ok, intercept ok, interrupt ok"


def passing_report(levels, exits):
    plural = "" if levels == 1 else "s"
    lines = [f"droste: {levels} level{plural}, {2 * levels} MiB"]
    if levels == 1:
        lines.append("level 1: arithmetic ok (exits 0)")
    else:
        lines += [f"level {n}: {CHECKS} (exits {exits[levels - n]})" for n in range(levels, 0, -1)]
    return lines + [f"droste: {levels} level{plural}, all checks passed"]


def passing(levels, words="", exits=None, cpu="nested,+vmx"):
    arguments = ["-cpu", cpu, "-m", "64", "-append", f"levels={levels} {words}"]
    return arguments, passing_report(levels, exits or EXITS), 0


CASES = {
    "1 level": passing(1),
    "2 levels": passing(2),
    "4 levels": passing(4),
    "8 levels": passing(8),
    "8 levels by default": (["-cpu", "nested,+vmx"], passing_report(8, EXITS), 0),
    "8 levels on -cpu max": passing(8, cpu="max"),
    "3 levels, plain VMX": passing(3, "plain", EXITS_PLAIN),
    "4 levels, plain VMX": passing(4, "plain", EXITS_PLAIN),
    "no VT-x": (
        ["-cpu", "nested", "-append", "levels=2"],
        [
            "droste: 2 levels, 4 MiB",
            "level 1: FAILED: the processor offers no VT-x (CPUID.1:ECX.VMX is 0): enable it, e.g. with "
            "-cpu nested,+vmx",
        ],
        3,
    ),
    "too little memory": (
        ["-cpu", "nested,+vmx", "-m", "8", "-append", "levels=8"],
        ["level 1: FAILED: 8 levels need 16 MiB of memory, there are 8"],
        3,
    ),
}


def run(droste, rom, arguments):
    command = [droste, "-kernel", rom, "-nographic", *DEBUG_EXIT, *arguments]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    lines = [line for line in result.stdout.decode("ascii", "replace").replace("\r", "").split("\n") if line]
    return lines, result.returncode, result.stderr.decode("utf-8", "replace")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    droste, rom, *names = sys.argv[1:]
    failed = 0
    for name in names or CASES:
        arguments, wanted, status = CASES[name]
        lines, got_status, errors = run(droste, rom, arguments)
        if lines == wanted and got_status == status:
            print(f"ok      {name}")
            continue
        failed += 1
        print(f"FAILED  {name}: exit status {got_status}, expected {status}")
        for line in sorted(set(range(len(lines))) | set(range(len(wanted)))):
            got = lines[line] if line < len(lines) else "(nothing)"
            want = wanted[line] if line < len(wanted) else "(nothing)"
            print(f"    {' ' if got == want else '*'} got      {got}")
            if got != want:
                print(f"      expected {want}")
        print(errors, end="")
    print(f"{len(names or CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
