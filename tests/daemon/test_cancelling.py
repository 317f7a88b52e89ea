"""``runs.cancel``: who is asked, when it is answered, what the receipt says, and that it stays the same."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

import pytest

from tests.daemon.lives import Make, config
from tests.support import Daemon, Json, Wire

OUTCOME = {"status": "success", "summary": "made it"}


def digest(fields: Json) -> str:
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def cancel(wire: Wire, run: str, key: str = "k", reason: str = "no longer wanted") -> Json:
    receipt: Json = wire.call("runs.cancel", run_id=run, idempotency_key=key, reason=reason)
    return receipt


def check(receipt: Json, daemon: Daemon, agent: str, run: str, status: str) -> None:
    lines = daemon.file(agent, run).read_bytes().split(b"\n")[:-1]
    ended = next(line for line in lines if json.loads(line)["record"] == "ended")
    assert receipt["status"] == status
    assert receipt["terminal_digest"] == hashlib.sha256(ended).hexdigest()
    assert receipt["reason_digest"] == hashlib.sha256(b"no longer wanted").hexdigest()
    assert receipt["run_id"] == run
    assert receipt["receipt_digest"] == digest({k: v for k, v in receipt.items() if k != "receipt_digest"})


def test_a_run_that_nobody_owns_is_cancelled_at_once(daemon: Daemon, wire: Wire) -> None:
    run = wire.start(detached=True)
    wire.turns(run, "a")
    receipt = cancel(wire, run)
    check(receipt, daemon, "agent-a", run, "cancelled_confirmed")
    request, ended = daemon.records("agent-a", run)[2:]
    assert (request["record"], request["idempotency_key"]) == ("cancellation_requested", "k")
    assert request["reason"] == "no longer wanted"
    assert (ended["termination"], ended["reason"], ended["final"]) == ({"kind": "incomplete"}, "cancelled", True)
    summary = wire.summary(run)
    assert (summary["status"], summary["outcome_status"]) == ("completed", "cancelled")
    assert wire.error("runs.resume", run_id=run)["code"] == -32002
    assert wire.error("runs.complete", run_id=run, outcome=OUTCOME)["code"] == -32002
    assert wire.call("runs.record_turns", run_id=run, turns=[{}])["dropped"] == "run_terminal"


def test_the_receipt_is_the_same_again_and_after_a_restart(daemon: Daemon, wire: Wire) -> None:
    run = wire.start(detached=True)
    receipt = cancel(wire, run)
    assert cancel(wire, run) == receipt
    assert cancel(wire, run, reason="another reason") == receipt
    other = cancel(wire, run, key="another key")
    assert (other["status"], other["terminal_digest"]) == ("already_terminal", receipt["terminal_digest"])
    daemon.restart()
    again = daemon.wire()
    assert cancel(again, run) == receipt
    assert cancel(again, run, key="another key") == other
    assert len(daemon.records("agent-a", run)) == 3


def test_the_owner_is_asked_and_ends_it(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    other = daemon.wire()
    asked = other.post("runs.cancel", run_id=run, idempotency_key="k", reason="no longer wanted")
    event = wire.event()
    assert event["method"] == "runs.cancel_requested"
    assert event["params"] == {"run_id": run, "idempotency_key": "k", "reason": "no longer wanted"}
    assert other.call("server.ping") == {}  # nothing is held up meanwhile, on that connection either
    assert wire.turns(run, "tidying up")["ok"]
    wire.call("runs.complete", run_id=run, outcome=OUTCOME)
    check(other.answer(asked)["result"], daemon, "agent-a", run, "already_terminal")
    assert wire.summary(run)["outcome_status"] == "success"


def test_an_owner_that_does_not_listen_has_its_run_ended(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(cancel_grace_secs=0)).start()
    owner, other = daemon.wire(), daemon.wire()
    run = owner.start()
    check(cancel(other, run), daemon, "agent-a", run, "cancelled_confirmed")
    assert owner.call("runs.record_turns", run_id=run, turns=[{}])["dropped"] == "run_terminal"


def test_an_owner_that_goes_away_has_its_run_ended(daemon: Daemon, wire: Wire) -> None:
    owner = daemon.wire()
    run = owner.start()
    asked = wire.post("runs.cancel", run_id=run, idempotency_key="k", reason="no longer wanted")
    assert owner.event()["method"] == "runs.cancel_requested"
    owner.close()
    check(wire.answer(asked)["result"], daemon, "agent-a", run, "cancelled_confirmed")


def test_an_incomplete_run_becomes_final(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.call("runs.abandon", run_id=run)
    receipt = cancel(wire, run)
    assert receipt["status"] == "cancelled_confirmed"
    assert wire.error("runs.resume", run_id=run)["code"] == -32002
    daemon.restart()
    assert daemon.wire().summary(run)["outcome_status"] == "cancelled"


def test_what_was_asked_before_a_crash_holds_after_it(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600, cancel_grace_secs=600)).start()
    owner, other = daemon.wire(), daemon.wire()
    run = owner.start()
    other.post("runs.cancel", run_id=run, idempotency_key="k", reason="no longer wanted")
    assert owner.event()["method"] == "runs.cancel_requested"
    daemon.kill()
    daemon.start()
    back = daemon.wire()
    back.call("runs.resume", run_id=run)
    assert back.event()["params"]["idempotency_key"] == "k"
    other = daemon.wire()
    asked = other.post("runs.cancel", run_id=run, idempotency_key="k", reason="no longer wanted")
    assert other.call("server.ping") == {}
    back.close()
    check(other.answer(asked)["result"], daemon, "agent-a", run, "cancelled_confirmed")
    kinds = [record["record"] for record in daemon.records("agent-a", run)]
    assert kinds.count("cancellation_requested") == 1


def test_an_ended_run_is_already_terminal(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.complete(run)
    before = daemon.records("agent-a", run)
    check(cancel(wire, run), daemon, "agent-a", run, "already_terminal")
    assert daemon.records("agent-a", run) == before


def test_two_keys_before_the_end_are_both_confirmed(daemon: Daemon, wire: Wire) -> None:
    owner = daemon.wire()
    run = owner.start()
    asked = [
        wire.post("runs.cancel", run_id=run, idempotency_key=key, reason="no longer wanted") for key in ("a", "b")
    ]
    for _ in asked:
        assert owner.event()["method"] == "runs.cancel_requested"
    owner.close()
    assert {wire.answer(one)["result"]["status"] for one in asked} == {"cancelled_confirmed"}


@pytest.mark.parametrize(
    "params",
    [
        {}, {"idempotency_key": "k"}, {"reason": "r"}, {"idempotency_key": "", "reason": "r"},
        {"idempotency_key": "k" * 129, "reason": "r"}, {"idempotency_key": "k", "reason": "ü" * 513},
        {"idempotency_key": "k", "reason": "r", "why": "?"}, {"idempotency_key": 1, "reason": "r"},
    ],
)  # fmt: skip
def test_what_is_missing_too_long_or_unknown_is_refused(wire: Wire, params: Any) -> None:
    run = wire.start()
    assert wire.error("runs.cancel", run_id=run, **params)["code"] == -32602


def test_a_run_that_is_not_there(wire: Wire) -> None:
    error = wire.error("runs.cancel", run_id="nobody", idempotency_key="k", reason="r")
    assert error["code"] == -32001


def test_the_seed_reads_what_was_cancelled_as_incomplete(daemon: Daemon, wire: Wire) -> None:
    run = wire.start(detached=True)
    cancel(wire, run)
    ended = daemon.records("agent-a", run)[-1]
    assert set(ended) == {"record", "run_id", "agent_id", "termination", "ended_at", "reason", "final"}


def test_an_end_may_say_when_it_was(daemon: Daemon, wire: Wire) -> None:
    begin, recorded = "2026-01-01T00:00:00Z", time.time()
    run = wire.start(started_at=begin)
    wire.call("runs.complete", run_id=run, outcome=OUTCOME, ended_at="2026-01-01T00:05:00Z")
    assert wire.summary(run)["ended_at"] == "2026-01-01T00:05:00Z"
    for wrong in ("2025-12-31T23:59:59Z", "2999-01-01T00:00:00Z"):
        run = wire.start(started_at=begin)
        wire.call("runs.abandon", run_id=run, ended_at=wrong)
        assert wire.summary(run)["ended_at"] > time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(recorded - 1))
    assert wire.error("runs.abandon", run_id=wire.start(), ended_at="yesterday")["code"] == -32602
