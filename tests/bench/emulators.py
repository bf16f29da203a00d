"""Starts the emulators that the benchmarks compare, and yields what their guests print with native time.

A Linux guest is a kernel and an initramfs for all of them; Bochs boots them from a CD made for it (isolinux).
"""
import os
import pathlib
import select
import shutil
import subprocess
import time

APPEND = "console=ttyS0 quiet"
ISOLINUX = pathlib.Path("/usr/lib/ISOLINUX/isolinux.bin")
SYSLINUX_MODULES = pathlib.Path("/usr/lib/syslinux/modules/bios")

BOCHSRC = """\
megs: {megs}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
cpu: model=corei7_haswell_4770, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=1700000000
ata0: enabled=1
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
display_library: sdl2
speaker: enabled=0
sound: driver=dummy
log: {work}/bochs.log
panic: action=fatal
error: action=report
"""


def build_iso(work, files, label):
    """A CD in `work` that boots `label`, lines of an isolinux configuration; files: {name on the CD: path}."""
    boot = work / "iso/isolinux"
    boot.mkdir(parents=True)
    needed = {"isolinux.bin": ISOLINUX, **{f"{m}.c32": SYSLINUX_MODULES / f"{m}.c32" for m in ("ldlinux", "libcom32", "mboot")}}
    for name, source in {**needed, **files}.items():
        shutil.copy(source, boot / name)
    (boot / "isolinux.cfg").write_text("default guest\nprompt 0\ntimeout 1\nlabel guest\n" + label)
    iso = work / "bench.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", iso, "-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat",
                    "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", work / "iso"],
                   check=True, stderr=subprocess.DEVNULL)
    return iso


def linux_label(append=APPEND):
    return f"  kernel /isolinux/vmlinuz\n  append initrd=/isolinux/initrd {append}\n"


def bochs_installed():
    return bool(shutil.which("bochs") and shutil.which("xorriso") and ISOLINUX.exists())


def bochs(work, iso, megs, timeout):
    """Lines of a Bochs that boots `iso` from its CD drive."""
    serial = work / "serial"
    serial.unlink(missing_ok=True)
    (work / "bochsrc").write_text(BOCHSRC.format(iso=iso, serial=serial, work=work, megs=megs))
    (work / "rc").write_text("c\n")
    return lines_of_file(["bochs", "-q", "-f", work / "bochsrc", "-rc", work / "rc"], serial, timeout,
                         {"SDL_VIDEODRIVER": "dummy"})


def cpu_seconds(process):
    """CPU time of all threads of a child: clock_getcpuclockid(3)."""
    return time.clock_gettime(~process.pid << 3 | 2)


def lines_of_pipe(command, timeout, cpu=False):
    """Yields (native time, line) as the console prints them: seconds since the start, or the process' CPU time. `timeout` is of the
    same kind, but the wall clock at most goes ten times as far."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pending = b""

    def now():
        return cpu_seconds(process) if cpu else time.monotonic() - start

    try:
        while now() < timeout and time.monotonic() - start < 10 * timeout:
            if not select.select([process.stdout], [], [], 0.5)[0]:
                if process.poll() is not None:
                    return
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                return
            when = now()
            pending += chunk
            *whole, pending = pending.split(b"\n")
            for line in whole:
                yield when, line.decode(errors="replace").strip()
    finally:
        process.kill()
        process.wait()


def lines_of_file(command, path, timeout, environment):
    start = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, **environment})
    offset, pending = 0, b""
    try:
        while time.monotonic() - start < timeout:
            data = b""
            ended = process.poll() is not None  # before the last read
            if path.exists():
                with open(path, "rb") as source:
                    source.seek(offset)
                    data = source.read()
            now = time.monotonic() - start
            offset += len(data)
            pending += data
            *whole, pending = pending.split(b"\n")
            for line in whole:
                yield now, line.decode(errors="replace").strip()
            if not data:
                if ended:
                    return
                time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
