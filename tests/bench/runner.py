"""A program that runs rows when it is told to: the native one, or an emulator whose guest is /init or the bare kernel.

All runners of a comparison are started together and stopped (SIGSTOP) but for the one that is measured, so that a row's batches alternate
between them within a second or two. A batch is timed natively, from the guest's "<" to its ">": the process' CPU time, which a machine
shared with others hardly changes, and the wall clock. The guest's own clock is not asked (rows/harness.h).
"""
import dataclasses
import os
import re
import select
import signal
import subprocess
import time

import emulators

MOST_UNITS = 1 << 30


class Failure(Exception):
    """A runner did not answer, ended, or said that a row cannot be run."""

    def __init__(self, what, usable):
        super().__init__(what)
        self.usable = usable  # the runner still is


@dataclasses.dataclass
class Batch:
    cpu_s: float
    wall_s: float
    operations: int
    checksum: str
    ticks: int

    @property
    def ns(self):
        """CPU time of an operation."""
        return self.cpu_s / self.operations * 1e9


class Runner:
    """`command` is started by `start()`; its guest is at its prompt when it has printed BENCH userland."""

    def __init__(self, name, command, timeout):
        self.name, self.command, self.timeout = name, command, timeout
        self.process = None

    def start(self):
        """Native seconds (wall, CPU) from the start to userland; the runner is stopped then."""
        began = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, bufsize=0)
        self.pending = b""
        try:
            while True:
                line, wall, cpu = self.read_line(began + self.timeout)
                if "BENCH userland" in line:
                    self.stop()
                    return wall - began, cpu
        except Failure:
            self.end()
            raise

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
            self.process = None

    def read_line(self, deadline):
        """(line, wall clock and CPU time when it came)."""
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Failure(f"no answer within {self.timeout:.0f} s", False)
            if select.select([self.process.stdout], [], [], left)[0]:
                chunk = os.read(self.process.stdout.fileno(), 65536)
                self.when = time.monotonic(), emulators.cpu_seconds(self.process) if chunk else 0
                if not chunk:
                    raise Failure(f"ended with status {self.process.wait()}", False)
                self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode(errors="replace").strip(), *self.when

    def run(self, row, units):
        """Runs units of a row: a Batch."""
        self.process.send_signal(signal.SIGCONT)
        usable = False
        try:
            self.process.stdin.write(f"{row} {units}\n".encode())
            deadline = time.monotonic() + self.timeout
            begin = end = None
            while True:
                line, wall, cpu = self.read_line(deadline)
                if line == "<":
                    begin = wall, cpu
                elif line == ">":
                    end = wall, cpu
                elif found := re.search(rf"BENCH {row} (\w+) (.*)", line):
                    break
            usable = True  # from here on: it waits for the next command
            if found[1] == "out":
                raise Failure(f"left out: {found[2]}", True)
            if found[1] == "wrong":
                raise Failure(f"computed {found[2].replace(' ', ' and then ')}", True)
            if not begin or not end:
                raise Failure("its marks did not come", True)
            operations, ticks = (int(w) for w in found[2].split())
            return Batch(end[1] - begin[1], end[0] - begin[0], operations, found[1], ticks)
        except BrokenPipeError as error:
            raise Failure(f"ended with status {self.process.wait()}", False) from error
        finally:
            if usable:
                self.stop()
            else:
                self.end()

    def calibrate(self, row, seconds):
        """How many units take about so long; the first one, which is translated and touches memory, does not count."""
        self.run(row, 1)
        units = 1
        while True:
            took = self.run(row, units).cpu_s
            if took >= seconds / 4 or units >= MOST_UNITS:
                return max(1, round(units * seconds / max(took, 1e-6)))
            units = min(MOST_UNITS, max(units * 2, round(units * min(16.0, seconds / 2 / max(took, 1e-6)))))


def measure(runners, row, seconds, rounds):
    """({runner: [Batch]}, [what failed]): batches of about `seconds`, `rounds` of each, alternating."""
    units, batches, failures = {}, {}, []

    def attempt(runner, step):
        try:
            if not runner.process:
                runner.start()
            return step(runner)
        except Failure as failure:
            failures.append(f"{row}: {runner.name}: {failure}")
            return None

    for runner in runners:
        units[runner.name] = attempt(runner, lambda r: r.calibrate(row, seconds))
    for _ in range(rounds):
        for runner in runners:
            if units[runner.name]:
                batch = attempt(runner, lambda r: r.run(row, units[r.name]))
                if batch is None:
                    units[runner.name] = None
                else:
                    batches.setdefault(runner.name, []).append(batch)
    sums = {name: batch.checksum for name, rounds_of in batches.items() for batch in rounds_of}
    if len(set(sums.values())) > 1:
        failures.append(f"{row}: computed " + ", ".join(f"{checksum} by {name}" for name, checksum in sums.items()))
    return batches, failures
