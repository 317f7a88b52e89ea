"""CAR's real client library against the real daemon, its WebSocket frames relayed to our socket one by one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websockets.sync.server as ws_server

from tests.support import PATIENCE, Daemon, Json, Wire, clean_environment

pytest.importorskip("car_runtime", reason="car-runtime is built for Linux on x86-64 only")


class Bridge:
    """Relays frames: one frame is one line, either way.  ``seen`` holds the methods that the client asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seen: list[Json] = []
        self._server = ws_server.serve(self._relay, "127.0.0.1", 0)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _relay(self, client: ws_server.ServerConnection) -> None:
        with Wire(self._path) as wire:
            wire.sock.settimeout(None)
            answers = threading.Thread(target=self._back, args=(wire, client))
            answers.start()
            try:
                for frame in client:
                    text = frame.encode() if isinstance(frame, str) else frame
                    self.seen.append(json.loads(text))
                    wire.send(text + b"\n")
            except Exception:  # the client goes without a word: nothing is left to relay
                pass
            finally:
                wire.sock.shutdown(2)
                answers.join(PATIENCE)

    @staticmethod
    def _back(wire: Wire, client: ws_server.ServerConnection) -> None:
        with contextlib.suppress(Exception):
            while line := wire.read_line():
                client.send(line.decode())

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(PATIENCE)


@pytest.fixture
def bridge(daemon: Daemon) -> Iterator[Bridge]:
    made = Bridge(daemon.socket)
    yield made
    made.close()


#: Calls the methods named on standard input, one JSON array ``[method, params]`` a line; answers likewise.
_DRIVER = """
import json, sys, queue, car_runtime
runtime = car_runtime.CarRuntime()
heard = queue.Queue()
for line in sys.stdin:
    method, params = json.loads(line)
    try:
        if method == "listen":
            runtime.register_daemon_notification_handler(params, lambda text, *more: heard.put(json.loads(text)))
            out = None
        elif method == "heard":
            out = heard.get(timeout=15)
        else:
            out = json.loads(getattr(runtime, method)(json.dumps(params)))
        print(json.dumps({"ok": out}), flush=True)
    except BaseException as error:
        print(json.dumps({"error": repr(error)}), flush=True)
"""


class Runtime:
    """A real ``CarRuntime`` in a process of its own: its calls block and its threads outlive it."""

    def __init__(self, daemon: Daemon, port: int) -> None:
        environment = clean_environment(daemon.home, daemon.car_dir) | {"CAR_DAEMON_URL": f"ws://127.0.0.1:{port}"}
        environment["CAR_HOME"] = str(daemon.home / "car-home")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DRIVER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, method: str, params: Any = None) -> Json:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([method, params]).encode() + b"\n")
        self.process.stdin.flush()
        answer: Json = json.loads(self.process.stdout.readline())
        return answer

    def call(self, method: str, **params: Any) -> Any:
        answer = self.ask(method, params)
        assert "ok" in answer, answer
        return answer["ok"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def runtime(daemon: Daemon, bridge: Bridge) -> Iterator[Runtime]:
    made = Runtime(daemon, bridge.port)
    yield made
    made.close()


CALLS = [{"id": "1", "tool": "x", "parameters": {}}]


def test_a_run_from_start_to_end(daemon: Daemon, bridge: Bridge, runtime: Runtime) -> None:
    start = runtime.call("runs_start", intent="find flaky tests", agent_id="car", outcome_description="green")
    run = start["run_id"]
    assert start["agent_id"] == "car"
    assert (bridge.seen[0]["method"], bridge.seen[0]["params"]["protocol_version"]) == ("server.handshake", 3)

    turn = {"index": 0, "prompt": "p", "tool": "t", "parameters": {"a": 1}, "output": {"x": 1}}
    result = runtime.call("runs_record_turns", run_id=run, turns=[{**turn, "verifier_verdict": "not_run"}])
    assert (result["base_index"], result["count"], result["ok"]) == (0, 1, True)
    result = runtime.call(
        "runs_record_model_turn", run_id=run, turn_index=0, assistant_text="hi", requested_tool_calls=CALLS,
        model_id="m", token_usage={"input_tokens": 1}, duration_ms=3,
    )  # fmt: skip
    assert (result["base_index"], result["count"], result["ok"]) == (1, 1, True)

    (summary,) = runtime.call("runs_list", agent_id="car")["runs"]
    assert (summary["run_id"], summary["status"], summary["turn_count"]) == (run, "in_progress", 2)
    trace = runtime.call("runs_get_trace", run_id=run)
    assert trace["records"] == daemon.records("car", run)
    assert [record["record"] for record in trace["records"]] == ["started", "turn", "turn"]

    snapshot = runtime.call("runs_subscribe", run_id=run)
    assert len(snapshot["turns_so_far"]) == 2
    assert runtime.call("runs_resume", run_id=run)["status"] == "in_progress"
    runtime.call("runs_unsubscribe", run_id=run)
    outcome = {"status": "success", "summary": "3 flaky tests"}
    assert runtime.call("runs_complete", run_id=run, outcome=outcome)["ok"] is True
    (summary,) = runtime.call("runs_list", agent_id="car")["runs"]
    assert (summary["status"], summary["outcome_status"]) == ("completed", "success")
    ended = daemon.records("car", run)[-1]
    assert ended["termination"]["outcome"]["summary"] == "3 flaky tests"


def test_errors_reach_the_caller(runtime: Runtime) -> None:
    answer = runtime.ask("runs_complete", {"run_id": "nobody", "outcome": {"status": "success", "summary": ""}})
    assert "there is no run" in answer["error"]
    assert runtime.call("runs_get_trace", run_id="nobody")["not_found"] is True


def test_events_reach_a_handler(daemon: Daemon, runtime: Runtime) -> None:
    run = runtime.call("runs_start", intent="i", agent_id="car")["run_id"]
    answer = runtime.ask("listen", "runs.trace.event")
    assert answer == {"ok": None}, answer
    runtime.call("runs_subscribe", run_id=run)
    daemon.wire().turns(run, "from elsewhere")
    event = runtime.call("heard")
    assert event["record"]["prompt"] == "from elsewhere"
    assert (event["run_id"], event["cursor"], event["status"]) == (run, 1, "in_progress")


def test_a_runtime_that_dies_leaves_its_run_to_be_resumed(daemon: Daemon, bridge: Bridge, runtime: Runtime) -> None:
    run = runtime.call("runs_start", intent="i", agent_id="car")["run_id"]
    runtime.close()
    second = Runtime(daemon, bridge.port)
    try:
        assert second.call("runs_resume", run_id=run)["status"] == "in_progress"
        outcome = {"status": "done", "summary": "after all"}
        assert second.call("runs_complete", run_id=run, outcome=outcome)["ok"] is True
    finally:
        second.close()
    assert [record["record"] for record in daemon.records("car", run)] == ["started", "ended"]
