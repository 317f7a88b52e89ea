"""A run that is larger than memory is shown all the same: what a view keeps does not grow with the run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import Place
from tests.support import short_directory

_TURNS, _TURN_BYTES = 1200, 60_000  # 72 MB
#: Over what a view of a small run takes.
_MORE = 24 << 20

_MEASURED = """
import os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def write_run(runs: Path, name: str, turns: int) -> None:
    ids = {"run_id": name, "agent_id": "h"}
    started = {"record": "started", **ids, "intent": "big", "started_at": "2026-11-25T10:00:00Z"}
    text = "x" * _TURN_BYTES
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (runs / f"{name}.jsonl").open("w") as file:
        file.write(json.dumps(started) + "\n")
        for index in range(turns):
            turn = {"record": "turn", "index": index, "parameters": None, "output": f"{text}{index}"}
            file.write(json.dumps({**turn, "verifier_verdict": "not_run"}) + "\n")
        at = "2026-11-25T11:00:00Z"
        outcome = {"status": "done", "summary": "enough", "evidence": [], "metrics": {}, "timestamp": at}
        termination = {"kind": "outcome", "status": "done", "outcome": outcome}
        ended = {"record": "ended", **ids, "termination": termination, "ended_at": at}
        file.write(json.dumps(ended) + "\n")


@pytest.fixture(scope="module")
def huge() -> Iterator[Place]:
    with short_directory() as base:
        place = Place(base)
        write_run(place.runs_root / "h", "huge", _TURNS)
        write_run(place.runs_root / "h", "small", 5)
        yield place
        place.close()


def peak(place: Place, *arguments: str) -> int:
    """Return the most memory that the command line used, bytes."""
    argv = [sys.executable, "-c", _MEASURED, *place.argv(arguments)]
    done = subprocess.run(argv, env=place.env, capture_output=True, timeout=120, check=True)
    code, kib = map(int, done.stdout.split())
    assert code == 0, done.stderr.decode()
    return kib << 10


@pytest.fixture(scope="module")
def usual(huge: Place) -> int:
    """What the same takes for a small run."""
    return peak(huge, "show", "small")


@pytest.mark.parametrize(
    "command",
    [
        ("show", "RUN"),
        ("show", "RUN", "--full"),
        ("show", "RUN", "--raw"),
        ("export", "RUN", "-f", "json"),
        ("export", "RUN", "-f", "html"),
        ("stats",),
        ("tail", "RUN"),
        ("grep", "-c", "big"),
    ],
    ids=" ".join,
)
def test_memory_does_not_grow_with_the_run(huge: Place, command: tuple[str, ...], usual: int) -> None:
    assert peak(huge, *(word.replace("RUN", "huge") for word in command)) - usual < _MORE


def test_nor_does_it_from_a_daemon(huge: Place, usual: int) -> None:
    huge.daemon.start()
    try:
        assert peak(huge, "show", "huge") - usual < _MORE
    finally:
        huge.daemon.stop()


def test_what_is_shown_of_it_is_right(huge: Place) -> None:
    text = huge.run("show", "huge").stdout
    assert f"{_TURNS:,} turns" in text
    assert f"{_TURNS - 200:,} turns left out" in text
    assert text.index("#99 ") < text.index("turns left out") < text.index(f"#{_TURNS - 100} ")
    assert "ended done" in text
    last = huge.run("show", "huge", "--turns", "-1:").stdout
    assert f"#{_TURNS - 1} " in last
    assert f"(1 of {_TURNS} turns shown)" in last
    whole = json.loads(huge.run("export", "huge", "-f", "json").stdout)
    assert len(whole["records"]) == _TURNS + 2
    assert whole["summary"]["run_id"] == "huge"
