"""The 40-line prototype that issue 4's figures come from: typed decode, one write a run and loop turn, uvloop.

It checks nothing, keeps no order and survives no error: what it does is what any daemon in Python must do.  So
carrunsd is held against it in the same run.  ``python -m benchmarks.prototype SOCKET DIRECTORY``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Union, cast

import msgspec
import uvloop

from carruns.protocol.records import Turn


class _Params(msgspec.Struct, gc=False):
    run_id: str
    turns: list[Turn] = []
    writer: Union[str, None] = None
    seq: Union[int, None] = None


class _Record(msgspec.Struct, tag_field="method", tag="runs.record_turns", kw_only=True, gc=False):
    params: _Params
    id: Union[int, None] = None


class _Flush(msgspec.Struct, tag_field="method", tag="runs.flush", kw_only=True, gc=False):
    params: _Params
    id: Union[int, None] = None


_decoder = msgspec.json.Decoder(Union[_Record, _Flush])
_encoder = msgspec.json.Encoder()


class _Run:
    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.next = 0
        self.pending: list[Turn] = []


class _Peer(asyncio.Protocol):
    def __init__(self, directory: str, runs: dict[str, _Run]) -> None:
        self.directory, self.runs = directory, runs
        self.tail = b""
        self.answers: list[bytes] = []
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self.tail + data
        cut = data.rfind(b"\n") + 1
        self.tail = data[cut:]
        for message in _decoder.decode_lines(data[:cut]):
            self.take(message.params)
            if message.id is not None:
                self.answers.append(b'{"id":%d,"result":{"ok":true}}\n' % message.id)
        self.loop.call_soon(self.flush)

    def take(self, params: _Params) -> None:
        run = self.runs.get(params.run_id)
        if run is None:
            run = self.runs[params.run_id] = _Run(os.path.join(self.directory, params.run_id))
        seq: Any = params.seq
        for turn in params.turns:
            turn.index, turn.recorded_at = run.next, "2026-11-22T00:00:00.000000Z"
            run.next += 1
            if params.writer is not None:
                turn.writer, turn.seq = params.writer, seq
                seq += 1
        run.pending += params.turns

    def flush(self) -> None:
        for run in self.runs.values():
            if run.pending:
                pending, run.pending = run.pending, []
                os.write(run.fd, _encoder.encode_lines(pending))
        if self.answers:
            self.transport.write(b"".join(self.answers))
            self.answers = []


async def _serve(path: str, directory: str) -> None:
    runs: dict[str, _Run] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Peer(directory, runs), path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
