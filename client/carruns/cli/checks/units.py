"""Checks of the systemd user units, where they are installed: does the socket listen that clients count on?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from carruns.cli import service_systemctl as systemctl
from carruns.cli import service_units as units
from carruns.cli.checks.finding import finding
from carruns.cli.settings import Settings
from carrunsd.store.doctor.examine import Finding

_START = "systemctl --user start carrunsd.socket"


def check_units(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the units, if they are there and serve this car directory's socket."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    path = Path(config, "systemd", "user", units.SOCKET)
    if units.origin(path) is units.Origin.MISSING or _listens_to(path) != os.fspath(settings.socket):
        return
    problem = systemctl.problem()
    if problem:
        yield finding("info", "no_manager", path, problem, "nothing: clients start a daemon without it")
        return
    state, result = systemctl.show(units.SOCKET, "ActiveState"), systemctl.show(units.SOCKET, "Result")
    if state == "failed":
        remedy = f"systemctl --user reset-failed carrunsd.socket carrunsd.service; {_START}"
        yield finding("error", "socket_unit", path, f"the socket unit has failed ({result})", remedy)
    elif not systemctl.active(units.SOCKET):
        yield finding("warning", "socket_unit", path, f"the socket unit does not listen ({state})", _START)
    elif not os.path.exists(settings.socket):
        text = f"the socket unit listens, but {settings.socket} was removed: nobody can connect"
        yield finding("error", "socket_unit", path, text, "systemctl --user restart carrunsd.socket")


def _listens_to(path: Path) -> str:
    """Return the socket's path in a unit file, ``%h`` filled in."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    told = next((line for line in lines if line.startswith("ListenStream=")), "=").partition("=")[2]
    return told.replace("%h", os.path.expanduser("~")).replace("%%", "%")
