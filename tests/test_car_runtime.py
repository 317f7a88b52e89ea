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


#: What ``car_runtime`` can ask of a store of runs: each of these is asked for below.
KNOWN_CALLS = {
    "runs_start", "runs_record_turns", "runs_record_model_turn", "runs_list", "runs_get_trace", "runs_subscribe",
    "runs_unsubscribe", "runs_resume", "runs_complete", "runs_cancel",
}  # fmt: skip


def test_nothing_that_the_newest_runtime_can_ask_is_left_out() -> None:
    import car_runtime

    assert {name for name in dir(car_runtime.CarRuntime) if name.startswith("runs_")} == KNOWN_CALLS


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


def test_a_run_that_nobody_owns_is_cancelled(daemon: Daemon, runtime: Runtime) -> None:
    run = daemon.wire().start("car", detached=True)
    asked = {"run_id": run, "idempotency_key": "k", "reason": "no longer wanted"}
    receipt = runtime.call("runs_cancel", **asked)
    assert (receipt["run_id"], receipt["status"], receipt["receipt_version"]) == (run, "cancelled_confirmed", 1)
    assert runtime.call("runs_cancel", **asked) == receipt
    other = runtime.call("runs_cancel", **{**asked, "idempotency_key": "another"})
    assert other["status"] == "already_terminal"
    (summary,) = runtime.call("runs_list", agent_id="car")["runs"]
    assert (summary["status"], summary["outcome_status"]) == ("completed", "cancelled")
    assert "error" in runtime.ask("runs_cancel", {"run_id": run, "reason": "and no key"})


def test_a_runtime_hears_that_its_run_is_to_be_cancelled(daemon: Daemon, runtime: Runtime) -> None:
    run = runtime.call("runs_start", intent="i", agent_id="car")["run_id"]
    assert runtime.ask("listen", "runs.cancel_requested") == {"ok": None}
    wire = daemon.wire()
    asked = wire.post("runs.cancel", run_id=run, idempotency_key="k", reason="no longer wanted")
    assert runtime.call("heard") == {"run_id": run, "idempotency_key": "k", "reason": "no longer wanted"}
    runtime.call("runs_complete", run_id=run, outcome={"status": "give_up", "summary": "cancelled"})
    assert wire.answer(asked)["result"]["status"] == "already_terminal"


#: CAR's own agent loop; its model answers from a list, its tools run here: CAR's daemon would do both.
_LOOP = """
import json, sys, car_runtime
from car_runtime import agent_loop

real, answers = car_runtime.CarRuntime(), json.loads(sys.argv[1])

class Scripted:
    def infer_tracked_with_request(self, request): return json.dumps(answers.pop(0))
    def register_agent_basics(self): pass
    def register_tool(self, name): pass
    def verify_proposal(self, proposal): return json.dumps({"valid": True})
    def execute_proposal(self, proposal, handler):
        return json.dumps({"results": [self.act(action, handler) for action in json.loads(proposal)["actions"]]})
    def act(self, action, handler):
        call = {"tool": action["tool"], "params": action["parameters"], "action_id": action["id"]}
        output = json.loads(handler(json.dumps(call)))
        return {"action_id": action["id"], "status": "succeeded", "output": output}
    def __getattr__(self, name): return getattr(real, name)

config = {
    "agent_name": "looper", "identity": "You look around.", "runtime": Scripted(), "target_outcome": "all seen",
    "tools": {"look": lambda params: {"seen": params["where"]}},
    "tool_schemas": [{"name": "look", "description": "look", "parameters": {"type": "object"}}],
}
outcome = agent_loop.run_agent(config, "look around")
trace = json.loads(real.runs_get_trace(json.dumps({"run_id": outcome["run_id"]})))
print(json.dumps({"outcome": outcome, "trace": trace}))
"""


def model_says(text: str, tool: str, **arguments: Any) -> Json:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "context_window": 8192}
    calls = [{"name": tool, "arguments": arguments}]
    return {"text": text, "tool_calls": calls, "model_used": "scripted", "usage": usage, "latency_ms": 7}


def test_the_packaged_agent_loop_records_and_reads_back(daemon: Daemon, bridge: Bridge) -> None:
    answers = [model_says("first I look", "look", where="here"), model_says("seen", "finish", answer="all seen")]
    environment = clean_environment(daemon.home, daemon.car_dir) | {
        "CAR_DAEMON_URL": f"ws://127.0.0.1:{bridge.port}", "CAR_HOME": str(daemon.home / "car-home"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", _LOOP, json.dumps(answers)],
        env=environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    said = json.loads(done.stdout)
    outcome, run = said["outcome"], said["outcome"]["run_id"]
    assert (outcome["status"], outcome["summary"], outcome["tools_called"]) == (
        "success",
        "all seen",
        ["finish", "look"],
    )
    assert said["trace"]["records"] == daemon.records("looper", run)
    started, first, second, ended = said["trace"]["records"]
    assert (started["intent"], started["outcome_description"]) == ("look around", "all seen")
    assert [turn["index"] for turn in (first, second)] == [0, 1]
    assert first["output"]["assistant_text"] == "first I look"
    assert first["output"]["requested_tool_calls"] == [{"id": "a0", "name": "look", "arguments": {"where": "here"}}]
    assert (first["model"], first["duration_ms"], first["usage"]["prompt_tokens"]) == ("scripted", 7, 100)
    assert ended["termination"]["outcome"]["summary"] == "all seen"
    assert ended["termination"]["outcome"]["tools_called"] == ["finish", "look"]
