"""Where a car directory and its socket are.  Reads the environment, opens nothing.

The rules are in docs/files.md: the place never depends on anything but the two arguments, ``$CAR_HOME``,
``$CARRUNSD_SOCKET`` and the home directory, so that an agent started from cron, ssh or a desktop finds the
same daemon.
"""

from __future__ import annotations

import os
from pathlib import Path

SOCKET_NAME = "carrunsd.sock"
LOCK_NAME = "carrunsd.lock"
RUNS_NAME = "runs"
SPOOL_NAME = "spool"
CONFIG_NAME = "config.toml"

#: ``sun_path`` is 108 bytes on Linux, its closing NUL included (unix(7)).
MAX_SOCKET_PATH_BYTES = 107


class NoHomeError(OSError):
    """There is no home directory, so that ``~`` names nothing; the message says what to set."""


def _absolute(chosen: str) -> Path:
    """Return a path, absolute, its ``~`` expanded.  Raises :class:`NoHomeError` where that stays a ``~``.

    (An unknown uid without ``$HOME``, as in containers; a relative ``$HOME`` would lead elsewhere from everywhere.)
    """
    expanded = os.path.expanduser(chosen)
    empty = os.environ.get("HOME") == "" and chosen[1:2] in ("", "/")  # would name the root directory
    if chosen.startswith("~") and (empty or not os.path.isabs(expanded)):
        raise NoHomeError(
            2,
            "no home directory is known ($HOME is unset or relative): set HOME, or CAR_HOME to a directory",
            chosen,
        )
    return Path(os.path.abspath(expanded))


def home() -> Path:
    """Return the home directory.  Raises :class:`NoHomeError`."""
    return _absolute("~")


def car_dir(explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the car directory, absolute: ``explicit``, else ``$CAR_HOME``, else ``~/.car``.

    Raises :class:`NoHomeError`.
    """
    chosen = os.fspath(explicit) if explicit else os.environ.get("CAR_HOME") or "~/.car"
    return _absolute(chosen)


def socket_path(directory: Path, explicit: str | os.PathLike[str] | None = None) -> Path:
    """Return the socket's path: ``explicit``, else ``$CARRUNSD_SOCKET``, else in the car ``directory``."""
    chosen = os.fspath(explicit) if explicit else os.environ.get("CARRUNSD_SOCKET")
    return _absolute(chosen) if chosen else directory / SOCKET_NAME
