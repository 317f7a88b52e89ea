"""Which program is the daemon, seen from inside an agent whose own program may be anything.

``sys.executable`` is a Python only where this process is one: an agent packed into one file (PyInstaller, Nuitka,
cx_Freeze) or a host that embeds Python (uWSGI, Blender) names *itself* there, and would be started once more.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator

_PYTHON = re.compile(r"(python|pypy)[0-9.]*[a-z]*", re.IGNORECASE)
NAME = "carrunsd"
MISSING = (
    "this program is no Python interpreter that could run the daemon, and there is no carrunsd on PATH: "
    "install it (pipx install carrunsd), or start it yourself"
)


def daemon_command() -> list[str] | None:
    """Return what starts a daemon, without its arguments; ``None`` if nothing here does."""
    if _is_interpreter():
        return [sys.executable, "-m", NAME]
    return next(([found] for found in _commands() if not _is_this(found)), None)


def _is_interpreter() -> bool:
    """Tell whether ``sys.executable`` is a plain Python: neither frozen nor embedded."""
    main = sys.modules.get("__main__")
    if getattr(sys, "frozen", False) or hasattr(main, "__compiled__") or "__compiled__" in globals():
        return False
    name = os.path.basename(sys.executable or "")
    return _PYTHON.fullmatch(name) is not None and os.access(sys.executable, os.X_OK)


def _commands() -> Iterator[str]:
    """Yield where the command ``carrunsd`` is: on PATH, beside this program or the package's own installation."""
    import shutil

    if found := shutil.which(NAME):
        yield found
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # .../lib/python3.x/site-packages/carruns
    ups = [os.path.normpath(os.path.join(package, *[os.pardir] * levels, "bin")) for levels in range(5)]
    for directory in (os.path.dirname(sys.executable or "/"), os.path.join(sys.prefix, "bin"), *ups):
        beside = os.path.join(directory, NAME)
        if os.access(beside, os.X_OK) and os.path.isfile(beside):
            yield beside


def _is_this(command: str) -> bool:
    """Tell whether a command is this very program: an agent may be called ``carrunsd``."""
    try:
        return os.path.samefile(command, sys.executable)
    except (OSError, ValueError):
        return False
