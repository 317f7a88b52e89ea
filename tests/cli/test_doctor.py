"""Old and damaged stores: one bad file never hides another, ``carruns doctor`` names each fault, and mends."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import Daemon, Json, clean_environment, listens, strict_lines, wait_until

_START = b'{"record":"started","run_id":"%b","agent_id":"a","intent":"i","started_at":"2026-11-22T00:00:00Z"}\n'
_TURN = b'{"record":"turn","index":%d,"prompt":"p","parameters":null,"verifier_verdict":"not_run"}\n'
_OUTCOME = (
    b'{"record":"ended","run_id":"%b","agent_id":"a","termination":{"kind":"outcome","status":"done",'
    b'"outcome":{"status":"done","summary":"","evidence":[],"metrics":{},"timestamp":"2026-11-22T00:00:00Z"}},'
    b'"ended_at":"2026-11-22T00:00:01Z"}\n'
)


def _run(name: str, *, turns: int = 2, end: bool = True) -> bytes:
    body = b"".join(_TURN % number for number in range(turns))
    return _START % name.encode() + body + (_OUTCOME % name.encode() if end else b"")


#: Name of the run, what its file holds, the kind of finding, and how many turns can be read of it.
DAMAGES: dict[str, tuple[Callable[[str], bytes], str, int]] = {
    "torn": (lambda n: _run(n, end=False) + b'{"record":"turn","ind', "torn_tail", 2),
    "nuls": (lambda n: _run(n) + b"\0" * 5000, "torn_tail", 2),
    "nulline": (lambda n: _START % n.encode() + b"\0" * 300 + b"\n" + _TURN % 0, "padding", 1),
    "bom": (lambda n: b"\xef\xbb\xbf" + _run(n), "padding", 2),
    "middle": (lambda n: _START % n.encode() + _TURN % 0 + b"\xff\xfe garbage\n" + _TURN % 1, "bad_line", 2),
    "half": (lambda n: _START % n.encode() + _TURN % 0 + (_TURN % 1)[:30] + b"\n" + _TURN % 1, "bad_line", 2),
    "empty": (lambda n: b"", "empty", 0),
    "nostart": (lambda n: _TURN % 0 + _TURN % 1, "no_started", 2),
    "twoends": (lambda n: _run(n) + _OUTCOME % n.encode(), "two_ended", 2),
    "twostarts": (lambda n: _START % n.encode() + _run(n), "two_started", 2),
    "unended": (lambda n: _run(n)[:-1], "no_newline", 2),
    "elsewhere": (lambda n: _run("another"), "wrong_place", 2),
    "gap": (lambda n: _START % n.encode() + _TURN % 0 + _TURN % 5, "index", 2),
    "late": (lambda n: _run(n) + _TURN % 2, "behind_the_end", 3),
}
MENDED = {"torn", "nuls", "nulline", "bom", "middle", "half", "empty", "nostart", "unended"}


@pytest.fixture
def store(base: Path) -> Path:
    """A car directory with one run of each damage, and good ones between them."""
    runs = base / "car" / "runs" / "a"
    runs.mkdir(parents=True, mode=0o700)
    for directory in (base / "car", base / "car" / "runs", runs):
        directory.chmod(0o700)
    for name, (make, _, _) in DAMAGES.items():
        _write(runs / f"{name}.jsonl", make(name))
    for number in range(5):
        _write(runs / f"good-{number}.jsonl", _run(f"good-{number}", turns=3))
    return base / "car"


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def doctor(car_dir: Path, *arguments: str, status: int | None = None, **environment: str) -> list[Json]:
    """Run ``carruns doctor --json`` and return what it prints, the summary last."""
    done = subprocess.run(
        [sys.executable, "-m", "carruns.cli", "--car-dir", str(car_dir), "doctor", "--json", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
        env=clean_environment(car_dir.parent / "home", car_dir) | environment,
    )  # fmt: skip
    assert not done.stderr, done.stderr
    assert status is None or done.returncode == status, done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


def _kinds(found: list[Json], place: str) -> set[str]:
    return {finding["kind"] for finding in found if finding.get("place") == place}


def test_every_damage_is_named_and_none_hides_another(store: Path) -> None:
    found = doctor(store, status=1)
    for name, (_, kind, _) in DAMAGES.items():
        assert kind in _kinds(found, f"runs/a/{name}.jsonl"), (name, found)
    for number in range(5):
        assert not _kinds(found, f"runs/a/good-{number}.jsonl")
    assert found[-1]["files"] == len(DAMAGES) + 5
    (bad,) = [f for f in found if f.get("place") == "runs/a/middle.jsonl" and f["kind"] == "bad_line"]
    assert bad["line"] == 3


def test_repair_keeps_every_good_line_and_the_original(store: Path) -> None:
    runs = store / "runs" / "a"
    before = {path.name: path.read_bytes() for path in runs.iterdir()}
    doctor(store, "--repair")
    for name in DAMAGES:
        path = runs / f"{name}.jsonl"
        original = runs / f"{name}.jsonl.orig"
        assert original.exists() == (name in MENDED), name
        if name in MENDED:
            assert original.read_bytes() == before[path.name]
        if name != "empty":
            records = strict_lines(path.read_bytes())
            assert sum(record["record"] == "turn" for record in records) == DAMAGES[name][2], name
            assert records[0]["record"] == "started"
            assert path.stat().st_mode & 0o777 == 0o600
    assert not (runs / "empty.jsonl").exists()
    for number in range(5):
        assert (runs / f"good-{number}.jsonl").read_bytes() == before[f"good-{number}.jsonl"]
    again = doctor(store)
    assert {finding["kind"] for finding in again if finding.get("mendable")} == set()
    assert doctor(store, "--repair")[-1] == again[-1]
    assert not [path.name for path in runs.iterdir() if path.name.endswith((".new", ".orig.1"))]


def test_the_daemon_serves_the_good_ones_among_the_damaged(store: Path, make_daemon: Callable[..., Daemon]) -> None:
    wire = make_daemon(base=store.parent, config="[runs]\nmax_age_days = 36500\n").start().wire()
    listed = {run["run_id"]: run for run in wire.call("runs.list")["runs"]}
    assert {f"good-{number}" for number in range(5)} <= listed.keys()
    for name, (_, _, turns) in DAMAGES.items():
        if name in ("empty", "nostart", "elsewhere"):
            continue
        assert listed[name]["turn_count"] == turns, name
        trace = wire.call("runs.get_trace", run_id=name)
        assert sum(record["record"] == "turn" for record in trace["records"]) == turns, name


def test_repaired_stores_are_served_whole(store: Path, make_daemon: Callable[..., Daemon]) -> None:
    doctor(store, "--repair")
    wire = make_daemon(base=store.parent, config="[runs]\nmax_age_days = 36500\n").start().wire()
    trace = wire.call("runs.get_trace", run_id="nostart")
    assert [record["record"] for record in trace["records"]] == ["started", "turn", "turn"]
    for name in MENDED - {"empty"}:
        assert wire.call("runs.get_trace", run_id=name)["skipped"] == 0


def test_wide_modes_are_named_and_narrowed(store: Path) -> None:
    (store / "runs").chmod(0o755)
    (store / "runs" / "a" / "good-1.jsonl").chmod(0o644)
    found = doctor(store)
    assert _kinds(found, "runs") == {"too_open"}
    assert _kinds(found, "runs/a/good-1.jsonl") == {"too_open"}
    doctor(store, "--repair")
    assert (store / "runs").stat().st_mode & 0o777 == 0o700
    assert (store / "runs" / "a" / "good-1.jsonl").stat().st_mode & 0o777 == 0o600


def test_links_and_pipes_are_named_and_left_alone(store: Path) -> None:
    runs = store / "runs" / "a"
    (runs / "link.jsonl").symlink_to(runs / "good-1.jsonl")
    os.mkfifo(runs / "pipe.jsonl")
    (store / "runs" / "linked").symlink_to(runs)
    found = doctor(store, "--repair")
    assert _kinds(found, "runs/a/link.jsonl") == {"no_file"}
    assert _kinds(found, "runs/a/pipe.jsonl") == {"no_file"}
    assert _kinds(found, "runs/linked") == {"no_directory"}
    assert (runs / "link.jsonl").is_symlink()


def test_thousands_of_agents(base: Path) -> None:
    runs = base / "car" / "runs"
    runs.mkdir(parents=True)
    for number in range(2000):
        directory = runs / f"agent-{number}"
        directory.mkdir(mode=0o700)
        _write(directory / "r.jsonl", b"" if number == 1234 else _run(f"r{number}"))
        (directory / "r.jsonl").rename(directory / f"r{number}.jsonl")
    found = doctor(base / "car")
    assert _kinds(found, "runs/agent-1234/r1234.jsonl") == {"empty"}
    assert found[-1]["agents"] == 2000


def test_gigabytes_of_nothing(base: Path, make_daemon: Callable[..., Daemon]) -> None:
    """Files that a crash or a disk has filled with NULs: the others are served, memory does not grow with them."""
    runs = base / "car" / "runs" / "a"
    runs.mkdir(parents=True, mode=0o700)
    _write(runs / "good.jsonl", _run("good"))
    _write(runs / "tail.jsonl", _run("tail", end=False))
    os.truncate(runs / "tail.jsonl", 1 << 30)
    _write(runs / "hole.jsonl", _START % b"hole" + _TURN % 0)
    os.truncate(runs / "hole.jsonl", 1 << 30)
    with (runs / "hole.jsonl").open("ab") as file:
        file.write(b"\n" + _TURN % 1)
    daemon = make_daemon(base=base, config="[runs]\nmax_age_days = 36500\n").start()
    wire = daemon.wire()
    listed = {run["run_id"]: run["turn_count"] for run in wire.call("runs.list")["runs"]}
    assert listed == {"good": 2, "tail": 2, "hole": 2}
    assert wire.call("runs.get_trace", run_id="hole", limit=2)["records"]
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]
    assert peak < 768
    daemon.stop()
    assert {"torn_tail", "padding"} <= {finding.get("kind") for finding in doctor(base / "car")}


# -- the daemon --------------------------------------------------------------------------------------------


def _environment(found: list[Json]) -> set[str]:
    return {finding["kind"] for finding in found[:-1] if not finding["place"].startswith("runs")}


def test_nothing_is_wrong(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.complete(wire.start())
    assert doctor(daemon.car_dir, status=0)[-1]["findings"] == 0


def test_a_daemon_that_is_down(base: Path) -> None:
    assert _environment(doctor(base / "car", status=0)) == {"no_car_dir", "daemon_down"}


def test_a_stale_socket(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon().start()
    daemon.kill()
    assert "stale_socket" in _environment(doctor(daemon.car_dir, status=1))
    doctor(daemon.car_dir, "--repair", status=0)
    assert not daemon.socket.exists()


def test_a_daemon_of_another_car_directory(daemon: Daemon, base: Path) -> None:
    (base / "other").mkdir(mode=0o700)
    found = doctor(base / "other", CARRUNSD_SOCKET=str(daemon.socket), status=1)
    assert "other_car_dir" in _environment(found)


def test_a_daemon_that_listens_elsewhere(make_daemon: Callable[..., Daemon], base: Path) -> None:
    daemon = make_daemon()
    process = daemon.spawn("--socket", str(base / "elsewhere.sock"))
    try:
        wait_until(lambda: listens(base / "elsewhere.sock"))
        assert "elsewhere" in _environment(doctor(daemon.car_dir, status=1))
    finally:
        process.kill()
        process.wait()


def test_a_daemon_of_another_version(base: Path) -> None:
    """A daemon from the future, played by a few lines."""
    (base / "car").mkdir(mode=0o700)
    answer = {"protocol_version": 9, "version": "9.0", "car_dir": str(base / "car"), "capabilities": [], "pid": 1}
    script = (
        "import json, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()\n"
        "print(flush=True)\n"
        "while True:\n"
        "    c = s.accept()[0]; f = c.makefile('rb')\n"
        "    for line in f:\n"
        "        m = json.loads(line)\n"
        "        c.sendall(json.dumps({'jsonrpc': '2.0', 'id': m.get('id'), 'result': json.loads(sys.argv[2])})"
        ".encode() + b'\\n')\n"
    )
    play = subprocess.Popen(
        [sys.executable, "-c", script, str(base / "car" / "carrunsd.sock"), json.dumps(answer)],
        stdout=subprocess.PIPE,
    )
    assert play.stdout is not None
    try:
        play.stdout.readline()
        assert "version" in _environment(doctor(base / "car", status=1))
    finally:
        play.kill()
        play.wait()
        play.stdout.close()


def test_what_is_no_socket(base: Path) -> None:
    (base / "car").mkdir(mode=0o700)
    (base / "car" / "carrunsd.sock").write_text("")
    assert "not_a_socket" in _environment(doctor(base / "car", status=1))


def test_repair_under_a_live_daemon_is_refused(daemon: Daemon) -> None:
    wire = daemon.wire()
    run_id = wire.start()
    with daemon.file("agent-a", run_id).open("ab") as file:
        file.write(b"{torn")
    done = subprocess.run(
        [sys.executable, "-m", "carruns.cli", "--car-dir", str(daemon.car_dir), "doctor", "--repair"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "running already" in done.stderr


@pytest.mark.root
def test_a_car_directory_and_a_socket_of_another_user(base: Path) -> None:
    car_dir = base / "car"
    car_dir.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(car_dir / "carrunsd.sock"))
        for path in (car_dir, car_dir / "carrunsd.sock"):
            shutil.chown(path, 12345, 12345)
        found = doctor(car_dir, status=1)
    assert sum(finding.get("kind") == "wrong_owner" for finding in found) == 2


def test_open_to_others_bad_configuration_refused_spool(base: Path) -> None:
    car_dir = base / "car"
    (car_dir / "spool").mkdir(parents=True, mode=0o700)
    car_dir.chmod(0o777)
    (car_dir / "config.toml").write_text("[carrunsd]\nfsync = 'sometimes'\n")
    (car_dir / "spool" / "x.jsonl.refused").write_text("")
    (car_dir / "spool" / "y.jsonl").write_text("{}\n")
    kinds = _environment(doctor(car_dir, status=1))
    assert {"too_open", "config", "refused", "spooled"} <= kinds


def test_it_prints_for_people_too(store: Path) -> None:
    command: list[Any] = [sys.executable, "-m", "carruns.cli", "--car-dir", store, "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "runs/a/middle.jsonl:3: no record" in done.stdout
    assert "carruns doctor --repair does it" in done.stdout
