"""``RunStore`` beside the seed, short: ``make faults`` compares ten times as many stores."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from carrunsd.store import RunStore, chrono, reader, typed
from tests.seed import stores
from tests.seed.making import ODD, TIMES
from tests.seed.peer import Peer

GOOD = {
    "started": {"run_id": '"r"', "agent_id": '"a"', "intent": '"i"', "started_at": '"2026-01-01T00:00:00Z"'},
    "turn": {"index": "0"},
    "ended": {
        "run_id": '"r"', "agent_id": '"a"', "ended_at": '"2026-01-01T00:00:00Z"',
        "termination": '{"kind":"incomplete"}',
    },
}  # fmt: skip
OUTCOME = {"status": '"success"', "summary": '"s"', "timestamp": '"2026-01-01T00:00:00Z"'}


def test_lists_traces_gc_and_adoption_are_the_seeds(seed: Peer) -> None:
    figures = stores.compare(seed, 1, 100)
    assert figures["records"] > 500
    assert figures["removed"]
    assert figures["adopted"]


def _object(pairs: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in pairs.items()) + "}"


def _lines() -> list[str]:
    """Return each field of each kind with each odd value, left out and given twice."""
    out = []
    for kind, fields in GOOD.items():
        good = {"record": f'"{kind}"', **fields}
        for name in dict.fromkeys(("record", *typed.NAMES[kind])):
            if name == "termination":
                continue
            for text in (*ODD, *(json.dumps(time) for time in TIMES if name.endswith("_at"))):
                out.append(_object({**good, name: text}))
                if name != "record":
                    out.append(_object(good)[:-1] + f',"{name}":{text}}}')
            out.append(_object({key: text for key, text in good.items() if key != name}))
    outcomes = [OUTCOME | {name: text} for name in (*OUTCOME, "evidence", "metrics", "unknown") for text in ODD]
    outcomes += [OUTCOME | {"timestamp": json.dumps(time)} for time in TIMES]
    metrics = ("turns", "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed", "cost")
    outcomes += [OUTCOME | {"metrics": _object({name: text})} for name in metrics for text in ODD]
    outcomes += [OUTCOME | {"metrics": '{"turns":1,"turns":1}'}]
    outcomes += [{key: text for key, text in OUTCOME.items() if key != name} for name in OUTCOME]
    ends = [{"kind": '"outcome"', "status": '"success"', "outcome": _object(outcome)} for outcome in outcomes]
    ends += [ends[0] | {"status": text} for text in (*ODD, '"done"', '"Success"')]
    out += [_object({"record": '"ended"', **GOOD["ended"], "termination": _object(end)}) for end in ends]
    return out


def _taken(line: str) -> bool:
    record = reader.parse_record(line.encode())
    return record is not None and record["record"] in GOOD  # a kind that the seed does not know is kept, too


def test_the_seed_and_the_reader_take_the_same_lines(seed: Peer, base: Path) -> None:
    """One field at a time: each line is a record for both or for neither."""
    place = base / "runs" / "a"
    place.mkdir(parents=True)
    lines = [line for line in _lines() if "\\ud800" not in line]
    marked = []
    for number, line in enumerate(lines):
        mark = json.dumps({"record": "turn", "index": number, "prompt": "mark"})
        marked += [line, mark]
    (place / "r.jsonl").write_text("\n".join(marked) + "\n")
    theirs = set()
    before = -1
    trace = seed.ask("trace", base / "runs", "r")
    for record in trace:
        if record["record"] == "turn" and record.get("prompt") == "mark":
            before = record["index"]
        else:
            theirs.add(before + 1)
    ours = {number for number, line in enumerate(lines) if _taken(line)}
    different = [(lines[number][:300], number in ours) for number in sorted(ours ^ theirs)]
    assert not different, different[:10]
    assert len(ours) > 300
    listed = seed.ask("list", base / "runs", "a")
    assert RunStore(base / "runs").list_runs("a")[0].turn_count == listed[0]["turn_count"]


@pytest.mark.parametrize("time", TIMES)
def test_times_are_read_as_chrono_does(seed: Peer, base: Path, time: str) -> None:
    place = base / "runs" / "a"
    place.mkdir(parents=True)
    start = {"record": "started", "run_id": "r", "agent_id": "a", "intent": "i", "started_at": time}
    (place / "r.jsonl").write_text(json.dumps(start) + os.linesep)
    listed = seed.ask("list", base / "runs", "a")
    ours = chrono.instant(time)
    assert (chrono.instant(listed[0]["started_at"]) if listed else None) == ours
    if chrono.may_be_written(time):
        assert ours is not None
