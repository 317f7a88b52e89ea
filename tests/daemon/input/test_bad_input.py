"""Bad input: a clear error each, the connection and the daemon go on, nothing on disk that should not be."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.input.lines import UNREADABLE, check_error, line, size_of, turn
from tests.support import Daemon, Wire, nested

GARBAGE: list[tuple[bytes, str, Any, str]] = [
    (b"hello\n", "parse_error", None, "JSON"),
    (b'{"id":1,"method":"server.pi\n', "parse_error", None, "JSON"),
    (b"}\n", "parse_error", None, "JSON"),
    (b"\0\0\0\0\n", "parse_error", None, "JSON"),
    (b"\xef\xbb\xbf\n", "parse_error", None, "JSON"),
    (b"\xff\xfe\xfd\n", "parse_error", None, "UTF-8"),
    (b'{"id":1,"method":"\xc3\x28"}\n', "parse_error", None, "UTF-8"),
    (b"GET / HTTP/1.1\r\n", "parse_error", None, "JSON"),
    (b'{"id":1,"method":"server.ping"}{"id":2,"method":"server.ping"}\n', "parse_error", None, "JSON"),
    (b"5\n", "invalid_request", None, "object"),
    (b"null\n", "invalid_request", None, "object"),
    (b'"server.ping"\n', "invalid_request", None, "object"),
    (b"[]\n", "invalid_request", None, "batch"),
    (b'{"id":3}\n', "invalid_request", 3, "method"),
    (b'{"id":3,"method":5}\n', "invalid_request", 3, "method"),
    (b'{"id":3,"method":null}\n', "invalid_request", 3, "method"),
    (b'{"id":{},"method":"server.ping"}\n', "invalid_request", None, "id"),
    (b'{"id":true,"method":"server.ping"}\n', "invalid_request", None, "id"),
    (b'{"id":[1],"method":"runs.list"}\n', "invalid_request", None, "id"),
    (b'{"id":3,"method":"runs.strat"}\n', "method_not_found", 3, "did you mean runs.start"),
    (b'{"id":"x","method":""}\n', "method_not_found", "x", "unknown method"),
    (b'{"id":3,"method":"' + b"m" * 5000 + b'"}\n', "method_not_found", 3, "unknown method"),
    (b'{"id":3,"method":"runs.start"}\n', "invalid_params", 3, "params"),
    (b'{"id":3,"method":"runs.start","params":[1,2]}\n', "invalid_params", 3, "params|object"),
    (b'{"id":3,"method":"runs.start","params":"x"}\n', "invalid_params", 3, "params|object"),
    (b'{"id":3,"method":"runs.flush","params":null}\n', "invalid_params", 3, "params|object"),
    (b'{"id":3,"method":"runs.flush","params":{"run_id":5}}\n', "invalid_params", 3, "run_id"),
    (b'{"id":3,"method":"runs.flush","params":{}}\n', "invalid_params", 3, "run_id"),
]


@pytest.mark.parametrize(("data", "kind", "request_id", "words"), GARBAGE)
def test_garbage(shared: Daemon, wire: Wire, data: bytes, kind: str, request_id: Any, words: str) -> None:
    before = size_of(shared)
    wire.send(data)
    check_error(wire.read(), kind, request_id, words)
    assert wire.silent()
    assert size_of(shared) == before


def test_garbage_in_one_piece_with_good_lines(wire: Wire, run: str) -> None:
    """Each good line around bad ones is carried out, and answers keep their order."""
    data, expected = b"", []
    for number, (bad, kind, request_id, _) in enumerate(GARBAGE):
        data += bad + turn(run, f'{{"prompt":"{number}"}}').replace(b'"id":7', b'"id":"good-%d"' % number)
        expected += [(request_id, kind), (f"good-{number}", None)]
    wire.send(data)
    answers = [wire.read() for _ in expected]
    assert [(a["id"], a["error"]["data"]["kind"] if "error" in a else None) for a in answers] == expected
    trace = wire.call("runs.get_trace", run_id=run)["records"]
    assert [record["prompt"] for record in trace[1:]] == [str(number) for number in range(len(GARBAGE))]


@pytest.mark.parametrize("data", [b"\n", b"  \n", b"\r\n", b"\n\n\n"])
def test_blank_lines_are_passed_over(wire: Wire, data: bytes) -> None:
    wire.send(data)
    assert wire.silent()


def test_windows_line_ends_and_spaces_are_fine(wire: Wire) -> None:
    wire.send(b' {"id" : 1 , "method" : "server.ping" } \r\n{"id":2,"method":"server.ping"}\r\n')
    assert [wire.read()["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(("value", "words"), UNREADABLE)
@pytest.mark.parametrize("field", ["parameters", "output", "metadata", "x_unknown"])
def test_what_a_strict_reader_refuses_is_refused(
    shared: Daemon, wire: Wire, run: str, value: str, words: str, field: str
) -> None:
    before = size_of(shared)
    wire.send(turn(run, f'{{"prompt":"p","{field}":{value}}}'))
    check_error(wire.read(), "unreadable", 7, words)
    assert wire.silent()
    assert size_of(shared) == before


@pytest.mark.parametrize(
    "value", ["NaN", "Infinity", "-Infinity", "nan", "01", "+1", "1.", ".5", "0x10", "'x'", "1" * 5000]
)
def test_what_is_no_json_is_refused(shared: Daemon, wire: Wire, run: str, value: str) -> None:
    before = size_of(shared)
    wire.send(turn(run, f'{{"parameters":{value}}}'))
    answer = wire.read()
    kind = "unreadable" if value.isdigit() and len(value) > 10 else "parse_error"
    assert answer["error"]["data"]["kind"] == kind, answer
    assert wire.silent()
    assert size_of(shared) == before


@pytest.mark.parametrize("levels", [10_000, 100_000, 2_000_000])
def test_absurd_nesting(shared: Daemon, wire: Wire, run: str, levels: int) -> None:
    before = size_of(shared)
    wire.send(turn(run, f'{{"parameters":{nested(levels)}}}'))
    answer = wire.read()
    many = levels > 250_000  # that many values are refused before anybody looks how deep they are
    assert answer["error"]["data"]["kind"] == ("too_large" if many else "unreadable")
    assert ("values" if many else "nest") in answer["error"]["message"]
    wire.send(b"[" * levels + b"\n")
    assert wire.read()["error"]["data"]["kind"] in ("parse_error", "unreadable", "too_large")
    assert wire.silent()
    assert size_of(shared) == before


@pytest.mark.parametrize("levels", [100, 120, 123])
def test_nesting_that_every_reader_takes_is_stored(shared: Daemon, wire: Wire, run: str, levels: int) -> None:
    wire.send(turn(run, f'{{"parameters":{nested(levels)}}}'))
    assert wire.read()["result"]["ok"] is True
    assert len(shared.records(wire.summary(run)["agent_id"], run)) == 2
    wire.post("runs.get_trace", run_id=run)
    answer = wire.read_line()
    assert answer.count(b"[") >= levels


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("runs.start", '{"intent":"i","agent_id":"deep","metadata":%s}'),
        ("runs.complete", '{"run_id":"%%s","outcome":{"status":"done","x":%s}}'),
        (
            "runs.record_model_turn",
            '{"run_id":"%%s","assistant_text":"","requested_tool_calls":[%s],"model_id":"m","duration_ms":1}',
        ),
        ("runs.append", '{"run_id":"%%s","agent_id":"?","records":[{"record":"note","x":%s}]}'),
    ],
)
def test_whatever_is_taken_a_strict_reader_can_fetch(wire: Wire, run: str, method: str, params: str) -> None:
    """An answer with the record in it nests deeper than the request did: serde_json reads 127 levels of that."""
    agent = wire.summary(run)["agent_id"]
    for levels in range(115, 130):
        text = (params % nested(levels)).replace("%s", run).replace('"?"', json.dumps(agent))
        wire.send(line(method, text))
        answer = wire.read()
        if "error" in answer:
            assert answer["error"]["data"]["kind"] == "unreadable"
            assert levels > 118
            return
        stored = answer["result"].get("run_id", run)
        if method == "runs.complete":
            run = wire.start(agent)
        wire.post("runs.get_trace", run_id=stored)
        skeleton = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", wire.read_line())
        depth = deepest = 0
        for byte in skeleton:
            depth += (byte in b"[{") - (byte in b"]}")
            deepest = max(deepest, depth)
        assert deepest <= 127, f"{method} took {levels} levels"
    pytest.fail("nothing was too deep")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "..", "a/../../b", "a\0b", "\\..\\x", ".hidden."]
)
def test_path_tricks_stay_inside(shared: Daemon, wire: Wire, name: str) -> None:
    unique = f"{name}{uuid.uuid4()}"
    outside = set(shared.base.iterdir()) | set(Path("/etc").iterdir())
    run = wire.start(unique, idempotency_key=unique)
    wire.turns(run, "a")
    assert wire.call("runs.get_trace", run_id=run)["agent_id"] == unique
    assert set(shared.base.iterdir()) | set(Path("/etc").iterdir()) == outside
    for path in (shared.car_dir / "runs").rglob("*.jsonl"):
        assert path.parent.parent == shared.car_dir / "runs"


@pytest.mark.parametrize("params", [{"agent_id": "a" * 300}, {"agent_id": "a", "idempotency_key": "k" * 300}])
def test_names_of_300_bytes_conflict(shared: Daemon, wire: Wire, params: dict[str, str]) -> None:
    before = shared.files()
    error = wire.error("runs.start", intent="i", **params)
    assert (error["code"], error["data"]["kind"]) == (-32011, "conflict")
    assert "choose a shorter one" in error["message"]
    error = wire.error(
        "runs.append",
        agent_id=params["agent_id"],
        run_id=params.get("idempotency_key", "r"),
        records=[{"record": "x"}],
    )
    assert error["data"]["kind"] == "conflict"
    assert shared.files() == before


def memory(daemon: Daemon) -> int:
    """Return the most memory that the daemon has had, in bytes."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) << 10


