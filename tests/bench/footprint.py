"""How much memory an emulator needs beyond the guest RAM that its guest has touched: translations, tables, devices, itself.

/proc/PID/smaps tells what of each mapping is in memory (Pss: a page that two mappings share counts once). Guest RAM is the mapping
that has at least its size and most of it in memory; what the others hold is the figure. It is taken when the rows have run, in a
machine with one vCPU and in one with four.
"""
import pathlib
import re

import runner


def beyond_ram(pid, ram_mib):
    """MB in memory, guest RAM left out; None when the process has no such mapping."""
    mappings, size = [], 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1])
        elif re.match("Pss:", line):
            mappings.append((int(line.split()[1]), size))
    ram = [held for held, whole in mappings if whole >= ram_mib * 1024]
    if not ram:
        return None  # not one mapping: nothing can be said
    return (sum(held for held, _ in mappings) - max(ram)) * 1024 / 1e6


def measure(runners, rows):
    """({vCPUs: {runner: MB}}, [what failed])."""
    found, failures = {1: {}, 4: {}}, []
    for cpus, of_runner in found.items():
        for name in (n for n in runners.names if n != "native"):
            one = runner.Runner(name, runners.command(name, [*runners.linux(), "-smp", str(cpus)]), runners.options.timeout)
            try:
                one.start()
                for row in rows:
                    one.run(row, 2)
                of_runner[name] = beyond_ram(one.process.pid, runners.ram_mib)
            except runner.Failure as failure:
                failures.append(f"memory with {cpus} vCPU: {name}: {failure}")
            finally:
                one.end()
    return found, failures
