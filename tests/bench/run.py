#!/usr/bin/env python3
"""Times the rows of bench.c under Droste, QEMU TCG and Bochs, side by side, and prints the ratios.

Every emulator boots the same kernel and the same initramfs; a row's time is the native time between its start and end lines on
the serial console. Rounds alternate between the emulators; medians are quoted.
    tests/bench/run.py --droste build/frontends/droste --kernel VMLINUZ [--rounds 3] [--json FILE] [--peers qemu,bochs]
Peers that are not installed are left out and said so.
"""
import argparse
import json
import math
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import emulators

HERE = pathlib.Path(__file__).resolve().parent


def build_initramfs(work):
    """bench.c as /init, with the device node the kernel opens as the console."""
    root = work / "root"
    (root / "dev").mkdir(parents=True)
    subprocess.run(["gcc", "-O2", "-static", "-o", root / "init", HERE / "bench.c"], check=True)
    if not (root / "dev/console").exists():
        subprocess.run(["mknod", root / "dev/console", "c", "5", "1"], check=True)
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    out = work / "initrd.cpio"
    with open(out, "wb") as target:
        subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), stdout=target, cwd=root, check=True)
    return out


def measure(lines):
    """{row: seconds}, plus 'boot' = power-on to userland; and the checksums."""
    times, sums, started = {}, {}, {}
    for now, line in lines:
        if "BENCH " not in line:
            continue
        words = line[line.index("BENCH "):].split()
        if words[1] == "userland":
            times["boot"] = now
        elif words[1] == "done":
            break
        elif words[2] == "start":
            started[words[1]] = now
        elif words[2] == "end":
            times[words[1]] = now - started[words[1]]
            sums[words[1]] = words[3]
    return times, sums


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--droste", type=pathlib.Path, required=True)
    parser.add_argument("--kernel", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="qemu,bochs")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--timeout", type=float, default=400)
    options = parser.parse_args()
    for path in (options.droste, options.kernel):
        if not path.is_file():
            sys.exit(f"run.py: {path}: no such file")
    with tempfile.TemporaryDirectory(prefix="droste-bench-") as name:
        work = pathlib.Path(name)
        initrd = build_initramfs(work)
        linux = ["-m", "512", "-kernel", options.kernel, "-initrd", initrd, "-append", emulators.APPEND, "-no-reboot"]
        runners = {"droste": lambda: emulators.lines_of_pipe([options.droste.resolve(), *linux, "-nographic"], options.timeout)}
        peers = [p for p in options.peers.split(",") if p]
        if "qemu" in peers and shutil.which("qemu-system-x86_64"):
            runners["qemu"] = lambda: emulators.lines_of_pipe(
                ["qemu-system-x86_64", "-accel", "tcg", *linux, "-nographic"], options.timeout)
        if "bochs" in peers and emulators.bochs_installed():
            iso = emulators.build_iso(work, {"vmlinuz": options.kernel, "initrd": initrd}, emulators.linux_label())
            runners["bochs"] = lambda: emulators.bochs(work, iso, 512, options.timeout)
        for peer in peers:
            if peer not in runners:
                print(f"{peer}: not installed, left out", file=sys.stderr)
        results, sums = {r: {} for r in runners}, {}
        for _ in range(options.rounds):
            for runner, start in runners.items():
                times, checks = measure(start())
                for row, seconds in times.items():
                    results[runner].setdefault(row, []).append(seconds)
                for row, check in checks.items():
                    if sums.setdefault(row, check) != check:
                        sys.exit(f"run.py: {runner}: row {row} computed {check}, others {sums[row]}")
    medians = {r: {row: statistics.median(v) for row, v in rows.items()} for r, rows in results.items()}
    rows = [r for r in medians["droste"] if all(r in medians[p] for p in medians)]
    if not rows:
        sys.exit(f"run.py: no complete row: {({p: len(m) for p, m in medians.items()})}")
    header = f"{'row':12}" + "".join(f"{p + ' s':>11}" for p in medians) + "".join(
        f"{p + '/droste':>14}" for p in medians if p != "droste")
    print(header)
    ratios = {p: {} for p in medians if p != "droste"}
    for row in rows:
        line = f"{row:12}" + "".join(f"{medians[p][row]:11.3f}" for p in medians)
        for peer in ratios:
            ratios[peer][row] = medians[peer][row] / medians["droste"][row]
            line += f"{ratios[peer][row]:14.2f}"
        print(line)
    means = {p: geometric_mean([v for row, v in r.items() if row != "boot"]) for p, r in ratios.items()}
    print("geometric mean of the rows without boot (above 1: Droste is faster): " +
          ", ".join(f"{p}/droste {m:.2f}" for p, m in means.items()))
    if options.json:
        options.json.write_text(json.dumps(
            {"rounds": options.rounds, "seconds": results, "medians": medians, "ratios": ratios,
             "geometric_mean": means, "checksums": sums}, indent=2) + "\n")


if __name__ == "__main__":
    main()
