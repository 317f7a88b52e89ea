"""What a run file says: two passes over it must agree, whatever stands in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from carrunsd.store import RunStatus, RunStore, history, reader, scan
from carrunsd.store.pages import read_page
from tests.store.making import append_raw, ended, incomplete, started, turn
from tests.support import short_directory

OUTCOME = {"status": "success", "summary": "s", "evidence": [], "metrics": {}, "timestamp": "2026-01-01T00:00:00Z"}
START = b'{"record":"started","run_id":"r","agent_id":"a","intent":"i","started_at":"2026-01-01T00:00:00Z"}\n'


@pytest.fixture
def store(base: Path) -> RunStore:
    return RunStore(base / "runs")


def scanned(data: bytes) -> scan.Scan:
    """Scan a file that holds ``data``."""
    with short_directory() as base:
        (base / "f").write_bytes(data)
        fd = os.open(base / "f", os.O_RDONLY)
        try:
            return scan.scan(fd)
        finally:
            os.close(fd)


# -- termination -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "termination",
    [
        {"kind": "outcome", "status": "success", "outcome": OUTCOME},
        {"outcome": {"status": "success", "outcome": OUTCOME}},
        {"Outcome": {"status": "Success", "outcome": OUTCOME}},
        {"kind": "outcome", "content": {"status": "success", "outcome": OUTCOME}},
        {"t": "Outcome", "c": {"status": "success", "outcome": OUTCOME}},
        {"type": "outcome", "data": {"status": "success", "outcome": OUTCOME}},
        {"status": "success", "outcome": OUTCOME},
        {"outcome": OUTCOME},
    ],
    ids=["internal", "external", "external-rust", "adjacent", "adjacent-tc", "adjacent-type", "untagged", "bare"],
)
def test_an_outcome_in_every_encoding_serde_has(store: RunStore, termination: Any) -> None:
    store.write_started(started("r", "a"))
    put(store, {**as_map(ended("r", "a")), "termination": termination})
    summary = store.list_runs("a")[0]
    assert summary.status is RunStatus.COMPLETED
    assert summary.outcome_status == "success"


@pytest.mark.parametrize(
    "termination",
    [
        {"kind": "incomplete"},
        "incomplete",
        "Incomplete",
        {"incomplete": None},
        {"Incomplete": {}},
        {"t": "Incomplete"},
        {"kind": "incomplete", "content": None},
        {"kind": "Incomplete"},
    ],
)
def test_incomplete_in_every_encoding_serde_has(store: RunStore, termination: Any) -> None:
    store.write_started(started("r", "a"))
    put(store, {**as_map(ended("r", "a")), "termination": termination})
    assert store.list_runs("a")[0].status is RunStatus.INCOMPLETE


@pytest.mark.parametrize(
    ("termination", "status"),
    [
        ({"kind": "cancelled"}, "cancelled"),
        ({"kind": "failed", "error": "x"}, "failed"),
        ({"kind": "whatever_may_come", "status": "odd"}, "odd"),
        ("Cancelled", "cancelled"),
        ({"failed": {"error": "x"}}, "failed"),
        ({"type": "TimedOut"}, "timed_out"),
    ],
)
def test_an_end_that_is_not_known_is_final(store: RunStore, termination: Any, status: str) -> None:
    store.write_started(started("r", "a"))
    put(store, {**as_map(ended("r", "a")), "termination": termination})
    put(store, as_map(incomplete("r", "a")))
    store.append_turns("a", "r", [turn(0, "late")])
    for summary in (store.list_runs("a")[0], scanned((store.root / "a/r.jsonl").read_bytes()).summary()):
        assert summary is not None
        assert (summary.status, summary.outcome_status) == (RunStatus.COMPLETED, status)
    assert store.adopt_orphans() == 0


@pytest.mark.parametrize("termination", [None, 5, [], {}, "", {"kind": 5}, {"a": 1, "b": 2}, {"kind": "outcome"}])
def test_what_says_no_end_is_none(store: RunStore, termination: Any) -> None:
    store.write_started(started("r", "a"))
    put(store, {**as_map(ended("r", "a")), "termination": termination})
    assert store.list_runs("a")[0].status is RunStatus.IN_PROGRESS


def test_an_incomplete_that_says_it_is_final_is_reopened_by_nothing(store: RunStore) -> None:
    store.write_started(started("r", "a"))
    put(store, {**as_map(incomplete("r", "a")), "reason": "cancelled", "final": True})
    store.append_turns("a", "r", [turn(0, "late")])
    put(store, as_map(incomplete("r", "a")))
    found = scanned((store.root / "a/r.jsonl").read_bytes())
    assert (found.status, found.outcome_status) == (RunStatus.COMPLETED, "cancelled")
    summary = store.list_runs("a")[0]
    assert (summary.status, summary.outcome_status) == (RunStatus.INCOMPLETE, "cancelled")


@pytest.mark.parametrize(
    ("rust", "ours"), [("PartialSuccess", "partial_success"), ("GiveUp", "give_up"), ("timeout", "timeout")]
)
def test_statuses_as_rust_names_them(rust: str, ours: str) -> None:
    assert history.outcome_status({"Outcome": {"status": rust}}) == ours


def as_map(record: Any) -> dict[str, Any]:
    value: dict[str, Any] = msgspec.to_builtins(record)
    return value


def put(store: RunStore, record: dict[str, Any]) -> None:
    """Write a record as another program may."""
    append_raw(store.root / "a/r.jsonl", json.dumps(record).encode() + b"\n")


# -- ends --------------------------------------------------------------------------------------------------


def test_an_outcome_is_final_whatever_follows(store: RunStore) -> None:
    store.append_records("a", "r", [started("r", "a"), ended("r", "a", "failure")])
    store.append_records("a", "r", [incomplete("r", "a")])
    store.append_turns("a", "r", [turn(0, "late")])
    summary = store.list_runs("a")[0]
    assert summary.status is RunStatus.COMPLETED
    assert summary.outcome_status == "failure"
    assert summary.turn_count == 1


def test_incomplete_is_provisional_for_the_daemon_and_the_last_word_for_the_seed(store: RunStore) -> None:
    store.append_records("a", "r", [started("r", "a"), incomplete("r", "a"), turn(0, "back again")])
    found = scanned((store.root / "a/r.jsonl").read_bytes())
    assert (found.status, found.ended_at) == (RunStatus.IN_PROGRESS, None)
    assert store.list_runs("a")[0].status is RunStatus.INCOMPLETE
    assert store.adopt_orphans() == 0
    store.append_records("a", "r", [ended("r", "a", "done", when="2026-05-05T05:05:05Z")])
    for summary in (store.list_runs("a")[0], scanned((store.root / "a/r.jsonl").read_bytes()).summary()):
        assert summary is not None
        assert (summary.status, summary.ended_at) == (RunStatus.COMPLETED, "2026-05-05T05:05:05Z")


# -- bad lines ---------------------------------------------------------------------------------------------


def test_a_byte_order_mark_is_read_past(store: RunStore) -> None:
    (store.root / "a").mkdir(parents=True)
    (store.root / "a/r.jsonl").write_bytes(b"\xef\xbb\xbf" + START)
    assert [run.run_id for run in store.list_runs("a")] == ["r"]
    trace = store.get_run_trace("r")
    assert trace is not None
    assert trace[0].intent == "i"


def test_a_line_separator_in_a_string_is_no_end_of_line(store: RunStore) -> None:
    store.append_records("a", "r", [started("r", "a"), turn(0, "one\u2028two\u2029three\x85")])
    trace = store.get_run_trace("r")
    assert trace is not None
    assert trace[1].prompt == "one\u2028two\u2029three\x85"
    assert store.list_runs("a")[0].turn_count == 1


def test_one_bad_file_never_hides_another(store: RunStore) -> None:
    store.write_started(started("good", "a"))
    append_raw(store.root / "a/garbage.jsonl", os.urandom(10_000))
    append_raw(store.root / "a/empty.jsonl", b"")
    append_raw(store.root / "a/notes.txt", b"hello")
    (store.root / "stray.jsonl").write_bytes(START)
    assert [run.run_id for run in store.list_runs("a")] == ["good"]
    assert store.gc() == 0
    assert store.adopt_orphans() == 1


@pytest.mark.parametrize("value", ["5", "null", '"x"', "[]", "true", "1e400"])
@pytest.mark.parametrize("field", ["run_id", "agent_id", "intent", "started_at"])
def test_a_start_with_a_wrong_field_is_no_start(field: str, value: str) -> None:
    name = f'"{field}":'.encode()
    begin = START.index(name) + len(name)
    end = START.index(b'"', begin + 1) + 1
    assert scanned(START[:begin] + value.encode() + START[end:]).summary() is None or value == '"x"'


ENDED = (
    b'{"record":"ended","run_id":"r","agent_id":"a","termination":{"kind":"incomplete"},'
    b'"ended_at":"2026-01-01T00:00:00Z"}'
)
GOOD = [
    START,
    b'{"record":"turn","index":0,"prompt":"p","parameters":null,"verifier_verdict":"not_run","writer":"w","seq":0}\n',
    b'{"record":"turn","index":0,"prompt":"p","writer":"w","seq":0}\n',
    b'{"record":"turn","index":1,"parameters":{"a":[1,2,{"index":null}]}}\n',
    b'{"record":"note","text":"\xc3\xbc"}\n',
    b'\xef\xbb\xbf{"record":"turn","index":3}\n',
    ENDED + b"\n",
    b'{"record":"turn","index":1,"seq":3,"writer":9}\r\n',
    b'  {"record" : "turn", "index" : 18446744073709551615}  \n',
    b'{"record":"model_turn","index":4,"assistant_text":"x"}\n',
    b'{"record":"turn","index":5,"parameters":' + b"[" * 126 + b"]" * 126 + b"}\n",
]
BAD = [
    b"\0\0\0\0\n",
    b'{"record":"turn","index":2,"prom\n',
    b'{"record":"turn","index":0,"prompt":"\xff\xfe"}\n',
    b'{"record":"turn","index":0,"prompt":"\\ud800"}\n',
    b'{"record":"turn","index":0}{"record":"turn","index":1}\n',
    b'{"record":"turn","index":0}\0\n',
    b'{"record":5}\n',
    b'{"index":5}\n',
    b"[]\n",
    b'"turn"\n',
    b"null\n",
    b'{"record":"turn","index":0,"parameters":' + b"[" * 3000 + b"]" * 3000 + b"}\n",
    b'{"record":"turn","index":0,"parameters":' + b"[" * 127 + b"]" * 127 + b"}\n",
    b'{"record":"turn","index":0,"parameters":1e999}\n',
    b'{"record":"turn","index":0,"duration_ms":' + b"9" * 400 + b"}\n",
    b'{"record":"turn",\n',
    b'"index":4}\n',
    b'{"record":"turn"}\n',
    b'{"record":"turn","index":"odd"}\n',
    b'{"record":"turn","index":-1}\n',
    b'{"record":"turn","index":-0}\n',
    b'{"record":"turn","index":1.0}\n',
    b'{"record":"turn","index":18446744073709551616}\n',
    b'{"record":"turn","index":0,"prompt":5}\n',
    b'{"record":"turn","index":0,"index":0}\n',
    b'{"record":"turn","index":0,"\\u0069ndex":0}\n',
    b'{"record":"turn","index":0,"prompt":"p","parameters":{"prompt":1},"prompt":"p"}\n',
    b'{"record":"model_turn"}\n',
    b'{"record":"ended","termination":{"kind":"incomplete"},"ended_at":5}\n',
    ENDED.replace(b"T00", b"t00") + b"\n",
]
BLANK = [b"\n", b"   \n", b"\r\n"]
TURN = b'{"record":"turn","index":0}'
TAILS = [b"", TURN[:-1], TURN, b"\0\0", TURN + b"\0\0", b" "]


@given(st.lists(st.sampled_from(GOOD + BAD + BLANK), max_size=8), st.sampled_from(TAILS))
@example([b'{"record":"turn",\n', b'"index":4}\n'], b"")
@example([b'{"record":"turn","index":0,"prompt":"\xff\xfe"}\n'], b"")
@settings(max_examples=300, deadline=None)
def test_scan_records_and_pages_agree(lines: list[bytes], tail: bytes) -> None:
    with short_directory() as base:
        (base / "f").write_bytes(b"".join(lines) + tail)
        fd = os.open(base / "f", os.O_RDONLY)
        try:
            found = scan.scan(fd)
            trace, skipped = reader.records(fd)
            page, end = read_page(fd, 0, 0, None)
        finally:
            os.close(fd)
    good = sum(line in GOOD for line in lines) + tail.startswith(TURN)
    torn = tail.startswith((b"\0", TURN[:-1])) and not tail.startswith(TURN)
    bad = sum(line in BAD for line in lines)
    assert len(trace) == len(json.loads(b"[%b]" % page.records)) == good
    assert skipped == page.skipped == found.skipped == bad + torn
    assert found.turn_count == sum(record.record in ("turn", "model_turn") for record in trace)
    assert found.lines == page.cursor == len(lines) + tail.startswith(TURN)
    assert end == found.size if found.unterminated else end == found.good_bytes
    decoded = msgspec.json.decode(b"[" + page.records + b"]")
    assert decoded == trace


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_together_are_the_whole(limit: int) -> None:
    data = b"".join([START, *GOOD, *BAD, *BLANK, *GOOD, *BLANK])
    with short_directory() as base:
        (base / "f").write_bytes(data)
        fd = os.open(base / "f", os.O_RDONLY)
        try:
            whole, _ = read_page(fd, 0, 0, None)
            cursor = offset = skipped = 0
            parts: list[bytes] = []
            while True:
                page, offset = read_page(fd, cursor, offset, limit)
                assert page.cursor - cursor <= limit
                cursor = page.cursor
                skipped += page.skipped
                parts += [page.records] if page.records else []
                if not page.more:
                    break
        finally:
            os.close(fd)
    assert b",".join(parts) == whole.records
    assert (cursor, skipped) == (whole.cursor, whole.skipped)


def test_lines_longer_than_a_block_are_read(store: RunStore) -> None:
    big = "x" * (3 * reader.BLOCK_BYTES + 17)
    store.append_records("a", "r", [started("r", "a"), turn(0, big), turn(1, "small"), turn(2, big)])
    trace = store.get_run_trace("r")
    assert trace is not None
    assert [len(record.prompt) for record in trace[1:]] == [len(big), 5, len(big)]
    assert store.list_runs("a")[0].turn_count == 3


@pytest.mark.parametrize(
    ("data", "may_be_open"),
    [
        (START, True),
        (START + ENDED + b"\n", False),
        (START + ENDED, False),
        (START + ENDED[:-1] + b',"x":"' + b"y" * 100_000 + b'"}\n', False),
        (START + ENDED + b'\n{"record":"turn","index":0}\n', True),
        (START + ENDED + b"\n\0\0\0", True),
        (START + ENDED + b'\n{"record":"en', True),
        (START + ENDED[:-1] + b',"x":"\xff"}\n', True),
        (START + ENDED[:-1] + b',"ended_at":1}\n', True),
    ],
)
def test_the_end_alone_never_calls_an_open_run_ended(base: Path, data: bytes, may_be_open: bool) -> None:
    (base / "f").write_bytes(data)
    fd = os.open(base / "f", os.O_RDONLY)
    try:
        assert scan.ends_open(fd, len(data)) is may_be_open
    finally:
        os.close(fd)


def test_a_scan_knows_writers_and_the_next_index() -> None:
    found = scanned(
        START
        + b'{"record":"turn","index":0,"writer":"w","seq":0}\n'
        + b'{"record":"turn","index":9,"writer":"w","seq":1}\n'
        + b'{"record":"turn","index":3,"writer":"v","seq":0}\n'
        + b'{"record":"turn","index":-5}\n'
        + b'{"record":"model_turn","index":9}\n'
    )
    assert found.writers == {"w": 1, "v": 0}
    assert found.next_index == 10
    assert found.turn_count == 4


@pytest.mark.parametrize("index", [(1 << 62), (1 << 63) - 1, (1 << 64) - 1])
def test_an_index_at_the_end_of_the_range_leaves_room_for_what_follows(index: int) -> None:
    found = scanned(START + b'{"record":"turn","index":3}\n' + b'{"record":"turn","index":%d}\n' % index)
    assert (found.turn_count, found.next_index) == (2, 4)


def test_a_final_end_and_an_incomplete_behind_it_at_a_glance(base: Path) -> None:
    """A seed ends what it cannot read: what counts stands before the last line, and a glance must not miss it."""
    outcome = {"kind": "cancelled"}
    line = json.dumps({**json.loads(ENDED), "termination": outcome, "ended_at": "2026-02-02T00:00:00Z"}).encode()
    (base / "f").write_bytes(START + line + b"\n" + ENDED + b"\n")
    fd = os.open(base / "f", os.O_RDONLY)
    try:
        for summary in (scan.glance(fd), scan.scan(fd).summary()):
            assert summary is not None
            assert (summary.status, summary.ended_at) == (RunStatus.COMPLETED, "2026-02-02T00:00:00Z")
    finally:
        os.close(fd)
