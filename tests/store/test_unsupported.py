"""What a file system does not have: no reason to fail where nothing is lost by it, else said what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carrunsd.connections import listener, places
from carrunsd.store import layout, lock
from carrunsd.store.trash import Trash
from carrunsd.upkeep.sync_recent import sync_recent


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
def test_directories_that_cannot_be_synced(base: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "fsync", failing(number))
    car = base / "car"
    places.prepare_car_dir(str(car))
    root = layout.ensure_root(str(car / "runs"))
    agent, _ = layout.ensure_dir(root, "a")
    os.close(layout.open_for_append("r.jsonl", agent, create=True)[0])
    assert list(filter(None, sync_recent(str(car / "runs"), 0))) == []
    Trash(str(car)).put(agent, ("a", "r.jsonl"))
    Trash(str(car)).take(agent, ("a", "r.jsonl"))
    for fd in (root, agent):
        os.close(fd)


def test_a_sync_that_fails_still_fails(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        layout.ensure_root(str(base / "runs"))


@pytest.mark.parametrize("name", ["flock", "fchmod"])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS])
def test_a_lock_that_cannot_be_had(base: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    monkeypatch.setattr(fcntl if name == "flock" else os, name, failing(number))
    with pytest.raises(layout.StoreError, match=r"carrunsd\.lock: it cannot be locked: .*; set CAR_HOME"):
        lock.take(str(base / "carrunsd.lock"))


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL])
def test_a_socket_that_cannot_be_made(base: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    class NoSocket(socket.socket):
        def bind(self, address: Any) -> None:
            failing(number)()

    monkeypatch.setattr(socket, "socket", NoSocket)
    with pytest.raises(layout.StoreError, match=r"s\.sock: no socket can be made there: .*; set CARRUNSD_SOCKET"):
        listener.bind(str(base / "s.sock"))


def test_a_socket_whose_mode_cannot_be_set_before(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The umask does it."""
    monkeypatch.setattr(os, "fchmod", failing(errno.EINVAL))
    with listener.bind(str(base / "s.sock")):
        assert (base / "s.sock").stat().st_mode & 0o777 == 0o600


def test_one_function_syncs_directories() -> None:
    """Whoever syncs a directory otherwise fails on such a file system."""
    top = Path(layout.__file__).parents[1]
    wrong = [
        f"{path.relative_to(top)}: {line.strip()}"
        for path in top.rglob("*.py")
        for line in path.read_text().splitlines()
        if "os.fsync(" in line and "fileno()" not in line and path != Path(layout.__file__)
    ]
    assert not wrong
