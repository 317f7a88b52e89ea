"""A daemon that takes connections and answers nothing: looking at it costs about a second, not ten."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from tests.cli.place import Place

#: The wait itself, and what a loaded machine needs to start a Python and read some files.
MOST = 1.0 + 2.5


@pytest.fixture
def wedged(live: Place) -> Iterator[Place]:
    live.run("exec", "-a", "a", "--", "true")
    live.daemon.signal(signal.SIGSTOP)
    yield live
    live.daemon.signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("command", "code"),
    [(["list"], 0), (["show", "last"], 0), (["status"], 69), (["top", "--once"], None)],
    ids=str,
)
def test_a_look(wedged: Place, command: list[str], code: int | None) -> None:
    began = time.monotonic()
    process = wedged.popen(*command)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < MOST, err
    assert code is None or process.returncode == code, (out, err)
    assert b"did not" in out + err or b"not answer" in out + err or b"no answer" in out + err


def test_a_start_does_not_wait_for_ever(wedged: Place) -> None:
    began = time.monotonic()
    wedged.run("start", "-a", "a", "-i", "x", code=69)
    assert time.monotonic() - began < 3.0 + 2.5


def test_top_once_without_a_daemon(place: Place) -> None:
    began = time.monotonic()
    place.popen("top", "--once").communicate(timeout=30)
    assert time.monotonic() - began < MOST
