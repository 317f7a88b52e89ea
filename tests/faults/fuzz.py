"""Fuzzing of the wire and of the reader: seeded cases, made of good parts that are bent, cut, doubled and mixed.

Properties, not examples.  The wire: whatever comes, each request is answered once and in order by something that is
JSON-RPC, the daemon names no defect, and what it stores a strict reader reads.  The reader: whatever stands in a
file, every good line on a line of its own is found, in whatever blocks it is read; healing and mending lose none.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from carruns.protocol.framing import LineFramer
from carrunsd.store import pages, reader, scan, typed
from carrunsd.store.doctor import examine, repair
from carrunsd.store.runfile import RunFile
from carrunsd.wire import decode
from carrunsd.wire.errors import RequestError
from tests.faults.grammar import KEYS, TEXTS, Maker
from tests.support import Daemon, Wire, short_directory, strict

Json = dict[str, Any]

# -- the wire, in process ----------------------------------------------------------------------------------


def wire_in_process(seed: int, count: int) -> int:
    """Frame and read lines; anything but a request or a named fault is a failure.  Return the cases."""
    maker = Maker(f"wire/{seed}")
    for _ in range(count):
        lines = [maker.line() for _ in range(maker.dice.choice((1, 1, 2, 6)))]
        data = b"".join(line + b"\n" for line in lines)
        assert _framed(maker.dice, data) == data, data
        for line in lines:
            _read(line)
    return count


def _framed(dice: random.Random, data: bytes) -> bytes:
    framer = LineFramer(1 << 20)
    out = b""
    while data:
        cut = dice.choice((1, 2, 7, 64, 1000, len(data)))
        out += framer.feed(data[:cut])
        data = data[cut:]
    assert not framer.overlong
    assert not framer.held
    return out


def _read(line: bytes) -> None:
    if not line.strip():
        return
    try:
        found = decode.read(line)
    except RequestError as error:
        fault = error.message
    else:
        fault = "" if found is not None else "nothing at all"
        for value in getattr(getattr(found, "params", None), "turns", []):
            strict(msgspec.json.encode(value))  # what would be stored
    assert fault != "nothing at all"


# -- the wire, over the socket -----------------------------------------------------------------------------


def wire_over_socket(seed: int, count: int) -> int:
    """Send cases to a real daemon in odd pieces; check every answer, then everything that was stored."""
    maker = Maker(f"socket/{seed}")
    with short_directory() as base:
        daemon = Daemon(base, config="[carrunsd]\nmax_turns_per_run = 100000\n[runs]\nmax_per_agent = 100000\n")
        try:
            daemon.start()
            done = 0
            while done < count:
                with Wire(daemon.socket) as wire:
                    for number in range(25):
                        done += _some_lines(maker, wire, f"end-{seed}-{done}-{number}")
            assert daemon.running, daemon.log()[-2000:]
            _nothing_strange(daemon)
        finally:
            daemon.close()
    return done


def _some_lines(maker: Maker, wire: Wire, mark: str) -> int:
    lines = [maker.line() for _ in range(20)]
    data = b"".join(line + b"\n" for line in lines)
    data += json.dumps({"id": mark, "method": "server.ping"}).encode() + b"\n"
    while data:
        cut = maker.dice.choice((3, 100, 4096, len(data), len(data)))
        wire.send(data[:cut])
        data = data[cut:]
    answers = 0
    while True:
        message = wire.read()
        if isinstance(message, dict) and message.get("id") == mark:
            break
        answers += _is_json_rpc(message)
    assert answers <= len(lines), "more answers than requests"
    return len(lines)


def _is_json_rpc(message: Any) -> int:
    """Check an answer, a batch of them or an event; return how many lines it may answer."""
    if isinstance(message, list):
        assert message
        for part in message:
            _is_json_rpc(part)
        return 1
    assert message["jsonrpc"] == "2.0"
    if "method" in message:
        assert message["method"] in ("runs.trace.event", "runs.event")
        return 0
    assert ("result" in message) != ("error" in message), message
    if "error" in message:
        assert message["error"]["data"]["kind"] != "internal_error", message
        assert message["error"]["message"]
    return 1


def _nothing_strange(daemon: Daemon) -> None:
    log = daemon.log()
    assert "Traceback" not in log, log[-3000:]
    assert "defect" not in log
    for path in daemon.car_dir.rglob("*.jsonl"):
        data = path.read_bytes()
        assert data.endswith(b"\n") or not data, path
        for line in data.split(b"\n")[:-1]:
            strict(line)


# -- the reader --------------------------------------------------------------------------------------------


def reader_in_process(seed: int, count: int) -> int:
    """Make files, read them in several ways, heal and mend them; return the cases."""
    maker = Maker(f"reader/{seed}")
    usual, longest = reader.BLOCK_BYTES, reader.MAX_LINE_BYTES
    with tempfile.TemporaryDirectory(prefix="ct-") as directory:
        car_dir = Path(directory)
        path = car_dir / "runs" / "a" / "r.jsonl"
        path.parent.mkdir(parents=True, mode=0o700)
        try:
            for number in range(count):
                data, good = _file(maker)
                reader.BLOCK_BYTES = maker.dice.choice((usual, 64, 7, 512))
                short = max(map(len, good), default=0) < 5000
                reader.MAX_LINE_BYTES = maker.dice.choice((longest, 5000)) if short else longest
                path.write_bytes(data)
                path.chmod(0o600)
                _read_in_all_ways(path, data, good)
                if number % 4 == 0:
                    _healed(path, good)
                elif number % 16 == 1:
                    _mended(car_dir, path, good)
        finally:
            reader.BLOCK_BYTES, reader.MAX_LINE_BYTES = usual, longest
    return count


def _file(maker: Maker) -> tuple[bytes, list[bytes]]:
    """Return a file's bytes and the good lines that stand on lines of their own."""
    dice = maker.dice
    parts: list[bytes] = []
    good: list[bytes] = []
    for number in range(dice.randrange(12)):
        text = json.dumps(_record(maker, number), ensure_ascii=dice.random() < 0.5).encode()
        if dice.random() < 0.7:
            good.append(text)
        else:
            text = (
                maker.bent(text)
                if dice.random() < 0.8
                else dice.choice((b"", b"\0" * 50, b"null", b"[]", b"{}", b"x", b"z" * 9000))
            )
        parts.append(text)
    data = b"".join(part + b"\n" for part in parts)
    if dice.random() < 0.5:
        tail = json.dumps(_record(maker, 99)).encode()
        data += dice.choice(
            (tail, tail[: dice.randrange(len(tail))], b"\0" * dice.randrange(1, 400), tail + b"\0" * 9)
        )
    return data, good


