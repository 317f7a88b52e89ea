"""The wire (docs/wire.md) over a plain socket: what is left when the library costs nothing."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks.turns import Turn, encode
from carruns.protocol import messages

_SEND_BUFFER = 8 << 20
_SO_SNDBUFFORCE = 32


class RawWire:
    """One connection that sends lines made before and reads answers a line each."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(path)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        except OSError:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        self._answers = self.sock.makefile("rb")

    def call(self, method: str, **params: Any) -> Any:
        """Ask and return the result; raises ``RuntimeError`` for an error."""
        self.sock.sendall(messages.request(method, params, 1))
        return self.answer()

    def answer(self) -> Any:
        reply = msgspec.json.decode(self._answers.readline())
        if reply.get("result") is None or reply["result"].get("ok") is False:
            raise RuntimeError(f"the daemon said: {reply}")
        return reply["result"]

    def start(self, agent: str = "bench") -> str:
        return str(self.call("runs.start", agent_id=agent, intent="benchmark")["run_id"])

    def end(self, run_id: str) -> None:
        self.call("runs.complete", run_id=run_id, outcome={"status": "done", "summary": ""})

    def pipelined(self, lines: Sequence[bytes], window: int) -> None:
        """Send requests that want an answer, ``window`` of them under way at most, and read all answers."""
        send, answer = self.sock.sendall, self.answer
        waiting = 0
        for line in lines:
            send(line)
            waiting += 1
            if waiting >= window:
                answer()
                waiting -= 1
        for _ in range(waiting):
            answer()

    def stream(self, lines: Sequence[bytes], run_id: str, writer: str, last: int) -> None:
        """Send notifications one by one, then see by a flush that all have arrived."""
        send = self.sock.sendall
        for line in lines:
            send(line)
        acked = self.call("runs.flush", run_id=run_id, writer=writer).get("acked_seq", last)
        if acked != last:
            raise RuntimeError(f"{last} was sent and {acked} acknowledged")

    def close(self) -> None:
        self._answers.close()
        self.sock.close()


def batch_line(run_id: str, turns: list[Turn], **more: Any) -> bytes:
    """Return a ``record_turns`` that wants an answer."""
    return messages.request("runs.record_turns", {"run_id": run_id, "turns": turns, **more}, 1)


def turn_lines(run_id: str, writer: str, turns: Sequence[Turn], count: int, first: int = 0) -> list[bytes]:
    """Return ``count`` notifications of one turn each, numbered from ``first``."""
    head = messages.turn_head(run_id, writer)
    texts = [encode(turn) for turn in turns]
    return [messages.turn_line(head, first + n, texts[n % len(texts)]) for n in range(count)]
