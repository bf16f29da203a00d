#!/usr/bin/env python3
"""Times Droste against QEMU TCG and against the same program run natively, and prints a table with the goals.

    tests/bench/run.py --droste BINARY [--accel interp|jit] [--rows cpu,boot,...] [--rounds 3] [--peers native,qemu,bochs]
                       [--bare] [--counts] [--baseline FILE] [--json FILE]

--rows   names of rows, their classes (rows/rows.inc), or
           cpu        all rows that need no system       system     system calls, faults, processes
           boot       Linux 6.1-cloud to userland        footprint  memory beyond touched guest RAM
           nested     userland, CPUID exit, computing in L1, L2, L3 under KVM: minutes
         default: all of them, with --bare: cpu
--bare   the CPU rows without a system, in the multiboot kernel of tests/bench/bare: seconds
--baseline  what an earlier run wrote with --json: its peers stand in for those that do not run now (--peers ''), and Droste is
         compared with itself before
--counts instructions an operation instead of times, and of a boot, with Droste alone: the same in every run

The rows are compiled once; /init of the guest and the native program are the same file. Each row tells its checksum, which has
to be everybody's: a row whose checksums differ fails, and the exit status is 1. Rounds alternate between the runners, batch by
batch; a figure is the median of the rounds in CPU time of the process, so that others on the machine matter little (--time wall:
on a quiet one). Peers that are not installed are left out and said so. docs/benchmarks.md
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import build
import emulators
import footprint
import nested
import report
import runner

HERE = pathlib.Path(__file__).resolve().parent
SYSTEM_ROWS = ("syscall", "fault", "switch", "fork", "fork_exec")
GUEST_MIB = 512


def rows_of_inc():
    """{row: class} of rows/rows.inc, in its order."""
    text = (HERE / "rows/rows.inc").read_text()
    return {name: area for area, name in re.findall(r"^ROW\((\w+), (\w+),", text, re.M)}


class Selection:
    """What --rows asks for."""

    def __init__(self, words, bare):
        cpu = rows_of_inc()
        classes = set(cpu.values())
        self.classes = {**cpu, **dict.fromkeys(SYSTEM_ROWS, "system"), "boot": "boot"}
        wanted = words or (["cpu"] if bare else ["cpu", "system", "boot", "footprint", "nested"])
        for word in wanted:
            if word not in self.classes and word not in classes | {"cpu", "system", "footprint", "nested"}:
                sys.exit(f"run.py: --rows: {word}: no such row or class; there are {', '.join([*sorted(classes), *self.classes])}, "
                         "cpu, system, footprint, nested")
        self.rows = [row for row, area in self.classes.items()
                     if row in wanted or area in wanted or ("cpu" in wanted and row in cpu)]
        if bare and not all(row in cpu for row in self.rows):
            sys.exit("run.py: --bare runs CPU rows only")
        self.timed = [row for row in self.rows if row != "boot"]
        self.boot, self.footprint, self.nested = "boot" in self.rows, "footprint" in wanted, "nested" in wanted


class Runners:
    """Makes the runners of the peers that are wanted and installed."""

    def __init__(self, options, built):
        self.options, self.built, self.ram_mib = options, built, GUEST_MIB
        self.names = ["droste"]
        for peer in (p for p in options.peers.split(",") if p):
            if peer == "native":
                self.names.insert(0, peer)
            elif peer == "qemu" and shutil.which("qemu-system-x86_64"):
                self.names.append(peer)
            else:
                print(f"run.py: {peer} " + ("is not installed and is left out" if peer == "qemu" else "is no peer of this program"),
                      file=sys.stderr)

    def command(self, name, arguments):
        """The command that starts Droste or QEMU with these arguments, which both understand."""
        if name == "qemu":
            return ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-nographic", "-no-reboot", *arguments]
        model = ["-cpu", self.options.cpu] if self.options.cpu else []
        return [self.options.droste.resolve(), "-accel", self.options.accel, *model, "-nographic", "-no-reboot", *arguments]

    def linux(self):
        """Arguments for the kernel with /init."""
        return ["-m", str(GUEST_MIB), "-kernel", self.options.kernel, "-initrd", self.built["initramfs"],
                "-append", f"{emulators.APPEND} loglevel=1 panic=-1"]

    def make(self, name):
        if name == "native":
            command = [self.built["program"]]
        elif self.options.bare:
            command = self.command(name, ["-m", "128", "-kernel", self.built["bare"], "-append", f"pages={self.options.pages}"])
        else:
            command = self.command(name, self.linux())
        return runner.Runner(name, command, self.options.timeout)


def collect(runners, selection, options):
    """({row: {runner: [figures of a round]}}, [what failed], {row: checksum})."""
    results, failures, sums = {}, [], {}
    if selection.boot:
        results["boot"] = {name: [] for name in runners.names if name != "native"}
        for _ in range(options.rounds):
            for name, figures in results["boot"].items():
                booting = runners.make(name)
                try:
                    wall, cpu = booting.start()
                    figures.append({"ns": cpu * 1e9, "wall_ns": wall * 1e9})
                except runner.Failure as failure:
                    failures.append(f"boot: {name}: {failure}")
                finally:
                    booting.end()
    made = [runners.make(name) for name in runners.names]
    try:
        for row in selection.timed:
            batches, failed = runner.measure(made, row, options.ms / 1000, options.rounds)
            failures += failed
            results[row] = {name: [{"ns": b.ns, "wall_ns": b.wall_s / b.operations * 1e9, "operations": b.operations}
                                   for b in batches.get(name, [])] for name in runners.names}
            sums[row] = sorted({b.checksum for of_runner in batches.values() for b in of_runner})
            print(f"run.py: {row}", file=sys.stderr)
    finally:
        for one in made:
            one.end()
    return results, failures, sums


def count(options, selection, built):
    """{row: {"sum", "count"}}: instructions an operation. One tick of Droste's time-stamp counter is one instruction."""
    command = [options.droste.resolve(), "-accel", options.accel, "-icount-ns", "1", "-nographic", "-no-reboot"]
    cpu_rows = rows_of_inc()
    wanted = [row for row in selection.timed if row in cpu_rows]
    rows = {}
    # The first unit makes the data of some rows, the second is counted.
    script = "run=" + ",".join(f"{r}:1,{r}:1" for r in wanted)
    counted = subprocess.run([*command, "-m", "128", "-kernel", built["bare"], "-append", script],
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=options.timeout, check=True, text=True)
    for name, checksum, operations, ticks in re.findall(r"^BENCH (\w+) (\w+) (\d+) (\d+)", counted.stdout, re.M):
        rows[name] = {"sum": checksum, "count": int(ticks) / int(operations)}
    if set(rows) != set(wanted):
        sys.exit(f"run.py: the bare kernel did not run {', '.join(r for r in wanted if r not in rows)}")
    if selection.boot:
        booted = subprocess.run(
            [*command, "-m", str(GUEST_MIB), "-stats", "-kernel", options.kernel, "-initrd", built["initramfs"], "-append",
             f"{emulators.APPEND} loglevel=1 panic=-1", "-until", "BENCH userland"],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=options.timeout, check=True, text=True)
        rows["boot"] = {"count": int(re.search(r"^instructions\s+(\d+)", booted.stderr, re.M)[1])}
    return rows


