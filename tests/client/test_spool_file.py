"""The spool file: whole lines, private, bounded, locked, nothing followed."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from carruns import Client, Run
from carruns.spool import SpoolFile, SpoolFullError, SpoolRoom, spool_files
from tests.client.fake import FakeDaemon, Store, drain


@pytest.fixture
def file(car: Path) -> SpoolFile:
    return spool_files(car, 1 << 20)()


def paths(car: Path) -> list[Path]:
    return sorted((car / "spool").iterdir())


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_private_whatever_the_umask(car: Path, mask: int) -> None:
    old = os.umask(mask)
    try:
        spool = spool_files(car, 100)()
    finally:
        os.umask(old)
    (path,) = paths(car)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((car / "spool").stat().st_mode) == 0o700
    spool.release()


def test_lines_come_back_from_any_line_on(car: Path, file: SpoolFile) -> None:
    lines = [b"%d:%b\n" % (number, b"x" * number * 100) for number in range(100)]
    for line in lines:
        file.append(line)
    assert list(file.lines(0)) == lines
    assert list(file.lines(len(lines[0]))) == lines[1:]
    file.remove()
    assert paths(car) == []


def test_locked_while_its_sender_lives(car: Path, file: SpoolFile) -> None:
    (path,) = paths(car)
    with path.open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    file.release()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_bound_holds_over_all_files(car: Path) -> None:
    make = spool_files(car, 100)
    one, two = make(), make()
    one.append(b"x" * 59 + b"\n")
    with pytest.raises(SpoolFullError):
        two.append(b"x" * 59 + b"\n")
    one.remove()
    two.append(b"x" * 59 + b"\n")
    two.remove()


def test_a_short_write_is_cut_back(car: Path) -> None:
    """For real: a file size limit cuts the write in the middle of a line."""
    code = """
import os, resource, signal, sys
from pathlib import Path
from carruns.spool import spool_files
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = spool_files(Path(sys.argv[1]), 1 << 20)()
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for _ in range(3):
    try:
        spool.append(b"x" * 399 + b"\\n")
    except OSError as error:
        print(type(error).__name__, spool.size)
"""
    done = subprocess.run([sys.executable, "-c", code, str(car)], capture_output=True, text=True, check=True)
    assert done.stdout == "OSError 800\n"
    (path,) = paths(car)
    assert path.read_bytes() == (b"x" * 399 + b"\n") * 2


def test_replacing_leaves_one_file(car: Path, file: SpoolFile) -> None:
    file.append(b"old\n")
    fresh = file.replace([b"new\n", b"newer\n"])
    assert [path.read_bytes() for path in paths(car)] == [b"new\nnewer\n"]
    fresh.remove()


def test_a_file_that_somebody_removed_is_noticed(car: Path, file: SpoolFile) -> None:
    paths(car)[0].unlink()
    with pytest.raises(FileNotFoundError):
        file.append(b"x\n")
    file.remove()


def test_a_replaced_file_counts_once(car: Path) -> None:
    room = SpoolRoom(100)
    file = SpoolFile(car / "spool", room)
    file.append(b"12345\n")
    fresh = file.replace([b"123\n"])
    assert room.used == 4
    fresh.remove()
    assert room.used == 0


# --- through the client ------------------------------------------------------------------------------------


def spooled_run(client: Client, turns: int = 5) -> Run:
    run = client.run("agent", intent="spool")
    for number in range(turns):
        run.turn(parameters=number)
    return run


@pytest.mark.parametrize("kind", ["symlink", "fifo", "file"])
def test_something_else_where_the_spool_should_be(car: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    elsewhere = car / "elsewhere"
    elsewhere.mkdir()
    if kind == "symlink":
        (car / "spool").symlink_to(elsewhere)
    elif kind == "fifo":
        os.mkfifo(car / "spool")
    else:
        (car / "spool").write_text("mine")
    with Client(car, budget=0) as client:
        run = spooled_run(client)
        delivery = run.delivery()
    assert (delivery.spooled, delivery.pending) == (0, 5)
    assert list(elsewhere.iterdir()) == []
    assert len(caplog.records) == 1


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user's directory")
def test_another_users_spool_is_not_used(car: Path) -> None:
    (car / "spool").mkdir(mode=0o777)
    os.chown(car / "spool", 12345, 12345)
    with Client(car, budget=0) as client:
        assert spooled_run(client).delivery().pending == 5
    assert list((car / "spool").iterdir()) == []


def test_a_full_spool_drops_counts_and_tells_the_trace(car: Path, sock: Path) -> None:
    """What was kept in memory and in the file arrives; what was dropped stands in the trace as a gap."""
    with Client(car, budget=0.5, spool_max_bytes=20_000) as client:
        run = client.run("agent", intent="spool")
        for number in range(12_000):
            run.turn(parameters=number, output="x" * 100)
        delivery = run.delivery()
        assert delivery.dropped > 1000
        assert delivery.spooled > 20
        assert sum(delivery[:4]) == 12_000
        assert sum(path.stat().st_size for path in paths(car)) <= 20_000
        with FakeDaemon(sock) as daemon:
            assert run.succeed("in part").dropped == delivery.dropped
            turns = daemon.store.runs[run.id].turns
    assert turns[-1]["error"] == {"kind": "gap", "lost": delivery.dropped, "reason": "spool_full"}
    assert [turn["parameters"] for turn in turns[:-1]] == list(range(12_000 - delivery.dropped))


def test_a_spool_that_has_room_again_tells_of_the_gap_first(car: Path, sock: Path) -> None:
    with Client(car, budget=0.5, spool_max_bytes=20_000) as client:
        run = client.run("agent", intent="spool")
        for number in range(12_000):
            run.turn(parameters=number, output="x" * 100)
        before = run.delivery()
        with FakeDaemon(sock) as daemon:
            while run.flush().spooled:
                pass
            run.turn(parameters="after")
            assert run.flush().pending == 0
            turns = daemon.store.runs[run.id].turns
        gaps = [turn["error"]["lost"] for turn in turns if "error" in turn]
        assert gaps == [before.dropped]
        assert turns[-1]["parameters"] == "after"


def test_the_spool_of_a_live_client_is_left_alone(car: Path) -> None:
    with Client(car, budget=0) as client:
        run = spooled_run(client)
        assert drain(car / "spool", Store()) == 0
        assert len(paths(car)) == 1
    assert drain(car / "spool", store := Store()) == 1
    assert len(store.runs[run.id].turns) == 5


def test_a_client_closed_and_used_again_counts_on(car: Path, sock: Path) -> None:
    client = Client(car, budget=0.3)
    run = spooled_run(client)
    client.close()
    store = Store()
    drain(car / "spool", store)
    with FakeDaemon(sock, store):
        run.turn(parameters=5)
        delivery = run.flush()
        assert (delivery.stored, delivery.spooled) == (1, 5)
        client.close()
    assert [turn["parameters"] for turn in store.runs[run.id].turns] == [0, 1, 2, 3, 4, 5]


def test_the_signal_of_a_file_size_limit_is_not_ours_to_change() -> None:
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN  # Python's own default; nothing here touches it
