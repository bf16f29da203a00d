#!/usr/bin/env python3
"""Times nested virtualization under Droste, Bochs' VMX and QEMU TCG's SVM, side by side, and prints a table.

Every emulator boots Debian's 6.1 kernel with KVM; minivmm (tests/guest) boots the same kernel as L2, whose KVM boots L3, and
so on. Each level runs nested_rows.c before it starts the next. Times are the native machine's, between lines on the serial console:

  LN userland   power-on to level N's shell (the rows that ran before are taken out)
  LN compute    fixed work without exits; LN walk: a page touched for each of 1,200,000 reads, so misses in the TLB
  LN cpuid, us  one CPUID: below L1 a VM exit, handled by the level above
  exit          a CPUID exit and the entry after it under the smallest hypervisor there can be (exits.asm), in ns and in cycles
                of this machine's time-stamp counter

"slow clock" is Droste with --icount-ns 1: virtual time runs at about a sixth of the native machine's, so that timer ticks, each of them
many exits in L3, take a share of the rows that can be neglected. What is left between the levels is the cost of translation.

    tests/bench/nested.py --droste BINARY [--accel interp|jit] --guests DIR [--levels 3] [--rounds 3] [--peers bochs,qemu] [--json FILE]

--guests is the cache that tests/boot/guests.sh fills. Peers run once unless --peer-rounds says otherwise: they take minutes.
A level that did not come up within --timeout seconds is shown as "-".
"""
import argparse
import functools
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import emulators

HERE = pathlib.Path(__file__).resolve().parent
TESTS = HERE.parent
EXITS = 2_000_000
ROWS = (("userland", "s"), ("compute", "s"), ("walk", "s"), ("cpuid", "us"))
CPUIDS = {1: 200_000, 2: 20_000, 3: 2_000}  # a level's count; deeper ones: 200

LEVEL_SCRIPT = """\
. /data/level.conf
echo "ROW $level userland"
/data/nested_rows $level $cpuids
if [ -f /data/next.cpio ]; then
    insmod /data/irqbypass.ko
    insmod /data/kvm.ko
    if grep -q -w svm /proc/cpuinfo; then insmod /data/kvm-amd.ko; else insmod /data/kvm-intel.ko; fi
    /data/minivmm -m $memory /data/vmlinuz /data/next.cpio "console=ttyS0 quiet reboot=t panic=-1 poweroff"
else
    echo "ROW done"
fi
"""


def build_initramfs(work, guests, levels):
    def run(*command):
        subprocess.run(command, check=True)

    run("sh", TESTS / "boot/guests.sh", guests, "busybox", "vmlinuz-6.1", "kvm-6.1")
    for source, options in ((HERE / "nested_rows.c", []), (TESTS / "guest/minivmm.c", ["-pthread"])):
        run("gcc", "-O2", "-static", *options, "-o", work / source.stem, source)
    script = work / "script.sh"
    script.write_text(LEVEL_SCRIPT)
    below = None
    for level in range(levels, 0, -1):
        conf = work / "level.conf"
        conf.write_text(f"level={level}\ncpuids={CPUIDS.get(level, 200)}\nmemory={256 * (levels - level)}\n")
        files = [conf, work / "nested_rows"]
        if below:
            shutil.copy(guests / "vmlinuz-6.1", work / "vmlinuz")
            files += [work / "vmlinuz", below, work / "minivmm", *sorted((guests / "kvm-6.1").glob("*.ko"))]
        made = work / f"level{level}.cpio"
        run("sh", TESTS / "boot/make_initramfs.sh", guests / "busybox", made, script, *files)
        below = work / "next.cpio"
        made.replace(below)
    return below


