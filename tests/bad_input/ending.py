#!/usr/bin/env python3
"""ending.py DROSTE KERNEL: however a run ends, it ends cleanly: Ctrl-A x, signals, closed and blocked output;
and the terminal is as it was before."""
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
from claims import claim, finish, read_until

droste, kernel = sys.argv[1:3]


class OnTerminal:
    """droste on a pseudo-terminal of its own."""

    def __init__(self, words, *options):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [droste, "-kernel", kernel, "-append", words, "--timeout", "60", *options],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def type(self, text):
        os.write(self.master, text)

    def expect(self, text):
        return text in read_until(self.master, text)

    def raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait_raw(self):
        end = time.monotonic() + 20
        while not self.raw() and time.monotonic() < end:
            time.sleep(0.02)
        return self.raw()

    def finish(self, seconds=20):
        # Keep reading, or the process could not write its last words.
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self.master], [], [], 0.05)[0]:
                os.read(self.master, 65536)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            return None
        return self.process.returncode

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        os.close(self.master)
        os.close(self.slave)


# The console: input reaches the guest, the escapes work, the terminal is restored.
run = OnTerminal("echo")
claim("the terminal is raw during the run", run.wait_raw())
run.type(b"abc")
claim("what is typed reaches the guest", run.expect(b"abc"))
run.type(b"\x01h")
claim("Ctrl-A h helps", run.expect(b"Ctrl-A x"))
run.type(b"\x01cinfo status\r")
claim("Ctrl-A c opens the monitor", run.expect(b"VM status: running"))
run.type(b"stop\rinfo status\r")
claim("the monitor pauses the machine", run.expect(b"VM status: paused"))
run.type(b"info registers\r")
claim("and shows registers", run.expect(b"CR0="))
run.type(b"xp /2xw 0x100000\r")
claim("and memory", run.expect(b"0x1badb002"))
run.type(b"cont\r\x01cdef")
claim("and goes on", run.expect(b"def"))
run.type(b"\x03")
time.sleep(0.3)
claim("Ctrl-C is the guest's", run.process.poll() is None)
run.type(b"\x01x")
claim("Ctrl-A x ends with 0", run.finish() == 0)
claim("Ctrl-A x restores the terminal", run.restored())
run.close()

run = OnTerminal("spin")
run.wait_raw()
run.type(b"\x01x")
claim("Ctrl-A x works while the guest spins and reads nothing", run.finish() == 0)
run.close()

run = OnTerminal("echo", "-S")
run.wait_raw()
run.type(b"\x01cquit\r")
claim("-S, then quit from the monitor", run.finish() == 0)
run.close()

run = OnTerminal("spin", "-serial", "stdio")
run.wait_raw()
run.type(b"\x03")
claim("with -serial stdio Ctrl-C ends the run, 130", run.finish() == 128 + signal.SIGINT)
claim("and the terminal is restored", run.restored())
run.close()

for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    for words in ("spin", "halt", "chatter"):
        run = OnTerminal(words)
        run.wait_raw()
        run.process.send_signal(number)
        claim(f"{number.name} ends a {words} guest, {128 + number}", run.finish() == 128 + number, run.process.returncode)
        claim(f"{number.name} restores the terminal ({words})", run.restored())
        run.close()

run = OnTerminal("spin")
run.wait_raw()
run.process.send_signal(signal.SIGABRT)
run.finish()
claim("a crash restores the terminal", run.process.returncode == -signal.SIGABRT and run.restored(), run.process.returncode)
run.close()

run = OnTerminal("off")
claim("power-off restores the terminal", run.finish() == 0 and run.restored())
run.close()

# Nobody reads the output any more.
process = subprocess.Popen([droste, "-kernel", kernel, "-append", "chatter", "--timeout", "60", "-nographic"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
process.stdout.read(100)
process.stdout.close()
message = process.stderr.read().decode()
claim("a closed output ends the run with 8", process.wait(30) == 8, process.returncode)
claim("and a message of its own", "standard output was closed" in message, message)

# Somebody holds the output back: the guest waits, nothing is lost, and signals still end the run.
process = subprocess.Popen([droste, "-kernel", kernel, "-append", "chatter", "--timeout", "60", "-nographic"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
time.sleep(3)
with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
    ticks_before = sum(int(n) for n in stat.read().split()[13:15])
time.sleep(1)
with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
    ticks = sum(int(n) for n in stat.read().split()[13:15]) - ticks_before
claim("a blocked output makes the machine wait instead of spin", ticks < 20, ticks)
data = process.stdout.read(500000)
lines = data.split(b"\n")[:-1]
claim("nothing is lost meanwhile", set(lines) == {b"chatter chatter chatter chatter chatter"}, set(lines))
time.sleep(1)
process.send_signal(signal.SIGTERM)
try:
    status = process.wait(20)
except subprocess.TimeoutExpired:
    status = None
    process.kill()
claim("SIGTERM ends it while blocked, 143", status == 143, status)

with open("/dev/full", "wb") as full:
    process = subprocess.run([droste, "-kernel", kernel, "-append", "chatter", "--timeout", "20", "-nographic"],
                             stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False)
claim("a full disk ends the run with 8", process.returncode == 8, process.returncode)

process = subprocess.run([droste, "-kernel", kernel, "-append", "chatter", "--timeout", "2", "-display", "none",
                          "-serial", "file:/dev/full", "-d", "io", "-D", "/dev/full"],
                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
lines = process.stderr.decode().splitlines()
claim("a full disk under -serial file: and -D is said once each, and the run goes on",
      process.returncode == 124 and len(lines) == 3 and sum("No space left" in line for line in lines) == 2, lines)

process = subprocess.run(["/bin/sh", "-c", f'exec "{droste}" -kernel "{kernel}" -append off <&- >&- 2>&-'], check=False)
claim("closed descriptors do no harm", process.returncode in (0, 2), process.returncode)

# Pseudo-terminals as serial ports.
process = subprocess.Popen([droste, "-kernel", kernel, "-append", "echo", "--timeout", "60", "-display", "none", "-serial", "pty"],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
line = process.stderr.readline().decode()
claim("-serial pty says where", "redirected to /dev/pts/" in line, line)
port = os.open(line.split()[4], os.O_RDWR | os.O_NOCTTY)
os.write(port, b"over the wire")
claim("and talks there", b"over the wire" in read_until(port, b"over the wire"))
os.write(port, b"q")
claim("until the guest switches off", process.wait(20) == 0)
os.close(port)

finish()
