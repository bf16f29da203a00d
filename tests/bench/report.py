"""The table of run.py: figures, ratios, goals, means of classes; and the same as data for JSON.

A ratio to QEMU is QEMU's time by Droste's, above 1 Droste is faster; a share of native is native time by Droste's.
"""
import json
import math
import os
import platform
import statistics

# class: (times as fast as QEMU TCG, share of native); None: no goal
GOALS = {
    "integer": (1.5, 0.85),
    "compute": (2.0, 0.50),
    "bignum": (2.0, 0.40),
    "calls": (3.5, 0.60),
    "indirect": (3.0, 0.35),
    "interpreter": (3.0, 0.40),
    "floating": (5.0, 0.70),
    "x87": (5.0, 0.70),
    "strings": (6.0, 0.60),
    "memory": (0.95, None),
    "system": (3.0, None),
    "boot": (2.5, None),
}
SLOWER_NOWHERE = 0.95  # of QEMU TCG, where a class has no higher goal
BUSY = 1.1
MEAN_GOAL = 2.5        # of all CPU rows against QEMU TCG
NOT_CPU = {"system", "boot"}
FOOTPRINT_GOALS = {1: 200, 4: 300}  # vCPUs: MB
# (level, row of nested.py): (times as fast as QEMU, most it may take)
NESTED_GOALS = {
    (2, "userland"): (2.5, 4.0),
    (2, "cpuid"): (None, 3.0),
    (3, "userland"): (3.0, 12.0),
    (3, "cpuid"): (None, 40.0),
    (4, "userland"): (None, 90.0),
}
EXIT_CYCLES = 500  # of this machine's time-stamp counter
NEAR = 0.10  # how far apart the computing rows of levels may be


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def cell(value, width, digits=2, suffix=""):
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:{width - len(suffix)}.{digits}f}{suffix}"


def missed(ratio, goal):
    return ratio is not None and goal is not None and ratio < goal


