"""The contestants: each way of keeping an agent's turns, behind the same four calls.

All of them encode with msgspec, the fastest there is, so that what differs is the way and not the encoder.
``turn`` and ``many`` return when the way calls it kept; ``ack`` says what that means.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import sqlite3
from pathlib import Path
from typing import Any, Protocol

import carruns
from benchmarks.rawwire import RawWire
from benchmarks.servers import Server
from benchmarks.turns import Turn, encode
from carruns.protocol import messages

PAGE_CACHE = "in the page cache"
SYNCED = "on the device"
MEMORY = "in the server's memory"
EVERYSEC = "in the page cache, synced within a second"
KERNEL = "with the kernel; flush says stored"


class Way(Protocol):
    """``begin`` a run, record into it, ``end`` it and throw it away."""

    name: str
    ack: str
    pid: int  # the server's, 0 without one

    def begin(self) -> None: ...
    def turn(self, turn: Turn) -> None: ...
    def many(self, turns: list[Turn]) -> None: ...
    def flush(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class _File:
    """What the ways that write a file themselves share."""

    name = ack = ""
    pid = 0

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.path = str(home / f"run-{os.getpid()}-{id(self)}.jsonl")

    def begin(self) -> None:
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def flush(self) -> None: ...

    def end(self) -> None:
        os.unlink(self.path)

    def close(self) -> None: ...

    def turn(self, turn: Turn) -> None:
        self.put(encode(turn) + b"\n")

    def many(self, turns: list[Turn]) -> None:
        self.put(b"".join([encode(turn) + b"\n" for turn in turns]))

    def put(self, data: bytes) -> None:
        raise NotImplementedError


class Seed(_File):
    name = "open, append, close"
    ack = PAGE_CACHE

    def put(self, data: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, data)
        os.close(fd)


class Flock(_File):
    name = "open, flock, append, close"
    ack = PAGE_CACHE

    def put(self, data: bytes) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(fd, data)
        os.close(fd)


class Fdatasync(_File):
    name = "append, fdatasync"
    ack = SYNCED

    def begin(self) -> None:
        self.fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def put(self, data: bytes) -> None:
        os.write(self.fd, data)
        os.fdatasync(self.fd)

    def end(self) -> None:
        os.close(self.fd)
        super().end()


class Sqlite:
    """One table, WAL; ``full`` syncs each transaction, ``normal`` only checkpoints."""

    pid = 0

    def __init__(self, home: Path, synchronous: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.name = f"SQLite WAL, {synchronous}"
        self.ack = SYNCED if synchronous == "full" else PAGE_CACHE
        self.path = str(home / f"turns-{synchronous}.db")
        self.synchronous = synchronous

    def begin(self) -> None:
        self.db = sqlite3.connect(self.path, isolation_level=None, timeout=60)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(f"PRAGMA synchronous={self.synchronous}")
        self.db.execute("CREATE TABLE IF NOT EXISTS turns (run TEXT, line BLOB)")

    def turn(self, turn: Turn) -> None:
        self.db.execute("INSERT INTO turns VALUES (?, ?)", ("run", encode(turn)))

    def many(self, turns: list[Turn]) -> None:
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT INTO turns VALUES (?, ?)", [("run", encode(turn)) for turn in turns])
        self.db.execute("COMMIT")

    def flush(self) -> None: ...

    def end(self) -> None:
        self.db.close()
        for suffix in ("", "-wal", "-shm"):
            Path(self.path + suffix).unlink(missing_ok=True)

    def close(self) -> None: ...


class Redis:
    """A stream, through redis-py."""

    def __init__(self, server: Server, policy: str) -> None:
        self.name = f"Redis XADD, {policy}"
        self.pid = server.pid
        self.ack = {"memory": MEMORY, "everysec": EVERYSEC, "always": SYNCED}[policy]
        module: Any = importlib.import_module("redis")
        self.client: Any = module.Redis(unix_socket_path=server.socket)
        self.key = f"run-{os.getpid()}-{id(self)}"

    def begin(self) -> None:
        self.client.ping()

    def turn(self, turn: Turn) -> None:
        self.client.xadd(self.key, {"t": encode(turn)})

    def many(self, turns: list[Turn]) -> None:
        pipe = self.client.pipeline(transaction=False)
        for turn in turns:
            pipe.xadd(self.key, {"t": encode(turn)})
        pipe.execute()

    def flush(self) -> None: ...

    def end(self) -> None:
        self.client.delete(self.key)

    def close(self) -> None:
        self.client.close()


class Library:
    """The sync client's ``run.turn()``; ``many`` is ``record_turns``, which waits for the answer."""

    name = "carruns run.turn()"
    ack = KERNEL

    def __init__(self, server: Server, agent: str = "bench") -> None:
        self.client = carruns.Client(socket=server.socket, autostart=False, strict=True, timeout=60, budget=60)
        self.pid = server.pid
        self.agent = agent

    def begin(self) -> None:
        self.run = self.client.run(self.agent, intent="benchmark")

    def turn(self, turn: Turn) -> None:
        self.run.turn(**turn)

    def many(self, turns: list[Turn]) -> None:
        self.client.record_turns(self.run.id, turns)

    def flush(self) -> None:
        delivery = self.run.flush()
        if not delivery.ok:
            raise RuntimeError(f"not all was stored: {delivery}")

    def end(self) -> None:
        self.run.done()
        self.client.gc()

    def close(self) -> None:
        self.client.close()


class Bare:
    """One encode and one send of a numbered turn, and nothing else: what any client of this wire must do."""

    name = "encode and one send, nothing else"
    ack = KERNEL

    def __init__(self, server: Server) -> None:
        self.wire = RawWire(server.socket)
        self.pid = server.pid

    def begin(self) -> None:
        self.run_id = self.wire.start()
        self.head = messages.turn_head(self.run_id, "w")
        self.seq = 0
        self.send = self.wire.sock.send

    def turn(self, turn: Turn) -> None:
        self.send(b'%b%d,"turns":[%b]}}\n' % (self.head, self.seq, encode(turn)))
        self.seq += 1

    def many(self, turns: list[Turn]) -> None:
        for turn in turns:
            self.turn(turn)

    def flush(self) -> None:
        self.wire.stream((), self.run_id, "w", self.seq - 1)

    def end(self) -> None:
        self.wire.end(self.run_id)
        self.wire.call("runs.gc")

    def close(self) -> None:
        self.wire.close()


class Acknowledged(Library):
    """``record_turns`` of one turn."""

    name = "carruns record_turns()"
    ack = EVERYSEC

    def __init__(self, server: Server, agent: str = "bench", *, durable: bool = False) -> None:
        super().__init__(server, agent)
        self.durable = durable
        if durable:
            self.name, self.ack = f"{self.name}, durable", SYNCED

    def turn(self, turn: Turn) -> None:
        self.client.record_turns(self.run.id, [turn], durable=self.durable)

    def many(self, turns: list[Turn]) -> None:
        self.client.record_turns(self.run.id, turns, durable=self.durable)
