"""An agent to be killed, or whose daemon is: ``python agent.py '{"via": "wire", ...}'``.

It records turns whose text can be checked, and notes each turn whose call has returned in a file of its own, by
``write(2)``, so that the note survives its own SIGKILL.  ``via`` is ``wire`` (this file's own exactly-once sender,
which shares no code with the project), ``sync`` or ``async`` (the library), or ``spool`` (the library, which is
not to wait for a daemon).
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
import zlib
from dataclasses import dataclass
from typing import Any

_PAUSE = 0.005


@dataclass
class Plan:
    """What one agent does.  ``turns`` 0 is no end: it records until SIGTERM, then ends its run; or is killed."""

    socket: str
    car_dir: str
    agent_id: str
    run_id: str
    notes: str
    via: str = "wire"
    seed: int = 0
    turns: int = 0
    pace: float = 0.0005
    biggest: int = 2000
    complete: bool = True
    durable: bool = False


def text_of(agent_id: str, number: int, seed: int, biggest: int) -> str:
    """Return the text of a turn: its number, a filling of seeded length, a checksum of both."""
    size = random.Random(f"{seed}/{number}").choice((10, 60, 200, biggest))
    body = f"{agent_id}/{number}/" + "x" * size
    return f"{body}/{zlib.crc32(body.encode()):08x}"


class Stop:
    """Set by SIGTERM: the agent is to end its run."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def goes_on(self, number: int, turns: int) -> bool:
        return not self.asked and (not turns or number < turns)


class Notes:
    """Where an agent notes what returned: ``t <number>`` a turn, ``d <number>`` durable up to it, ``e`` the end."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def put(self, kind: str, number: int = 0) -> None:
        os.write(self._fd, b"%s %d %d\n" % (kind.encode(), number, time.time_ns()))


class Sender:
    """Exactly once over the bare wire: numbers turns, keeps those not acknowledged, resumes, resends."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.writer = f"w-{plan.run_id}"
        self.unacked: dict[int, str] = {}
        self.next_seq = 0
        self._sock: socket.socket | None = None
        self._buffer = b""
        self._ids = 0

    # -- the connection ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect, open the run, and send again what is missing; tries until it works."""
        while True:
            self.close()
            try:
                self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self._sock.settimeout(30)
                self._sock.connect(self.plan.socket)
                self._ask(
                    "runs.start", agent_id=self.plan.agent_id, intent="faults", idempotency_key=self.plan.run_id
                )
                found = self._ask("runs.resume", run_id=self.plan.run_id, writer=self.writer)
                self._acked(found["acked_seq"])
                self._resend()
            except (OSError, RefusedError):
                time.sleep(_PAUSE)
            else:
                return

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        self._buffer = b""

    def _resend(self) -> None:
        left = sorted(self.unacked)
        for at in range(0, len(left), 100):
            part = left[at : at + 100]
            turns = [{"prompt": self.unacked[seq]} for seq in part]
            self._send("runs.record_turns", {"turns": turns, "seq": part[0]})

    def _send(self, method: str, params: dict[str, Any], number: int | None = None) -> None:
        if "turns" in params:
            params = {"run_id": self.plan.run_id, "writer": self.writer, **params}
        message = {"method": method, "params": params} | ({} if number is None else {"id": number})
        assert self._sock is not None
        self._sock.sendall(json.dumps(message).encode() + b"\n")

    def _ask(self, method: str, **params: Any) -> Any:
        self._ids += 1
        self._send(method, params, self._ids)
        while True:
            line = self._line()
            answer = json.loads(line)
            if answer.get("id") == self._ids:
                if "error" in answer:
                    raise RefusedError(answer["error"])
                return answer["result"]

    def _line(self) -> bytes:
        assert self._sock is not None
        while b"\n" not in self._buffer:
            data = self._sock.recv(1 << 16)
            if not data:
                raise ConnectionResetError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _acked(self, seq: int | None) -> None:
        for number in [n for n in self.unacked if seq is not None and n <= seq]:
            del self.unacked[number]

    # -- what the agent calls ------------------------------------------------------------------------------

    def turn(self, text: str) -> None:
        """Return once the kernel has the turn."""
        self.unacked[self.next_seq] = text
        self.next_seq += 1
        if self._sock is None:
            self.connect()
            return
        try:
            self._send("runs.record_turns", {"turns": [{"prompt": text}], "seq": self.next_seq - 1})
        except OSError:
            self.connect()

    def flush(self, *, durable: bool = False) -> None:
        """Return once the daemon says that all of it is stored."""
        while True:
            try:
                if self._sock is None:
                    self.connect()
                found = self._ask("runs.flush", run_id=self.plan.run_id, writer=self.writer, durable=durable)
                self._acked(found["acked_seq"])
                if not self.unacked:
                    return
                self._resend()
            except (OSError, RefusedError):
                self.close()
                time.sleep(_PAUSE)

    def complete(self) -> None:
        """Return once the outcome is stored."""
        outcome = {"status": "success", "summary": "", "timestamp": "2026-11-22T00:00:00Z"}
        while True:
            self.flush()
            try:
                self._ask("runs.complete", run_id=self.plan.run_id, outcome=outcome)
            except (OSError, RefusedError):
                self.close()
                time.sleep(_PAUSE)
            else:
                return


