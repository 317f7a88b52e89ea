"""Requests over all ways in, their fields odd: what is acknowledged the seed reads, turn by turn and each end."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from carruns.protocol.paths import SPOOL_NAME
from carrunsd.store import RunStore
from tests.seed import comparing
from tests.seed.making import ODD, STATUSES, TIMES
from tests.seed.peer import Peer
from tests.support import Daemon, Wire, short_directory, wait_until

_CONFIG = """\
[carrunsd]
max_turns_per_run = 100000
fsync = "no"
[runs]
max_per_agent = 1000000
max_age_days = 1000000
"""
_ODD = (*ODD, '"' + "x" * 70_000 + '"', *(json.dumps(time) for time in TIMES))
_TURN = (
    "index", "prompt", "tool", "parameters", "output", "cli_outcome", "verifier_verdict", "policy_rejected",
    "recorded_at", "started_at", "duration_ms", "tool_call_id", "model", "usage", "error", "writer", "seq",
    "metadata", "unknown", "record", "run_id", "termination",
)  # fmt: skip
_MODEL = (
    "assistant_text", "requested_tool_calls", "model_id", "token_usage", "duration_ms", "turn_index", "unknown",
)  # fmt: skip
_START = (
    "intent", "agent_name", "outcome_description", "started_at", "parent_run_id", "session_id", "cwd", "detached",
    "metadata", "unknown", "record", "termination", "index", "run_id", "ended_at",
)  # fmt: skip
_OUTCOME = ("status", "summary", "evidence", "metrics", "timestamp", "unknown")
_METRICS = ("turns", "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed", "cost")

Pairs = list[tuple[str, str]]


class Told:
    """What a run was acknowledged to hold: the number of its turns and the status of its end."""

    def __init__(self) -> None:
        self.turns = 0
        self.status = "in_progress"


def fuzz(seed: Peer, dice: int, count: int) -> dict[str, int]:
    """Send ``count`` requests to a daemon, spool some, write some; compare what the seed reads then."""
    with short_directory() as base:
        daemon = Daemon(base, config=_CONFIG)
        try:
            daemon.start()
            fuzzer = _Fuzzer(daemon, dice)
            fuzzer.run(count)
            assert daemon.running, daemon.log()[-2000:]
            return _compare(seed, daemon.car_dir / "runs", fuzzer)
        finally:
            daemon.close()


class _Fuzzer:
    """Makes requests from a seed and keeps what was acknowledged."""

    def __init__(self, daemon: Daemon, dice: int) -> None:
        self.dice = random.Random(f"requests/{dice}")
        self.told: dict[str, Told] = {}
        self.sent = self.acknowledged = 0
        self._daemon = daemon
        self._wire: Wire = daemon.wire()
        self._store = RunStore(daemon.car_dir / "runs")
        self._current = ""
        self._number = 0

    def run(self, count: int) -> None:
        while self.sent < count:
            self._start()
            for _ in range(self.dice.randrange(30)):
                self._turn() if self.dice.random() < 0.8 else self._model_turn()
            for _ in range(self.dice.choice((0, 1, 1, 2))):
                self._end()
            self._append()
            if self.dice.random() < 0.3:
                self._put_into_the_store()
            if self.dice.random() < 0.1:
                self._spool()

    def _ask(self, method: str, params: Pairs | str) -> Any:
        """Send a request made of JSON texts; return its result, ``None`` for an error."""
        self.sent += 1
        text = params if isinstance(params, str) else _object(params)
        line = f'{{"id":{self.sent},"method":"{method}","params":{text}}}\n'
        self._wire.send(line.encode("utf-8", "surrogatepass"))
        while True:
            answer = self._wire.read()
            if "method" not in answer:
                break
        assert answer["id"] in (self.sent, None), answer
        assert answer.get("error", {}).get("data", {}).get("kind") != "internal_error", (line[:2000], answer)
        result = answer.get("result")
        self.acknowledged += result is not None and result.get("ok") is not False
        return result

    def _some(self, names: tuple[str, ...], most: int = 3) -> Pairs:
        dice = self.dice
        return [(name, dice.choice(_ODD)) for name in dice.sample(names, dice.randrange(min(most, len(names)) + 1))]

    def _start(self) -> None:
        base = [("agent_id", '"f"'), *([("intent", '"i"')] if self.dice.random() < 0.9 else [])]
        result = self._ask("runs.start", [*base, *self._some(_START, 2)])
        while result is None:
            result = self._ask("runs.start", [("agent_id", '"f"'), ("intent", '"i"')])
        self._current = result["run_id"]
        self.told.setdefault(self._current, Told())

    def _turn(self) -> None:
        count = self.dice.choice((1, 1, 1, 3))
        turns = ",".join(_object(self._some(_TURN)) for _ in range(count))
        result = self._ask("runs.record_turns", [("run_id", json.dumps(self._current)), ("turns", f"[{turns}]")])
        if result is not None and result["ok"]:
            self.told[self._current].turns += count

    def _model_turn(self) -> None:
        base = [
            ("assistant_text", '"x"'),
            ("requested_tool_calls", "[]"),
            ("model_id", '"m"'),
            ("duration_ms", "5"),
        ]
        params = [("run_id", json.dumps(self._current)), *base, *self._some(_MODEL)]
        result = self._ask("runs.record_model_turn", params)
        if result is not None and result["ok"]:
            self.told[self._current].turns += 1

    def _end(self) -> None:
        run = ("run_id", json.dumps(self._current))
        ended_at = self._some(("ended_at",), 1)
        told = self.told[self._current]
        if self.dice.random() < 0.2:
            if self._ask("runs.abandon", [run, *self._some(("reason",), 1), *ended_at]) is not None:
                told.status = "incomplete"
            return
        if self._ask("runs.complete", [run, ("outcome", self._outcome()), *ended_at]) is not None:
            told.status = "completed"

    def _outcome(self) -> str:
        outcome = [("status", f'"{self.dice.choice(STATUSES)}"'), ("summary", '"s"'), *self._some(_OUTCOME, 2)]
        if self.dice.random() < 0.4:
            outcome.append(("metrics", _object(self._some(_METRICS, 2))))
        return _object(outcome)

    # -- records as they are given -------------------------------------------------------------------------------

    def _records(self, run_id: str) -> tuple[list[str], Told]:
        """Return the records of a whole run, some of them odd, and what they tell."""
        dice, told = self.dice, Told()
        ids = [("run_id", json.dumps(run_id)), ("agent_id", '"g"')]
        start = [("record", '"started"'), *ids, ("intent", '"i"'), ("started_at", '"2026-01-01T00:00:00Z"')]
        records = [_object([*start, *(self._some(_START[:4], 1) if dice.random() < 0.2 else [])])]
        for index in range(dice.randrange(4)):
            records.append(_object([("record", '"turn"'), ("index", str(index)), *self._some(_TURN[:-3], 1)]))
            told.turns += 1
        if dice.random() < 0.7:
            complete = dice.random() < 0.7
            end = '{"kind":"incomplete"}'
            if complete:
                outcome = self._outcome()[:-1] + ',"timestamp":"2026-01-01T00:00:01Z"}'
                end = f'{{"kind":"outcome","status":"{dice.choice(STATUSES)}","outcome":{outcome}}}'
            at = dice.choice(TIMES) if dice.random() < 0.2 else "2026-01-01T00:00:01Z"
            ended = _object([("record", '"ended"'), *ids, ("termination", end), ("ended_at", json.dumps(at))])
            records += [ended] * dice.choice((1, 1, 1, 2))
            told.status = "completed" if complete else "incomplete"
        return records, told

    def _append(self) -> None:
        self._number += 1
        run_id = f"appended-{self._number}"
        records, told = self._records(run_id)
        params = [("agent_id", '"g"'), ("run_id", json.dumps(run_id)), ("records", f"[{','.join(records)}]")]
        if self._ask("runs.append", params) is not None:
            self.told[run_id] = told

    def _put_into_the_store(self) -> None:
        """Write to a run that the daemon does not know, as a program without a daemon does."""
        self._number += 1
        run_id = f"stored-{self._number}"
        records, told = self._records(run_id)
        self.sent += 1
        try:
            given = [json.loads(record) for record in records]
            self._store.append_records("g", run_id, given)
        except (ValueError, RecursionError):
            return
        self.acknowledged += 1
        self.told[run_id] = told

    def _spool(self) -> None:
        """Leave requests in the spool; what was not refused is in the store once the file is gone."""
        self._number += 1
        key = f"spooled-{self._number}"
        told = Told()
        run = ("run_id", json.dumps(key))
        start = [("agent_id", '"f"'), ("intent", '"i"'), ("idempotency_key", json.dumps(key))]
        lines = [("runs.start", start)]
        for _ in range(self.dice.randrange(1, 4)):
            lines.append(("runs.record_turns", [run, ("turns", f"[{_object(self._some(_TURN))}]")]))
        lines.append(("runs.complete", [run, ("outcome", self._outcome())]))
        self.sent += len(lines)
        spool = self._daemon.car_dir / SPOOL_NAME
        spool.mkdir(mode=0o700, exist_ok=True)
        path = spool / f"{key}.jsonl"
        text = "".join(f'{{"method":"{method}","params":{_object(params)}}}\n' for method, params in lines)
        path.with_suffix(".new").write_bytes(text.encode("utf-8", "surrogatepass"))
        path.with_suffix(".new").rename(path)
        Wire(self._daemon.socket).close()  # the daemon looks when a client comes or goes
        try:
            wait_until(lambda: not path.exists())
        except AssertionError:
            raise AssertionError(f"{path.name} is not drained: {self._daemon.log()[-3000:]}") from None
        summary = self._wire.summary(key)
        told.turns, told.status = summary["turn_count"], summary["status"]
        whole = not path.with_name(f"{path.name}.refused").exists()
        assert not whole or (told.turns, told.status) == (len(lines) - 2, "completed"), (summary, text[:3000])
        self.told[key] = told


def _object(pairs: Pairs) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in pairs) + "}"


def _compare(seed: Peer, runs: Path, fuzzer: _Fuzzer) -> dict[str, int]:
    read = {run["run_id"]: run for agent in ("f", "g") for run in seed.ask("list", runs, agent)}
    ours = {run.run_id: run for agent in ("f", "g") for run in RunStore(runs).list_runs(agent)}
    unread = [(key, told) for key, told in fuzzer.told.items() if key not in read]
    assert not unread, [path.read_bytes()[:3000] for key, _ in unread[:2] for path in runs.rglob(f"{key}.jsonl")]
    for key, told in fuzzer.told.items():
        theirs = (read[key]["turn_count"], read[key]["status"])
        assert theirs == (told.turns, told.status), _file(runs, key, theirs, told)
        assert theirs == (ours[key].turn_count, str(ours[key].status)), _file(runs, key, theirs, told)
        _same_trace(seed, runs, key)
    return {
        "requests": fuzzer.sent,
        "acknowledged": fuzzer.acknowledged,
        "runs": len(fuzzer.told),
        "turns": sum(told.turns for told in fuzzer.told.values()),
        "ends": sum(told.status != "in_progress" for told in fuzzer.told.values()),
    }


def _same_trace(seed: Peer, runs: Path, key: str) -> None:
    theirs = [comparing.record(record) for record in seed.ask("trace", runs, key)]
    ours = [comparing.record(record) for record in RunStore(runs).get_run_trace(key) or ()]
    assert comparing.same(ours, theirs), (ours, theirs)


def _file(runs: Path, key: str, theirs: Any, told: Told) -> str:
    (path,) = runs.rglob(f"{key}.jsonl")
    return f"seed {theirs}, told {(told.turns, told.status)}:\n{path.read_bytes().decode()[:6000]}"
