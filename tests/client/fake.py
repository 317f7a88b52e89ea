"""A small daemon on a real socket, in a thread: keeps runs in memory and breaks where a test tells it to.

For faults only: what it stores and how it numbers follows docs/wire.md, nothing more.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Json = dict[str, Any]
#: What a fault may do to a request: nothing, or one of the words in :meth:`FakeDaemon._handle`.
Fault = Callable[[int, Json], str | Json | None]


@dataclass
class Run:
    start: Json
    turns: list[Json] = field(default_factory=list)
    acked: dict[str, int] = field(default_factory=dict)
    status: str = "in_progress"
    outcome: Json | None = None


class RefusedError(Exception):
    def __init__(self, code: int, kind: str) -> None:
        super().__init__(kind)
        self.code, self.kind = code, kind


@dataclass
class Store:
    """What outlives a fake daemon."""

    runs: dict[str, Run] = field(default_factory=dict)

    def run(self, params: Json) -> Run:
        try:
            return self.runs[params["run_id"]]
        except KeyError:
            raise RefusedError(-32001, "run_not_found") from None

    def start(self, params: Json) -> Json:
        run_id = params.get("idempotency_key") or f"run-{len(self.runs)}"
        self.runs.setdefault(run_id, Run(params))
        return {"run_id": run_id, "agent_id": params["agent_id"]}

    def record_turns(self, params: Json) -> Json:
        run = self.run(params)
        if run.status != "in_progress":
            return {"ok": False, "dropped": "run_terminal"}
        writer, seq = params.get("writer", ""), params.get("seq", 0)
        for turn in params["turns"]:
            if isinstance(turn.get("tool"), int):
                raise RefusedError(-32602, "invalid_params")
            if turn.get("tool") == "too large":
                return {"ok": False, "dropped": "turn_too_large"}
            if writer:
                acked = run.acked.get(writer, -1)
                if seq > acked + 1:
                    return {"ok": False, "dropped": "out_of_order"}
                if seq <= acked:
                    seq += 1
                    continue
                run.acked[writer] = seq
                seq += 1
            run.turns.append(turn)
        return {"run_id": params["run_id"], "base_index": 0, "count": len(params["turns"]), "ok": True}

    def flush(self, params: Json) -> Json:
        run = self.run(params)
        return {"acked_seq": run.acked.get(params.get("writer", "")), "turn_count": len(run.turns)}

    def resume(self, params: Json) -> Json:
        run = self.run(params)
        if run.status == "incomplete":
            run.status = "in_progress"
        acked = run.acked.get(params.get("writer", ""))
        return {
            "run_id": params["run_id"],
            "agent_id": run.start["agent_id"],
            "status": run.status,
            "turn_count": len(run.turns),
            **({} if acked is None else {"acked_seq": acked}),
        }

    def complete(self, params: Json) -> Json:
        run = self.run(params)
        if run.status == "completed" and run.outcome != params["outcome"]:
            raise RefusedError(-32002, "run_terminal")
        run.status, run.outcome = "completed", params["outcome"]
        return {"run_id": params["run_id"], "ok": True}

    def abandon(self, params: Json) -> Json:
        self.run(params).status = "incomplete"
        return {"run_id": params["run_id"], "ok": True}

    def get_trace(self, params: Json) -> Json:
        if params["run_id"] not in self.runs:
            return {"run_id": params["run_id"], "not_found": True}
        run = self.run(params)
        records: list[Json] = [{"record": "started", **run.start}, *run.turns]
        if run.outcome:
            records.append({"record": "ended", "outcome": run.outcome})
        at = params.get("cursor") or 0
        page = records[at : at + (params.get("limit") or 2)]
        end = at + len(page)
        more = {"next_cursor": end} if end < len(records) else {}
        return {
            "run_id": params["run_id"], "agent_id": run.start["agent_id"], "records": page, "cursor": at,
            "line": end,
            "skipped": 0, **more,
        }  # fmt: skip

    def list_runs(self, params: Json) -> Json:
        chosen = params.get("agent_id")
        return {
            "runs": [
                {"run_id": run_id, "agent_id": run.start["agent_id"], "status": run.status}
                for run_id, run in self.runs.items()
                if chosen in (None, run.start["agent_id"])
            ]
        }


class FakeDaemon:
    """Serve ``store`` on ``path`` until :meth:`stop`; ``fault`` sees every request with its number."""

    def __init__(
        self, path: Path, store: Store | None = None, fault: Fault | None = None, protocol: int = 3
    ) -> None:
        self.path = path
        self.store = store or Store()
        self.fault = fault
        self.protocol = protocol
        self.seen: list[Json] = []
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._stop.send(b"x")
            self._thread.join(10)
        self._stop.close()

    @staticmethod
    def settle(seconds: float) -> None:
        """Let a client's own waiting time pass: nothing here tells when it has."""
        threading.Event().wait(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        self.peers: dict[socket.socket, bytes] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._stopped, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    sock = key.fileobj
                    if sock is self._stopped:
                        self._close_all()
                        return
                    if sock is self._listener:
                        peer, _ = self._listener.accept()
                        self.connections += 1
                        self.peers[peer] = b""
                        selector.register(peer, selectors.EVENT_READ)
                    elif isinstance(sock, socket.socket) and not self._read(sock):
                        selector.unregister(sock)
                        del self.peers[sock]
                        sock.close()

    def _close_all(self) -> None:
        for sock in (*self.peers, self._listener, self._stopped):
            sock.close()
        self.path.unlink(missing_ok=True)

    def _read(self, peer: socket.socket) -> bool:
        try:
            data = peer.recv(1 << 16)
        except OSError:
            return False
        if not data:
            return False
        *lines, self.peers[peer] = (self.peers[peer] + data).split(b"\n")
        return all(self._handle(peer, line) for line in lines)

    def _handle(self, peer: socket.socket, line: bytes) -> bool:
        """Answer one line; false ends the connection."""
        try:
            message: Json = json.loads(line)
        except ValueError:
            return self._send(peer, {"id": None, "error": {"code": -32700, "message": "what?"}})
        number = len(self.seen)
        self.seen.append(message)
        action = self.fault(number, message) if self.fault else None
        if action == "drop before":
            return False
        if action == "lose":
            return True
        answer = self._answer(message) if not isinstance(action, dict) else {**action, "id": message.get("id")}
        if action == "drop after":
            return False
        if action == "silent" or "id" not in message:
            return True
        if action == "half":
            with contextlib.suppress(OSError):
                peer.sendall(json.dumps(answer).encode()[:20])
            return False
        if action == "garbage":
            with contextlib.suppress(OSError):
                peer.sendall(b'nonsense\n{"id":"x"}\n\xff\xfe\n[]\n')
        return self._send(peer, answer)

    @staticmethod
    def _send(peer: socket.socket, answer: Json) -> bool:
        try:
            peer.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return False
        return True

    def _answer(self, message: Json) -> Json:
        method, params = message["method"], message.get("params") or {}
        try:
            result = self._result(method, params)
        except RefusedError as refused:
            error = {"code": refused.code, "message": str(refused), "data": {"kind": refused.kind}}
            return {"id": message.get("id"), "error": error}
        return {"id": message.get("id"), "result": result}

    def _result(self, method: str, params: Json) -> Any:
        if method == "server.handshake":
            return {"protocol_version": self.protocol, "server": "fake", "limits": {"max_line_bytes": 1 << 24}}
        if method == "server.ping":
            return {}
        if method == "runs.agent_for_run":
            return {"agent_id": None}
        name = {"runs.list": "list_runs"}.get(method, method.removeprefix("runs."))
        command = getattr(self.store, name, None)
        if command is None or not method.startswith("runs."):
            raise RefusedError(-32601, "method_not_found")
        return command(params)


def drain(directory: Path, store: Store) -> int:
    """Do what a starting daemon does with ``spool/``: carry out every line of every file nobody holds."""
    import fcntl

    drained = 0
    for path in sorted(directory.glob("*.jsonl")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            daemon = FakeDaemon.__new__(FakeDaemon)
            daemon.store = store
            for line in file:
                daemon._answer(json.loads(line))
            path.unlink()
            drained += 1
    return drained
