#!/usr/bin/env python3
"""explain.py DROSTE HYPERVISOR ROM_ELF: what VMX explains, end to end: -d vmx, --vmcs-dump, --vmexit-trace as text
and as JSON however the run ends, --symbols, --stats, the monitor, nested status and enable, fw_cfg's report.

HYPERVISOR is hypervisor.asm; without a kernel the built-in ROM runs, whose exits are known exactly (docs/vmx/rom.md)."""
import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from claims import claim, finish, read_until

droste, hypervisor, rom_elf = sys.argv[1:4]
scratch = tempfile.TemporaryDirectory()
ROM_EXITS = 3872  # of 8 levels, all on the processor


def path(name):
    return os.path.join(scratch.name, name)


def read(name):
    with open(path(name), encoding="utf-8") as file:
        return file.read()


def run(*arguments, seconds=60):
    return subprocess.run([droste, *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds,
                          text=True, errors="replace", check=False)


def hyper(word, *arguments, cpu="nested,+vmx"):
    return run("-kernel", hypervisor, "-append", word, "-cpu", cpu, "-display", "none", "--timeout", "20", *arguments)


def in_order(text, parts):
    """The first of `parts` that does not come behind its predecessor, or None."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return part
        at = found + len(part)
    return None


# --- -d vmx ---
result = hyper("fail", "-d", "vmx")
missing = in_order(result.stderr, [
    "L1 rip 0x", "VMPTRLD failed: VMPTRLD with incorrect VMCS revision identifier; region 0x", "holds 0x0",
    "VMfailInvalid (no current VMCS to hold error 11)",
    "VMLAUNCH failed: VMLAUNCH with non-clear VMCS", "VMfailValid, error 4", "allowed: VMRESUME",
    "VMREAD failed", "encoding 0x2ffe", "error 12",
    "INVVPID failed", "INVVPID type 7", "error 28", "types 0, 1, 2, 3",
    "VM entry to L2 failed", "check:   guest RFLAGS reserved bits", '"Checks on Guest RIP, RFLAGS, and SSP"',
    "exit reason 33", "6820H Guest RFLAGS = 0x0", "missing 0x2",
    "check:   pin-based controls reserved bits", '"VM-Execution Control Fields"', "error 7", "must be 1: 0x00000016",
    "check:   host CR4 fixed bits", "error 8", "missing 0x2000 (VMXE)",
    "check:   VM-entry MSR-load area, entry 1", "exit reason 34", "MSR 0xc0000100",
    "VMREAD raises #UD: outside VMX operation",
])
claim("-d vmx explains each kind of failure", result.returncode == 0 and missing is None, f"{missing}: {result.stderr}")
claim("and only those", result.stderr.count("VM entry to L2 failed") == 4, result.stderr)

# --- --vmcs-dump ---
result = hyper("fail", f"--vmcs-dump={path('dump')}")
dump = read("dump")
claim("--vmcs-dump writes a dump for each failed entry", dump.count("VMCS at 0x") == 4, dump[:500])
claim("with all groups and decoded bits", in_order(dump, [
    "check:   guest RFLAGS", "Changed since the last good VM entry", "Guest RFLAGS", "(was 0x2)", "Guest-state area", "6820 Guest RFLAGS", "0x0000000000000000  (was 0x2)",
    "Host-state area", "VM-execution control fields", "VM-exit", "VM-entry"]) is None, dump[:3000])
claim("and says nothing on the terminal", result.stderr == "", result.stderr)
result = hyper("fail", "--vmcs-dump")
claim("--vmcs-dump alone goes to the terminal", result.stdout.count("VMCS at 0x") == 4, result.stdout[:300])
result = run("-kernel", hypervisor, "-append", "storm", "-cpu", "max", "-display", "none", "--timeout", "1.5",
             "--vmcs-dump", path("dump"))
claim("the same failure for ever is dumped once", result.returncode == 124 and read("dump").count("VMCS at") == 1
      and "the same again, " in read("dump") and len(read("dump")) < 50000, len(read("dump")))

# --- --vmexit-trace, text ---
result = hyper("triple", "--vmexit-trace", "-", "-no-reboot")
lines = result.stdout.splitlines()
claim("the text trace is on standard output when no console is there", len(lines) == 3 and result.returncode == 4,
      result)
claim("each line has time, level, reason, words, RIP, code and cost", in_order(lines[0], [
    "us vCPU 0 L2 CPUID (leaf 0x", ") rip 0x", "[cpuid]", "after ", "instructions; back in L2 after", "ns"]) is None, lines)
claim("the last exit is there, although nothing was entered after it", "L2 CPUID" in lines[2]
      and "back in" not in lines[2], lines)
result = run("--vmexit-trace", "-")
claim("with a console on standard output it is on standard error", "all checks passed" in result.stdout
      and result.stderr.count("\n") == ROM_EXITS, (result.stdout[-200:], result.stderr[:300]))

# --- JSON, and how it ends ---
def trace_of(name):
    with open(path(name), encoding="utf-8") as file:
        return json.load(file)


result = run("--vmexit-trace", path("rom.json"), *sum((["--symbols", f"{n}:{rom_elf}"] for n in range(1, 10)), []))
events = trace_of("rom.json")
tracks = {}
for e in events:
    if e.get("ph") == "X":
        tracks.setdefault((e["pid"], e["tid"]), []).append((e["ts"], e["ts"] + e["dur"]))
claim("no event of a track begins inside another, also in floating point",
      len(tracks) >= 8 and all(a[1] <= b[0] for t in tracks.values() for a, b in zip(sorted(t), sorted(t)[1:])), tracks.keys())
guests = [e for e in events if e.get("cat") == "guest"]
claim("the JSON trace has every exit", len(guests) == ROM_EXITS, len(guests))
claim("and what each cost, but for the last", sum(e.get("cat") == "exit" for e in events) == ROM_EXITS - 1)
claim("levels 2 to 8, by lineage", {e["tid"] for e in guests} == set(range(2, 9)), {e["tid"] for e in guests})
claim("each level's share is what its parent counts from it",
      all(sum(e["tid"] >= n for e in guests) > 0 for n in range(2, 9)))
claim("all have code and symbol", all("<" in e["args"]["at"] for e in guests if e["args"]["rip"] != "0x0"),
      [e for e in guests if "<" not in e["args"]["at"]][:3])
claim("tracks are named", {"vCPU 0", "L1 hypervisor", "L8 guest"} <=
      {e["args"]["name"] for e in events if e["ph"] == "M"})
claim("times do not go backwards", all(a["ts"] <= b["ts"] for a, b in zip(guests, guests[1:])))

result = run("-kernel", hypervisor, "-append", "loop", "-cpu", "max", "-display", "none", "--timeout", "1",
             "--vmexit-trace", path("t.json,limit=20M"))
claim("JSON is whole after --timeout", result.returncode == 124 and len(trace_of("t.json")) > 100, result)
result = hyper("triple", "--vmexit-trace", path("t.json"), "-no-reboot")
claim("JSON is whole after a triple fault",
      result.returncode == 4 and sum(e.get("cat") == "guest" for e in trace_of("t.json")) == 3, result)
for number in (signal.SIGTERM, signal.SIGINT):
    if os.path.exists(path("s.json")):
        os.remove(path("s.json"))
    process = subprocess.Popen([droste, "-kernel", hypervisor, "-append", "loop", "-cpu", "max", "-display", "none",
                                "--timeout", "30", "--vmexit-trace", path("s.json,limit=20M")],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    end = time.monotonic() + 20
    while time.monotonic() < end and not (os.path.exists(path("s.json")) and os.path.getsize(path("s.json")) > 4096):
        time.sleep(0.02)
    process.send_signal(number)
    status = process.wait(20)
    process.stderr.close()
    claim(f"JSON is whole after {number.name}", status == 128 + number and len(trace_of("s.json")) > 10, status)
result = run("--vmexit-trace", path("l.json,limit=50K"))
events = trace_of("l.json")
claim("a trace ends at its limit and stays whole", os.path.getsize(path("l.json")) < 52000
      and events[-1]["args"]["VM exits not in it"] > 3000 and "its limit" in result.stderr, (events[-1], result.stderr))
result = run("--vmexit-trace", path("l.txt,limit=50K"))
claim("a text trace, too", os.path.getsize(path("l.txt")) < 52000 and "more VM exits are not in it" in read("l.txt"))
result = run("--vmexit-trace", "/dev/full,format=json")
claim("a full disk ends the trace, not the run", result.returncode == 0 and "the trace is incomplete" in result.stderr
      and "all checks passed" in result.stdout, result)
result = run("--vmexit-trace", path("x"), "-cpu", "nested", "-kernel", hypervisor, "-append", "locked", "-display", "none")
claim("without VMX there is a warning", "has no VMX" in result.stderr, result)

# --- --stats ---
result = run("--stats")
claim("--stats: by level and reason, with rates, costs and TLB flushes", in_order(result.stderr, [
    "VM exits", "per second", "L2  all,", "L8  all,", f"all levels, {ROM_EXITS} VM entries"]) is None, result.stderr)
flushes = [line.split()[-1] for line in result.stderr.splitlines() if line.startswith("TLB flushes by")]
claim("with VPID nothing is flushed at VM entry and VM exit", flushes == ["0", "0"], result.stderr[-500:])
result = hyper("triple", "--stats", "-no-reboot")
flushes = [line.split()[-1] for line in result.stderr.splitlines() if line.startswith("TLB flushes by")]
claim("without VPID each entry and exit flushes, as the manual says", flushes == ["3", "3"], result.stderr[-500:])

# --- VMX hidden, and IA32_FEATURE_CONTROL ---
for cpu, control, wanted in (("nested,+vmx", "enabled", "on"), ("nested,+vmx", "disabled", "gp"),
                             ("nested,+vmx", "unlocked", "gp"), ("max", "enabled", "on"), ("nested", "enabled", "")):
    result = hyper("locked", "-machine", f"feature-control={control}", "-debugcon", "stdio", cpu=cpu)
    claim(f"-cpu {cpu}, feature-control={control}: VMXON says '{wanted}'", result.stdout[:2] == wanted, result.stdout[:80])

# --- nested status, enable, fw_cfg ---
for options, status in ((["-m", "1G", "-cpu", "nested,+vmx"], 0), (["-m", "1G"], 1), (["-cpu", "max"], 1),
                        (["-m", "1G", "-cpu", "max,-vmx-ept"], 1), (["-m", "1G", "-cpu", "max,-vmx-vpid"], 1),
                        (["-m", "1G", "-cpu", "max", "-machine", "feature-control=disabled"], 1)):
    answer = run("nested", "status", *options)
    claim(f"nested status {' '.join(options)}: {status}", answer.returncode == status, answer)
    claim("and 'missing' stands there if and only if", ("\nmissing" in answer.stdout) == (status == 1), answer.stdout)
    if "-cpu" in options:
        inside = run(*options, "-kernel", hypervisor, "-append", "report", "-display", "none", "-debugcon", "stdio")
        claim("the guest reads the same in fw_cfg", inside.stdout == answer.stdout, (inside.stdout, answer.stdout))
answer = run("nested", "enable", "-m", "2G", "-cpu", "nested,-vmx,-vmx-ept,-vmx-mtf,-x2apic", "-append", "a 'b")
claim("nested enable changes what is incorrect and nothing else",
      answer.stdout == "-m 2G -cpu nested,-vmx-mtf,-x2apic,+vmx -append 'a '\\''b'\n", answer)
claim("and says what", "changed -cpu nested,-vmx,-vmx-ept,-vmx-mtf,-x2apic to" in answer.stderr, answer.stderr)
answer = run("nested", "enable", "-m", "2G", "-cpu", "nested,+vmx")
claim("or that there is nothing to change", "nothing to change" in answer.stderr and answer.stdout ==
      "-m 2G -cpu nested,+vmx\n", answer)
with open(path("machine.conf"), "w", encoding="utf-8") as file:
    file.write("# my machine\nm = 64\n\ncpu = max,-vmx-ept   # not a comment\n")
answer = run("nested", "enable", "--config", path("machine.conf"))
claim("a '#' inside a line belongs to the value", answer.returncode == 2, answer)
with open(path("machine.conf"), "w", encoding="utf-8") as file:
    file.write("# my machine\nm = 64\n\ncpu = max,-vmx-ept\nmachine = feature-control=disabled\nappend = locked\n")
os.chmod(path("machine.conf"), 0o640)
answer = run("nested", "enable", "--config", path("machine.conf"), "-display", "none", "-debugcon", "stdio")
claim("nested enable --config corrects the file", answer.returncode == 0 and read("machine.conf") ==
      "# my machine\nm = 1024M\n\ncpu = max\nappend = locked\ndisplay = none\ndebugcon = stdio\n",
      (answer, read("machine.conf")))
claim("keeps its mode, and leaves nothing beside it", os.stat(path("machine.conf")).st_mode & 0o777 == 0o640
      and [n for n in os.listdir(scratch.name) if n.startswith("machine.conf")] == ["machine.conf"])
result = run("--config", path("machine.conf"), "-kernel", hypervisor, "--timeout", "1")
claim("and the machine starts with it", result.stdout[:2] == "on", result)
claim("later options win", run("nested", "status", "--config", path("machine.conf"), "-cpu", "nested").returncode == 1)
answer = run("nested", "enable", "--config", path("new.conf"), "-name", "x")
claim("a file that is not there yet is made", read("new.conf") == "name = x\nm = 1024M\ncpu = nested,+vmx\n", answer)


# --- The monitor ---
class Terminal:
    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([droste, *arguments], stdin=slave, stdout=slave, stderr=slave,
                                        start_new_session=True)
        os.close(slave)

    def ask(self, text, until, seconds=20):
        os.write(self.master, text)
        return read_until(self.master, until, seconds).decode(errors="replace")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


terminal = Terminal("-kernel", hypervisor, "-append", "loop", "-cpu", "max", "--timeout", "60")
time.sleep(0.5)
terminal.ask(b"\x01c", b"(droste)")
terminal.ask(b"stop\r", b"(droste)")
said = terminal.ask(b"info vmx\r", b"active VMCS")
claim("info vmx", in_order(said, ["CPU#0: VMX ", "IA32_FEATURE_CONTROL  0x5 (locked, VMX allowed)",
                                  "VMXON region", "current VMCS", "active VMCS"]) is None, said)
said = terminal.ask(b"info vmcs\r", b"VM-exit information")
claim("info vmcs", in_order(said, ["VMCS at 0x", "Guest-state area", "Guest CS access rights", "type 11 code/data"])
      is None, said)
said = terminal.ask(b"info vmcs 0x1000\r", b"info vmx lists them")
claim("info vmcs of what is none", "no VMCS at 0x1000 is active" in said, said)
said = terminal.ask(b"info exits\r", b"TLB flushes by VM exits")
claim("info exits", in_order(said, ["VM exits", "L2  all,", "CPUID"]) is None, said)
said = terminal.ask(b"help\r", b"quit")
claim("help", "look at the machine (info lists what)" in said, said)
terminal.close()
terminal = Terminal("-kernel", hypervisor, "-append", "loop", "-S", "--timeout", "60")
terminal.ask(b"\x01c", b"(droste)")
said = terminal.ask(b"info vmx\r", b"nested status")
claim("info vmx without VMX says how to get it", "+vmx" in said, said)
terminal.close()

scratch.cleanup()
finish()
