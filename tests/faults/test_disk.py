"""A disk that fails: every N-th call, a full one, a read-only one, files that vanish.  Nothing half or silent."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import disk, mounts
from tests.faults.inject import Injection
from tests.support import Daemon, Json, Wire, strict_lines, wait_until

pytestmark = pytest.mark.root

_BIG = "x" * 20_000


@pytest.mark.parametrize("policy", ["everysec", "always"])
def test_every_call_fails_once_and_for_good(policy: str, base: Path) -> None:
    plan = disk.all_cases()[policy][:: 5 if policy == "everysec" else 6]
    figures = disk.injections(base, plan, fsync=policy)
    assert sum(figures["injected"].values()) > 10


def fill(wire: Wire, run_id: str, *, patience: int = 2000) -> tuple[int, Json]:
    """Record until the disk refuses; return how many turns were acknowledged, and the error."""
    for number in range(patience):
        answer = wire.request(
            "runs.record_turns", run_id=run_id, writer="w", seq=number, turns=[{"prompt": f"{number} {_BIG}"}]
        )
        if "error" in answer:
            return number, answer["error"]
    raise AssertionError("the disk never refused")


def numbers(data: bytes) -> list[int]:
    return [record["seq"] for record in strict_lines(data) if record["record"] == "turn"]


def _goes_on(wire: Wire, run_id: str, number: int) -> None:
    turns = [{"prompt": str(number)}]
    wait_until(
        lambda: "error" not in wire.request("runs.record_turns", run_id=run_id, writer="w", seq=number, turns=turns)
    )


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_and_room_again(make_daemon: Callable[..., Daemon], base: Path, kind: str) -> None:
    daemon = make_daemon(base=base)
    runs = daemon.car_dir / "runs"
    daemon.car_dir.mkdir(mode=0o700, exist_ok=True)
    where: AbstractContextManager[Any] = (
        mounts.tmpfs(runs, "size=1m")
        if kind == "tmpfs"
        else mounts.mounted(str(mounts.make_ext4(base / "img", 8)), runs, "-o", "loop")
    )
    with where:
        (runs / "ballast").write_bytes(b"b" * 200_000)
        wire = daemon.start().wire()
        run_id = wire.start()
        acked, error = fill(wire, run_id)
        assert error["data"] == {"kind": "storage", "errno": "ENOSPC"}
        assert "make room" in error["message"]
        assert numbers(daemon.file("agent-a", run_id).read_bytes()) == list(range(acked))
        assert wire.call("runs.flush", run_id=run_id, writer="w")["acked_seq"] == acked - 1
        (runs / "ballast").unlink()
        _goes_on(wire, run_id, acked)
        wire.complete(run_id)
        assert numbers(daemon.file("agent-a", run_id).read_bytes()) == list(range(acked + 1))
        daemon.kill()


def test_no_inodes_left_refuses_new_runs_only(make_daemon: Callable[..., Daemon], base: Path) -> None:
    daemon = make_daemon(base=base)
    runs = daemon.car_dir / "runs"
    daemon.car_dir.mkdir(mode=0o700, exist_ok=True)
    with mounts.tmpfs(runs, "nr_inodes=6"):
        wire = daemon.start().wire()
        run_id = wire.start()
        errors: list[Json] = []
        for number in range(6):
            answer = wire.request("runs.start", agent_id=f"other-{number}", intent="i")
            errors += [answer["error"]] if "error" in answer else []
        assert errors
        assert {error["data"]["errno"] for error in errors} == {"ENOSPC"}
        assert wire.turns(run_id, "goes on")["ok"]
        assert wire.complete(run_id)["ok"]
        daemon.kill()


def test_short_writes_leave_no_half_line(make_daemon: Callable[..., Daemon]) -> None:
    """RLIMIT_FSIZE makes the kernel write a part, then refuse."""
    daemon = make_daemon().start()
    wire = daemon.wire()
    run_id, other = wire.start(), wire.start()
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
    acked, error = fill(wire, run_id)
    assert error["data"] == {"kind": "storage", "errno": "EFBIG"}
    assert numbers(daemon.file("agent-a", run_id).read_bytes()) == list(range(acked))
    assert wire.turns(other, "goes on")["ok"]
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _goes_on(wire, run_id, acked)
    assert numbers(daemon.file("agent-a", run_id).read_bytes()) == list(range(acked + 1))


def test_a_short_write_that_cannot_be_cut_back_is_cut_later(make_daemon: Callable[..., Daemon]) -> None:
    """Whole lines of a write that was refused do not come to count; half a line does not stay."""
    daemon = make_daemon().start()
    wire = daemon.wire()
    run_id = wire.start()
    path = daemon.file("agent-a", run_id)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    with Injection(daemon.pid, [path], ["ftruncate:error=EIO:when=1"], daemon.base / "strace.log") as fault:
        turns = [{"prompt": f"{number} {_BIG}"} for number in range(5)]
        answer = wire.request("runs.record_turns", run_id=run_id, writer="w", seq=0, turns=turns)
        assert answer["error"]["data"]["errno"] == "EFBIG"
    assert fault.injected == 1
    assert path.stat().st_size == 50_000  # two whole lines and a half of the refused batch
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert wire.call("runs.flush", run_id=run_id, writer="w")["acked_seq"] is None
    _goes_on(wire, run_id, 0)
    assert numbers(path.read_bytes()) == [0]


def test_a_read_only_remount(make_daemon: Callable[..., Daemon], base: Path) -> None:
    daemon = make_daemon(base=base)
    runs = daemon.car_dir / "runs"
    daemon.car_dir.mkdir(mode=0o700, exist_ok=True)
    with mounts.mounted(str(mounts.make_ext4(base / "img", 8)), runs, "-o", "loop"):
        wire = daemon.start().wire()
        run_id = wire.start()
        wire.turns(run_id, "a", writer="w", seq=0)
        daemon.kill()  # it holds a descriptor for writing, so the remount would be refused
        subprocess.run(["mount", "-o", "remount,ro", str(runs)], check=True)
        wire = daemon.start().wire()
        error = wire.error("runs.record_turns", run_id=run_id, turns=[{"prompt": "b"}], writer="w", seq=1)
        assert error["data"] == {"kind": "storage", "errno": "EROFS"}
        assert "read-only" in error["message"]
        assert wire.error("runs.start", agent_id="new", intent="i")["data"]["errno"] == "EROFS"
        assert wire.call("runs.get_trace", run_id=run_id)["records"][1]["prompt"] == "a"
        subprocess.run(["mount", "-o", "remount,rw", str(runs)], check=True)
        _goes_on(wire, run_id, 1)
        wire.complete(run_id)
        assert numbers(daemon.file("agent-a", run_id).read_bytes()) == [0, 1]
        daemon.kill()


def test_a_file_system_shut_down_under_the_daemon(make_daemon: Callable[..., Daemon], base: Path) -> None:
    """Everything fails with EIO; the daemon answers so, for as long as it takes, and other places go on."""
    daemon = make_daemon(base=base)
    runs = daemon.car_dir / "runs"
    daemon.car_dir.mkdir(mode=0o700, exist_ok=True)
    with mounts.mounted(str(mounts.make_ext4(base / "img", 8)), runs, "-o", "loop"):
        wire = daemon.start().wire()
        run_id = wire.start()
        wire.turns(run_id, "a", writer="w", seq=0)
        mounts.cut_power(runs)
        for _ in range(3):
            error = wire.error("runs.record_turns", run_id=run_id, turns=[{"prompt": "b"}], writer="w", seq=1)
            assert error["data"] == {"kind": "storage", "errno": "EIO"}
        assert wire.error("runs.flush", run_id=run_id, durable=True)["data"]["kind"] == "storage"
        assert wire.call("server.ping") == {}
        daemon.kill()


def test_an_immutable_file(daemon: Daemon) -> None:
    wire = daemon.wire()
    run_id = wire.start()
    path = daemon.file("agent-a", run_id)
    daemon.restart()
    wire = daemon.wire()
    if subprocess.run(["chattr", "+i", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this file system knows no immutable files")
    try:
        error = wire.error("runs.record_turns", run_id=run_id, turns=[{"prompt": "a"}], writer="w", seq=0)
        assert error["data"] == {"kind": "storage", "errno": "EPERM"}
    finally:
        subprocess.run(["chattr", "-i", str(path)], check=True)
    _goes_on(wire, run_id, 0)
    assert numbers(path.read_bytes()) == [0]


# -- what vanishes under the daemon ------------------------------------------------------------------------


def _removed(path: Path) -> None:
    path.unlink()


def _replaced(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.write_bytes(path.with_suffix(".moved").read_bytes())


def _directory_removed(path: Path) -> None:
    shutil.rmtree(path.parent)


def _directory_moved(path: Path) -> None:
    path.parent.rename(path.parent.parent.parent / f"moved-{path.parent.name}")


def _directory_replaced(path: Path) -> None:
    _directory_moved(path)
    path.parent.mkdir(mode=0o700)


def _all_moved(path: Path) -> None:
    path.parent.parent.rename(path.parent.parent.with_name("moved-all"))


def _became_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _became_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "harm",
    [
        _removed, _replaced, _directory_removed, _directory_moved, _directory_replaced, _all_moved, _became_a_link,
        _became_a_pipe,
    ],
)  # fmt: skip
def test_a_run_taken_away_is_an_error_and_others_go_on(shared: Daemon, harm: Callable[[Path], None]) -> None:
    with shared.wire() as wire:
        agent = f"agent-{harm.__name__}"
        other = wire.start(agent_id=f"other-{harm.__name__}")
        run_id = wire.start(agent_id=agent)
        wire.turns(run_id, "a", writer="w", seq=0)
        harm(shared.file(agent, run_id))
        error = wire.error("runs.record_turns", run_id=run_id, turns=[{"prompt": "b"}], writer="w", seq=1)
        assert error["data"]["kind"] == "storage"
        assert error["data"]["errno"] in ("ENOENT", "ESTALE")
        assert b'"b"' not in b"".join(path.read_bytes() for path in shared.car_dir.glob("moved*/**/*.jsonl"))
        again = wire.start(agent_id=agent)
        assert wire.turns(again, "c")["ok"]
        assert shared.file(agent, again).exists()
        if harm is not _all_moved:
            assert wire.turns(other, "goes on")["ok"]


def test_a_file_that_someone_else_wrote_to_is_read_anew(shared: Daemon) -> None:
    with shared.wire() as wire:
        run_id = wire.start(agent_id="touched")
        wire.turns(run_id, "a", writer="w", seq=0)
        with shared.file("touched", run_id).open("ab") as file:
            file.write(b'{"record":"turn","index":1,"prompt":"theirs","parameters":null}\n')
        assert wire.error("runs.record_turns", run_id=run_id, turns=[{"prompt": "b"}], writer="w", seq=1)
        assert wire.turns(run_id, "b", writer="w", seq=1)["base_index"] == 2
        assert [record.get("prompt") for record in shared.records("touched", run_id)] == [None, "a", "theirs", "b"]


# -- descriptors -------------------------------------------------------------------------------------------


def test_out_of_descriptors(make_daemon: Callable[..., Daemon]) -> None:
    """New runs and connections are refused or wait, old ones go on, nothing spins; then all is well again."""
    daemon = make_daemon().start()
    wire = daemon.wire()
    run_id = wire.start()
    wire.turns(run_id, "a")
    limit = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (4, limit[1]))  # what is open stays open
    waiting = [daemon.wire() for _ in range(20)]
    numbers_ = [one.post("server.ping") for one in waiting]
    before = _cpu_seconds(daemon.pid)
    assert wire.turns(run_id, "b")["ok"]
    error = wire.error("runs.start", agent_id="new", intent="i")
    assert error["data"] == {"kind": "storage", "errno": "EMFILE"}
    for _ in range(200):
        assert wire.call("server.ping") == {}
    assert _cpu_seconds(daemon.pid) - before < 0.5
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limit)
    for one, number in zip(waiting, numbers_, strict=True):
        assert one.answer(number)["result"] == {}
    assert wire.start(agent_id="new")
    assert daemon.log().count("accept:") == 1


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_more_runs_than_descriptors(make_daemon: Callable[..., Daemon]) -> None:
    """Files are opened and closed as they are needed."""
    daemon = make_daemon()
    daemon.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (96, 96)))
    wire = daemon.wire()
    runs = [wire.start(agent_id=f"agent-{number % 7}") for number in range(150)]
    for round_ in range(3):
        for run_id in runs:
            _goes_on(wire, run_id, round_)
    for number, run_id in enumerate(runs):
        assert len(daemon.records(f"agent-{number % 7}", run_id)) == 4
