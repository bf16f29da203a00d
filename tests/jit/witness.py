#!/usr/bin/env python3
"""witness.py DROSTE KERNEL: every counter that --stats has for the translator moves, each for its reason, and features of the
native CPU that are hidden from the translator change nothing for the guest.

KERNEL is translated.asm, whose words each do one thing twenty times. A counter's witness is a word that moves it by that much beyond
what the word `off` does. Rows are read from the program's own output: a new one without a witness here fails the test."""
import os
import re
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from claims import claim, finish

droste, kernel = sys.argv[1:3]
TIMES = 20

# Row of --stats -> (word, by how much it moves it at least). Ratios and present sizes: None, or a check below.
COUNTERS = {
    "interpreted": ("odd", 80),
    "in cold code": ("cold", 128),
    "not carried over": ("odd", 80),
    "access not plain": ("touch", 4096),
    "entries from C++": ("hot", TIMES),
    "entries behind interpreted ones": ("behind", TIMES),
    "translations made": ("hot", TIMES),
    "killed: code written": ("rewrite", TIMES - 1),
    "killed: memory layout": ("layout", TIMES),
    "killed: no room": ("room", 1),
    "killed: windows fail": ("windows", 1),
    "killed: slots miss": ("slots", 1),
    "regions of code evicted": ("room, little room", 2),
    "links made": ("hot", TIMES),
    "jump tables cleared": ("switch", TIMES),
    "code bytes made": ("hot", TIMES * 16),
    "code bytes present": ("hot", TIMES * 16),
    "table bytes present": ("hot", TIMES * 16),
    "translation time, ns": None,  # below
    "interpreted, %": None,
    "per 1000 instructions": None,
    "TLB misses per 1000": None,
    "per guest byte": None,
    "per instruction, ns": None,
}
LITTLE_ROOM = "jit,tb-size=1,threshold=0"


def run(word, *options, accel="jit", hidden=""):
    options = [*options, "--native-features", hidden] if hidden else options
    result = subprocess.run(
        [droste, "-accel", accel, "-kernel", kernel, "-append", word, "-cpu", "nested,+vmx", "-m", "64", "-display", "none",
         "-debugcon", "stdio", "--icount", "-no-reboot", *options],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=100, text=True, errors="replace", check=False)
    if result.returncode != 0 or "!" in result.stdout:
        claim(f"{word} runs on {accel}", False, f"status {result.returncode}: {result.stdout} {result.stderr}")
    return result


