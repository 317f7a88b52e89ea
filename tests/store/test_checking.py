"""The checker where lines are put down: what the seed would not read is refused, and the field is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from carruns.protocol.records import Turn
from carrunsd.store import RunStore, plain, reader, strict
from carrunsd.wire import requests

IDS = {"run_id": "r", "agent_id": "a"}
START = {"record": "started", **IDS, "intent": "i", "started_at": "2026-01-01T00:00:00Z"}
TURN = {"record": "turn", "index": 0}
OUTCOME = {"status": "done", "summary": "s", "timestamp": "2026-01-01T00:00:00Z"}
END = {"record": "ended", **IDS, "ended_at": "2026-01-01T00:00:00Z", "termination": {"kind": "incomplete"}}


def ended(**outcome: Any) -> dict[str, Any]:
    return {**END, "termination": {"kind": "outcome", "status": "done", "outcome": {**OUTCOME, **outcome}}}


@pytest.mark.parametrize(
    "record",
    [
        START,
        {**START, "outcome_description": None, "started_at": "2026-01-01T00:00:60.123456789123+05:30"},
        TURN,
        {**TURN, "index": (1 << 64) - 1, "prompt": None, "tool": "t", "verifier_verdict": None, "unknown": [1.5]},
        {"record": "model_turn", "index": 3, "assistant_text": 5},
        {"record": "cancellation_requested", "anything": {"index": -1}},
        END,
        {**END, "reason": "cancelled", "final": True},
        {**END, "termination": {"kind": "cancelled"}},
        {**END, "termination": {"kind": "failed", "error": {}}},
        ended(),
        ended(metrics={"turns": 1, "duration_ms": (1 << 64) - 1, "cost": 0.5}, evidence=[1, None, "x"]),
    ],
)
def test_what_the_seed_reads_passes(record: dict[str, Any]) -> None:
    strict.check_record(record)
    assert reader.parse_record(strict.line(record)[:-1]) == record


@pytest.mark.parametrize(
    ("record", "named"),
    [
        ({}, "record"),
        ({"record": 5}, "record"),
        ({**START, "run_id": 5}, "run_id"),
        ({**START, "intent": None}, "intent"),
        ({**START, "outcome_description": 3}, "outcome_description"),
        ({**START, "started_at": "2026-01-01t00:00:00Z"}, "started_at"),
        ({**START, "started_at": "2026-01-01 00:00:00Z"}, "started_at"),
        ({**START, "started_at": "2026-01-01T00:00:00"}, "started_at"),
        ({**START, "started_at": "2026-01-01T00:00:00+24:00"}, "started_at"),
        ({"record": "turn"}, "index"),
        *(({**TURN, "index": index}, "index") for index in (None, -1, 1.0, True, "0", 1 << 64)),
        ({**TURN, "prompt": 5}, "prompt"),
        ({**TURN, "tool": {}}, "tool"),
        ({"record": "model_turn", "index": -1}, "index"),
        *(({**END, "termination": term}, "termination") for term in (None, "incomplete", {}, {"kind": 5})),
        ({**END, "termination": {"Outcome": {"status": "done", "outcome": OUTCOME}}}, "termination"),
        ({**END, "termination": {"kind": "Outcome"}}, "termination.kind"),
        ({**END, "termination": {"kind": "outcome", "status": "great", "outcome": OUTCOME}}, "termination.status"),
        ({**END, "termination": {"kind": "outcome", "status": "done"}}, "termination.outcome"),
        ({**END, "ended_at": 5}, "ended_at"),
        (ended(status="great"), "outcome.status"),
        (ended(summary=None), "outcome.summary"),
        (ended(evidence=None), "outcome.evidence"),
        (ended(metrics=None), "outcome.metrics"),
        *(
            (ended(metrics={"duration_ms": bad}), "metrics.duration_ms")
            for bad in (12.7, -1, None, "3", True, 1 << 64)
        ),
        (ended(timestamp="now"), "outcome.timestamp"),
    ],
)
def test_what_the_seed_does_not_read_is_refused_by_name(record: dict[str, Any], named: str, base: Any) -> None:
    with pytest.raises(strict.WrongTypeError, match=rf"`[a-z.]*{named}`"):
        strict.check_record(record)
    store = RunStore(base / "runs")
    with pytest.raises(ValueError, match=named):
        store.append_records("a", "r", [START, record])
    assert not (base / "runs").exists()


def test_two_ends_are_one_end_or_an_error() -> None:
    other = {**END, "ended_at": "2026-01-01T00:00:01Z"}
    assert strict.one_end([START, END, END]) == [START, END]
    assert strict.one_end([START, ended(), TURN, ended()]) == [START, ended(), TURN]
    assert strict.one_end([START, END, TURN, ended()]) == [START, END, TURN, ended()]  # a run that was resumed
    wrong: list[list[dict[str, Any]]] = [
        [END, other], [END, ended()], [ended(), END], [ended(), TURN, END], [END, TURN, END, other],
    ]  # fmt: skip
    for records in wrong:
        with pytest.raises(strict.UnreadableError):
            strict.one_end(records)


FIELDS: list[Any] = [
    None,
    True,
    0,
    -1,
    1 << 63,
    10**400,
    0.5,
    "",
    "x",
    [],
    {},
    {"a": [1.5, None]},
    [[[[[[[[1]]]]]]]],
]


@pytest.mark.parametrize("name", [name for name in Turn.__struct_fields__ if name not in ("recorded_at", "index")])
def test_the_hot_paths_type_implies_the_check(name: str) -> None:
    """What the quick decoder takes of a turn, and the daemon numbers, the checker takes as well."""
    taken = 0
    for value in FIELDS:
        turn = msgspec.json.encode({"record": "turn", name: value})
        line = b'{"method":"runs.record_turns","params":{"run_id":"r","turns":[%b]}}' % turn
        try:
            (quick,) = requests.decoder.decode(line).params.turns
        except msgspec.ValidationError:
            continue
        quick.index, quick.recorded_at, quick.writer, quick.seq = 7, "2026-01-01T00:00:00Z", "w", 0
        strict.check_record(quick)
        assert plain.turns(msgspec.json.encode(quick) + b"\n") is not None
        taken += 1
    assert taken


@pytest.mark.parametrize(
    "text",
    [
        b'{"record":"turn","index":0,"parameters":null,"verifier_verdict":"not_run"}',
        b'{"record":"turn","index":0,"prompt":"p","parameters":{"prompt":{"index":1}},"verifier_verdict":"x"}',
    ],
)
def test_a_quick_look_takes_no_line_that_is_bent(text: bytes) -> None:
    """Each byte changed, left out or doubled: what the quick look still takes is a record for the slow one, too."""
    assert plain.turns(text + b"\n" + text + b"\n") is not None
    for at in range(len(text)):
        bent = [text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:]]
        bent += [text[:at] + bytes([text[at] ^ bit]) + text[at + 1 :] for bit in (1, 2, 16, 32, 128)]
        for line in bent:
            if plain.turns(line + b"\n") is not None:
                assert reader.parse_record(line) is not None, line
