"""Failing system calls of a running daemon, by strace: which call on which file fails, how often, with what.

The daemon is attached to and let go again, so that one daemon serves many faults and is seen to recover.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from tests.support import wait_until

STRACE = shutil.which("strace")


class Injection:
    """A context in which system calls of process ``pid`` on ``paths`` fail as ``rules`` say.

    A rule is strace's: ``write:error=ENOSPC:when=3+``.  ``calls`` are logged beside those of the rules.
    """

    def __init__(
        self, pid: int, paths: Iterable[Path], rules: Sequence[str], log: Path, *, calls: str = ""
    ) -> None:
        self._pid = pid
        self._log = log
        names = sorted({rule.split(":", 1)[0] for rule in rules} | set(filter(None, calls.split(","))))
        self._command = [
            str(STRACE), "-f", "-qq", "-y", "-s", "40", "-o", str(log), "-p", str(pid),
            *(f"-P{path}" for path in paths), f"-etrace={','.join(names)}", *(f"-einject={rule}" for rule in rules),
        ]  # fmt: skip
        self._strace: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._log.unlink(missing_ok=True)
        self._strace = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            wait_until(self._attached)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _attached(self) -> bool:
        assert self._strace is not None
        if self._strace.poll() is not None:
            assert self._strace.stderr is not None
            raise AssertionError(f"strace ended: {self._strace.stderr.read().decode()}")
        return all(_tracer(f"/proc/{self._pid}/task/{task}") for task in os.listdir(f"/proc/{self._pid}/task"))

    def __exit__(self, *exc: object) -> None:
        if self._strace is not None:
            self._strace.send_signal(signal.SIGINT)
            self._strace.wait()
            assert self._strace.stderr is not None
            self._strace.stderr.close()
            self._strace = None

    @property
    def calls(self) -> list[tuple[str, str]]:
        """The calls so far, as name and ``"ok"``, ``"injected"`` or ``"failed"``.  Look at it after the end."""
        out = []
        for line in self._log.read_text(errors="replace").splitlines():
            if match := re.search(r"(?:^|\s)(?:<\.\.\. )?(\w+)(?: resumed>|\().*= (-?\d+)", line):
                result = "injected" if "(INJECTED)" in line else "failed" if match[2].startswith("-") else "ok"
                out.append((match[1], result))
        return out

    @property
    def injected(self) -> int:
        """How many calls were made to fail."""
        return sum(result == "injected" for _, result in self.calls)


def _tracer(task: str) -> bool:
    try:
        status = Path(task, "status").read_text()
    except OSError:
        return True  # that thread is gone
    return "TracerPid:\t0" not in status
