"""What stands on disk against what agents noted: each turn exactly once, in order, no torn line between good ones.

Reads the files with Python's own json, nothing of the project's, so that a defect of the reader hides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.faults.agent import Plan, text_of
from tests.support import strict

Json = dict[str, Any]


@dataclass
class Noted:
    """What an agent noted: the last turn that returned, was flushed, was flushed durably; whether it ended.

    ``times`` are the instants at which turns returned, in nanoseconds since the epoch.
    """

    returned: int = -1
    flushed: int = -1
    durable: int = -1
    ended: bool = False
    times: list[int] = field(default_factory=list)


@dataclass
class Found:
    """What was checked: counts of turns, and of lines that are no records."""

    checked: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    damaged: int = 0
    runs: int = 0

    def __iadd__(self, other: Found) -> Self:
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.disordered or self.damaged)


def read_notes(path: str | Path) -> Noted:
    """Return what an agent noted; a last line that SIGKILL cut short does not count."""
    noted = Noted()
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return noted
    for line in data.split(b"\n")[:-1]:
        kind, number, at = line.split()
        if kind == b"t":
            noted.returned = int(number)
            noted.times.append(int(at))
        elif kind == b"e":
            noted.ended = True
        else:
            noted.flushed = int(number)
            if kind == b"d":
                noted.durable = int(number)
    return noted


def check(plan: Plan, data: bytes, at_least: int, *, tail: bool = False) -> Found:
    """Return how the bytes of a run's file compare with the turns 0 to ``at_least`` that must be in it.

    ``tail``: what stands behind the last newline may be torn (nobody has healed it yet).
    """
    *lines, last = data.split(b"\n")
    found = Found(runs=1)
    if last and not tail:
        found.damaged += 1
    numbers: list[int] = []
    for line in lines:
        try:
            record = strict(line)
        except (ValueError, AssertionError):
            found.damaged += 1
            continue
        if record["record"] == "turn":
            _take(plan, record, numbers, found)
    found.checked = len(numbers)
    found.doubled = len(numbers) - len(set(numbers))
    found.disordered += numbers != sorted(numbers)
    found.lost = len(set(range(max(numbers, default=-1) + 1)) - set(numbers)) + max(
        0, at_least - max(numbers, default=-1)
    )
    return found


def _take(plan: Plan, record: Json, numbers: list[int], found: Found) -> None:
    if record["index"] != len(numbers):
        found.disordered += 1
    number = int(record["prompt"].split("/", 2)[1])
    if record["prompt"] != text_of(plan.agent_id, number, plan.seed, plan.biggest):
        found.damaged += 1
    numbers.append(number)


def ends(data: bytes) -> list[Json]:
    """Return the ``ended`` records on the whole lines of a file that are records."""
    out = []
    for line in data.split(b"\n")[:-1]:
        try:
            record = strict(line)
        except (ValueError, AssertionError):
            continue
        if record["record"] == "ended":
            out.append(record)
    return out


def outcome_stored(data: bytes) -> bool:
    """Tell whether the file ends in exactly one outcome, and holds no turn behind it."""
    found = [end for end in ends(data) if end["termination"]["kind"] == "outcome"]
    lines = data.split(b"\n")[:-1]
    return len(found) == 1 and strict(lines[-1]) == found[0]


def file_of(car_dir: str | Path, plan: Plan) -> Path:
    """Return the path of an agent's run file."""
    return Path(car_dir) / "runs" / plan.agent_id / f"{plan.run_id}.jsonl"


def data_of(car_dir: str | Path, plan: Plan) -> bytes:
    """Return the bytes of an agent's run file, none if there is no file."""
    try:
        return file_of(car_dir, plan).read_bytes()
    except FileNotFoundError:
        return b""
