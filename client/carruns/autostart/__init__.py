"""Start a daemon where none answers: detached from the agent, only one of many racing clients doing it.

The daemon gets its own session and process group, ``/dev/null`` for input and output and ``carrunsd.log`` for
what it says; it is a grandchild, so that the agent neither has to reap it nor sees it in ``os.wait()``.
Where the systemd user unit is installed and the places are the default ones, or a user manager runs at all, that
starts it; where the manager does not do it, it is started as if there were none.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path

from carruns import spool
from carruns.autostart import interpreter, launch
from carruns.protocol import owners, paths

log = logging.getLogger("carruns")

_LOG_NAME = "carrunsd.log"
_START_LOCK_NAME = "carrunsd.start.lock"
_UNIT = "carrunsd.service"
_START_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
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
        except Exception as error:  # whatever it is, the agent goes on
            self._problem = f"{error}" or repr(error)

    def _start(self) -> None:
        command = interpreter.daemon_command()
        if command is None:
            self._none_here()
            return
        owners.refuse_foreign(self._car_dir)
        spool.make_private(self._car_dir)
        lock = os.open(self._car_dir / _START_LOCK_NAME, _START_LOCK, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._launch([*command, "--car-dir", str(self._car_dir), *self._socket_option()])
        except BlockingIOError:
            self._problem = ""  # another client is at it: the socket will come
        finally:
            os.close(lock)

    def _none_here(self) -> None:
        """Nothing here can run a daemon: said once, and again in what did not work without one."""
        if self._problem != interpreter.MISSING:
            log.warning("no daemon is started: %s", interpreter.MISSING)
        self._problem, self._next = interpreter.MISSING, float("inf")

    def _socket_option(self) -> list[str]:
        return [] if self._socket is None else ["--socket", str(self._socket)]

    def _managed(self, command: list[str]) -> list[str]:
        """Return what has the user manager start a daemon, ``[]`` where there is none."""
        if self._socket is None and _unit_installed(self._car_dir):
            return ["systemctl", "--user", "start", _UNIT]
        return launch.by_user_manager(command, str(self._car_dir / _LOG_NAME))

    def _launch(self, command: list[str]) -> None:
        """Run the command as a grandchild.  It holds a pipe's end that tells when it ends.

        The start lock is held for a moment only: racing clients find the socket soon, and a second daemon ends by
        itself at ``carrunsd.lock``.
        """
        self._drop_pipe()
        ours, theirs = os.pipe()
        log_fd = -1
        try:
            os.set_blocking(ours, False)
            log_fd = launch.open_log(self._car_dir / _LOG_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            launch.detached(command, self._managed(command), log_fd, theirs)
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
            if log_fd >= 0:
                os.close(log_fd)
        self._alive, self._problem = ours, ""

    def failed(self) -> str:
        """Say why what we started has ended, from its log's last line; ``""`` while it may still come up."""
        if self._problem:
            return self._problem
        if self._alive < 0 or not self._has_ended():
            return ""
        self._drop_pipe()
        self._problem = self._last_words() or f"it ended at once; see {self._car_dir / _LOG_NAME}"
        return self._problem

    def _has_ended(self) -> bool:
        """Read the pipe, which nobody writes to: it has an end once nobody holds the other one."""
        try:
            return os.read(self._alive, 1) == b""
        except BlockingIOError:
            return False

    def _last_words(self) -> str:
        try:
            fd = launch.open_log(self._car_dir / _LOG_NAME, os.O_RDONLY)
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
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if not launch.has_user_manager() or os.environ.get("CAR_HOME") or os.environ.get("CARRUNSD_SOCKET"):
        return False
    if car_dir != Path(os.path.expanduser("~/.car")):
        return False
    return os.path.exists(os.path.join(config, "systemd", "user", _UNIT))


def starter(car_dir: Path, socket: Path, autostart: bool | None) -> Autostart | None:
    """Return what starts daemons, ``None`` where that is turned off (``CARRUNS_AUTOSTART=0``)."""
    wanted = (
        os.environ.get("CARRUNS_AUTOSTART", "1") not in ("0", "false", "no") if autostart is None else autostart
    )
    if not wanted:
        return None
    return Autostart(car_dir, None if socket == car_dir / paths.SOCKET_NAME else socket)
