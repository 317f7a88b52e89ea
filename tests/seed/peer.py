"""The seed's own store, in Rust: built once from ``../shared/tools/seed_peer``, asked about a directory of runs.

``CARRUNS_SHARED`` names the directory if it is not beside the repository, ``SEEDSTORE`` a program that is
built already.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Any

_ENVIRONMENT = dict(os.environ)  # as it was: tests get one of their own, without these names
_SHARED = Path(_ENVIRONMENT.get("CARRUNS_SHARED") or Path(__file__).parents[3] / "shared")
_TOOL = _SHARED / "tools" / "seed_peer"
_PARTS = ("build", "Cargo.toml", "src/main.rs", "../../reference/run_store_seed.txt")


class NoPeerError(Exception):
    """The program is not there and cannot be built.  ``must`` says that it should be."""

    def __init__(self, why: str, *, must: bool = False) -> None:
        super().__init__(why)
        self.must = must


class Peer:
    """The seed's program."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def ask(self, what: str, runs: Path, *arguments: str) -> Any:
        """Run the program and return what it printed, as JSON where it is."""
        command = [str(self._program), what, str(runs), *arguments]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-500:]
        if what == "agent":
            text = done.stdout.decode().strip()
            return None if text == "None" else json.loads(text.removeprefix("Some(").removesuffix(")"))
        return json.loads(done.stdout)


def peer() -> Peer:
    """Return the program, built if need be.  Raises :class:`NoPeerError`."""
    given = _ENVIRONMENT.get("SEEDSTORE")
    return Peer(Path(given) if given else _built())


@functools.cache
def _built() -> Path:
    if not _TOOL.exists():
        raise NoPeerError(f"the seed's program cannot be built: there is no {_TOOL}", must=_SHARED.exists())
    if shutil.which("cargo", path=_ENVIRONMENT.get("PATH")) is None:
        raise NoPeerError("the seed's program cannot be built: there is no cargo", must=True)
    place = _place()
    with (place / "lock").open("w") as lock:  # tests run in several processes
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = place / "target" / "release" / "seedstore"
        if not program.exists():
            _build(place)
        return program


def _place() -> Path:
    """Return a directory that belongs to what it is built from: all processes of a session share it."""
    digest = hashlib.sha256(b"".join((_TOOL / part).read_bytes() for part in _PARTS)).hexdigest()[:16]
    place = Path(tempfile.gettempdir()) / f"carruns-seed-{os.geteuid()}-{digest}"
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise NoPeerError(f"{place} is not ours: remove it", must=True)
    return place


def _build(place: Path) -> None:
    done = subprocess.run(
        ["bash", str(_TOOL / "build"), str(place)], env=_ENVIRONMENT, capture_output=True, timeout=600, check=False
    )
    if done.returncode:
        raise NoPeerError(f"the seed's program was not built: {done.stderr.decode()[-500:]}", must=True)