class RefusedError(Exception):
    """The daemon answered with an error."""


class Library:
    """The same calls through the project's synchronous client."""

    def __init__(self, plan: Plan) -> None:
        import carruns

        self._client = carruns.Client(plan.car_dir, socket=plan.socket)
        self._run = self._client.run(plan.agent_id, intent="faults", run_id=plan.run_id, agent_id=plan.agent_id)

    def turn(self, text: str) -> None:
        self._run.turn(prompt=text)

    def flush(self, *, durable: bool = False) -> None:
        while not self._run.flush(durable=durable).ok:
            time.sleep(_PAUSE)

    def complete(self) -> None:
        self.flush()
        while self._run.succeed().end not in ("stored", "spooled"):
            time.sleep(_PAUSE)


def work(plan: Plan, sender: Sender | Library, notes: Notes, stop: Stop) -> None:
    """Record turns as planned, with a flush now and then."""
    random_ = random.Random(plan.seed)
    number = 0
    while stop.goes_on(number, plan.turns):
        sender.turn(text_of(plan.agent_id, number, plan.seed, plan.biggest))
        notes.put("t", number)
        if random_.random() < 0.02:
            sender.flush(durable=plan.durable)
            notes.put("d" if plan.durable else "f", number)
        if random_.random() < 0.3:
            time.sleep(random_.random() * plan.pace * 6)
        number += 1
    if plan.complete:
        sender.complete()
        notes.put("e", number - 1)


async def work_async(plan: Plan, notes: Notes, stop: Stop) -> None:
    """The same with the asynchronous client."""
    import asyncio

    import carruns

    random_ = random.Random(plan.seed)
    async with (
        carruns.AsyncClient(plan.car_dir, socket=plan.socket) as client,
        client.run(plan.agent_id, intent="faults", run_id=plan.run_id, agent_id=plan.agent_id) as run,
    ):
        number = 0
        while stop.goes_on(number, plan.turns):
            await run.turn(prompt=text_of(plan.agent_id, number, plan.seed, plan.biggest))
            notes.put("t", number)
            if random_.random() < 0.02:
                while not (await run.flush()).ok:  # noqa: ASYNC110  # the daemon may be dead
                    await asyncio.sleep(_PAUSE)
                notes.put("f", number)
            if random_.random() < 0.3:
                await asyncio.sleep(random_.random() * plan.pace * 6)
            number += 1
        while not (await run.flush()).ok:  # noqa: ASYNC110  # the daemon may be dead
            await asyncio.sleep(_PAUSE)
        while (await run.succeed()).end not in ("stored", "spooled"):  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
        notes.put("e", number - 1)


def spool(plan: Plan, notes: Notes) -> None:
    """Record with no daemon there, and end the run."""
    import carruns

    with carruns.Client(plan.car_dir, socket=plan.socket) as client:
        run = client.run(plan.agent_id, intent="faults", run_id=plan.run_id, agent_id=plan.agent_id)
        for number in range(plan.turns):
            run.turn(prompt=text_of(plan.agent_id, number, plan.seed, plan.biggest))
            notes.put("t", number)
        run.succeed()
    notes.put("e", plan.turns - 1)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    notes, stop = Notes(plan.notes), Stop()
    if plan.via == "async":
        import asyncio

        asyncio.run(work_async(plan, notes, stop))
    elif plan.via == "spool":
        spool(plan, notes)
    elif plan.via == "sync":
        work(plan, Library(plan), notes, stop)
    else:
        sender = Sender(plan)
        sender.connect()
        work(plan, sender, notes, stop)


if __name__ == "__main__":
    main()