def find_kernel(options):
    """The kernel to boot: --kernel, or from the guest cache, which is filled by tests/boot/guests.sh."""
    if not options.kernel:
        guests = options.guests or pathlib.Path(os.environ.get("DROSTE_GUESTS", HERE.parent.parent / "build/guests"))
        subprocess.run(["sh", HERE.parent / "boot/guests.sh", guests, "vmlinuz-6.1"], check=True)
        options.guests, options.kernel = guests, guests / "vmlinuz-6.1"
    if not options.kernel.is_file():
        sys.exit(f"run.py: {options.kernel}: no such file")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--droste", type=pathlib.Path, required=True)
    parser.add_argument("--accel", default="interp")
    parser.add_argument("--cpu", help="CPU model of Droste; its default if not said")
    parser.add_argument("--rows", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ms", type=int, help="how long a batch of a row takes: 300, with --bare 60")
    parser.add_argument("--peers", default="native,qemu")
    parser.add_argument("--bare", action="store_true")
    parser.add_argument("--pages", choices=("4k", "2m"), default="2m", help="pages of the bare kernel")
    parser.add_argument("--counts", action="store_true")
    parser.add_argument("--levels", type=int, default=3, help="how deep the rows of `nested` go")
    parser.add_argument("--kernel", type=pathlib.Path)
    parser.add_argument("--guests", type=pathlib.Path, help="guest cache; default $DROSTE_GUESTS or build/guests")
    parser.add_argument("--build", type=pathlib.Path, help="folder to build in and to keep; else a temporary one")
    parser.add_argument("--time", choices=("cpu", "wall"), default="cpu")
    parser.add_argument("--baseline", type=pathlib.Path, help="--json of an earlier run")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--timeout", type=float, default=600)
    options = parser.parse_args()
    if not options.droste.is_file():
        sys.exit(f"run.py: {options.droste}: no such file")
    listed = subprocess.run([options.droste.resolve(), "-accel", "help"], capture_output=True, text=True, check=False)
    if not re.search(rf"^{re.escape(options.accel.split(',')[0])}\b", listed.stdout, re.M):
        sys.exit(f"run.py: {options.droste} has no -accel {options.accel}: its -accel help says\n{listed.stdout.strip()}")
    options.ms = options.ms or (60 if options.bare else 300)
    return options


def main():
    options = parse_arguments()
    selection = Selection([w for w in options.rows.split(",") if w], options.bare)
    if not options.bare and (not options.counts or selection.boot):
        find_kernel(options)
    with tempfile.TemporaryDirectory(prefix="droste-bench-") as name:
        work = pathlib.Path(name)
        built = build.build(options.build.resolve() if options.build else work / "built")
        if options.counts:
            rows = count(options, selection, built)
            print(report.count_table(rows, selection.classes))
            if options.json:
                options.json.write_text(json.dumps({"accel": options.accel, "rows": rows}, indent=2) + "\n")
            return
        runners = Runners(options, built)
        result = report.Report(options, selection.classes)
        if selection.rows:
            result.add_rows(*collect(runners, selection, options))
        if selection.footprint:
            result.add_footprint(*footprint.measure(runners, [*rows_of_inc(), *SYSTEM_ROWS]))
        if selection.nested:
            result.add_nested(nested.compare(options, work))
        if options.json:
            options.json.write_text(json.dumps(result.data(), indent=2) + "\n")
        print(result.table())
    if result.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
