"""Bad neighbours: others keep their latency, and memory keeps its bound.  Short versions of ``make faults``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest

from tests.faults import neighbour, neighbours
from tests.support import Daemon, Wire, wait_until

_OUTCOME = {"status": "success", "summary": ""}


@pytest.mark.parametrize("kind", list(neighbour.KINDS))
def test_a_good_agent_beside(kind: str) -> None:
    figures = neighbours.measure(kind, seconds=1.0)
    assert figures["turns"] >= 3, figures
    assert figures["p50_ms"] < 100, figures  # a loaded machine; docs/reliability.md has what was measured
    assert figures["peak_mib"] < neighbours.BOUND_MIB, figures


def test_too_many_connections_are_turned_away_with_a_word(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(config="[carrunsd]\nmax_connections = 5\n").start()
    held = [daemon.wire() for _ in range(5)]
    for wire in held:
        wire.call("server.ping")
    one_more = daemon.wire()
    assert one_more.read()["error"]["data"]["kind"] == "busy"
    assert one_more.ended()
    held[0].close()
    wait_until(lambda: _answers(daemon))


def _answers(daemon: Daemon) -> bool:
    with Wire(daemon.socket) as wire, contextlib.suppress(OSError):  # turned away before it could ask
        wire.post("server.ping")
        return "result" in wire.read()
    return False


def test_the_longest_unfinished_line_gives_way(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon(config="[carrunsd]\nmax_line_bytes = 33554432\n").start()  # two of them are 64 MiB
    small = daemon.wire()
    small.send(b'{"id":1,"method":"server.ping"')
    big = [daemon.wire() for _ in range(3)]
    for wire in big:
        wire.send(b'{"id":1,"method":"' + b"x" * (24 << 20))
    small.send(b"}\n")
    assert small.answer(1)["result"] == {}
    refused = 0
    for wire in big:
        wire.send(b'"}\n{"id":2,"method":"server.ping"}\n')
        first = wire.read()
        refused += first["error"]["data"]["kind"] == "busy"
        assert first["error"]["data"]["kind"] in ("busy", "method_not_found")
        assert wire.answer(2)["result"] == {}
    assert refused >= 1


def test_a_client_that_takes_nothing_is_hung_up_on_and_its_turns_are_stored(daemon: Daemon) -> None:
    good = daemon.wire()
    run_id = good.start()
    for _ in range(10):
        good.call("runs.record_turns", run_id=run_id, turns=[{"prompt": "x" * 60_000}] * 16)
    greedy = [daemon.wire() for _ in range(30)]
    for number, wire in enumerate(greedy):
        asks = b'{"id":1,"method":"runs.subscribe","params":{"run_id":"%b"}}\n' % run_id.encode()
        turn = {"run_id": run_id, "turns": [{"prompt": f"kept {number}"}]}
        wire.send(asks * 3 + json.dumps({"method": "runs.record_turns", "params": turn}).encode() + b"\n")
    wait_until(lambda: "hung up on" in daemon.log())
    for wire in greedy:
        wire.close()
    wait_until(lambda: sum("kept" in r.get("prompt", "") for r in daemon.records("agent-a", run_id)) == 30)


def test_answers_to_a_block_of_questions_come_in_order_however_large(daemon: Daemon) -> None:
    wire = daemon.wire()
    run_id = wire.start()
    for _ in range(4):
        wire.call("runs.record_turns", run_id=run_id, turns=[{"prompt": "x" * 60_000}] * 16)
    methods = ["runs.get_trace", "server.ping", "runs.flush"] * 12
    for number, method in enumerate(methods):
        wire.send_json({"id": number, "method": method, "params": {"run_id": run_id, "durable": True}})
    for number, method in enumerate(methods):
        result = wire.answer(number)["result"]
        assert ("records" in result) == (method == "runs.get_trace")


def test_a_batch_whose_answers_are_too_large_says_so(daemon: Daemon) -> None:
    wire = daemon.wire()
    run_id = wire.start()
    for _ in range(4):
        wire.call("runs.record_turns", run_id=run_id, turns=[{"prompt": "x" * 60_000}] * 16)
    asks = [{"id": number, "method": "runs.subscribe", "params": {"run_id": run_id}} for number in range(20)]
    wire.send_json(asks)
    answers = wire.read()
    assert [answer["id"] for answer in answers] == list(range(20))
    assert answers[0]["result"]["turns_so_far"]
    assert answers[-1]["error"]["data"]["kind"] == "too_large"


def test_who_stops_sending_still_gets_every_answer(daemon: Daemon) -> None:
    """``nc -N`` sends its requests, shuts its sending side down and reads; some answers wait for the device."""
    wire = daemon.wire()
    requests = [
        {"id": 1, "method": "runs.start", "params": {"agent_id": "a", "intent": "i", "idempotency_key": "r"}},
        {"id": 2, "method": "runs.record_turns", "params": {"run_id": "r", "turns": [{}], "durable": True}},
        {"id": 3, "method": "runs.list"},
        {"id": 4, "method": "runs.complete", "params": {"run_id": "r", "outcome": _OUTCOME}},
        {"id": 5, "method": "runs.get_trace", "params": {"run_id": "r"}},
    ]
    wire.send_json(*requests)
    wire.sock.shutdown(1)
    answers = [wire.read() for _ in requests]
    assert [answer["id"] for answer in answers] == [1, 2, 3, 4, 5]
    assert all("result" in answer for answer in answers)
    assert wire.ended()