class Report:
    def __init__(self, options, classes):
        self.options, self.classes = options, classes
        self.rows, self.footprint, self.nested = {}, {}, None
        self.baseline = json.loads(options.baseline.read_text())["rows"] if options.baseline else {}
        self.failures, self.sums, self.runners = [], {}, []

    def add_rows(self, results, failures, sums):
        self.failures += failures
        self.sums = sums
        for row, by_runner in results.items():
            self.runners = [*dict.fromkeys([*self.runners, *by_runner, *self.baseline.get(row, {}).get("ns", {})])]
            key = "wall_ns" if self.options.time == "wall" else "ns"
            medians = {name: statistics.median(f[key] for f in rounds) for name, rounds in by_runner.items() if rounds}
            before = self.baseline.get(row, {}).get("ns", {})
            medians = {**{name: ns for name, ns in before.items() if name not in by_runner}, **medians}
            if "droste" not in medians:
                continue  # its failure has been told
            self.rows[row] = {"class": self.classes[row], "ns": medians, "rounds": by_runner, "checksum": sums.get(row), **{
                f"{name}/droste": ns / medians["droste"] for name, ns in medians.items() if name != "droste"}}
            if "droste" in before:
                self.rows[row]["before/droste"] = before["droste"] / medians["droste"]
    def add_footprint(self, found, failures):
        self.footprint = found
        self.failures += failures

    def add_nested(self, found):
        self.nested = found
        self.failures += found["failures"]

    def goals_of(self, row):
        """A row's goals; integer rows that TCG runs at half of native or better only must not be slower."""
        quick, share = GOALS[row["class"]]
        ns = row["ns"]
        if row["class"] == "integer" and "native" in ns and "qemu" in ns and ns["qemu"] < 2 * ns["native"]:
            quick = SLOWER_NOWHERE
        return quick, share

    def class_means(self):
        """{class: {ratio: geometric mean of its rows}}, and "cpu": of all rows that need no system."""
        means = {}
        for name in [*dict.fromkeys(row["class"] for row in self.rows.values()), "cpu"]:
            rows = [r for r in self.rows.values() if r["class"] == name or (name == "cpu" and r["class"] not in NOT_CPU)]
            ratios = {key for r in rows for key in r if key.endswith("/droste")}
            means[name] = {ratio: geometric_mean([r[ratio] for r in rows if ratio in r]) for ratio in sorted(ratios)}
        return {name: mean for name, mean in means.items() if mean}

    def row_lines(self):
        peers = [p for p in self.runners if p not in ("droste", "native")]
        ratios = [f"{p}/droste" for p in peers] + ["before/droste"] * bool(self.baseline)
        lines = [f"{'class':12}{'row':14}" + "".join(f"{r:>13}" for r in self.runners) + "".join(f"{r:>15}" for r in ratios) +
                 f"{'of native':>11}{'goal':>12}"]
        for name, row in self.rows.items():
            quick, share = self.goals_of(row)
            goal = f"{quick:.2f}x" + (f" {share:.0%}" if share else "")
            scale = 1e-6 if name == "boot" else 1
            line = f"{row['class']:12}{name + ', ms' * (name == 'boot'):14}"
            line += "".join(cell(row["ns"][r] * scale if r in row["ns"] else None, 13) for r in self.runners)
            line += "".join(cell(row.get(r), 15, suffix="x") for r in ratios)
            of_native = row.get("native/droste") if row["class"] not in NOT_CPU else None
            line += cell(of_native * 100 if of_native else None, 11, 0, "%") + f"{goal:>12}"
            slow = missed(row.get("qemu/droste"), quick), missed(of_native, share)
            lines.append(line + ("  misses" + (" QEMU" if slow[0] else "") + (" native" if slow[1] else "") if any(slow) else ""))
        which = "wall" if self.options.time == "wall" else "CPU"
        lines.append(f"ns of {which} time an operation, medians of {self.options.rounds} rounds")
        wall = [f["wall_ns"] / f["ns"] for row in self.rows.values() for f in row["rounds"]["droste"]]
        if statistics.median(wall) > BUSY:
            lines.append(f"the machine is busy: wall time is {statistics.median(wall):.1f} times CPU time")
        return lines

    def mean_lines(self):
        lines = []
        for name, mean in self.class_means().items():
            quick, share = GOALS.get(name, (MEAN_GOAL, None))
            if name in NOT_CPU:
                mean = {ratio: value for ratio, value in mean.items() if ratio != "native/droste"}
            text = f"mean of {name:12}" + "".join(f"  {ratio} {value:.2f}" for ratio, value in mean.items())
            slow = missed(mean.get("qemu/droste"), quick) or missed(mean.get("native/droste"), share)
            lines.append(text + ("  misses" if slow else ""))
        return lines

    def footprint_lines(self):
        lines = []
        for cpus, found in self.footprint.items():
            held = found.get("droste")
            over = held is not None and held > FOOTPRINT_GOALS[cpus]
            lines.append(f"memory beyond touched guest RAM, {cpus} vCPU, MB: " +
                         ", ".join(f"{name} {cell(v, 0, 0)}" for name, v in found.items()) +
                         f"; goal {FOOTPRINT_GOALS[cpus]}" + ("  misses" if over else ""))
        return lines

    def nested_lines(self):
        medians = self.nested["medians"]
        names = list(medians)
        lines = [f"{'':18}" + "".join(f"{n:>13}" for n in names) + f"{'qemu/droste':>14}{'goal':>16}"]
        for level, row, unit in self.nested["keys"]:
            values = {n: medians[n].get((level, row)) for n in names}
            ratio = values["qemu"] / values["droste"] if values.get("qemu") and values.get("droste") else None
            quick, most = NESTED_GOALS.get((level, row), (None, None))
            goal = " ".join(([f"{quick:.1f}x"] if quick else []) + ([f"<= {most:.0f} {unit}"] if most else []))
            slow = missed(ratio, quick) or (most and values["droste"] is not None and values["droste"] > most)
            lines.append(f"L{level} {row + ', ' + unit:15}" + "".join(cell(values[n], 13, 3) for n in names) +
                         cell(ratio, 14, 2, "x") + f"{goal:>16}" + ("  misses" if slow else ""))
        if "droste" in self.nested["exits"]:
            cycles = self.nested["exits"]["droste"] * self.nested["tsc_ghz"]
            lines.append(f"exit and entry under the smallest hypervisor: {self.nested['exits']['droste']:.0f} ns, {cycles:.0f} cycles; "
                         f"goal {EXIT_CYCLES}" + ("  misses" if cycles > EXIT_CYCLES else ""))
        computing = [v for (_, row), v in medians["droste"].items() if row == "compute" and v]
        if len(computing) > 1:
            apart = max(computing) / min(computing) - 1
            lines.append(f"computing in L1 to L{len(computing)}: {apart:.0%} apart, goal {NEAR:.0%}" + ("  misses" if apart > NEAR else ""))
        return lines

    def table(self):
        lines = []
        if self.rows:
            lines += self.row_lines() + self.mean_lines()
        if self.footprint:
            lines += self.footprint_lines()
        if self.nested:
            lines += self.nested_lines()
        lines += [f"FAILED {what}" for what in self.failures]
        return "\n".join(lines)

    def data(self):
        out = {"accel": self.options.accel, "cpu": self.options.cpu, "bare": self.options.bare, "rounds": self.options.rounds,
               "native_cpu": native_cpu(), "load": os.getloadavg(), "rows": self.rows, "means": self.class_means(),
               "footprint_mb": self.footprint, "failures": self.failures}
        if self.nested:
            out["nested"] = {name: {f"L{level} {row}": v for (level, row), v in sorted(found.items())}
                             for name, found in self.nested["medians"].items()}
            out["exit_ns"], out["tsc_ghz"] = self.nested["exits"], self.nested["tsc_ghz"]
        return out


def native_cpu():
    try:
        with open("/proc/cpuinfo", encoding="ascii") as source:
            return next(line.split(":", 1)[1].strip() for line in source if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def count_table(rows, classes):
    """The table of --counts."""
    lines = [f"{'class':12}{'row':14}{'instructions an operation':>28}  checksum"]
    for name, row in rows.items():
        lines.append(f"{classes[name]:12}{name:14}{row['count']:28.3f}  {row.get('sum', '-')}")
    return "\n".join(lines)
