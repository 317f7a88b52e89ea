"""What a daemon makes of what it finds in its directory."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable

import pytest

from tests.daemon.lives import config
from tests.support import Daemon, Json, Wire, wait_until

Make = Callable[..., Daemon]


def test_a_store_full_of_odd_files(make_daemon: Make) -> None:
    kept = "[runs]\nmax_age_days = 36500\n"  # else gc, which runs at the start, may be faster than the list
    daemon = make_daemon(config=config(adopt_grace_secs=0) + kept).start()
    wire = daemon.wire()
    run = wire.start()
    wire.complete(run)
    daemon.stop()
    agent = daemon.car_dir / "runs/agent-a"
    good = daemon.file("agent-a", run).read_bytes()
    start = b'{"record":"started","run_id":"%b","agent_id":"agent-a","intent":"i",'
    today = time.strftime("%Y-%m-%d", time.gmtime()).encode()  # younger than what retention removes
    start += b'"started_at":"' + today + b'T00:00:00Z"}\n'
    odd = {
        "ended-at-number": start % b"ended-at-number" + b'{"record":"ended","termination":null,"ended_at":5}\n',
        "ended-at-list": start % b"ended-at-list" + b'{"record":"ended","termination":[],"ended_at":[1]}\n',
        "ended-at-bad": start % b"ended-at-bad" + b'{"record":"ended","termination":{"kind":5},"ended_at":"x"}\n',
        "started-bad": (start % b"started-bad").replace(today + b"T", b"someday "),
        "garbage": os.urandom(5000),
        "empty": b"",
        "nuls": b"\0" * 5000,
        "bom": b"\xef\xbb\xbf" + start % b"bom",
        "no-start": b'{"record":"turn","index":0}\n',
        "index-huge": start % b"index-huge" + b'{"record":"turn","index":' + b"9" * 200 + b"}\n",
        "index-negative": start % b"index-negative" + b'{"record":"turn","index":-7}\n',
    }
    for name, data in odd.items():
        (agent / f"{name}.jsonl").write_bytes(data)
    (agent / "link.jsonl").symlink_to(daemon.base / "log")
    (agent / "directory.jsonl").mkdir()
    os.mkfifo(agent / "fifo.jsonl")
    (daemon.car_dir / "runs/stray-file").write_bytes(good)
    (daemon.car_dir / "runs/link").symlink_to(agent)
    daemon.start()
    wire = daemon.wire()
    listed = {summary["run_id"] for summary in wire.call("runs.list")["runs"]}
    assert {run, "ended-at-number", "ended-at-list", "ended-at-bad", "bom"} <= listed
    assert {row["agent_id"] for row in wire.call("runs.agents")["agents"]} == {"agent-a"}
    for name in (*odd, "link", "directory", "fifo", run):
        trace = wire.request("runs.get_trace", run_id=name)
        assert "result" in trace or trace["error"]["data"]["kind"] == "storage", trace
        resumed = wire.request("runs.resume", run_id=name)
        assert "result" in resumed or resumed["error"]["data"]["kind"] != "internal_error", (name, resumed)
        if "result" in resumed:
            assert wire.turns(name, "goes on")["ok"], name
            assert b'"prompt":"goes on"' in daemon.file("agent-a", name).read_bytes().splitlines()[-1]
    wire.call("runs.gc")
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize(
    ("odd", "good"),
    [
        (b"\n", 0),
        (b'\xef\xbb\xbf{"record":"turn","index":1}\n', 1),
        (b'{"record":"turn","index":1}\0\0\0\n', 0),
        (b'{"record":"turn","index":1}', 1),
        (b'{"record":"turn","index":1}\0\0\0', 1),
        (b'{"record":"turn","index":1', 0),
        (b'{"record":"turn"}\n', 0),
        (b"no record\n", 0),
        (b'{"record":"turn",\n"index":1}\n', 0),
    ],
)
def test_a_trace_is_the_same_each_time_it_is_read(make_daemon: Make, odd: bytes, good: int) -> None:
    """Also where a line is a record, but not as it stands: what was seen to be good is not looked at again."""
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    daemon.stop()
    path = daemon.file("agent-a", "odd")
    path.parent.mkdir(mode=0o700, parents=True)
    start = {"record": "started", "run_id": "odd", "agent_id": "agent-a", "intent": "i", "started_at": _LONG_AGO}
    turn = b'{"record":"turn","index":%d,"prompt":"' + b"x" * 3000 + b'"}\n'
    path.write_bytes(json.dumps(start).encode() + b"\n" + b"".join(turn % n for n in range(400)) + odd)
    daemon.start()
    wire = daemon.wire()
    wait_until(lambda: time.time_ns() - path.stat().st_ctime_ns > 30_000_000)

    def read() -> list[Json]:
        pages = [wire.call("runs.get_trace", run_id="odd")]
        while "next_cursor" in pages[-1]:
            pages.append(wire.call("runs.get_trace", run_id="odd", cursor=pages[-1]["next_cursor"]))
        return pages

    first = read()
    assert len(first) > 2
    assert read() == read() == first
    assert sum(len(page["records"]) for page in first) == 401 + good


@pytest.mark.parametrize("index", [1 << 62, (1 << 63) - 1, (1 << 64) - 1])
def test_an_index_at_the_end_of_the_range_leaves_room_for_what_follows(make_daemon: Make, index: int) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    daemon.stop()
    path = daemon.file("agent-a", "far")
    path.parent.mkdir(mode=0o700, parents=True)
    start = {"record": "started", "run_id": "far", "agent_id": "agent-a", "intent": "i", "started_at": _LONG_AGO}
    path.write_text(f'{json.dumps(start)}\n{{"record":"turn","index":0}}\n{{"record":"turn","index":{index}}}\n')
    daemon.start()
    wire = daemon.wire()
    wire.call("runs.resume", run_id="far")
    assert wire.turns("far", "one", "two")["base_index"] == 1
    assert wire.complete("far")["ok"]
    assert wire.summary("far")["turn_count"] == 4
    assert [record["index"] for record in daemon.records("agent-a", "far")[1:-1]] == [0, index, 1, 2]


_LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("tail", [b'{"record":"turn","index":1,"pro', b"\0" * 5000, b'{"record":"turn","index":1}'])
def test_a_torn_tail_is_healed_and_pages_go_on_behind_it(make_daemon: Make, tail: bytes) -> None:
    daemon = make_daemon(config=config(adopt_grace_secs=600)).start()
    agent = daemon.wire()
    run = agent.start()
    agent.turns(run, "a", writer="w", seq=0)
    daemon.kill()
    with daemon.file("agent-a", run).open("ab") as file:
        file.write(tail)
    daemon.start()
    wire = daemon.wire()
    whole = tail.endswith(b"}")
    page = wire.call("runs.get_trace", run_id=run)
    assert page["skipped"] == (0 if whole else 1)
    snapshot = wire.call("runs.subscribe", run_id=run)
    assert snapshot["line"] == page["line"] == (3 if whole else 2)
    assert snapshot["cursor"] == len(snapshot["turns_so_far"]) == (2 if whole else 1)
    assert wire.turns(run, "b", writer="w", seq=1)["base_index"] == (2 if whole else 1)
    event = wire.event()["params"]
    assert (event["cursor"], event["line"]) == (snapshot["cursor"] + 1, page["line"] + 1)
    rest = wire.call("runs.get_trace", run_id=run, cursor=page["line"])
    assert [record["prompt"] for record in rest["records"]] == ["b"]
    assert rest["skipped"] == 0
    daemon.records("agent-a", run)


def test_a_run_whose_file_is_taken_away(daemon: Daemon, wire: Wire) -> None:
    run, other = wire.start(), wire.start()
    wire.turns(run, "a")
    daemon.file("agent-a", run).unlink()
    answer = wire.request("runs.record_turns", run_id=run, turns=[{}])
    assert "error" not in answer or answer["error"]["data"]["kind"] == "storage"
    assert not answer.get("result", {}).get("ok"), "acknowledged, but it is nowhere"
    assert wire.turns(other, "fine")["ok"]
    shutil.rmtree(daemon.car_dir / "runs")
    with contextlib.suppress(AssertionError):
        wire.turns(other, "gone")
    fresh = wire.start()
    assert wire.turns(fresh, "new")["ok"]
    assert len(daemon.records("agent-a", fresh)) == 2


@pytest.mark.parametrize("what", ["link", "fifo", "directory"])
def test_a_link_in_place_of_a_runs_file_is_not_followed(daemon: Daemon, wire: Wire, what: str) -> None:
    wire.start(idempotency_key="first")
    place, victim = daemon.file("agent-a", "r"), daemon.base / "victim"
    victim.write_bytes(b"precious\n")
    if what == "link":
        place.symlink_to(victim)
    elif what == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    error = wire.error("runs.start", intent="i", agent_id="agent-a", idempotency_key="r")
    assert error["data"]["kind"] in ("storage", "conflict")
    assert wire.call("runs.record_turns", run_id="r", turns=[{}])["dropped"] == "run_not_found"
    assert victim.read_bytes() == b"precious\n"
    assert wire.call("server.ping") == {}
