#!/usr/bin/env python3
"""Builds what the benchmarks run: the rows once, and from the same objects
  rows_linux        a static program for Linux: native, and /init of
  rows.cpio         an initramfs
  bare.elf          a multiboot kernel (bare64.elf: the same with symbols, for profilers)

    tests/bench/build.py DIRECTORY

Needs gcc, nasm, binutils. The rows use nothing beyond x86-64 unless they say so, whatever the machine.
"""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none",
         "-fno-asynchronous-unwind-tables", "-fno-math-errno"]
FREESTANDING = ["-ffreestanding", "-mno-red-zone", "-fno-tree-loop-distribute-patterns"]


def run(*command):
    subprocess.run(command, check=True)


def cpio_record(name, mode, data=b"", device=(0, 0)):
    """A record of the "newc" format; so neither cpio nor root is needed."""
    fields = [1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    record = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
    record += b"\0" * (-len(record) % 4) + data
    return record + b"\0" * (-len(record) % 4)


def make_initramfs(program, output):
    output.write_bytes(cpio_record("dev", 0o40755) + cpio_record("dev/console", 0o20600, device=(5, 1)) +
                       cpio_record("init", 0o100755, program.read_bytes()) + cpio_record("TRAILER!!!", 0))


def build(directory):
    """{name: path} of all that is built; nothing is done when no source is newer."""
    directory.mkdir(parents=True, exist_ok=True)
    made = {"program": directory / "rows_linux", "initramfs": directory / "rows.cpio", "bare": directory / "bare.elf"}
    sources = [p for p in HERE.rglob("*") if p.suffix in (".c", ".h", ".inc", ".asm", ".ld") or p.name == "build.py"]
    if made["bare"].exists() and made["bare"].stat().st_mtime > max(p.stat().st_mtime for p in sources):
        return made
    objects = []
    for source in sorted((HERE / "rows").glob("*.c")):
        objects.append(directory / (source.stem + ".o"))
        run("gcc", *FLAGS, *FREESTANDING, "-c", source, "-o", objects[-1])
    run("gcc", *FLAGS, "-static", "-no-pie", HERE / "linux.c", *objects, "-o", made["program"])
    make_initramfs(made["program"], made["initramfs"])
    run("nasm", "-f", "elf64", HERE / "bare/start.asm", "-o", directory / "start.o")
    run("gcc", *FLAGS, *FREESTANDING, "-c", HERE / "bare/main.c", "-o", directory / "bare_main.o")
    run("ld", "-nostdlib", "-static", "-z", "max-page-size=4096", "-z", "noexecstack", "--no-warn-rwx-segments",
        "-T", HERE / "bare/link.ld", directory / "start.o", directory / "bare_main.o", *objects, "-o", directory / "bare64.elf")
    run("objcopy", "-O", "elf32-i386", directory / "bare64.elf", made["bare"])  # what QEMU's multiboot loader takes
    return made


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    build(pathlib.Path(sys.argv[1]).resolve())
