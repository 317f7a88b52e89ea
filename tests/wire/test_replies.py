"""Answers leave in the order of their requests, whenever each is ready."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns.protocol import errors
from carrunsd.wire.replies import Outbox


@pytest.fixture
def sent() -> list[bytes]:
    return []


@pytest.fixture
def outbox(sent: list[bytes]) -> Outbox:
    return Outbox(sent.append)


def ids(sent: list[bytes]) -> list[Any]:
    return [json.loads(line).get("id", "event") for line in b"".join(sent).split(b"\n")[:-1]]


@given(st.permutations(range(6)))
def test_any_order_of_finishing_leaves_in_order(order: list[int]) -> None:
    sent: list[bytes] = []
    outbox = Outbox(sent.append)
    tickets = [outbox.ticket(number) for number in range(6)]
    for place, number in enumerate(order):
        tickets[number].done(b"{}")
        done = set(order[: place + 1])
        assert ids(sent) == list(range(next(n for n in range(7) if n not in done)))
    assert outbox.waiting == 0


def test_an_event_waits_behind_the_answers_before_it(outbox: Outbox, sent: list[bytes]) -> None:
    first, second = outbox.ticket(1), outbox.ticket(2)
    outbox.send(b'{"method":"e"}\n')
    assert outbox.held_bytes > 0
    second.done(b"{}")
    assert sent == []
    first.done(b"{}")
    assert ids(sent) == [1, 2, "event"]
    assert outbox.held_bytes == 0
    outbox.send(b'{"method":"e"}\n')
    assert ids(sent)[-1] == "event"


def test_a_batch_waits_for_all_its_parts(outbox: Outbox, sent: list[bytes]) -> None:
    batch = outbox.batch()
    parts = [batch.ticket(number) for number in range(3)]
    after = outbox.ticket("after")
    after.done(b"{}")
    for part in reversed(parts):
        part.done(b"{}")
    assert sent == []
    batch.close()
    answers = [json.loads(line) for line in b"".join(sent).split(b"\n")[:-1]]
    assert [[part["id"] for part in answers[0]], answers[1]["id"]] == [[0, 1, 2], "after"]


def test_a_batch_of_notifications_is_silent(outbox: Outbox, sent: list[bytes]) -> None:
    outbox.batch().close()
    outbox.ticket(1).done(b"{}")
    assert ids(sent) == [1]


@pytest.mark.parametrize("request_id", [None, 0, -1, 2**70, 1.5, "ü\n\u2028", ""])
def test_ids_come_back_as_they_were(outbox: Outbox, sent: list[bytes], request_id: Any) -> None:
    outbox.ticket(request_id).done(b'{"x":1}')
    outbox.ticket(request_id).fail(errors.BUSY, "wait")
    good, bad = [json.loads(line) for line in b"".join(sent).split(b"\n")[:-1]]
    assert good == {"jsonrpc": "2.0", "id": request_id, "result": {"x": 1}}
    error = {"code": -32012, "message": "wait", "data": {"kind": "busy"}}
    assert bad == {"jsonrpc": "2.0", "id": request_id, "error": error}
