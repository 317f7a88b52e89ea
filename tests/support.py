"""A daemon in a process of its own, and a wire client that sends raw lines: what the tests work with.

``from tests.support import Daemon, Wire``.  Nothing here imports the daemon or the library, so that a defect
there cannot hide itself.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

Json = dict[str, Any]

#: Seconds that anything which should happen at once may take on a loaded machine.
PATIENCE = 20.0
#: Variables that would lead a child to another daemon, or make it think that systemd started it.
_FOREIGN = (
    *("CAR_", "CARRUNS", "LISTEN_", "NOTIFY_", "WATCHDOG_", "JOURNAL_STREAM", "INVOCATION_ID", "SYSTEMD_EXEC_PID"),
    "XDG_RUNTIME_DIR",  # where a user manager would start what a client asks for
)


def clean_environment(home: Path, car_dir: Path) -> dict[str, str]:
    """Return this process's environment with nothing in it that leads to another car directory."""
    out = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return out | {"HOME": str(home), "CAR_HOME": str(car_dir), "CARRUNS_AUTOSTART": "0"}


@contextmanager
def short_directory() -> Iterator[Path]:
    """Yield a new directory with a short path: a socket's has at most 107 bytes.  It is removed afterwards."""
    path = Path(tempfile.mkdtemp(prefix="ct-", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def wait_until(what: Callable[[], Any], *, message: str = "", patience: float = PATIENCE) -> Any:
    """Return the first true answer of ``what``, asked again and again; fail after ``patience`` seconds."""
    deadline = time.monotonic() + patience
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(message or f"did not happen within {patience} s: {what}")
        time.sleep(0.005)


def listens(path: Path | str) -> bool:
    """Whether a connect to ``path`` works.  That the path exists says less: it does so before the listen(2)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


class Wire:
    """A connection that speaks lines.  ``events`` holds the notifications that came while an answer was awaited."""

    def __init__(self, path: Path | str, *, patience: float = PATIENCE) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(patience)
        try:
            self.sock.connect(str(path))
        except BaseException:
            self.sock.close()
            raise
        self.events: list[Json] = []
        self._ids = itertools.count(1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # -- out -----------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def send_json(self, *messages: Any) -> None:
        """Send each message as one line, all of them in one piece."""
        self.send(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def notify(self, method: str, **params: Any) -> None:
        """Send a request that gets no answer."""
        self.send_json({"jsonrpc": "2.0", "method": method, "params": params})

    def post(self, method: str, **params: Any) -> int:
        """Send a request and return its id without waiting."""
        number = next(self._ids)
        self.send_json({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    # -- in ------------------------------------------------------------------------------------------------

    def read_line(self) -> bytes:
        """Return the next line without its newline, ``b""`` at the end of the connection."""
        while b"\n" not in self._buffer:
            data = self.sock.recv(1 << 20)
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def read(self) -> Any:
        """Return the next message, whatever it is.  Fails at the end of the connection."""
        line = self.read_line()
        assert line, "the daemon closed the connection"
        return json.loads(line)

    def event(self) -> Json:
        """Return the next notification, one that came earlier first."""
        if self.events:
            return self.events.pop(0)
        message = self.read()
        assert "method" in message, f"an answer instead of an event: {message}"
        event: Json = message
        return event

    def answer(self, number: Any) -> Json:
        """Return the whole answer to the request ``number``; events on the way go to ``events``."""
        while True:
            message = self.read()
            if isinstance(message, dict) and "method" in message:
                self.events.append(message)
                continue
            assert isinstance(message, dict), f"not an answer: {message!r}"
            assert message["id"] == number, f"an answer to something else: {message}"
            return message

    def request(self, method: str, **params: Any) -> Json:
        """Send a request and return the whole answer."""
        return self.answer(self.post(method, **params))

    def call(self, method: str, **params: Any) -> Any:
        """Send a request and return its result; an error fails the test."""
        answer = self.request(method, **params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def error(self, method: str, **params: Any) -> Json:
        """Send a request and return its error; a result fails the test."""
        answer = self.request(method, **params)
        assert "error" in answer, answer
        error: Json = answer["error"]
        return error

    def silent(self) -> bool:
        """Tell whether nothing unread is there once the daemon has answered everything sent so far."""
        self.call("server.ping")
        return not self.events and not self._buffer

    def ended(self) -> bool:
        """Wait for the end of the connection; false if a message comes first."""
        try:
            return not self.read_line()
        except ConnectionResetError:
            return True

    # -- what many tests do --------------------------------------------------------------------------------

    def start(self, agent_id: str = "agent-a", intent: str = "do the thing", **params: Any) -> str:
        """Start a run and return its id."""
        run_id: str = self.call("runs.start", agent_id=agent_id, intent=intent, **params)["run_id"]
        return run_id

    def turns(self, run_id: str, *prompts: str, **params: Any) -> Json:
        """Record one turn for each prompt, in one batch, and return the result."""
        turns = [{"prompt": prompt} for prompt in prompts]
        result: Json = self.call("runs.record_turns", run_id=run_id, turns=turns, **params)
        return result

    def complete(self, run_id: str, status: str = "success", summary: str = "done") -> Json:
        """End a run with an outcome."""
        outcome = {"status": status, "summary": summary}
        result: Json = self.call("runs.complete", run_id=run_id, outcome=outcome)
        return result

    def summary(self, run_id: str) -> Json:
        """Return the run's summary out of ``runs.list``."""
        found = [run for run in self.call("runs.list")["runs"] if run["run_id"] == run_id]
        assert len(found) == 1, f"{len(found)} runs {run_id!r} are listed"
        summary: Json = found[0]
        return summary


class Daemon:
    """A real daemon on a car directory of its own.  ``stop`` or ``kill`` ends it; the fixtures always do."""

    def __init__(self, base: Path, *, config: str | None = None) -> None:
        self.base = base
        self.car_dir = base / "car"
        self.home = base / "home"
        self.socket = self.car_dir / "carrunsd.sock"
        self.log_path = base / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self._wires: list[Wire] = []
        self.home.mkdir(exist_ok=True)
        if config is not None:
            self.configure(config)

    # -- life ----------------------------------------------------------------------------------------------

    def configure(self, text: str) -> None:
        """Write ``config.toml``; a running daemon reads it at SIGHUP."""
        self.car_dir.mkdir(mode=0o700, exist_ok=True)
        (self.car_dir / "config.toml").write_text(text)

    def spawn(self, *arguments: str, **popen: Any) -> subprocess.Popen[bytes]:
        """Start a daemon process and return it at once; the caller ends it."""
        popen.setdefault("env", clean_environment(self.home, self.car_dir))
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "carrunsd", "--car-dir", str(self.car_dir), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **popen,
            )  # fmt: skip

    def start(self, *arguments: str, **popen: Any) -> Daemon:
        """Start the daemon and wait until it takes connections."""
        assert self.process is None, "it runs already"
        self.process = self.spawn(*arguments, **popen)
        try:
            wait_until(self._answers, message="the daemon does not come up")
        except BaseException:
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended: {self.process.returncode}\n{self.log()}"
        try:
            with Wire(self.socket) as wire:
                return bool(wire.call("server.handshake")["pid"] == self.process.pid)
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None, "it does not run"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the process to end and return its status."""
        assert self.process is not None
        status = self.process.wait(PATIENCE)
        self.process = None
        return status

    def stop(self) -> int:
        """End the daemon by SIGTERM and return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End the daemon by SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> Daemon:
        assert self.stop() == 0, self.log()
        return self.start()

    def close(self) -> None:
        """End everything that belongs to this daemon."""
        for wire in self._wires:
            wire.close()
        self.kill()

    # -- looking at it -------------------------------------------------------------------------------------

    def wire(self) -> Wire:
        """Return a new connection, closed at the end of the test."""
        wire = Wire(self.socket)
        self._wires.append(wire)
        return wire

    def log(self) -> str:
        """Return what the daemon has logged so far."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    def file(self, agent_id: str, run_id: str) -> Path:
        """Return the path of a run's file."""
        return self.car_dir / "runs" / agent_id / f"{run_id}.jsonl"

    def records(self, agent_id: str, run_id: str) -> list[Json]:
        """Return what stands in a run's file, every line of it read by a strict reader."""
        return strict_lines(self.file(agent_id, run_id).read_bytes())

    def files(self) -> set[str]:
        """Return the paths of everything below the car directory, relative to it."""
        return {str(path.relative_to(self.car_dir)) for path in self.car_dir.rglob("*")}


def strict_lines(data: bytes) -> list[Json]:
    """Return the objects on the lines of ``data``, read as strictly as serde_json does."""
    assert not data or data.endswith(b"\n"), "the last line has no newline"
    return [strict(line) for line in data.split(b"\n")[:-1]]


def strict(line: bytes) -> Json:
    """Return the object on a line: valid UTF-8, no surrogates, no doubled keys, finite numbers, 127 levels."""
    value = json.loads(line.decode(), object_pairs_hook=_no_doubles, parse_constant=_no_constant)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    assert _depth(value) <= 127
    assert isinstance(value, dict)
    return value


def _no_doubles(pairs: list[tuple[str, Any]]) -> Json:
    out = dict(pairs)
    assert len(out) == len(pairs), f"a key stands twice: {[key for key, _ in pairs]}"
    return out


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [part for item in level for part in (item.values() if isinstance(item, dict) else item)]
    return depth


def nested(levels: int) -> str:
    """Return JSON text that nests ``levels`` deep."""
    return "[" * levels + "]" * levels


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie has)."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], 0)[0])
    finally:
        os.close(fd)
