"""A real user manager of a user without privileges, in namespaces and a cgroup of its own; and its journal.

As root only.  Everything it started is killed through its cgroup; nothing of it is seen by the rest of the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from tests.support import PATIENCE, Wire, wait_until

_UID = 7373
_MOUNTED_HOME = "/mnt/agent"
_SCRIPT = Path(__file__).with_name("namespace.sh")
_REPOSITORY = Path(__file__).parents[2]
_SYSTEMD = Path("/lib/systemd/systemd")


def missing() -> str:
    """Return what keeps a user manager from running here, ``""`` if nothing does."""
    if os.geteuid() != 0:
        return "needs root"
    if not _SYSTEMD.exists() or not Path("/lib/systemd/systemd-journald").exists():
        return "needs systemd and systemd-journald"
    for tool in ("unshare", "nsenter", "setpriv", "systemctl", "journalctl", "flock"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    return "" if _cgroup2() else "needs a cgroup2 file system, mounted and writable"


def _cgroup2() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 ") and os.access(before.split()[4], os.W_OK):
            return Path(before.split()[4])
    return None


class Manager:
    """``with Manager(base) as manager``; ``home`` is the user's home as seen from outside."""

    def __init__(self, base: Path) -> None:
        self.home = base / "agent-home"
        self.home.mkdir(mode=0o700)
        os.chown(self.home, _UID, _UID)
        self.car_dir = self.home / ".car"
        self.socket = self.car_dir / "carrunsd.sock"
        self.units = self.home / ".config/systemd/user"
        self._log = base / "manager.log"
        mount = _cgroup2()
        assert mount is not None
        self._cgroup = mount / f"carrunsd-test-{os.getpid()}-{base.name}"
        self._pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    # -- life ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()

    def _start(self) -> None:
        self._cgroup.mkdir()
        for name in (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
            os.chown(self._cgroup / name, _UID, _UID)
        # The shell moves itself first, so that the new cgroup namespace has this cgroup as its root.
        script = 'echo $$ > "$1/cgroup.procs" && shift && exec unshare --mount --cgroup sh "$@"'
        arguments = [str(_SCRIPT), str(_UID), str(self.home), _MOUNTED_HOME, *_closed_parts()]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", script, "sh", str(self._cgroup), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        self._pid = self._process.pid
        wait_until(self._up, message="the user manager does not come up")

    def _up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the user manager ended:\n{self._log.read_text()}"
        if Path(f"/proc/{self._pid}/comm").read_text() != "systemd\n":
            return False
        return self.systemctl("is-system-running", check=False) in ("running", "degraded")

    def _stop(self) -> None:
        """Kill everything in the cgroup and remove it."""
        if not self._cgroup.exists():
            return
        (self._cgroup / "cgroup.kill").write_text("1")
        if self._process is not None:
            self._process.wait(PATIENCE)
        wait_until(self._remove_cgroups, message=f"{self._cgroup} does not become empty")

    def _remove_cgroups(self) -> bool:
        for path, _, _ in os.walk(self._cgroup, topdown=False):
            with suppress(OSError):
                os.rmdir(path)
        return not self._cgroup.exists()

    # -- as the user ---------------------------------------------------------------------------------------

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, in the user's session; what it says is kept apart."""
        environment = {
            "HOME": _MOUNTED_HOME, "XDG_RUNTIME_DIR": f"/run/user/{_UID}", "LANG": "C.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }  # fmt: skip
        done = subprocess.run(
            ["nsenter", "--mount", f"--target={self._pid}", "setpriv", f"--reuid={_UID}", f"--regid={_UID}",
             "--clear-groups", *command],
            env=environment, cwd="/", capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}\n{self._said()}"
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run ``systemctl --user`` and return what it prints."""
        return self.run("systemctl", "--user", *arguments, check=check).stdout.strip()

    def carruns(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``carruns service``."""
        command = str(Path(sys.executable).with_name("carruns"))
        return self.run(command, "service", *arguments, check=check)

    def show(self, key: str, unit: str = "carrunsd.service") -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", f"--property={key}", unit)

    @property
    def main_pid(self) -> int:
        """The daemon's process id, 0 if none runs."""
        return int(self.show("MainPID"))

    def drop_in(self, text: str, *, name: str = "test") -> None:
        """Add a drop-in to the service and let the manager read it."""
        directory = self.units / "carrunsd.service.d"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{name}.conf").write_text(text)
        self.systemctl("daemon-reload")

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """A connection of a process of the user's."""
        os.seteuid(_UID)
        try:
            # The home is the user's alone, its parent is root's: pass through as root, connect as the user.
            with _within(self.home) as path:
                wire = Wire(path / ".car/carrunsd.sock")
        finally:
            os.seteuid(0)
        with wire:
            yield wire

    # -- the journal ---------------------------------------------------------------------------------------

    def journal(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the entries of the daemon's unit, oldest first."""
        done = subprocess.run(
            ["nsenter", "--mount", f"--target={self._pid}", "journalctl", "--directory=/run/log/journal",
             "--output=json", "--no-pager", "--identifier=carrunsd", *arguments],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    def messages(self, *arguments: str) -> list[str]:
        """Return the texts of :meth:`journal`."""
        return [str(entry["MESSAGE"]) for entry in self.journal(*arguments)]

    def _said(self) -> str:
        done = subprocess.run(
            ["nsenter", "--mount", f"--target={self._pid}", "journalctl", "--directory=/run/log/journal",
             "--no-pager"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout

    def await_new_main(self, old: int) -> int:
        """Wait until a daemon other than ``old`` is ready, and return its process id."""

        def newer() -> int:
            if self.show("ActiveState") != "active":
                return 0
            pid = self.main_pid
            return pid if pid != old else 0

        found: int = wait_until(newer, message=f"no new daemon after {old}", patience=2 * PATIENCE)
        return found


@contextmanager
def _within(directory: Path) -> Iterator[Path]:
    """Yield a path to ``directory`` that does not lead through its parents."""
    os.seteuid(0)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    os.seteuid(_UID)
    try:
        yield Path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _closed_parts() -> list[str]:
    """Return pairs: a directory that others cannot pass through, and what the daemon needs below it."""
    pairs: list[str] = []
    source = [str(_REPOSITORY / name) for name in ("carrunsd", "client", "systemd")]
    for needed in dict.fromkeys(os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *source)):
        for parent in reversed(Path(needed).parents):
            if not stat.S_IMODE(parent.stat().st_mode) & 0o001:
                pairs += [str(parent), needed]
                break
    return pairs
