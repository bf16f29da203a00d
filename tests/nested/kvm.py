#!/usr/bin/env python3
"""kvm.py DROSTE [OPTION...] [-- DROSTE-OPTION...]: KVM inside, as many levels deep as asked for.

Level 1 is Debian's kernel in the machine; it loads KVM and starts the level below it under a VMM, and so on. The last
level runs guest_script.sh, whose results must be right; each level must report the kernel, CPUs and kvm_intel parameters
it was given, see its child end with status 0, unload KVM and switch off without a complaint of its kernel.

Options as in make_nested_initramfs.sh: -l LEVELS -k N=VERSION -p N=PARAMETERS -c N=CPUS -m N=MIB -v N=VMM -s SCRIPT.
--timeout SECONDS (300) of native time; --keep FILE keeps the console's output; --trace looks at every VM exit: those of
say_level.c must be attributed to the level that caused them."""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GUESTS = os.environ.get("DROSTE_GUESTS", os.path.join(ROOT, "build", "guests"))
COMPLAINT = re.compile(r"BUG:|Oops|Call Trace|WARNING:|Kernel panic|unchecked MSR access|kvm.*(?:fail|not supported)|minivmm: ")


class Skip(Exception):
    """A guest image is neither in the cache nor to be had."""


def level_options(parser):
    parser.add_argument("-l", dest="levels", type=int, default=2)
    for letter, name in (("k", "kernel"), ("p", "parameters"), ("c", "cpus"), ("m", "memory"), ("v", "vmm")):
        parser.add_argument("-" + letter, dest=name, action="append", default=[], metavar="N=" + name.upper())
    parser.add_argument("-s", dest="script")
    parser.add_argument("--timeout", type=int, default=300)


def by_level(settings):
    """["1=ept=0"] to {1: "ept=0"}."""
    return {int(level): value for level, value in (setting.split("=", 1) for setting in settings)}


def make_initramfs(options, output):
    command = ["sh", os.path.join(HERE, "make_nested_initramfs.sh"), "-g", GUESTS, "-l", str(options.levels)]
    for letter, settings in (("k", options.kernel), ("p", options.parameters), ("c", options.cpus),
                             ("m", options.memory), ("v", options.vmm)):
        for setting in settings:
            command += ["-" + letter, setting]
    if options.script:
        command += ["-s", options.script]
    made = subprocess.run(command + [output], capture_output=True, text=True)
    if "cannot get" in made.stderr:
        raise Skip(made.stderr.strip())
    if made.returncode != 0:
        raise RuntimeError(made.stderr.strip())


SAID = re.compile(rb" L(\d+)\S* CPUID \(leaf 0x5e00000(\d)")


def collect_said(pipe, said):
    """Counts {(level attributed, level that spoke): times} out of a trace of VM exits."""
    with open(pipe, "rb") as trace:
        for exit_line in trace:
            if b"leaf 0x5e" in exit_line and (found := SAID.search(exit_line)):
                key = (int(found[1]), int(found[2]))
                said[key] = said.get(key, 0) + 1


