"""What broke once: inputs from bug reports and attacks, by kind.  Each says the right value."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from carrunsd.config import load
from carrunsd.store.age_clock import EXPLAINED_NS, JUMP_NS, SETTLE_SECS, AgeClock
from carrunsd.store.trash import Removals
from tests.daemon.lives import config
from tests.support import Daemon, Wire, wait_until

Make = Callable[..., Daemon]

# -- what nobody foresaw -----------------------------------------------------------------------------------

ODD_CONFIGURATIONS = {
    "a number of 5,000 digits": "x = " + "1" * 5000,
    "5,000 levels": "x = " + "[" * 5000 + "]" * 5000,
    "keys of 100,000 characters": "'a" + "b" * 100_000 + "' = 1\n[carrunsd]\n'" + "c" * 100_000 + "' = 1",
    "a long negative number": "[runs]\nmax_age_days = -" + "1" * 4400,
    "a date that is none": "x = 2026-02-30",
    "infinity": "[carrunsd]\ngc_interval_secs = inf",
    "an array of tables": "[[carrunsd]]\nfsync = 'no'",
    "a list for a word": "[carrunsd]\nfsync = ['no']",
    "numbers for sections": "runs = 1\ncarrunsd = 2",
}


@pytest.mark.parametrize("text", ODD_CONFIGURATIONS.values(), ids=ODD_CONFIGURATIONS)
def test_no_configuration_ends_a_daemon_or_keeps_it_from_starting(base: Path, text: str) -> None:
    path = base / "config.toml"
    path.write_text(text + "\n")
    assert load(path).problems


def test_a_pipe_for_a_configuration_is_no_file(make_daemon: Make) -> None:
    daemon = make_daemon(config="")
    (daemon.car_dir / "config.toml").unlink()
    os.mkfifo(daemon.car_dir / "config.toml")
    daemon.start()
    assert "no regular file" in daemon.log()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: "still holds" in daemon.log())
    assert daemon.wire().call("server.ping") == {}


def test_after_a_bad_reload_the_last_good_configuration_holds(make_daemon: Make) -> None:
    daemon = make_daemon(config="[carrunsd]\nfsync = 'always'\n").start()
    for wrong in ("[carrunsd]\nfsync = 'alway'\n", "[carrunsd\n", "[carrunsd]\nfsyncc = 'always'\n"):
        before = daemon.log().count("still holds")
        daemon.configure(wrong)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda before=before: daemon.log().count("still holds") > before)  # type: ignore[misc]
        assert daemon.wire().call("server.stats")["fsync"] == "always"
    daemon.configure("[carrunsd]\nfsync = 'no'\n")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.wire().call("server.stats")["fsync"] == "no")


@pytest.mark.parametrize(
    ("text", "removes", "named"),
    [
        ("[runs]\nmax_age_dayz = 400\n", False, "did you mean max_age_days"),
        ("[run]\nmax_age_days = 400\n", False, "did you mean runs"),
        ("[runs]\nsomething_of_car = 1\n", True, "something_of_car is not a key of runs; ignored"),
        ("[something.of.car]\nx = 1\n", True, "[something] is no section; ignored"),
        ("[runs]\nmax_age_days = 0\nmax_per_agent = 0\n", True, ""),
    ],
)
def test_what_may_have_been_meant_to_keep_more_removes_nothing(
    base: Path, text: str, removes: bool, named: str
) -> None:
    path = base / "config.toml"
    path.write_text(text)
    loaded = load(path)
    assert (loaded.retention is not None) is removes
    assert [named in problem for problem in loaded.problems] == ([True] if named else [])


def test_0_is_no_limit(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_age_days = 0\nmax_per_agent = 0\n").start()
    wire = daemon.wire()
    for _ in range(3):
        wire.complete(wire.start())
    assert wire.call("runs.gc", dry_run=True)["runs"] == []


def test_names_that_are_no_utf8_in_the_trash(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(trash_max_age_days=0, gc_interval_secs=1))
    place = os.fsencode(daemon.car_dir) + b"/trash/agent-\xff"
    os.makedirs(place, 0o700)
    Path(os.fsdecode(place + b"/run-\xfe.jsonl")).write_text("{}\n")
    daemon.start()
    wait_until(lambda: not os.listdir(place))
    assert daemon.running
    assert "\\xff" in (daemon.car_dir / "removed.jsonl").read_text()


def test_only_runs_are_recorded_from_the_spool(make_daemon: Make) -> None:
    daemon = make_daemon(config="")
    spool = daemon.car_dir / "spool"
    spool.mkdir(0o700)
    lines = [
        {"method": "runs.watch"},
        {"method": "runs.gc"},
        {"method": "runs.remove", "params": {"run_id": "x"}},
        {"method": "runs.start", "params": {"agent_id": "a", "intent": "i", "idempotency_key": "spooled"}},
    ]
    (spool / "0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    daemon.start()
    wire = daemon.wire()
    wait_until(lambda: any(run["run_id"] == "spooled" for run in wire.call("runs.list")["runs"]))
    wire.call("runs.watch")
    run = wire.start()  # live feeds go on
    assert wire.event()["params"]["run_id"] == run
    assert "only runs are recorded from there" in daemon.log()


# -- irreversible on one reading ---------------------------------------------------------------------------

NOW, DAY = 1_800_000_000 * 10**9, 86_400 * 10**9


def test_a_clock_that_nothing_explains_must_go_on_saying_so() -> None:
    clock = AgeClock(NOW - 60 * DAY, NOW, 5.0)
    assert not clock.may_judge(NOW, 5.0)
    assert not clock.may_judge(NOW + 10**9, 6.0)
    assert clock.may_judge(NOW + int(SETTLE_SECS * 1e9), 5.0 + SETTLE_SECS)


def test_a_clock_that_the_newest_file_explains_is_believed_until_it_jumps() -> None:
    clock = AgeClock(NOW - EXPLAINED_NS + 1, NOW, 5.0)
    assert clock.may_judge(NOW, 5.0)
    assert clock.may_judge(NOW + 40 * DAY, 5.0 + 40 * 86_400)
    for jump in (JUMP_NS + 10**9, -JUMP_NS - 10**9, 60 * DAY):
        clock = AgeClock(0, NOW, 5.0)
        assert not clock.may_judge(NOW + jump, 5.0)
        assert not clock.may_judge(NOW + 10**9, 6.0)  # and back: once more
        assert clock.may_judge(NOW + int((SETTLE_SECS + 1) * 1e9), 6.0 + SETTLE_SECS)


def test_a_start_with_the_clock_60_days_ahead_removes_nothing(daemon: Daemon, wire: Wire, base: Path) -> None:
    runs = [wire.start() for _ in range(3)]
    for run in runs:
        wire.complete(run)
    daemon.stop()
    shift = (
        "import time\nt, n = time.time, time.time_ns\n"
        "time.time, time.time_ns = (lambda: t() + 60 * 86400), (lambda: n() + 60 * 86400 * 10**9)\n"
    )
    (base / "sitecustomize.py").write_text(shift)
    os.environ["PYTHONPATH"] = str(base)
    daemon.start()
    wait_until(lambda: "nothing is removed by age" in daemon.log())
    assert daemon.wire().call("runs.gc", dry_run=True)["runs"] == []
    assert all(daemon.file("agent-a", run).exists() for run in runs)


def test_what_retention_takes_can_be_had_back(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 1\n").start()
    wire = daemon.wire()
    old, new = wire.start(), wire.start()
    wire.turns(old, "worth keeping")
    for run in (old, new):
        wire.complete(run)
    wait_until(lambda: not daemon.file("agent-a", old).exists())
    assert wire.call("runs.restore", run_id=old)["run_id"] == old
    assert wire.call("runs.get_trace", run_id=old)["records"][1]["prompt"] == "worth keeping"


def test_the_list_of_removals_is_never_empty_for_an_instant(base: Path) -> None:
    path = base / "removed.jsonl"
    row = b'{"removed_at":"2026-11-01T00:00:00Z","run_id":"r","agent_id":"a","reason":"user","bytes":1}\n'
    path.write_bytes(row * 12_000)
    with path.open("rb") as before:
        Removals(str(base)).note(("agent", "run.jsonl"), None, 5, "user")
        assert before.read() == row * 12_000  # another file has taken its place
    rows = path.read_bytes().splitlines()
    assert 5000 < len(rows) < 7000
    assert json.loads(rows[-1])["run_id"] == "run"
    assert {json.loads(line)["run_id"] for line in rows[:-1]} == {"r"}


# -- in use, and let go of ---------------------------------------------------------------------------------


def test_a_run_that_is_asked_for_is_not_let_go_of(make_daemon: Make) -> None:
    """600 ended runs that others watch fill the room for ended runs; the one that is resumed stays."""
    daemon = make_daemon(config="[runs]\nmax_per_agent = 0\n").start()
    wire, watcher = daemon.wire(), daemon.wire()
    for number in range(600):
        run = wire.start(idempotency_key=f"r{number}")
        watcher.call("runs.subscribe", run_id=run)
        wire.call("runs.abandon", run_id=run)
    first = wire.start(idempotency_key="mine")
    wire.call("runs.abandon", run_id=first)
    daemon.kill()
    daemon.start()
    watcher, wire = daemon.wire(), daemon.wire()
    for number in range(600):
        watcher.call("runs.subscribe", run_id=f"r{number}")
    assert wire.call("runs.resume", run_id="mine")["status"] == "in_progress"
    assert wire.turns("mine", "on it")["ok"]


def test_runs_that_end_together_leave_memory(make_daemon: Make) -> None:
    daemon = make_daemon(config="[runs]\nmax_per_agent = 0\n").start()
    wire = daemon.wire()
    runs = [wire.start(agent_id=f"a{number % 7}") for number in range(1500)]
    for run in runs:
        wire.notify("runs.abandon", run_id=run)
    wait_until(lambda: wire.call("server.stats")["runs_in_memory"] <= 520)


def test_a_list_shows_what_another_writer_has_added(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    wire.complete(run)
    daemon.restart()
    again = daemon.wire()
    assert again.summary(run)["turn_count"] == 0
    with daemon.file("agent-a", run).open("ab") as file:
        file.write(b'{"record":"turn","index":0,"parameters":null,"verifier_verdict":"not_run"}\n')
    wait_until(lambda: again.summary(run)["turn_count"] == 1)


def test_a_subscriber_stays_subscribed_when_its_run_leaves_memory(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    reader = daemon.wire()
    line = reader.call("runs.subscribe", run_id=run)["line"]
    with daemon.file("agent-a", run).open("ab") as file:
        file.write(b'{"record":"turn","index":0,"parameters":null,"verifier_verdict":"not_run"}\n')
    assert wire.error("runs.record_turns", run_id=run, turns=[{}])["data"]["errno"] == "ESTALE"
    assert wire.turns(run, "after that")["ok"]
    event = reader.event()["params"]
    assert event["record"]["prompt"] == "after that"
    assert event["line"] == line + 2, "the gap must be seen"


def test_a_run_whose_end_cannot_be_stored_is_not_removed(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    wire = daemon.wire()
    run = wire.start()
    wire.turns(run, "a")
    path = daemon.file("agent-a", run)
    path.chmod(0o400)
    with path.open("rb"):
        os.rename(path, path.with_suffix(".away"))  # the write of the end fails: the file is gone
    outcome = {"status": "success", "summary": ""}
    first = wire.post("runs.complete", run_id=run, outcome=outcome)
    second = wire.post("runs.remove", run_id=run)
    assert "error" in wire.answer(first)
    assert "error" in wire.answer(second)
    assert not (daemon.car_dir / "trash").exists()


def test_each_event_says_how_the_run_stood_behind_it(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    reader = daemon.wire()
    reader.call("runs.subscribe", run_id=run)
    stopped = {
        "record": "ended", "run_id": run, "agent_id": "agent-a", "termination": {"kind": "incomplete"},
        "ended_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    turn = {"record": "turn", "index": 0, "parameters": None, "verifier_verdict": "not_run"}
    wire.call("runs.append", agent_id="agent-a", run_id=run, records=[stopped, turn])
    seen = [reader.event()["params"] for _ in range(2)]
    assert [event["status"] for event in seen] == ["incomplete", "in_progress"]
    assert [event["cursor"] for event in seen] == [0, 1]


# -- per byte, not per item --------------------------------------------------------------------------------


def test_lines_of_junk_leave_others_their_turn(daemon: Daemon, wire: Wire) -> None:
    run = wire.start()
    junk = b"1\n" * (100 << 10)
    flooders = [socket.socket(socket.AF_UNIX) for _ in range(13)]
    for flooder in flooders:
        flooder.connect(str(daemon.socket))
        flooder.setblocking(False)
    slowest = 0.0
    left = dict.fromkeys(flooders, junk)
    until = time.monotonic() + 3
    while time.monotonic() < until and any(left.values()):
        for flooder in flooders:
            try:
                left[flooder] = left[flooder][flooder.send(left[flooder]) :]
            except BlockingIOError:
                continue
        began = time.monotonic()
        assert wire.turns(run, "meanwhile")["ok"]
        slowest = max(slowest, time.monotonic() - began)
    for flooder in flooders:
        flooder.close()
    assert slowest < 2.5, "a bound for a loaded machine; benchmarks/ has the figure"
    peak = int(
        next(x for x in Path(f"/proc/{daemon.pid}/status").read_text().split("\n") if "VmHWM" in x).split()[1]
    )
    assert peak < 400 << 10  # KiB


@pytest.mark.parametrize("count", [1001, 450_000])
def test_an_array_of_many_is_refused_at_once(wire: Wire, count: int) -> None:
    wire.send(b"[" + b",".join([b"1"] * count) + b"]\n")
    assert wire.read()["error"]["data"]["kind"] == "too_large"
    assert wire.call("server.ping") == {}


def test_a_line_of_too_many_values_is_refused_but_not_a_long_text(wire: Wire) -> None:
    run = wire.start()
    tiny = b"[" + b",".join([b"[]"] * 400_000) + b"]"
    wire.send(
        b'{"id":1,"method":"runs.record_turns","params":{"run_id":"%b","turns":[{"output":%b}]}}\n'
        % (run.encode(), tiny)
    )
    assert wire.read()["error"]["data"]["kind"] == "too_large"
    assert wire.turns(run, "a, b, [c], {d}" * 100_000)["truncated"] == 1


def test_a_miss_does_not_list_all_agents_each_time(daemon: Daemon, wire: Wire) -> None:
    for number in range(3000):
        (daemon.car_dir / "runs" / f"gone-{number}").mkdir(0o700)
    run = wire.start()
    began = time.process_time()
    for number in range(200):
        wire.error("runs.flush", run_id=f"nobody-{number}")
        assert wire.turns(run, "x")["ok"]
    assert time.process_time() - began < 5


def test_directories_without_runs_are_removed(make_daemon: Make) -> None:
    daemon = make_daemon(config=config(gc_interval_secs=1))
    (daemon.car_dir / "runs" / "nobody").mkdir(0o700, parents=True)
    daemon.start()
    wire = daemon.wire()
    run = wire.start("somebody")
    wait_until(lambda: not (daemon.car_dir / "runs" / "nobody").exists())
    assert daemon.file("somebody", run).exists()
    wire.complete(wire.start("nobody"))


def test_stopping_does_not_wait_for_those_who_go_on_sending(daemon: Daemon) -> None:
    senders = [daemon.wire() for _ in range(12)]
    runs = [wire.start() for wire in senders]
    text = "x" * 50_000
    for wire in senders:
        wire.sock.setblocking(False)
    line = (
        json.dumps(
            {"method": "runs.record_turns", "params": {"run_id": runs[0], "turns": [{"prompt": text}]}}
        ).encode()
        + b"\n"
    )
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    while daemon.process is not None and daemon.process.poll() is None and time.monotonic() - began < 20:
        for wire in senders:
            try:
                wire.sock.send(line)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                continue
    assert daemon.wait() == 0
    assert time.monotonic() - began < 12
