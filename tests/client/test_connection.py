"""The protocol state of one connection: bytes whole, byte by byte, and with more behind them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from carruns.connection import Answer, Connection, Event, Garbage, Notification, as_request
from carruns.protocol import errors
from carruns.protocol.messages import turn_head, turn_line

ANSWER = b'{"jsonrpc":"2.0","id":7,"result":{"a":[1,2]}}\n'
REFUSAL = b'{"id":8,"error":{"code":-32001,"message":"no such run","data":{"kind":"run_not_found"}}}\n'
EVENT = b'{"jsonrpc":"2.0","method":"runs.event","params":{"x":1}}\n'
NONSENSE = [
    b"nonsense\n",
    b"[]\n",
    b'{"id":"x","result":1}\n',
    b'{"id":null,"error":{"code":-32700}}\n',
    b"\xff\xfe\n",
    b"[" * 9000 + b"\n",
]


def whole(data: bytes) -> list[Event]:
    return Connection().receive(data)


def byte_by_byte(data: bytes) -> list[Event]:
    connection = Connection()
    return [event for at in range(len(data)) for event in connection.receive(data[at : at + 1])]


def with_more_behind(data: bytes) -> list[Event]:
    connection = Connection()
    events = connection.receive(data + b'{"id":99,"res')
    assert [event.id for event in connection.receive(b'ult":null}\n') if isinstance(event, Answer)] == [99]
    return events


ways = pytest.mark.parametrize("receive", [whole, byte_by_byte, with_more_behind])
Receive = Callable[[bytes], list[Event]]


def shown(events: list[Event]) -> list[Any]:
    out: list[Any] = []
    for event in events:
        if isinstance(event, Answer):
            out.append((event.id, event.error.kind if event.error else json.loads(bytes(event.result))))
        elif isinstance(event, Notification):
            out.append((event.method, json.loads(bytes(event.params))))
        else:
            out.append(Garbage)
    return out


@ways
def test_an_answer(receive: Receive) -> None:
    assert shown(receive(ANSWER)) == [(7, {"a": [1, 2]})]


@ways
def test_a_refusal(receive: Receive) -> None:
    (answer,) = receive(REFUSAL)
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, errors.RunNotFound)
    assert (str(answer.error), answer.error.kind, answer.error.fault) == ("no such run", "run_not_found", "caller")


@ways
def test_a_notification(receive: Receive) -> None:
    assert shown(receive(EVENT)) == [("runs.event", {"x": 1})]


@ways
@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_hides_nothing_around_it(receive: Receive, nonsense: bytes) -> None:
    assert shown(receive(ANSWER + nonsense + EVENT)) == [(7, {"a": [1, 2]}), Garbage, ("runs.event", {"x": 1})]


@ways
def test_empty_lines_are_nothing(receive: Receive) -> None:
    assert shown(receive(b"\n\n" + ANSWER + b"\n")) == [(7, {"a": [1, 2]})]


def test_ids_do_not_repeat() -> None:
    connection = Connection()
    first, line = connection.request("server.ping", {})
    second, _ = connection.request("server.ping", {})
    assert json.loads(line) == {"id": first, "method": "server.ping", "params": {}}
    assert first != second


def test_an_error_that_is_no_object() -> None:
    (answer,) = whole(b'{"id":1,"error":"no"}\n')
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, errors.InternalError)


def test_a_notification_made_a_request() -> None:
    line = turn_line(turn_head("r", "w"), 3, b'{"tool":"t"}')
    assert json.loads(as_request(line, 5)) == {**json.loads(line), "id": 5}


def _padded(line: bytes) -> bytes:
    """The line with so much in its innermost place that it is a long one."""
    return line.replace(b"[1,2]", b"[" + b"1," * 50_000 + b"2]")


@pytest.mark.parametrize(
    "line",
    [
        ANSWER,
        ANSWER + ANSWER,
        ANSWER + EVENT,
        b'{"id":7,"jsonrpc":"2.0","result":{"a":[1,2]}}\n',
        b'{"jsonrpc":"2.0","id":7,"result":{"a":[1,2]}} \n',
        b' {"jsonrpc": "2.0", "id": 7, "result": {"a": [1,2]}}\n',
    ],
)
def test_a_long_answer_is_read_like_a_short_one(line: bytes) -> None:
    events = shown(whole(_padded(line)))
    assert events[0] == (7, {"a": [1] * 50_000 + [2]})
    assert len(events) == line.count(b"\n")
