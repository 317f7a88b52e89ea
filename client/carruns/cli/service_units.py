"""The unit files of ``carruns service``: finding them, filling in the paths, and telling ours from others'.

Writes nothing and runs nothing: ``service.py`` does.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

SERVICE, SOCKET = "carrunsd.service", "carrunsd.socket"
HARDENING = f"{SERVICE}.d/hardening.conf"

_MARK = '# Written by "carruns service install". Put changes into a drop-in: systemctl --user edit carrunsd. '
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - what PrivateTmp= hides


class Origin(Enum):
    """Where an installed file comes from."""

    MISSING = "missing"
    OURS = "installed"
    EDITED = "installed, then edited"
    FOREIGN = "not written by carruns"


@dataclass(frozen=True)
class Places:
    """What goes into the units.  ``home`` is where ``%h`` leads."""

    command: tuple[str, ...]
    car_dir: Path
    socket: Path
    home: Path

    @property
    def in_temporary(self) -> bool:
        """Whether ``PrivateTmp=`` would hide the program or the car directory."""
        used = (self.command[0], sys.prefix, sys.base_prefix, str(self.car_dir))
        return any(path == top or path.startswith(top + "/") for path in used for top in _TEMPORARY)


def templates() -> Path:
    """Return the directory with the shipped units: in the package, or in the source tree of an editable install."""
    here = Path(__file__).resolve()
    for directory in (here.parents[1] / "systemd_units", here.parents[3] / "systemd"):
        if (directory / SERVICE).is_file():
            return directory
    raise FileNotFoundError("the unit files are missing from this installation of carrunsd; install it again")


def daemon_command() -> tuple[str, ...]:
    """Return how this installation's daemon is started: its script, else the module.

    ``-P`` keeps the directory it is started in (the home directory) off the module path.
    """
    script = Path(sys.executable).with_name("carrunsd")
    if os.access(script, os.X_OK):
        return (str(script),)
    return (sys.executable, "-P", "-m", "carrunsd")


def rendered(places: Places, *, hardening: bool) -> dict[str, str]:
    """Return the files to install: name relative to the unit directory, and text with our mark on top."""
    names = [SERVICE, SOCKET, *([HARDENING] if hardening else [])]
    return {name: _marked(_fill((templates() / name).read_text(), places)) for name in names}


def _fill(text: str, places: Places) -> str:
    command = " ".join(
        [_word(places.command[0]), *(_word(w, arguments=True) for w in places.command[1:])]
    ) + " --car-dir=" + _word(_from_home(places.car_dir, places), arguments=True)  # fmt: skip
    lock = _from_home(places.car_dir / "carrunsd.lock", places)
    values = {
        "ExecStart=": command,
        "ListenStream=": _escaped(_from_home(places.socket, places)),
        "ReadWritePaths=": _word(_from_home(places.car_dir, places)),
    }
    lines = []
    for line in text.split("\n"):
        key, equals, value = line.partition("=")
        if key + equals in values:
            lines.append(key + equals + values[key + equals])
        elif key == "ExecStartPre":
            lines.append(f"{key}={value.removesuffix('%h/.car/carrunsd.lock')}{_word(lock, arguments=True)}")
        elif key != "PrivateTmp" or not places.in_temporary:
            lines.append(line)
    return "\n".join(lines)


def _from_home(path: Path, places: Places) -> str:
    """Return the path, with a NUL where ``%h/`` goes if it is in the default car directory."""
    default = places.home / ".car"
    return "\0" + str(path.relative_to(places.home)) if path.is_relative_to(default) else str(path)


def _escaped(path: str) -> str:
    """Escape specifiers (systemd.unit(5)); the mark of :func:`_from_home` becomes ``%h/``."""
    return path.replace("%", "%%").replace("\0", "%h/")


def _word(text: str, *, arguments: bool = False) -> str:
    """Quote a word of a command line or a list (systemd.syntax(7)); in ``arguments`` ``$`` is special too."""
    text = _escaped(text)
    if arguments:
        text = text.replace("$", "$$")
    if not any(character in text for character in " \t\"'\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _marked(body: str) -> str:
    return f"{_MARK}{_digest(body)}\n{body}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def origin(path: Path) -> Origin:
    """Tell whether a file is there, and whether it is as we wrote it."""
    try:
        first, _, body = path.read_text().partition("\n")
    except (FileNotFoundError, NotADirectoryError):
        return Origin.MISSING
    except (OSError, UnicodeDecodeError):
        return Origin.FOREIGN
    if not first.startswith(_MARK):
        return Origin.FOREIGN
    return Origin.OURS if first == _MARK + _digest(body) else Origin.EDITED