def test_100_megabytes_without_a_newline(daemon: Daemon) -> None:
    wire = daemon.wire()
    run = wire.start()
    before, files = memory(daemon), size_of(daemon)
    chunk = b"x" * (1 << 20)
    for _ in range(100):
        wire.send(chunk)
    error = wire.read()
    assert (error["error"]["code"], error["id"]) == (-32003, None)
    assert error["error"]["data"] == {"kind": "too_large", "max_line_bytes": 16 << 20}
    wire.send(b"the end of it\n")
    assert wire.silent()
    assert memory(daemon) - before < 64 << 20
    assert size_of(daemon) == files
    assert wire.turns(run, "fine")["ok"]


def test_the_longest_line_is_taken_and_one_byte_more_is_not(make_daemon: Any) -> None:
    daemon = make_daemon(config="[carrunsd]\nmax_line_bytes = 4096\n").start()
    wire = daemon.wire()
    run = wire.start()
    short = turn(run, '{"prompt":""}')
    exact = turn(run, '{"prompt":"%s"}' % ("x" * (4096 - len(short))))
    assert len(exact) == 4096
    wire.send(exact)
    assert wire.read()["result"]["ok"] is True
    wire.send(exact.replace(b'"prompt":"', b'"prompt":"y') + short)
    check_error(wire.read(), "too_large", None, "4096 bytes")
    assert wire.read()["result"]["base_index"] == 1
    wire.send(short * 100 + exact.replace(b"x", b"xx") + short)
    answers = [wire.read() for _ in range(102)]
    assert sum("error" in answer for answer in answers) == 1
    assert [len(r["prompt"]) for r in daemon.records("agent-a", run)[1:]] == [4096 - len(short)] + [0] * 102


