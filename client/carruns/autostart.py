"""Start a daemon where none answers: detached from the agent, only one of many racing clients doing it.

The daemon gets its own session and process group, ``/dev/null`` for input and output and ``carrunsd.log`` for
what it says; it is a grandchild, so that the agent neither has to reap it nor sees it in ``os.wait()``.
Where the systemd user unit is installed and the places are the default ones, the user manager starts it
instead.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
import time
from pathlib import Path

from carruns import spool
from carruns.protocol import paths

_LOG_NAME = "carrunsd.log"
_START_LOCK_NAME = "carrunsd.start.lock"
_UNIT = "carrunsd.service"
_OPEN = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
#: A daemon that cannot start is tried again after this many seconds, doubling to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0
_TAIL = 4096


class Autostart:
    """Starts daemons for one client.  Never raises: a client without a daemon spools."""

    def __init__(self, car_dir: Path, socket: Path | None) -> None:
        """``socket`` only where it is not the car directory's own."""
        self._car_dir = car_dir
        self._socket = socket
        self._alive = -1  # a pipe that ends when whatever we started has ended
        self._problem = ""
        self._pause = _FIRST_PAUSE
        self._next = 0.0

    def start(self) -> None:
        """Start a daemon unless someone else is doing so; returns at once."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next, self._pause = now + self._pause, min(_LONGEST_PAUSE, self._pause * 2)
        try:
            self._start()
        except OSError as error:
            self._problem = f"{error}"

    def _start(self) -> None:
        spool.make_private(self._car_dir)
        lock = os.open(self._car_dir / _START_LOCK_NAME, os.O_RDWR | _OPEN, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._launch(self._command(), lock)
        except BlockingIOError:
            self._problem = ""  # another client is at it: the socket will come
        finally:
            os.close(lock)

    def _command(self) -> list[str]:
        if self._socket is None and _unit_installed(self._car_dir):
            return ["systemctl", "--user", "start", _UNIT]
        command = [sys.executable or "python3", "-m", "carrunsd", "--car-dir", str(self._car_dir)]
        return command if self._socket is None else [*command, "--socket", str(self._socket)]

    def _launch(self, command: list[str], lock: int) -> None:
        """Run the command as a grandchild.  It holds a pipe's end that tells when it ends.

        The start lock goes with ``sh``'s child for a moment only: racing clients find the socket soon, and a
        second daemon ends by itself at ``carrunsd.lock``.
        """
        import subprocess

        self._drop_pipe()
        ours, theirs = os.pipe()
        log = -1
        try:
            log = os.open(self._car_dir / _LOG_NAME, os.O_WRONLY | os.O_APPEND | _OPEN, 0o600)
            subprocess.run(
                ["/bin/sh", "-c", '"$@" & exit 0', "sh", *command],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True, cwd="/", close_fds=True, pass_fds=(theirs,), check=False,
            )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            if log >= 0:
                os.close(log)
        self._alive, self._problem = ours, ""

    def failed(self) -> str:
        """Say why what we started has ended, from its log's last line; ``""`` while it may still come up."""
        if self._problem:
            return self._problem
        if self._alive < 0 or not select.select([self._alive], [], [], 0)[0]:
            return ""
        self._drop_pipe()
        self._problem = self._last_words() or f"it ended at once; see {self._car_dir / _LOG_NAME}"
        return self._problem

    def _last_words(self) -> str:
        try:
            fd = os.open(self._car_dir / _LOG_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            size = os.fstat(fd).st_size
            tail = os.pread(fd, _TAIL, max(0, size - _TAIL))
        finally:
            os.close(fd)
        lines = tail.decode("utf-8", "replace").strip().split("\n")
        return lines[-1].strip()

    def up(self) -> None:
        """A daemon answers: what we started, or another."""
        self._drop_pipe()
        self._problem, self._pause, self._next = "", _FIRST_PAUSE, 0.0

    def _drop_pipe(self) -> None:
        fd, self._alive = self._alive, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self._drop_pipe()


def _unit_installed(car_dir: Path) -> bool:
    """Whether the user manager runs, knows our unit, and the unit serves this car directory."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if not runtime or car_dir != Path(os.path.expanduser("~/.car")) or os.environ.get("CAR_HOME"):
        return False
    if os.environ.get("CARRUNSD_SOCKET"):
        return False
    unit = os.path.join(config, "systemd", "user", _UNIT)
    return os.path.exists(unit) and os.path.exists(os.path.join(runtime, "systemd", "private"))


def starter(car_dir: Path, socket: Path, autostart: bool | None) -> Autostart | None:
    """Return what starts daemons, ``None`` where that is turned off (``CARRUNS_AUTOSTART=0``)."""
    wanted = (
        os.environ.get("CARRUNS_AUTOSTART", "1") not in ("0", "false", "no") if autostart is None else autostart
    )
    if not wanted:
        return None
    return Autostart(car_dir, None if socket == car_dir / paths.SOCKET_NAME else socket)
