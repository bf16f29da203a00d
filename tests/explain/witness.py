#!/usr/bin/env python3
"""witness.py DROSTE KERNEL: every counter of --stats moves and every log category prints, each for its reason.

KERNEL is witness.asm, whose words each do one thing twenty times. A counter's witness is a word that moves it by that
much beyond what the word `off` does; a category's are lines that a word must bring. Rows and categories are read from
the program's own output: a new one without a witness here fails the test."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from claims import claim, finish

droste, kernel = sys.argv[1:3]
TIMES = 20

# Row of --stats -> word. Rows that are no counters: None.
COUNTERS = {
    "instructions": "blocks",
    "blocks entered": "blocks",
    "blocks decoded": "decode",
    "blocks invalidated": "rewrite",
    "writes to code pages": "rewrite",
    "data TLB misses": "touch",
    "code TLB misses": "code",
    "TLB flushes": "flush",
    "page walks": "touch",
    "address-space switches": "switch",
    "exceptions": "exceptions",
    "page faults": "faults",
    "interrupts": "interrupts",
    "NMIs": "nmis",
    "halts": "halts",
    "port accesses": "ports",
    "MMIO accesses": "mmio",
    "VM entries": "(the ROM)",
    "VM exits": "(the ROM)",
    "accesses to nothing": "nowhere",
    "vendor-dependent results": "vendor",
    "virtual time, s": None,
    "RAM touched, MiB": None,
    "time, s": None,
    "MIPS": None,
}

# Category -> (word, a pattern for each kind of event the description of the category promises).
CATEGORIES = {
    "guest_errors": ("nowhere", [r"read of port 0x7777: nothing answers", r"read of address 0xf0000000: nothing answers"]),
    "int": ("interrupts", [r"v=30 e=0000 type=0 cpl=0 IP=0008:"]),
    "in_asm": ("blocks", [r"0x[0-9a-f]{16}  LOOP"]),
    "exec": ("decode", [r"vCPU 0: 0x[0-9a-f]{16}, 1 instruction$", r"vCPU 0: 0x[0-9a-f]{16}, [0-9]+ instructions$"]),
    "cpu_reset": ("triple", [r"vCPU 0: triple fault, shutdown at 0008:"]),
    "mmu": ("faults switch flush", [r"page fault at 0x800000, error code 0x0, rip 0x1[0-9a-f]{5}$", r"TLB: CR3 := 0x",
                                    r"TLB: page 0x300000 flushed", r"TLB: VPID 0x0 flushed"]),
    "unimp": ("msr", [r"RDMSR 00012345: no such MSR"]),
    "io": ("ports mmio", [r"in8 0x0061 -> 0x[0-9a-f]+, port 61h$", r"out8 0x0080 <- 0x[0-9a-f]+, POST port 80h$",
                          r"load32 0xfed00000 -> 0x8086a[0-9a-f]{3}, .*HPET", r"store32 0xfed00020 <- 0x8086a[0-9a-f]{3}, .*HPET"]),
    "apic": ("interrupts", [r"local APIC 0: ICR 00004030 to 0"]),
    "vmx": ("vmx", [r"VMXOFF raises #UD: outside VMX operation"]),
}


def run(word, *options, seconds=60):
    machine = ["-cpu", "nested,+vmx"]
    machine += ["-append", "levels=2"] if word == "(the ROM)" else ["-kernel", kernel, "-append", word]
    return subprocess.run([droste, *machine, "-accel", "interp", "-display", "none", "--icount", "-no-reboot", *options], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=seconds, text=True, errors="replace", check=False)


def counters(word):
    """The rows of --stats as {name: value}; the tables of VM exits, which explain.py checks, are left out."""
    result = run(word, "--stats")
    if result.returncode != 0:
        claim(f"{word} runs", False, f"status {result.returncode}: {result.stderr}")
    rows = re.findall(r"^ *([A-Za-z][A-Za-z ,-]*?) +([0-9.]+)$", result.stderr, re.MULTILINE)
    return {name: float(value) for name, value in rows if not name.startswith("TLB flushes by")}


baseline = counters("off")
seen = {}
for name in baseline:
    if name not in COUNTERS:
        claim(f"--stats: {name} has a witness", False, "add a word to witness.asm and a row to witness.py")
        continue
    word = COUNTERS[name]
    if word is None:
        continue
    if word not in seen:
        seen[word] = counters(word)
    least = 1 if word == "(the ROM)" else TIMES
    moved = seen[word].get(name, 0) - baseline[name]
    claim(f"--stats: {name} moves", moved >= least, f"{word}: by {moved}, expected {least} or more")
claim("--stats: every witness is of a counter that exists", not set(COUNTERS) - set(baseline), set(COUNTERS) - set(baseline))

# tests/jit/witness.py has those of the translator.
TRANSLATOR = {"out_asm", "op"}
listed = [name for name in re.findall(r"^(\w+)  ", run("off", "-d", "help").stdout, re.MULTILINE) if name not in TRANSLATOR]
claim("-d help lists the categories", len(listed) > 5, listed)
claim("-d: every witness is of a category that exists", not set(CATEGORIES) - set(listed), set(CATEGORIES) - set(listed))
for name in listed:
    if name not in CATEGORIES:
        claim(f"-d {name} has a witness", False, "add a row to witness.py")
        continue
    words, patterns = CATEGORIES[name]
    lines = [line for word in words.split(" ") for line in run(word, "-d", name).stderr.splitlines()]
    for pattern in patterns:
        claim(f"-d {name} prints {pattern}", any(re.search(pattern, line) for line in lines if line.startswith(name + ": ")),
              "\n".join(lines[:10]))
    # A line that begins with a blank belongs to the one before it; "droste:" is how the run ended.
    others = [line for line in lines if not line.startswith((name + ": ", " ", "droste: "))]
    claim(f"-d {name} prints nothing else", not others, others[:5])
claim("without -d nothing is printed", run("exceptions").stderr == "", run("exceptions").stderr)
finish()
