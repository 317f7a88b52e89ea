"""The daemons that clients started: none is a child of the test's, so they are looked for and ended by place."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

from tests.support import is_gone, wait_until


def daemons(car: Path) -> list[int]:
    """The processes whose command line names this car directory as a daemon's."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0") if entry.isdigit() else []
        except OSError:
            continue
        if any(word.endswith(b"carrunsd") for word in words) and os.fsencode(car) in words:
            found.append(int(entry))
    return found


def end_daemons(car: Path) -> None:
    """End them, and wait until they are gone."""
    for pid in daemons(car):
        os.kill(pid, signal.SIGTERM)
        wait_until(partial(is_gone, pid))
