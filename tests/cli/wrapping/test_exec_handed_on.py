"""``carruns exec`` as if it were not there: descriptors, signals, slow readers, the way the command ended."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from tests.cli.conftest import Terminals
from tests.cli.place import Place
from tests.cli.wrapping.test_exec import only_run, outcome, recorded
from tests.support import wait_until


def wrapped(*command: str) -> list[str]:
    return ["exec", "--agent", "tester", "--", *command]


def shell(place: Place, text: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run bash with ``$EXEC`` standing for ``carruns exec``."""
    words = " ".join(place.argv(wrapped()))
    return subprocess.run(
        ["bash", "-c", text],
        env=place.env | {"EXEC": words},
        capture_output=True,
        timeout=40,
        check=False,
        **options,
    )


# --- descriptors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("$EXEC cat <(echo hello)", b"hello\n"),
        ("$EXEC sh -c 'echo three >&3' 3>&1 >/dev/null", b"three\n"),
        ("$EXEC sh -c 'cat <&7' 7<<<seven", b"seven\n"),
        ("echo in | $EXEC cat", b"in\n"),
    ],
)
def test_descriptors_are_handed_on(live: Place, text: str, want: bytes) -> None:
    assert shell(live, text).stdout == want


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_job_server_of_make_is_handed_on(live: Place) -> None:
    (live.base / "sub").mkdir()
    (live.base / "sub" / "Makefile").write_text("all:\n\t@true\n")
    (live.base / "Makefile").write_text("all:\n\t+@$(EXEC) $(MAKE) -s -C sub\n")
    done = shell(live, "make -s -j4", cwd=live.base)
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_the_command_closes_is_closed(live: Place) -> None:
    """While we held a pipe's end that was meant for the command, its other end would wait for us."""
    text = "import os, sys; os.close(int(sys.argv[1])); sys.stdin.close(); os.close(0); print('closed', flush=True)"
    text += "; import time; time.sleep(60)"
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    process = live.popen(
        *wrapped(sys.executable, "-c", text, str(theirs)), close_fds=False, stdin=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"closed\n"
    assert select.select([ours], [], [], 20)[0]
    assert os.read(ours, 1) == b""
    os.close(ours)
    poll = select.poll()
    poll.register(process.stdin, 0)
    assert poll.poll(20_000)
    process.terminate()
    process.wait(20)


def test_a_script_without_its_first_line_runs(live: Place) -> None:
    path = live.base / "script"
    path.write_text("echo $0 $1\nexit 4\n")
    path.chmod(0o755)
    done = live.run(*wrapped(str(path), "word"), code=4)
    assert done.stdout == f"{path} word\n"


def test_sockets_of_systemd_are_for_the_command(live: Place) -> None:
    words = " ".join(live.argv(wrapped("sh", "-c", "'test $LISTEN_PID = $$ && echo mine'")))
    done = subprocess.run(
        ["sh", "-c", f"LISTEN_FDS=0 LISTEN_PID=$$ exec {words}"],
        env=live.env, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == b"mine\n"


# --- a reader that does not read ----------------------------------------------------------------------------


@pytest.fixture
def unread() -> Any:
    """The two ends of a pipe that nobody reads."""
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)


def test_a_reader_that_does_not_read_does_not_hold_up_a_signal(live: Place, unread: tuple[int, int]) -> None:
    _, theirs = unread
    process = live.popen(*wrapped("yes"), stdout=theirs, start_new_session=True)
    os.close(theirs)
    wait_until(lambda: only_runs(live) and live.turns())
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM


def only_runs(place: Place) -> list[Any]:
    with place.client() as client:
        return client.list_runs()


def test_a_reader_that_does_not_read_does_not_hold_up_the_other_stream(
    live: Place, unread: tuple[int, int]
) -> None:
    _, theirs = unread
    text = "yes & for i in 1 2 3; do echo $i >&2; sleep 0.1; done; kill $!"
    process = live.popen(*wrapped("sh", "-c", text), stdout=theirs, start_new_session=True)
    os.close(theirs)
    assert process.stderr is not None
    assert [process.stderr.readline() for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]


def test_what_was_written_before_the_end_reaches_a_late_reader(live: Place) -> None:
    ours, theirs = os.pipe()
    process = live.popen(*wrapped(sys.executable, "-c", "print('x' * 150_000)"), stdout=theirs)
    os.close(theirs)
    assert process.wait(20) == 0  # though nobody has read
    with os.fdopen(ours, "rb") as file:
        assert file.read() == b"x" * 150_000 + b"\n"
    assert len(recorded(live, "stdout")) == 150_001


@pytest.mark.parametrize("kind", ["socket", "blocking pipe"])
def test_the_open_file_of_others_is_left_as_it_is(live: Place, kind: str) -> None:
    import socket

    near, far = socket.socketpair() if kind == "socket" else (None, None)
    ours, theirs = (near.detach(), far.detach()) if near and far else os.pipe()
    process = live.popen(*wrapped("sh", "-c", "echo hello; read line"), stdout=theirs, stdin=subprocess.PIPE)
    assert os.read(ours, 100) == b"hello\n"
    assert os.get_blocking(theirs)
    process.communicate(b"\n", 20)
    os.close(ours)
    os.close(theirs)


# --- signals ------------------------------------------------------------------------------------------------

_COUNTS = """
import os, signal, sys, time
r, w = os.pipe(); os.set_blocking(w, False); signal.set_wakeup_fd(w)
for s in (1, 2, 10, 15): signal.signal(s, lambda *a: None)
print("ready", flush=True)
seen = os.read(r, 99); time.sleep(0.4); os.set_blocking(r, False)
try: seen += os.read(r, 99)
except BlockingIOError: pass
print(list(seen), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("whole_group", [True, False])
def test_each_signal_reaches_the_command_once(live: Place, number: signal.Signals, whole_group: bool) -> None:
    process = live.popen(*wrapped(sys.executable, "-c", _COUNTS), start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (os.killpg if whole_group else os.kill)(process.pid, number)
    assert process.stdout.readline() == f"[{int(number)}]\n".encode()
    assert process.wait(20) == 0


def test_it_stops_and_goes_on_with_its_command(live: Place) -> None:
    process = live.popen(*wrapped("sh", "-c", "echo $$; read line; echo $line"), stdin=subprocess.PIPE,
                         start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGTSTP)
    wait_until(lambda: _state(process.pid) == _state(pid) == "T")
    os.kill(process.pid, signal.SIGCONT)
    assert process.communicate(b"go\n", 20)[0] == b"go\n"


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_a_command_is_not_left_alone_by_sigkill_to_the_group(live: Place) -> None:
    process = live.popen(*wrapped("sh", "-c", "echo $$; exec sleep 60"), start_new_session=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}") or _state(pid) == "Z")


# --- terminals ----------------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_shell_loop(live: Place, terminal: Terminals) -> None:
    words = " ".join(live.argv(wrapped()))
    text = f"for i in 1 2 3; do {words} sh -c 'echo begun; exec sleep 60'; echo round; done"
    screen = terminal.program("bash", "-c", text)
    screen.wait_for("begun")
    screen.type("\x03")
    status, seen = screen.finish()
    assert status != 0
    assert "round" not in seen


_ASKS = (
    "import os, signal; signal.signal(signal.SIGWINCH, lambda *_: print(*os.get_terminal_size(1), flush=True));"
    "print(*map(os.isatty, (0, 1, 2)), *os.get_terminal_size(1), flush=True);"
    "print('got', input())"
)


def test_a_pty_is_a_terminal_of_the_persons_size(live: Place, terminal: Terminals) -> None:
    screen = terminal("exec", "--pty", "--agent", "t", "--", sys.executable, "-c", _ASKS, columns=91, rows=33)
    screen.wait_for("True True True 91 33")
    screen.resize(77, 22)
    screen.wait_for("77 22")
    screen.type("word\r")
    status, seen = screen.finish()
    assert (status, "got word" in seen) == (0, True)
    assert "got word" in recorded(live, "stdout")


def test_a_pty_needs_no_terminal_of_ours(live: Place) -> None:
    done = live.run("exec", "--pty", "--agent", "t", "--", sys.executable, "-c", _ASKS, given="piped\n")
    assert done.stdout == "False True True 80 24\r\ngot piped\r\n"


def test_ctrl_c_reaches_the_command_on_its_pty(live: Place, terminal: Terminals) -> None:
    screen = terminal("exec", "--pty", "--agent", "t", "--", "sh", "-c", "echo ready; exec sleep 60")
    screen.wait_for("ready")
    screen.type("\x03")
    assert screen.finish()[0] == -signal.SIGINT
    assert outcome(live)["signal"] == "SIGINT"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_terminal_is_as_before_whatever_ends_it(
    live: Place, terminal: Terminals, number: signal.Signals
) -> None:
    screen = terminal("exec", "--pty", "--agent", "t", "--", "sh", "-c", "echo ready; exec sleep 60")
    before = screen.modes
    screen.wait_for("ready")
    assert screen.modes != before
    screen.process.send_signal(number)
    assert screen.finish()[0] == -number
    assert screen.modes == before


def test_a_stop_leaves_the_terminal_as_it_was_meanwhile(live: Place, terminal: Terminals) -> None:
    screen = terminal("exec", "--pty", "--agent", "t", "--", "sh", "-c", "echo ready; read line; echo $line")
    before = screen.modes
    screen.wait_for("ready")
    screen.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: _state(screen.process.pid) == "T")
    assert screen.modes == before
    screen.process.send_signal(signal.SIGCONT)
    wait_until(lambda: screen.modes != before)
    screen.type("on\r")
    assert screen.finish()[0] == 0
    assert screen.modes == before
    assert only_run(live).outcome_status == "success"


# --- the record ---------------------------------------------------------------------------------------------


def test_a_record_that_is_lost_is_said(place: Place) -> None:
    lost = {"CAR_HOME": "/proc/none/car"}
    assert "is not recorded" in place.run(*wrapped("true"), env=lost).stderr
    done = place.run("record", "-a", "a", "-i", "x", given='{"tool": "x"}\n', env=lost, code=1)
    assert "the run is lost" in done.stderr
