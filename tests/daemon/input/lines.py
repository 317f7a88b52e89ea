"""Lines to send, and what an error must look like."""

from __future__ import annotations

import re
from typing import Any

from tests.support import Daemon, Json, nested


def size_of(daemon: Daemon) -> int:
    return sum(path.stat().st_size for path in daemon.car_dir.rglob("*") if path.is_file())


def line(method: str, params: str, request_id: str = "7") -> bytes:
    return f'{{"id":{request_id},"method":"{method}","params":{params}}}\n'.encode()


def turn(run: str, text: str) -> bytes:
    """Return a request that records one turn, whose JSON is ``text``."""
    return line("runs.record_turns", f'{{"run_id":"{run}","turns":[{text}]}}')


def check_error(answer: Json, kind: str, request_id: Any, words: str) -> None:
    assert set(answer) == {"jsonrpc", "id", "error"}, answer
    assert answer["jsonrpc"] == "2.0"
    assert answer["error"]["data"]["kind"] == kind, answer
    assert answer["id"] == request_id, answer
    assert re.search(words, answer["error"]["message"]), answer["error"]["message"]
    assert len(answer["error"]["message"]) < 500


#: Values that a strict reader refuses, and a word for why.
UNREADABLE = [
    (nested(130), "nest"),
    (nested(500), "nest"),
    ('{"a":' * 200 + "1" + "}" * 200, "nest"),
    ('"\\ud800"', "surrogate"),
    ('"\\udc00\\ud800"', "surrogate"),
    ('{"\\udfff":1}', "surrogate"),
    ("1e999", "range"),
    ("-1e999", "range"),
    ("1" * 400, "range"),
    ("-" + "9" * 400, "range"),
    ("[" * 3 + "1" * 310 + "]" * 3, "range"),
]