def boot(droste, options, extra, said=None):
    """Runs the stack; gives exit status, console text and the processor seconds droste took. `said`: filled with what
    collect_said() finds."""
    with tempfile.TemporaryDirectory() as scratch:
        initramfs = os.path.join(scratch, "initramfs.cpio")
        make_initramfs(options, initramfs)
        kernel = os.path.join(GUESTS, "vmlinuz-" + by_level(options.kernel).get(1, "6.1"))
        command = [droste, "-kernel", kernel, "-initrd", initramfs, "-m", "768", "-cpu", "nested,+vmx", "-no-reboot",
                   "-nographic", "-append", "console=ttyS0 quiet panic=-1 poweroff", "--timeout", str(options.timeout)]
        collector = None
        if said is not None:
            pipe = os.path.join(scratch, "exits")
            os.mkfifo(pipe)
            collector = threading.Thread(target=collect_said, args=(pipe, said), daemon=True)
            collector.start()
            extra = extra + [f"--vmexit-trace={pipe},format=text,limit=0"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(command + extra, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=options.timeout + 60)
        if collector is not None:
            collector.join(10)
        text = run.stdout.decode(errors="replace").replace("\r", "")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return run.returncode, text, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(text, level, kind):
    found = re.search(rf"^LEVEL-{level}-{kind}(?: (.*))?$", text, re.MULTILINE)
    return None if found is None else found.group(1) or ""


def claims(options, status, text):
    """What must be true of a run: (name, truth, what is there instead)."""
    kernels, cpus, parameters = by_level(options.kernel), by_level(options.cpus), by_level(options.parameters)
    vmms = by_level(options.vmm)
    yield "exit status 0 after power-off", status == 0, status
    for level in range(1, options.levels + 1):
        userland = line(text, level, "USERLAND")
        yield f"level {level} reaches userland", userland is not None, "no such line"
        if userland is None:
            return
        yield f"level {level} has its kernel", f"kernel={kernels.get(level, '6.1')}." in userland, userland
        if level in cpus:
            yield f"level {level} has its CPUs", f"cpus={cpus[level]} " in userland, userland
        if level == options.levels:
            continue
        kvm = line(text, level, "KVM")
        for setting in parameters.get(level, "").split():
            name, value = setting.split("=")
            shown = f"{name}={'NY'[int(value)]}"
            yield f"level {level}: {shown}", kvm is not None and shown in kvm.split(), kvm
    if not options.script:
        for check in re.findall(r"^CHECK (.*) ok$", text, re.MULTILINE):
            yield f"guest: {check}", True, ""
        for check in re.findall(r"^CHECK (.* BAD: .*)$", text, re.MULTILINE):
            yield f"guest: {check}", False, ""
        yield "the guest's script reaches its end", "SCRIPT-DONE failed=0" in text, ""
    for level in range(1, options.levels):
        child = line(text, level, "CHILD-EXIT")
        vmm = vmms.get(level + 1, "minivmm")
        yield (f"level {level} sees its child end well under {vmm}",
               child is not None and child.startswith("0 ") and child.endswith(" " + vmm), child)
        yield f"level {level} unloads KVM", line(text, level, "KVM-UNLOADED") is not None, "no such line"
    complaints = [text_line for text_line in text.splitlines() if COMPLAINT.search(text_line)]
    yield "no kernel complains", not complaints, complaints[:3]


def level_claims(options, said):
    """What must be true of the trace: VM exits by say_level.c are attributed to the level that said so."""
    for level in range(2, options.levels + 1):
        right = said.get((level, level), 0)
        yield f"level {level}: VM exits are attributed to it", right > 0, f"{right} of level {level}"
    wrong = {key: times for key, times in said.items() if key[0] != key[1]}
    yield "no level's VM exit is attributed to another", not wrong, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("droste")
    level_options(parser)
    parser.add_argument("--keep")
    parser.add_argument("--trace", action="store_true")
    arguments = sys.argv[1:]
    extra = []
    if "--" in arguments:
        extra = arguments[arguments.index("--") + 1:]
        arguments = arguments[:arguments.index("--")]
    options = parser.parse_args(arguments)
    said = {} if options.trace else None
    try:
        status, text, seconds = boot(options.droste, options, extra, said)
    except Skip as skip:
        print(f"{skip}\nskipped: no guest image, no network")
        return 77
    if options.keep:
        with open(options.keep, "w", encoding="utf-8") as keep:
            keep.write(text)
    passed = failed = 0
    claimed = list(claims(options, status, text)) + (list(level_claims(options, said)) if options.trace else [])
    for name, truth, instead in claimed:
        print(f"ok   {name}" if truth else f"FAIL {name}: {instead}")
        passed, failed = passed + bool(truth), failed + (not truth)
    for level in range(1, options.levels):
        print(f"level {level + 1} took {(line(text, level, 'CHILD-EXIT') or '- -').split()[1]} s of level {level}'s time")
    print(f"{seconds:.1f} s of processor time")
    if failed:
        print("--- console\n" + "\n".join(text.splitlines()[-40:]))
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
