#!/usr/bin/env python3
"""variants.py DROSTE [--list] [NAME...]: KVM with each of its parameters, other kernels, more CPUs, other VMMs.

A line for each variant (all of them, or those named): what it is, whether every claim of kvm.py held, and the seconds of
native processor time. The last line counts them. --keep DIR keeps each console's output in DIR/NAME."""

import argparse
import os
import re
import sys

import kvm

# name, options of kvm.py, options of droste
VARIANTS = [
    ("default", "", ""),
    ("ept=0", "-p|1=ept=0", ""),
    ("vpid=0", "-p|1=vpid=0", ""),
    ("unrestricted_guest=0", "-p|1=unrestricted_guest=0", ""),
    ("flexpriority=0", "-p|1=flexpriority=0", ""),
    ("enable_apicv=0", "-p|1=enable_apicv=0", ""),
    ("enable_apicv=1", "-p|1=enable_apicv=1", ""),
    ("enable_shadow_vmcs=0", "-p|1=enable_shadow_vmcs=0", ""),
    ("enable_shadow_vmcs=1", "-p|1=enable_shadow_vmcs=1", ""),
    ("pml=0", "-p|1=pml=0", ""),
    ("pml=1", "-p|1=pml=1", ""),
    ("ept=0-vpid=0-unrestricted_guest=0", "-p|1=ept=0 vpid=0 unrestricted_guest=0", ""),
    ("all-off", "-p|1=ept=0 vpid=0 unrestricted_guest=0 flexpriority=0 enable_apicv=0 enable_shadow_vmcs=0 pml=0", ""),
    ("6.12-in-6.1", "-k|2=6.12", ""),
    ("6.1-in-6.12", "-k|1=6.12", ""),
    ("6.12-in-6.12", "-k|1=6.12|-k|2=6.12", ""),
    ("6.12-ept=0", "-k|1=6.12|-p|1=ept=0", ""),
    ("L2-2-cpus", "-c|2=2", ""),
    ("L1-2-cpus", "-c|1=2", "-smp|2"),
    ("L1-and-L2-2-cpus", "-c|1=2|-c|2=2", "-smp|2"),
    ("cpu-max", "", "-cpu|max"),
    ("6.12-cpu-max", "-k|1=6.12|-k|2=6.12", "-cpu|max"),
    ("qemu-pc", "-v|2=qemu-pc", "-m|1024"),
    ("qemu-microvm", "-v|2=qemu-microvm", "-m|1024"),
    ("qemu-pc-2-cpus", "-v|2=qemu-pc|-c|2=2", "-m|1024"),
    ("qemu-pc-in-6.12", "-v|2=qemu-pc|-k|1=6.12", "-m|1024"),
    # The clock of instructions, slowed down: in real time a busy native machine makes a level-3 timer tick cost
    # more than lies between two.
    ("L3", "-l|3", "-m|1024|--icount-ns|1"),
    ("L3-qemu-in-minivmm", "-l|3|-v|3=qemu-pc|-m|2=1024", "-m|1536|--icount-ns|1"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("droste")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keep")
    arguments = parser.parse_intermixed_args()
    unknown = set(arguments.names) - {name for name, _, _ in VARIANTS}
    if unknown:
        parser.error(f"no variant {', '.join(sorted(unknown))}; --list names them")
    chosen = [row for row in VARIANTS if not arguments.names or row[0] in arguments.names]
    if arguments.list:
        for name, make, droste in chosen:
            print(f"{name:36}{(make + ' -- ' + droste).replace('|', ' ')}")
        return 0
    options_parser = argparse.ArgumentParser()
    kvm.level_options(options_parser)
    passed = failed = skipped = 0
    for name, make, droste in chosen:
        options = options_parser.parse_args([word for word in make.split("|") if word])
        options.timeout = 900
        try:
            status, text, seconds = kvm.boot(arguments.droste, options, [word for word in droste.split("|") if word])
        except kvm.Skip as skip:
            print(f"skip {name}: {skip}", flush=True)
            skipped += 1
            continue
        if arguments.keep:
            os.makedirs(arguments.keep, exist_ok=True)
            with open(os.path.join(arguments.keep, name), "w", encoding="utf-8") as keep:
                keep.write(text)
        wrong = [f"{claim} ({instead})" for claim, truth, instead in kvm.claims(options, status, text) if not truth]
        up = re.search(rf"^LEVEL-{options.levels}-USERLAND.*uptime=(\S+)", text, re.MULTILINE)
        child = (kvm.line(text, 1, "CHILD-EXIT") or "- -").split()[1]
        print(f"{'FAIL' if wrong else 'ok  '} {name:36}{seconds:6.1f} s; level 2 ran {child} s, the last level came to userland after "
              f"{up.group(1) if up else '-'} s{': ' + '; '.join(wrong) if wrong else ''}", flush=True)
        passed, failed = passed + (not wrong), failed + bool(wrong)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    if skipped and not passed + failed:
        return 77
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
