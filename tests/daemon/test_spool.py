"""The spool: what clients could not deliver is taken up at the start, once, and the file goes."""

from __future__ import annotations

import json

from tests.support import Daemon, Json, wait_until

OUTCOME = {"status": "success", "summary": "done"}


def spool(daemon: Daemon, name: str, *requests: Json, tail: bytes = b"") -> None:
    """Leave a file as a client does that has died."""
    directory = daemon.car_dir / "spool"
    directory.mkdir(mode=0o700, exist_ok=True)
    text = b"".join(json.dumps(request).encode() + b"\n" for request in requests)
    path = directory / name
    path.write_bytes(text + tail)
    path.chmod(0o600)


def start(run: str) -> Json:
    return {"method": "runs.start", "params": {"agent_id": "agent-a", "intent": "i", "idempotency_key": run}}


def turn(run: str, seq: int) -> Json:
    params = {"run_id": run, "writer": "w", "seq": seq, "turns": [{"prompt": str(seq)}]}
    return {"method": "runs.record_turns", "params": params}


def complete(run: str) -> Json:
    return {"method": "runs.complete", "params": {"run_id": run, "outcome": OUTCOME}}


def left(daemon: Daemon) -> list[str]:
    return sorted(path.name for path in (daemon.car_dir / "spool").iterdir())


def test_a_whole_run_is_taken_up(daemon: Daemon) -> None:
    daemon.stop()
    spool(daemon, "a.jsonl", start("r"), turn("r", 0), turn("r", 1), complete("r"))
    daemon.start()
    wait_until(lambda: left(daemon) == [])
    records = daemon.records("agent-a", "r")
    assert [(r["record"], r.get("prompt")) for r in records] == [
        ("started", None), ("turn", "0"), ("turn", "1"), ("ended", None),
    ]  # fmt: skip


def test_what_arrived_already_is_not_stored_again(daemon: Daemon) -> None:
    """The daemon stored it all, but its answers were lost: the same once more is a success, and no complaint."""
    wire = daemon.wire()
    run = wire.start()
    wire.turns(run, "0", "1", writer="w", seq=0)
    wire.complete(run)
    daemon.stop()
    resume = {"method": "runs.resume", "params": {"run_id": run, "writer": "w"}}
    spool(daemon, "a.jsonl", resume, turn(run, 0), turn(run, 1), complete(run))
    daemon.start()
    wait_until(lambda: left(daemon) == [])
    assert len(daemon.records("agent-a", run)) == 4
    assert "refused" not in daemon.log()


def test_half_a_line_was_never_promised_and_bad_lines_are_kept(daemon: Daemon) -> None:
    daemon.stop()
    spool(daemon, "half.jsonl", start("r"), turn("r", 0), tail=b'{"method":"runs.rec')
    spool(daemon, "bad.jsonl", {"method": "no.such"}, start("s"))
    daemon.start()
    wait_until(lambda: left(daemon) == ["bad.jsonl.refused"])
    assert len(daemon.records("agent-a", "r")) == 2
    assert len(daemon.records("agent-a", "s")) == 1