def rows(text):
    found = re.findall(r"^ *([A-Za-z][A-Za-z0-9 ,:+%-]*?) +([0-9.]+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def counters(name):
    word, _, little = name.partition(",")
    return rows(run(word, "--stats", accel=LITTLE_ROOM if little else "jit").stderr)


interpreter = rows(run("off", "--stats", accel="interp").stderr)
baseline = counters("off")
names = [name for name in baseline if name not in interpreter]
claim("--stats has rows for the translator", len(names) > 15, names)
claim("--stats: every witness is of a counter that exists", not set(COUNTERS) - set(names), set(COUNTERS) - set(names))
seen = {}
for name in names:
    if name not in COUNTERS:
        claim(f"--stats: {name} has a witness", False, "add a word to translated.asm and a row to witness.py")
        continue
    if COUNTERS[name] is None:
        continue
    word, least = COUNTERS[name]
    if word not in seen:
        seen[word] = counters(word)
    moved = seen[word].get(name, 0) - baseline[name]
    claim(f"--stats: {name} moves", moved >= least, f"{word}: by {moved}, expected {least} or more")

# What can be told exactly.
for word, values in {"off": baseline, **seen}.items():
    parts = values["in cold code"] + values["not carried over"] + values["access not plain"]
    claim(f"{word}: what is interpreted is the sum of its parts", values["interpreted"] == parts, values)
    share = 100 * values["interpreted"] / values["instructions"]
    claim(f"{word}: its share", abs(values["interpreted, %"] - share) < 0.001, f"{values['interpreted, %']}, not {share}")
    entries = 1000 * values["entries from C++"] / values["instructions"]
    claim(f"{word}: entries per 1000 instructions", abs(values["per 1000 instructions"] - entries) < 0.001, values)
    misses = 1000 * values["data TLB misses"] / values["instructions"]
    claim(f"{word}: TLB misses per 1000 instructions", abs(values["TLB misses per 1000"] - misses) < 0.001, values)
by_op = dict(re.findall(r"^interpreted (\w+) +([0-9]+)  ", run("odd", "--stats").stderr, re.MULTILINE))
claim("SLDT is among the interpreted instructions, all hundred", by_op.get("SLDT") == "100", by_op)
cold = run("mix", "--stats", accel="jit,threshold=1000000")
claim("with a threshold that nothing reaches all is interpreted",
      rows(cold.stderr)["translations made"] == 0 and rows(cold.stderr)["interpreted, %"] > 99, cold.stderr)
claim("time of translations: none without any, some with them",
      rows(cold.stderr)["translation time, ns"] == 0 and seen["hot"]["translation time, ns"] > 0, cold.stderr)
strings = rows(run("strings", "--stats").stderr)
claim("repeated string instructions are carried over where they stay in a page upwards",
      strings["not carried over"] < 1000 and 2000 < strings["access not plain"] < 8000, strings)
pairs = rows(run("pairs", "--stats").stderr)
claim("a page slot that finds a neighbor at each miss, and goes on missing, goes", pairs["killed: slots miss"] >= 1, pairs)
at_once = rows(run("cold", "--stats", accel="jit,threshold=0").stderr)
claim("with threshold 0 code is translated that runs once", at_once["translations made"] >= 64, at_once)
bound = seen["room, little room"]
claim("tb-size bounds code and tables", bound["code bytes present"] + bound["table bytes present"] < 2**20, bound)

# Categories of the log: each translation with the guest's code, the native code under it, and what became of it.
HEAD = r"^{}: translation of 0x0000000000100[0-9a-f]{{3}}, \d+ instructions?, \d+ bytes at 0x[0-9a-f]+$"
LOGS = {
    "in_asm": [r"^  0x0000000000100[0-9a-f]{3}  sldt eax$"],
    "out_asm": [r"^  0x0000000000100[0-9a-f]{3}  dec edx$", r"^    0x[0-9a-f]+  dec edx$", r"^    0x[0-9a-f]+  sub r13, ",
                r"^  \(entry\)$", r"^  \(ways out\)$"],
    "op": [r"^  0x0000000000100[0-9a-f]{3}  sldt eax +interpreted, status flags \w[\w ]*, \d+ bytes$",
           r"^  0x0000000000100[0-9a-f]{3}  dec edx +carried over, status flags saved, \d+ bytes$",
           r"^  0x0000000000100[0-9a-f]{3}  jne 0x100[0-9a-f]{3} +carried over, status flags in RFLAGS, \d+ bytes$"],
}
for name, patterns in LOGS.items():
    text = run("odd", "-d", name).stderr
    made = len(re.findall(HEAD.format(name), text, re.MULTILINE))
    claim(f"-d {name}: an entry for each translation", made == seen["odd"]["translations made"], f"{made}: {text[:1000]}")
    for pattern in patterns:
        claim(f"-d {name} prints {pattern}", re.search(pattern, text, re.MULTILINE), text[:2000])
    if name != "in_asm":
        others = [line for line in text.splitlines() if not line.startswith((name + ": ", "  "))]
        claim(f"-d {name} prints nothing else", not others, others[:5])
    claim(f"-d {name} does not change the run", rows(run("odd", "-d", name, "--stats").stderr)["instructions"] == seen["odd"]["instructions"])
claim("without -d nothing is printed", run("odd").stderr == "", "")

# Names for perf: a line for each translation, and a dump that has their code.
with tempfile.TemporaryDirectory() as scratch:
    listing = os.path.join(scratch, "System.map")
    with open(listing, "w", encoding="ascii") as file:
        file.write("0000000000100000 T image\n")
    process = subprocess.Popen([droste, "-accel", "jit", "-kernel", kernel, "-append", "hot", "-cpu", "nested,+vmx", "-m", "64", "-display",
                                "none", "--icount", "--perf-map", "--jitdump", scratch, "--symbols", f"1:{listing}", "--stats"],
                               stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    translations = rows(process.communicate(timeout=100)[1])
    names = open(f"/tmp/perf-{process.pid}.map", encoding="ascii").read().splitlines()
    os.unlink(f"/tmp/perf-{process.pid}.map")
    claim("--perf-map has a line for each translation", len(names) == translations["translations made"], names[:5])
    form = r"^([0-9a-f]+) ([0-9a-f]+) image\+0x[0-9a-f]+ \[guest 0x100[0-9a-f]+\]$"
    sizes = [int(re.match(form, line).group(2), 16) for line in names if re.match(form, line)]
    claim("... with address, size and symbol, of all code", sum(sizes) == translations["code bytes made"], f"{sizes} {names[:5]}")
    dump = open(os.path.join(scratch, f"jit-{process.pid}.dump"), "rb").read()
    magic, version, header, machine, _, pid, _, flags = struct.unpack_from("<IIIIIIQQ", dump)
    claim("--jitdump has perf's header", (magic, version, header, machine, pid, flags) == (0x4A695444, 1, 40, 62, process.pid, 0), dump[:40])
    at, loads, code = header, 0, 0
    while at < len(dump):
        kind, size, _, _, _, address, where, length, number = struct.unpack_from("<IIQIIQQQQ", dump, at)
        good = kind == 0 and address == where and number == loads and size == 56 + dump.index(b"\0", at + 56) + 1 - (at + 56) + length
        claim(f"... record {loads}", good, f"{kind} {size} {length} {number}")
        at, loads, code = at + size, loads + 1, code + length
    claim("... and the code of each translation", (loads, code) == (translations["translations made"], translations["code bytes made"]), loads)

# The same for the guest on any native CPU.
def unchanging(result):
    return result.stdout + "".join(line + "\n" for line in result.stderr.splitlines()
                                   if re.match(r"(instructions|exceptions|port accesses|virtual time)", line))


for word in ("bits", "mix", "strings"):
    expected = unchanging(run(word, "--stats", accel="interp"))
    claim(f"{word} prints a digest", re.match(r"[0-9a-f]{16}\n", expected), expected)
    for hidden in ("", "-bmi1", "-bmi2", "-lzcnt", "-adx", "-undefined-flags", "-undefined-results", "-bmi1,-bmi2,-lzcnt,-adx"):
        got = run(word, "--stats", accel="jit,threshold=0", hidden=hidden)
        claim(f"{word}: the same with native features hidden: '{hidden}'", unchanging(got) == expected, unchanging(got))
    lacking = rows(got.stderr)["not carried over"] - rows(run(word, "--stats", accel="jit,threshold=0").stderr)["not carried over"]
    claim(f"{word}: what is hidden is not used", lacking >= 20000 if word == "bits" else lacking == 0, lacking)
finish()