def measure(lines):
    """{(level, row): seconds}, sums of the rows, and the counts of the cpuid rows."""
    times, sums, counts, in_rows = {}, {}, {}, 0.0
    for now, line in lines:
        if line == "<":
            began = now
        elif line == ">":
            took = now - began
        if "ROW " not in line:
            continue
        words = line[line.index("ROW "):].split()
        if words[1] == "done":
            break
        level, row = int(words[1]), words[2]
        if row == "userland":
            times[level, row] = now - in_rows
            rows_began = now
        elif words[3] == "end":
            times[level, row] = took
            if row == "cpuid":
                counts[level] = int(words[5])
                in_rows += now - rows_began
            else:
                sums[row, level] = words[4]
    for level, count in counts.items():
        times[level, "cpuid"] *= 1e6 / count
    return times, sums


def measure_exits(lines):
    begin = None
    for now, line in lines:
        if "EXITS start" in line:
            begin = now
        elif "EXITS end" in line and begin is not None:
            return (now - begin) / EXITS * 1e9
        elif "EXITS failed" in line:
            break
    return None


def tsc_ghz():
    """Cycles a nanosecond, by this machine's own counter."""
    source = ("#include <stdio.h>\n#include <time.h>\n#include <x86intrin.h>\nint main(void){struct timespec a,b={0,200000000};"
              "clock_gettime(CLOCK_MONOTONIC,&a);unsigned long long s=__rdtsc();nanosleep(&b,0);unsigned long long e=__rdtsc();"
              "clock_gettime(CLOCK_MONOTONIC,&b);printf(\"%f\",(double)(e-s)/((b.tv_sec-a.tv_sec)*1e9+b.tv_nsec-a.tv_nsec));}")
    with tempfile.TemporaryDirectory() as name:
        program = pathlib.Path(name) / "tsc"
        subprocess.run(["gcc", "-O2", "-o", program, "-x", "c", "-"], input=source.encode(), check=True)
        return float(subprocess.run([program], capture_output=True, check=True).stdout)


def runners(options, work, initrd):
    """{emulator: (rounds, megabytes -> lines of the Linux stack, lines of exits.asm or None)}"""
    lines = functools.partial(emulators.lines_of_pipe, cpu=options.time == "cpu")
    exits = work / "exits.bin"
    subprocess.run(["nasm", "-f", "bin", "-o", exits, HERE / "exits.asm"], check=True)
    megs = 256 * options.levels + 512
    kernel = options.guests / "vmlinuz-6.1"
    linux = ["-m", str(megs), "-kernel", kernel, "-initrd", initrd, "-append", emulators.APPEND + " poweroff", "-no-reboot",
             "-nographic"]
    droste = [options.droste.resolve(), "-accel", options.accel, "-cpu", "nested,+vmx"]
    found = {"droste": (options.rounds, lambda: lines([*droste, *linux], options.timeout),
                        lambda: lines([*droste, "-kernel", exits, "-nographic", "-no-reboot"], 120))}
    if options.slow_clock:
        found["slow clock"] = (options.rounds,
                               lambda: lines([*droste, *linux, "--icount-ns", "1"], options.timeout), None)
    wanted = [p for p in options.peers.split(",") if p]
    if "bochs" in wanted and emulators.bochs_installed():
        iso = {}
        for name, files, label in (
                ("linux", {"vmlinuz": kernel, "initrd": initrd}, emulators.linux_label(emulators.APPEND + " poweroff")),
                ("exits", {"exits.bin": exits}, "  kernel mboot.c32\n  append /isolinux/exits.bin\n")):
            (work / name).mkdir()
            iso[name] = emulators.build_iso(work / name, files, label)
        found["bochs"] = (options.peer_rounds, lambda: emulators.bochs(work / "linux", iso["linux"], megs, options.timeout),
                          lambda: emulators.bochs(work / "exits", iso["exits"], 64, 300))
    if "qemu" in wanted and shutil.which("qemu-system-x86_64"):
        command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,+svm", *linux]
        found["qemu"] = (options.peer_rounds, lambda: lines(command, options.timeout), None)
    for peer in wanted:
        if peer not in found and peer != "native":
            print(f"nested.py: {peer} is not installed and left out", file=sys.stderr)
    return found


