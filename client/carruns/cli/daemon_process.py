"""The daemon of a car directory as a process: who keeps it, and stopping it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from carruns.cli import exits
from carruns.cli import service_systemctl as systemctl
from carruns.cli.service_units import SERVICE
from carruns.reading.probe import lock_holder

#: Seconds within which a daemon that was told to stop has finished what it received (more than its unit gives it).
_PATIENCE = 60.0
_LOOK = 0.02
_LOG_NAME = "carrunsd.log"  # as carruns/autostart.py


def kept_by_systemd(pid: int) -> bool:
    """Whether the process is the user manager's service; not asked where there is no such manager."""
    if not os.path.isdir("/run/systemd"):
        return False
    with contextlib.suppress(OSError):
        return systemctl.show(SERVICE, "MainPID") == str(pid)
    return False


def started_by_client(pid: int, car_dir: Path) -> bool:
    """Whether a client has started the process by itself: nobody else lets it write to that log.

    What a person or another supervisor started is theirs to stop.
    """
    try:
        return os.path.samefile(f"/proc/{pid}/fd/2", car_dir / _LOG_NAME)
    except OSError:
        return False


def stop(car_dir: Path) -> int:
    """Stop the daemon that holds a car directory and wait for its end; return its process id, 0 if none runs.

    It finishes what it has received.  Raises ``exits.Failure`` where it cannot be stopped.
    """
    pid = lock_holder(car_dir)
    if pid is None:
        return 0
    if pid == 0:
        raise exits.Failure("a daemon runs, but does not say which process it is; stop it where it was started")
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return pid
    except PermissionError:
        raise exits.Failure(f"the daemon (process {pid}) is another user's") from None
    until = time.monotonic() + _PATIENCE
    while lock_holder(car_dir) == pid:
        if time.monotonic() > until:
            raise exits.Failure(f"process {pid} does not end within {_PATIENCE:.0f} s; kill -9 {pid} ends it")
        time.sleep(_LOOK)
    return pid
