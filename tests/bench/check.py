#!/usr/bin/env python3
"""check.py DROSTE: the CPU rows of the benchmark compute in every engine what they compute natively, and with --icount each takes the same
number of instructions in every engine and with blocks of every length. No time is measured."""
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile

import build
import run
import runner

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
from claims import claim, finish  # noqa: E402

ANSWER = re.compile(r"^BENCH (\w+) (\w+) (\d+) (\d+)", re.M)


def settings(droste):
    """(engine for -accel, pages of the bare kernel)."""
    listed = subprocess.run([droste, "-accel", "help"], capture_output=True, text=True, timeout=10, check=True).stdout
    jit = [("jit", "2m"), ("jit", "4k")] if re.search(r"^jit\b", listed, re.M) else []
    return [("interp,block=64", "2m"), ("interp,block=1", "4k"), *jit]


class Killed(runner.Runner):
    """Dies in the middle of a row."""

    def run(self, row, units):
        if row == "sort" and units > 1:
            self.process.kill()
        return super().run(row, units)


class Liar(runner.Runner):
    """Computes something else."""

    def run(self, row, units):
        return dataclasses.replace(super().run(row, units), checksum="0")


def check_runners(program):
    good, killed = runner.Runner("good", [program], 30), Killed("killed", [program], 30)
    liar = Liar("liar", [program], 30)
    hung = runner.Runner("hung", ["sh", "-c", "echo BENCH userland; while :; do :; done"], 1)
    try:
        batches, failures = runner.measure([good, killed, hung], "sort", 0.01, 2)
        claim("a runner that dies or hangs is reported and the others measured",
              list(batches) == ["good"] and len(batches["good"]) == 2 and
              failures == ["sort: killed: ended with status -9", "sort: hung: no answer within 1 s"], failures)
        batches, failures = runner.measure([killed], "crc", 0.01, 2)
        claim("a runner that died runs the next row", len(batches.get("killed", [])) == 2 and not failures, failures)
        _, failures = runner.measure([good, liar], "crc", 0.01, 1)
        claim("a checksum that differs fails the row", len(failures) == 1 and "0 by liar" in failures[0], failures)
        _, failures = runner.measure([good], "nothing", 0.01, 1)
        claim("a row that is not there is left out", failures == ["nothing: good: left out: there is no such row"], failures)
    finally:
        for one in (good, killed, hung, liar):
            one.end()


def main():
    droste = pathlib.Path(sys.argv[1]).resolve()
    rows = list(run.rows_of_inc())
    with tempfile.TemporaryDirectory(prefix="droste-bench-") as name:
        built = build.build(pathlib.Path(name))
        native = subprocess.run([built["program"]], input="".join(f"{row} 1\n" for row in rows), capture_output=True, text=True,
                                timeout=60, check=True)
        check_runners(built["program"])
        sums = {row: checksum for row, checksum, _, _ in ANSWER.findall(native.stdout)}
        left_out = [row for row in rows if row not in sums]
        claim("natively all rows run but those of newer CPUs", set(left_out) <= {"avx2"}, left_out)
        expected = None
        for engine, pages in settings(droste):
            command = [droste, "-accel", engine, "-icount-ns", "1", "-m", "128", "-no-reboot", "-kernel", built["bare"], "-append",
                       f"pages={pages} run=" + ",".join(f"{row}:1,{row}:1" for row in rows)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False)
            answers = ANSWER.findall(done.stdout)
            what = f"{engine}, {pages} pages"
            claim(f"{what}: runs all rows twice and switches off",
                  done.returncode == 0 and [a[0] for a in answers] == [row for row in rows for _ in range(2)],
                  f"status {done.returncode}, {len(answers)} answers: {done.stderr.strip()}")
            wrong = [f"{row}: {checksum}, natively {sums[row]}" for row, checksum, _, _ in answers if sums.get(row, checksum) != checksum]
            claim(f"{what}: computes what the native CPU does", answers and not wrong, "; ".join(wrong))
            counts = [(row, int(ticks)) for row, _, _, ticks in answers]
            expected = expected or counts
            differ = [f"{row}: {ticks}, {other}" for (row, ticks), (_, other) in zip(expected, counts) if ticks != other]
            claim(f"{what}: as many instructions as in the others, and some in each row",
                  len(counts) == len(expected) > 0 and not differ and all(ticks > 1000 for _, ticks in counts), "; ".join(differ))
    finish()


if __name__ == "__main__":
    main()