def table(results, exits, ghz, levels):
    names = list(results)
    lines = [f"{'':16}" + "".join(f"{n:>12}" for n in names)]
    for level in range(1, levels + 1):
        for row, unit in ROWS:
            cells = [results[n].get((level, row)) for n in names]
            lines.append(f"L{level} {row + ', ' + unit:13}" + "".join(f"{c:12.3f}" if c is not None else f"{'-':>12}" for c in cells))
    for unit, factor in (("ns", 1.0), ("cycles", ghz)):
        cells = [exits.get(n) for n in names]
        lines.append(f"{'exit, ' + unit:16}" + "".join(f"{c * factor:12.0f}" if c is not None else f"{'-':>12}" for c in cells))
    return "\n".join(lines)


def collect(options, work):
    """What the rounds found: medians {emulator: {(level, row): figure}}, rounds, exit {emulator: ns}, failures, keys in order."""
    found = runners(options, work, build_initramfs(work, options.guests, options.levels))
    rounds = {n: [] for n in found}
    exit_rounds = {n: [] for n in found}
    sums, failures = {}, []
    for i in range(max(count for count, _, _ in found.values())):
        for emulator, (count, linux, bare) in found.items():
            if i >= count:
                continue
            times, checks = measure(linux())
            rounds[emulator].append(times)
            for (row, level), value in checks.items():
                if sums.setdefault(row, value) != value:
                    failures.append(f"{emulator}: L{level} {row} computed {value}, others {sums[row]}")
            ns = measure_exits(bare()) if bare else None
            if ns is not None:
                exit_rounds[emulator].append(ns)
    medians = {n: {key: statistics.median([r[key] for r in rs if key in r]) for key in {k for r in rs for k in r}}
               for n, rs in rounds.items()}
    if (options.levels, "userland") not in medians["droste"]:
        failures.append(f"droste: L{options.levels} did not come up within {options.timeout:.0f} s")
    return {"medians": medians, "rounds": rounds, "exits": {n: statistics.median(v) for n, v in exit_rounds.items() if v},
            "tsc_ghz": tsc_ghz(), "failures": failures,
            "keys": [(level, row, unit) for level in range(1, options.levels + 1) for row, unit in ROWS]}


def compare(options, work):
    """For run.py: Droste in real time and QEMU once."""
    settings = argparse.Namespace(**{**vars(options), "rounds": 1, "peer_rounds": 1, "slow_clock": False})
    folder = work / "nested"
    folder.mkdir()
    return collect(settings, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--droste", type=pathlib.Path, required=True)
    parser.add_argument("--accel", default="interp")
    parser.add_argument("--guests", type=pathlib.Path, required=True)
    parser.add_argument("--levels", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-rounds", type=int, default=1)
    parser.add_argument("--peers", default="bochs,qemu")
    parser.add_argument("--time", choices=("wall", "cpu"), default="wall",
                        help="cpu: of the process, on a machine shared with others; not of Bochs")
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    options.slow_clock = True
    if not options.droste.is_file():
        sys.exit(f"nested.py: {options.droste}: no such file")
    with tempfile.TemporaryDirectory(prefix="droste-nested-") as name:
        result = collect(options, pathlib.Path(name))
    print(table(result["medians"], result["exits"], result["tsc_ghz"], options.levels))
    for failure in result["failures"]:
        print(f"FAILED {failure}")
    if options.json:
        options.json.write_text(json.dumps(
            {"tsc_ghz": result["tsc_ghz"], "exit_ns": result["exits"], "failures": result["failures"],
             "medians": {n: {f"L{level} {row}": v for (level, row), v in sorted(r.items())} for n, r in result["medians"].items()},
             "rounds": {n: [{f"L{level} {row}": v for (level, row), v in sorted(r.items())} for r in rs]
                        for n, rs in result["rounds"].items()}}, indent=2) + "\n")
    if result["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
