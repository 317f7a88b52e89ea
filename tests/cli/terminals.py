"""A program on a real terminal: a pty that is its controlling one, so that Ctrl-C is the kernel's business."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time

_SESSION = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """What a person would see and type."""

    def __init__(self, argv: list[str], env: dict[str, str], columns: int, rows: int) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SESSION, *argv], stdin=slave, stdout=slave, stderr=slave, env=env,
            start_new_session=True,
        )  # fmt: skip
        self._slave = slave  # kept: with nobody on it, it would lose its modes
        self.seen = b""

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """Read until ``text`` was seen; return all that was seen."""
        until = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert self._read(until), f"{text!r} did not come; this did: {self.seen.decode(errors='replace')}"
        return self.seen.decode()

    def type(self, text: str) -> None:
        """Type on its keyboard; ``\\x03`` is Ctrl-C."""
        os.write(self._master, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Drag its window."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    @property
    def modes(self) -> list[int]:
        """Its modes: what stty(1) shows."""
        return [int(flags) for flags in termios.tcgetattr(self._slave)[:4]]

    def finish(self, seconds: float = 30.0) -> tuple[int, str]:
        """Read to the end; return the exit code and all that was seen."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, f"no end; this was seen: {self.seen.decode(errors='replace')}"
            self._read(time.monotonic() + 0.02)
        while self._read(time.monotonic()):
            pass
        return self.process.returncode, self.seen.decode()

    def _read(self, until: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # Linux: the other side is closed
                raise
            data = b""
        self.seen += data
        return bool(data)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._slave)
        os.close(self._master)