def test_half_a_line_at_the_end_was_never_sent(shared: Daemon, wire: Wire, run: str) -> None:
    with Wire(shared.socket) as other:
        other.send(turn(run, '{"prompt":"whole"}') + turn(run, '{"prompt":"half"}')[:-2])
        assert other.read()["result"] == {"run_id": run, "base_index": 0, "count": 1, "ok": True}
    assert wire.silent()
    trace = wire.call("runs.get_trace", run_id=run)["records"]
    assert [record["prompt"] for record in trace[1:]] == ["whole"]


def test_byte_by_byte(wire: Wire, run: str) -> None:
    data = turn(run, '{"prompt":"grüße"}') + b"bad\n" + turn(run, '{"prompt":"second"}')
    for byte in data:
        wire.send(bytes((byte,)))
    kinds = [wire.read() for _ in range(3)]
    assert [("error" in answer) for answer in kinds] == [False, True, False]
    trace = wire.call("runs.get_trace", run_id=run)["records"]
    assert [record["prompt"] for record in trace[1:]] == ["grüße", "second"]


def test_duplicate_keys_are_written_once(shared: Daemon, wire: Wire, run: str) -> None:
    wire.send(turn(run, '{"prompt":"a","prompt":"b","parameters":{"k":1,"k":2},"index":1,"index":2}'))
    assert wire.read()["result"]["ok"] is True
    assert shared.records(wire.summary(run)["agent_id"], run)[1]["prompt"] == "b"


@pytest.mark.parametrize(
    "number", ["18446744073709551616", "-9223372036854775809", "1" + "0" * 300, "0." + "1" * 400, "1e-400"]
)
def test_odd_but_finite_numbers_are_kept(shared: Daemon, wire: Wire, run: str, number: str) -> None:
    wire.send(turn(run, f'{{"parameters":{{"n":{number}}}}}'))
    assert wire.read()["result"]["ok"] is True
    assert shared.records(wire.summary(run)["agent_id"], run)[1]["parameters"]["n"] == json.loads(number)