def _record(maker: Maker, number: int) -> Json:
    dice = maker.dice
    kind = dice.choice(("turn", "turn", "turn", "started", "ended", "note"))
    record: Json = {"record": kind, "index": number, "prompt": dice.choice(TEXTS[:-1]), "parameters": None}
    if kind == "started":
        record |= {"run_id": "r", "agent_id": "a", "intent": "i", "started_at": "2026-11-22T00:00:00Z"}
    elif kind == "ended":
        ends = ({"kind": "incomplete"}, {"kind": "cancelled"}, {"Outcome": {"status": "Done"}}, "incomplete")
        record |= {"run_id": "r", "agent_id": "a", "ended_at": "2026-11-22T00:00:00Z"}
        record["termination"] = dice.choice(ends)
    if dice.random() < 0.2:
        record[dice.choice([key for key in KEYS if key not in _TYPED])] = maker.value()
    return record


_TYPED = frozenset(("record", *(name for names in typed.NAMES.values() for name in names)))


def _read_in_all_ways(path: Path, data: bytes, good: list[bytes]) -> None:
    with path.open("rb") as file:
        fd = file.fileno()
        records, skipped = reader.records(fd)
        found = scan.scan(fd)
        scan.ends_open(fd, len(data))
        scan.glance(fd)
        found.summary()
        lines = _paged(fd)
    assert lines == records, data
    kept = [json.dumps(record, sort_keys=True) for record in records]
    for text in good:
        assert json.dumps(json.loads(text), sort_keys=True) in kept, f"hidden: {text[:500]!r} in {data[:2000]!r}"
    assert len(records) >= len(good)
    assert found.turn_count == sum(record["record"] in typed.TURN_KINDS for record in records), data
    assert found.skipped == skipped, (found.skipped, skipped, data)


def _paged(fd: int) -> list[Json]:
    out: list[Json] = []
    cursor = offset = 0
    while True:
        page, offset = pages.read_page(fd, cursor, offset, 3)
        assert page.cursor > cursor or not page.more
        cursor = page.cursor
        out += json.loads(b"[" + page.records + b"]")
        if not page.more:
            return out


def _healed(path: Path, good: list[bytes]) -> None:
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    file = RunFile(fd)
    try:
        before, _ = reader.records(fd)
        file.heal()
        file.append(b'{"record":"turn","index":1,"prompt":"new"}\n')
        after, _ = reader.records(fd)
    finally:
        file.close()
    assert after[:-1] == before, path.read_bytes()
    assert after[-1]["prompt"] == "new"
    assert path.read_bytes().endswith(b"\n")


def _mended(car_dir: Path, path: Path, good: list[bytes]) -> None:
    examined = examine.Examined()
    found = list(examine.examine(str(car_dir / "runs"), examined))
    list(repair.repair(str(car_dir), found))
    data = path.read_bytes() if path.exists() else b""
    for text in good:
        if b'"incomplete"' not in text:  # behind a final end it goes: it hides the end from others
            assert text in data.split(b"\n"), f"lost: {text!r}"
    again = list(examine.examine(str(car_dir / "runs"), examine.Examined()))
    assert not [finding for finding in again if finding.mendable], again
    for kept in path.parent.iterdir():
        kept.unlink()


KINDS: dict[str, Callable[[int, int], int]] = {
    "wire in process": wire_in_process,
    "wire over the socket": wire_over_socket,
    "reader": reader_in_process,
}


def fuzz(seed: int, count: int) -> Json:
    """Try ``count`` cases of each kind; return how many were tried."""
    return {kind: function(seed, count) for kind, function in KINDS.items()}


if __name__ == "__main__":
    import sys
    import time

    for kind_, function_ in KINDS.items():
        began = time.monotonic()
        print(kind_, function_(int(sys.argv[1]), int(sys.argv[2])), f"{time.monotonic() - began:.1f} s", flush=True)
