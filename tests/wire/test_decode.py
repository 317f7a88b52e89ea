"""Triage: what is wrong with a line, as a kind and words, and whom to answer."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec import UNSET

from carrunsd.wire import decode, requests
from carrunsd.wire.errors import RequestError
from tests.support import nested


def fault(line: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode.read(line)
    return caught.value


@pytest.mark.parametrize(
    ("line", "kind", "request_id", "words"),
    [
        (b"x", "parse_error", None, "not JSON"),
        (b'{"id":1', "parse_error", None, "not JSON"),
        (b'{"id":1,"x":NaN}', "parse_error", None, "NaN is no JSON"),
        (b'{"id":1,"x":"\xff"}', "parse_error", None, "not UTF-8 at byte"),
        (b"[]", "invalid_request", None, "at least one"),
        (b"7", "invalid_request", None, "JSON object"),
        (b'{"id":1}', "invalid_request", 1, "method"),
        (b'{"method":7}', "invalid_request", None, "method"),
        (b'{"id":{},"method":"server.ping"}', "invalid_request", None, "id"),
        (b'{"id":1,"method":"runs.lst"}', "method_not_found", 1, "did you mean runs.list"),
        (b'{"method":"no.such"}', "method_not_found", UNSET, "unknown"),
        (b'{"id":1,"method":"runs.flush","params":{"run_id":7}}', "invalid_params", 1, "run_id"),
        (b'{"method":"runs.flush","params":{"run_id":7}}', "invalid_params", UNSET, "run_id"),
        (b'{"id":1,"method":"runs.flush","params":{"run_id":"\\ud800"}}', "unreadable", 1, "surrogate"),
        (b'{"id":1,"method":"runs.start","params":{"intent":"i","m":1e999}}', "unreadable", 1, "range"),
        (b'{"id":1,"method":"runs.start","params":{"m":' + nested(126).encode() + b"}}", "unreadable", 1, "nest"),
        (b'{"method":"runs.start","params":{"m":' + nested(126).encode() + b"}}", "unreadable", UNSET, "nest"),
        (b"[" * 50_000, "unreadable|parse_error", None, "nest|JSON"),
    ],
)
def test_each_fault_has_its_kind(line: bytes, kind: str, request_id: Any, words: str) -> None:
    error = fault(line)
    assert re.fullmatch(kind, error.data["kind"])
    assert error.request_id == request_id
    assert re.search(words, error.message)


def test_unknown_fields_of_a_turn_are_no_fault() -> None:
    request = decode.read(
        b'{"method":"runs.record_turns","params":{"run_id":"r","turns":[{"prompt":"p","x":[1]}]}}'
    )
    assert type(request) is requests.LooseRecordTurns
    assert request.params.turns == [{"prompt": "p", "x": [1]}]


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (b'{"prompt":5,"x":1}', r"turns\[1\].prompt"),
        (b'{"record":"ended","x":1}', r"turns\[1\].record"),
        (b'{"usage":[],"x":1}', r"turns\[1\].usage"),
    ],
)
def test_known_fields_are_checked_beside_unknown_ones(turn: bytes, words: str) -> None:
    line = b'{"id":9,"method":"runs.record_turns","params":{"run_id":"r","turns":[{"x":1},%b]}}' % turn
    error = fault(line)
    assert (error.data["kind"], error.request_id) == ("invalid_params", 9)
    assert re.search(words, error.message), error.message


def test_a_batch_is_read_part_by_part() -> None:
    good, bad, odd = decode.read(b'[{"id":1,"method":"server.ping"},{"id":2,"method":"x"},3]')
    assert type(good) is requests.Ping
    assert (bad.data["kind"], bad.request_id) == ("method_not_found", 2)
    assert (odd.data["kind"], odd.request_id) == ("invalid_request", None)
