#!/usr/bin/env python3
"""mutate.py SOURCE_ROOT [--work DIR] [--area NAME]... [--only TEXT] [--jobs N] [--check]

Changes one small thing of the product at a time and demands that a test notices. What a test suite can see is not
what it executes (coverage) but what it would miss if it were wrong; this asks that directly.

A mutant is a row in one of the *.toml files beside this one, a file an area:

    [[mutant]]
    name = "SMEP is not checked"
    file = "mmu/paging.cpp"                 # the end of exactly one path
    old = '''the text as it is, found exactly once in the file'''
    new = '''the text as it would be wrong'''
    tests = ["unit-mmu"]                    # names of meson's tests; the first that fails ends the mutant

The tree is copied and built once, and the tests that rows name must pass there. Then each mutant
is put in, and its tests are rebuilt and run one after the other. A test that fails, crashes or needs ten times the CPU time
kills the mutant; a mutant that no test kills has survived. So does one that does not compile: it is no mutant. A row whose
old text is not there exactly once has rotted and fails too: change it with the code.

--check looks at the rows only. --area takes one file, --only the rows whose name contains TEXT. --work keeps the
copy and its objects in DIR for the next time. The last line is "N passed, N failed"; a survivor counts as failed."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

COPIED = ["core", "cpu", "devices", "frontends", "roms", "jit", "tests", "docs", "meson.build", "meson_options.txt",
          "meson.options", ".clang-format"]
PRODUCT = ["core", "cpu", "devices", "frontends", "jit", "roms"]
FIELDS = {"name", "file", "old", "new", "tests"}


# With ccache as test.sh builds, so that the tree costs nothing but what mutants change; else what compiles fastest.
SETUP = ["-Dtests=enabled"] + (["-Dbuildtype=release"] if shutil.which("ccache") else
                               ["-Dbuildtype=plain", "-Doptimization=0", "-Db_ndebug=true"])


class Mutant:
    def __init__(self, area, row):
        self.area = area
        self.name, self.file, self.old, self.new, self.tests = (row[key] for key in ("name", "file", "old", "new", "tests"))

    def __str__(self):
        return f"{self.area}: {self.name}"

    def problem(self, root):
        """A sentence about what is wrong with the row, or None; finds the file."""
        paths = [path for folder in PRODUCT for path in (root / folder).rglob(self.file.split("/")[-1])
                 if path.as_posix().endswith("/" + self.file)]
        if len(paths) != 1:
            return f"{self.file} is the end of {len(paths)} paths, not of one"
        path = paths[0]
        self.file = path.relative_to(root).as_posix()
        found = path.read_text(encoding="utf-8").count(self.old)
        if found != 1:
            return f"its old text occurs {found} times in {self.file}, not once: {self.old.strip()[:120]!r}"
        if self.old == self.new:
            return "old and new text are the same"
        if not self.tests:
            return "it names no test"
        return None


def read_rows(folder, areas):
    """All mutants, and sentences about rows that cannot be read."""
    mutants, problems, names = [], [], set()
    for path in sorted(folder.glob("*.toml")):
        if areas and path.stem not in areas:
            continue
        try:
            rows = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
        except (tomllib.TOMLDecodeError, KeyError) as error:
            problems.append(f"{path.name}: {error}")
            continue
        for row in rows:
            if set(row) != FIELDS:
                problems.append(f"{path.name}: {row.get('name', '?')}: has {sorted(row)}, needs {sorted(FIELDS)}")
                continue
            mutant = Mutant(path.stem, row)
            if str(mutant) in names:
                problems.append(f"{mutant}: the name is there twice")
            names.add(str(mutant))
            mutants.append(mutant)
    return mutants, problems


class Tree:
    """A copy of the source with a build of its own."""

    def __init__(self, source, work, ninja_jobs):
        self.source, self.root, self.ninja_jobs = source, work, ninja_jobs
        self.build = work / "build-test"  # where test.sh has it, so that ccache sees the same commands
        for name in COPIED:
            if (source / name).exists():
                self.copy(source / name, self.root / name)
        self.remove_strangers()
        if not (self.build / "build.ninja").exists():
            self.must(["meson", "setup", *SETUP, str(self.build), str(self.root)])
        else:
            self.must(["ninja", "-C", str(self.build), "build.ninja"])
        tests = json.loads(self.must(["meson", "introspect", "--tests", str(self.build)]))
        targets = {target["id"]: target for target in json.loads(self.must(["meson", "introspect", "--targets", str(self.build)]))}
        self.tests = {test["name"]: test for test in tests}
        for test in self.tests.values():
            test["files"] = [os.path.relpath(name, self.build) for id_ in test["depends"] for name in targets[id_]["filename"]]
            if test["name"].startswith("unit-"):
                test["cmd"].append("--abort")  # of Catch2: the first failure will do
        self.seconds = {}  # of each test, unmutated

    def copy(self, old, new):
        """Copies what differs, so that a kept tree is rebuilt only where it must be."""
        if old.is_dir():
            new.mkdir(parents=True, exist_ok=True)
            for entry in old.iterdir():
                if entry.name != "__pycache__":
                    self.copy(entry, new / entry.name)
        elif not new.exists() or new.read_bytes() != old.read_bytes():
            shutil.copy(old, new)

    def remove_strangers(self):
        for folder in COPIED:
            for path in sorted((self.root / folder).rglob("*"), reverse=True):
                original = self.source / path.relative_to(self.root)
                if not original.exists():
                    path.rmdir() if path.is_dir() else path.unlink()

    def must(self, command):
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{(result.stdout + result.stderr)[-3000:]}")
        return result.stdout

    def compile(self, tests):
        files = sorted({name for test in tests for name in self.tests[test]["files"]})
        return subprocess.run(["ninja", "-C", str(self.build), "-j", str(self.ninja_jobs), *files], capture_output=True, text=True,
                              errors="replace", check=False)

    def run(self, test, cpu_seconds):
        """Whether one test passes in so many CPU seconds, and how many it took. A clock on the wall would take a busy
        machine for a killed mutant; only a test that waits for ever is ended by it."""
        process = subprocess.Popen(test["cmd"], cwd=test["workdir"] or self.build, env={**os.environ, **test["env"]},
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
        watchdog = threading.Timer(3 * test["timeout"], os.kill, (process.pid, signal.SIGKILL))
        watchdog.start()
        _, status, usage = os.wait4(process.pid, 0)
        watchdog.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        try:
            os.killpg(process.pid, signal.SIGKILL)  # whatever it started
        except ProcessLookupError:
            pass
        return process.returncode == 0, usage.ru_utime + usage.ru_stime

    def passes(self, name):
        """Whether one test passes, in no more than ten times the CPU time it needs unmutated."""
        test = self.tests[name]
        if name in self.seconds:
            return self.run(test, int(10 * self.seconds[name] + 5))[0]
        good, self.seconds[name] = self.run(test, 3 * test["timeout"])
        return good

    def prepare(self, tests):
        """Builds the tree as it is; sentences about tests that fail in it."""
        result = self.compile(tests)
        if result.returncode != 0:
            raise RuntimeError(f"the unmutated tree does not build:\n{result.stdout[-3000:]}")
        return [f"{name} fails in the unmutated tree" for name in tests if not self.passes(name)]

    def verdict(self, mutant):
        """What killed the mutant, or None; raises if it does not compile."""
        path = self.root / mutant.file
        original = path.read_text(encoding="utf-8")
        path.write_text(original.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            for name in mutant.tests:  # a later test is built only if the earlier ones did not notice
                result = self.compile([name])
                if result.returncode != 0:
                    raise RuntimeError(f"it does not compile:\n{result.stdout[-1500:]}")
                if not self.passes(name):
                    return name
            return None
        finally:
            path.write_text(original, encoding="utf-8")


def expand(tests, tree):
    """Names of tests; "suite:NAME" stands for all tests of a suite but its long ones."""
    for name in tests:
        if name.startswith("suite:"):
            for test, facts in tree.tests.items():
                suites = {suite.split(":")[-1] for suite in facts["suite"]}
                if name[6:] in suites and "long" not in suites:
                    yield test
        else:
            yield name


def run_all(mutants, options):
    """How many mutants were killed, and how many not."""
    with tempfile.TemporaryDirectory(prefix="droste-mutate-") as scratch:
        work = pathlib.Path(options.work or scratch)
        trees = queue.Queue()
        ninja_jobs = max(1, len(os.sched_getaffinity(0)) // options.jobs)
        for number in range(options.jobs):
            trees.put(Tree(options.source, work / f"tree{number}", ninja_jobs))
        killed = survivors = 0
        first = trees.queue[0]
        for mutant in list(mutants):
            mutant.tests = list(dict.fromkeys(expand(mutant.tests, first)))
            if unknown := [name for name in mutant.tests if name not in first.tests]:
                print(f"row: {mutant}: there is no test {', '.join(unknown)}", flush=True)
                mutants.remove(mutant)
                survivors += 1
        needed = list(dict.fromkeys(name for mutant in mutants for name in mutant.tests))
        for tree in list(trees.queue):
            if failing := tree.prepare(needed):
                raise RuntimeError("; ".join(failing))

        def judge(mutant):
            tree = trees.get()
            begin = time.monotonic()
            try:
                killer = tree.verdict(mutant)
                return killer, "" if killer else f"{', '.join(mutant.tests)} did not notice", time.monotonic() - begin
            except RuntimeError as error:
                return None, str(error), time.monotonic() - begin
            finally:
                trees.put(tree)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for mutant, (killer, why, seconds) in zip(mutants, pool.map(judge, mutants)):
                if killer:
                    killed += 1
                    print(f"killed    {mutant} ({killer}, {seconds:.0f} s)", flush=True)
                else:
                    survivors += 1
                    print(f"SURVIVED  {mutant}: {why}", flush=True)
        return killed, survivors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=lambda name: pathlib.Path(name).resolve())
    parser.add_argument("--work")
    parser.add_argument("--area", action="append")
    parser.add_argument("--only")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    mutants, problems = read_rows(pathlib.Path(__file__).parent, options.area)
    if options.only:
        mutants = [mutant for mutant in mutants if options.only in mutant.name]
    good = []
    for mutant in mutants:
        if problem := mutant.problem(options.source):
            problems.append(f"{mutant}: {problem}")
        else:
            good.append(mutant)
    for problem in problems:
        print("row:", problem, flush=True)
    failed, passed = len(problems), len(good)
    if not options.check:
        # Neighbors share a file, which is then restored and changed in one build; headers, which cost most, come last.
        good.sort(key=lambda mutant: (mutant.file.endswith(".hpp"), mutant.file))
        try:
            passed, survivors = run_all(good, options)
            failed += survivors
        except RuntimeError as error:
            print("mutate:", error)
            print(f"0 passed, {len(mutants)} failed")
            return 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
