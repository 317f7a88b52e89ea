"""Ids, batches and notifications (JSON-RPC 2.0)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon.input.lines import UNREADABLE, check_error, size_of, turn
from tests.support import Daemon, Wire


@pytest.mark.parametrize("request_id", [0, -5, 2**53, 2**63, 1.5, "", "x", "ü\n", None, "9" * 1000])
def test_every_id_comes_back(wire: Wire, request_id: Any) -> None:
    for method in ("server.ping", "runs.flush", "no.such"):
        wire.send_json({"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"run_id": "nobody"}})
        answer = wire.read()
        assert answer["id"] == request_id
        assert type(answer["id"]) is type(request_id)
        assert ("error" in answer) == (method != "server.ping")


def test_a_batch_is_answered_as_one(wire: Wire, run: str) -> None:
    params = {"run_id": run, "turns": [{}]}
    wire.send_json(
        [
            {"id": 1, "method": "server.ping"},
            {"method": "runs.record_turns", "params": params},
            {"id": 2, "method": "runs.record_turns", "params": params},
            {"id": 3, "method": "no.such"},
            5,
            {"id": 4, "method": "runs.list", "params": {"agent_id": "nobody"}},
            {"id": 5, "method": "runs.get_trace", "params": {"run_id": run}},
        ],
        {"id": 6, "method": "server.ping"},
    )
    answers = wire.read()
    assert isinstance(answers, list)
    assert [answer["id"] for answer in answers] == [1, 2, 3, None, 4, 5]
    assert answers[1]["result"]["base_index"] == 1
    assert answers[2]["error"]["data"]["kind"] == "method_not_found"
    assert answers[3]["error"]["data"]["kind"] == "invalid_request"
    assert len(answers[5]["result"]["records"]) == 3
    assert wire.read()["id"] == 6


def test_a_batch_of_notifications_gets_no_answer(wire: Wire, run: str) -> None:
    params = {"run_id": run, "turns": [{}]}
    wire.send_json([{"method": "runs.record_turns", "params": params}] * 3)
    assert wire.call("runs.flush", run_id=run)["turn_count"] == 3
    assert wire.silent()


@pytest.mark.parametrize(
    "data", [b'[{"id":1,"method":"server.ping"}\n', b'[1,{"id":\n', b"[" + b"1," * 1000 + b"\n"]
)
def test_a_broken_batch_is_one_error(wire: Wire, data: bytes) -> None:
    wire.send(data)
    check_error(wire.read(), "parse_error", None, "JSON")
    assert wire.silent()


@pytest.mark.parametrize("value", [v for v, _ in UNREADABLE])
def test_the_unreadable_in_a_batch_is_refused(shared: Daemon, wire: Wire, run: str, value: str) -> None:
    before = size_of(shared)
    wire.send(b"[" + turn(run, f'{{"x_unknown":{value}}}')[:-1] + b"]\n")
    answer = wire.read()
    answer = answer[0] if isinstance(answer, list) else answer
    assert answer["error"]["data"]["kind"] == "unreadable"
    assert size_of(shared) == before


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("no.such", {}),
        ("runs.record_turns", {"run_id": 5}),
        ("runs.record_turns", {"run_id": "nobody", "turns": [{}]}),
        ("runs.record_turns", {"run_id": "nobody", "turns": [{}], "writer": "w"}),
        ("runs.complete", {"run_id": "nobody", "outcome": {}}),
        ("runs.start", {}),
        ("runs.list", {"status": "odd"}),
        ("server.ping", {}),
        ("runs.get_trace", {"run_id": "nobody"}),
    ],
)
def test_a_request_without_id_gets_no_answer(wire: Wire, method: str, params: dict[str, Any]) -> None:
    wire.notify(method, **params)
    assert wire.silent()


def test_answers_keep_the_order_of_requests(wire: Wire, run: str) -> None:
    """Some wait for a sync, some for a thread, some for nothing."""
    requests = []
    for number in range(60):
        method, params = [
            ("runs.record_turns", {"run_id": run, "turns": [{"prompt": "x"}], "durable": True}),
            ("server.ping", {}),
            ("runs.record_turns", {"run_id": run, "turns": [{"prompt": "y"}]}),
            ("runs.list", {"agent_id": "nobody"}),
            ("runs.flush", {"run_id": run}),
            ("no.such", {}),
        ][number % 6]
        requests.append({"id": number, "method": method, "params": params})
    wire.send_json(*requests)
    answers = [wire.read() for _ in requests]
    assert [answer["id"] for answer in answers] == list(range(60))
    counts = [answer["result"]["turn_count"] for answer in answers[4::6]]
    assert counts == [2 * (n + 1) for n in range(10)]
