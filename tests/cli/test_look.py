"""``list``, ``show``, ``status``: with a daemon and without, in a pipe, on a terminal, with hostile content."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.place import Place

HOSTILE = (
    "\x1b[31mred\x1b[0m\r\x00\x9b2J \u202etxt.exe\u202c \u2066x\u2069 <script>alert(1)</script> \U0001f600 \x07"
)


def assert_harmless(text: str) -> None:
    """Nothing that a terminal obeys is in it, but for newlines and our own colours."""
    for char in text:
        assert char == "\n" or (ord(char) >= 32 and not 0x7F <= ord(char) < 0xA0), ascii(char)
        assert char not in "\u202e\u202c\u2066\u2069\u200e\u200f\u2028", ascii(char)


# --- list ---------------------------------------------------------------------------------------------------


def test_list_shows_the_newest_first(live: Place) -> None:
    first, second = live.run_of("a", "first thing"), live.run_of("b", "second thing")
    lines = live.run("list").stdout.splitlines()
    assert lines[0].split() == ["ID", "AGENT", "STATUS", "TURNS", "TOOK", "AGE", "SIZE", "INTENT"]
    assert [line.split()[0] for line in lines[1:]] == [second, first]
    assert "second thing" in lines[1]


def test_list_as_json_has_the_documented_fields(live: Place) -> None:
    run_id = live.run_of("a", "a thing", [{"tool": "x"}])
    (run,) = live.json("list")
    assert run.run_id == run_id
    assert set(run) == {
        "run_id", "agent_id", "intent", "started_at", "ended_at", "status", "turn_count", "bytes", "outcome_status",
        "duration_ms",
    }  # fmt: skip


@pytest.mark.parametrize("daemon", [True, False])
def test_list_filters(live: Place, daemon: bool) -> None:
    good = live.run_of("good", "find Flaky tests")
    with live.client() as client:
        with client.run("bad", intent="break") as run:
            run.fail("broke")
            bad = run.id
        with client.run("bad", intent="wait") as run:
            run.abandon()
            left = run.id
    if not daemon:
        live.daemon.stop()

    def ids(*arguments: str) -> set[str]:
        return {run.run_id for run in live.json("list", *arguments)}

    assert ids() == {good, bad, left}
    assert ids("--agent", "bad") == {bad, left}
    assert ids("--status", "incomplete") == {left}
    assert ids("--outcome", "failure") == {bad}
    assert ids("--grep", "flaky") == {good}
    assert ids("--since", "1h") == {good, bad, left}
    assert ids("--until", "yesterday") == set()
    assert ids("--agent", "nobody") == set()
    assert len(ids("-n", "1")) == 1


def test_without_a_daemon_list_reads_the_files_and_says_so(live: Place) -> None:
    live.run_of()
    with_daemon = live.run("list", "--json")
    live.daemon.stop()
    without = live.run("list", "--json")
    assert without.stdout == with_daemon.stdout
    assert with_daemon.stderr == ""
    assert "no daemon is running" in without.stderr
    assert str(live.runs_root) in without.stderr


def test_looking_changes_nothing(place: Place) -> None:
    assert "no runs" in place.run("list", env={"CARRUNS_AUTOSTART": "1"}).stdout
    assert not place.car_dir.exists()


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_list_fits_the_terminal(live: Place, terminal: Callable[..., Any], columns: int) -> None:
    live.run_of("an-agent-with-a-rather-long-name-indeed", "wide \u4f60\u597d " * 40)
    status, seen = terminal("list", columns=columns, NO_COLOR="1").finish()
    assert status == 0
    from rich.cells import cell_len

    assert all(cell_len(line) <= columns for line in seen.splitlines()), seen


def test_colours_are_for_terminals_that_have_them(live: Place, terminal: Callable[..., Any]) -> None:
    live.run_of()
    assert "\x1b[" in terminal("list").finish()[1]
    assert "\x1b[" not in terminal("list", NO_COLOR="1").finish()[1]
    assert "\x1b[" not in terminal("list", TERM="dumb").finish()[1]
    assert "\x1b[" not in terminal("list", "--no-color").finish()[1]
    assert "\x1b[" not in live.run("list").stdout
    assert "\x1b[" in live.run("list", "--color").stdout


def test_list_without_utf8_is_ascii(live: Place) -> None:
    live.run_of(intent="\u4f60\u597d")
    text = live.run("list", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}).stdout
    assert text.isascii()
    assert "\\u4f60" in text


def test_a_closed_pipe_is_no_error(live: Place) -> None:
    for _ in range(3):
        live.run_of(intent="x" * 3000)
    reading, writing = os.pipe()
    os.close(reading)
    process = live.popen("list", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 141


# --- show ---------------------------------------------------------------------------------------------------


def record_variety(place: Place) -> str:
    with place.client() as client, client.run("worker", intent="do it", metadata={"k": "v"}) as run:
        run.turn(prompt="What now?", model="m-1", usage={"input_tokens": 10, "output_tokens": 3}, duration_ms=1500)
        run.turn(tool="shell", parameters={"command": "ls"}, output="\n".join(f"file{n}" for n in range(50)))
        run.turn(tool="shell", parameters={"command": "rm -rf /"}, policy_rejected={"rule": "no-destruction"})
        run.turn(tool="fetch", error="connection refused", verifier_verdict="failed", usage={"input_tokens": 5})
        run.fail("could not", evidence=[{"kind": "log", "description": "the log says so", "data": {"line": 3}}])
        return run.id


def test_show_is_for_reading(live: Place) -> None:
    run_id = record_variety(live)
    text = live.run("show", run_id).stdout
    for part in (
        run_id, "worker", "failure", "do it", "What now?", "m-1", "15 input tokens", "3 output tokens", "command: ",
        "file0", "44 more lines", "REJECTED", "no-destruction", "ERROR", "connection refused", "verdict", "failed",
        "could not", "log: the log says so", "{line: 3}", "4 turns", "timeline",
    ):  # fmt: skip
        assert part in text, (part, text)
    assert "file40" not in text
    assert "file40" in live.run("show", run_id, "--full").stdout


def test_show_selects_turns(live: Place) -> None:
    run_id = record_variety(live)
    text = live.run("show", run_id, "--turns", "-1:").stdout
    assert "connection refused" in text
    assert "What now?" not in text
    assert "1 of 4 turns" in text
    assert "What now?" not in live.run("show", run_id, "--tool", "shell").stdout


def test_show_raw_is_the_file(live: Place) -> None:
    run_id = record_variety(live)
    lines = live.run("show", run_id, "--raw").stdout
    assert lines == (live.runs_root / "worker" / f"{run_id}.jsonl").read_text()


def test_an_id_may_be_shortened_as_far_as_it_is_clear(live: Place) -> None:
    one, other = live.run_of(), live.run_of()
    assert one in live.run("show", one[:-1]).stdout
    assert other in live.run("show", "last").stdout
    ambiguous = live.run("show", one[:4], code=4).stderr
    assert one in ambiguous
    assert other in ambiguous
    assert "no run" in live.run("show", "nonsense", code=3).stderr


def test_show_says_what_is_missing(live: Place) -> None:
    run_id = live.run_of("worker", turns=[{"tool": f"t{n}"} for n in range(5)] + [{"output": "x" * 70_000}])
    live.daemon.stop()
    path = live.runs_root / "worker" / f"{run_id}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], b"garbage\n", lines[4], lines[5], lines[6], lines[7]]))
    text = live.run("show", run_id).stdout
    assert "1 lines of the file cannot be read" in text
    assert "turns are missing: 1-2" in text
    assert "1 turns were too large and are truncated" in text


@pytest.mark.parametrize("full", [True, False])
def test_hostile_content_is_harmless(live: Place, full: bool) -> None:
    with live.client() as client, client.run("evil\x1b[2J", intent=HOSTILE) as run:
        run.turn(tool=HOSTILE, parameters={HOSTILE: HOSTILE}, output=HOSTILE, prompt=HOSTILE, error=HOSTILE)
        unknown: dict[str, Any] = {HOSTILE: HOSTILE}
        run.turn(output={"stream": HOSTILE, "text": HOSTILE}, **unknown)
        run.turn(output="x" * 60_000 + "\n" * 50)
        run.fail(HOSTILE, evidence=[{"kind": HOSTILE, "description": HOSTILE, "data": HOSTILE}])
    assert_harmless(live.run("list").stdout)
    assert_harmless(live.run("list", "--json").stdout)
    assert_harmless(live.run("show", "last", *(["--full"] if full else [])).stdout)
    raw = live.run("show", "last", "--raw").stdout
    assert_harmless(raw)
    assert json.loads(raw.splitlines()[0])["intent"] == HOSTILE


# --- status -------------------------------------------------------------------------------------------------


def test_status_of_a_daemon_that_is_up(live: Place) -> None:
    text = live.run("status").stdout
    assert "up" in text
    assert str(live.daemon.pid) in text
    assert str(live.car_dir) in text
    (report,) = live.json("status")
    assert (report.up, report.pid, report.open_runs) == (True, live.daemon.pid, 0)


def test_status_says_what_is_wrong(place: Place) -> None:
    (report,) = place.json("status", code=69)
    assert (report.up, report.state) == (False, "no_socket")
    place.daemon.start()
    place.daemon.kill()
    (report,) = place.json("status", code=69)
    assert report.state == "stale_socket"
    place.daemon.socket.unlink()
    place.daemon.socket.write_text("no socket")
    assert "move it away" in place.run("status", code=69).stdout


def test_status_of_something_else_on_the_socket(place: Place) -> None:
    place.car_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.daemon.socket))
        listener.listen()
        (report,) = place.json("status", code=69)
    assert report.state == "not_answering"


# --- the whole ----------------------------------------------------------------------------------------------


def test_help_and_usage(place: Place) -> None:
    assert "Examples:" in place.run("--help").stdout
    for command in ("list", "show", "exec", "status", "demo"):
        assert "Usage: carruns " + command in place.run(command, "--help").stdout
    assert "Did you mean" in place.run("lst", code=2).stderr
    assert place.run("--version").stdout.startswith("carruns ")


def test_start_up_loads_only_what_is_needed(live: Place) -> None:
    live.run_of()
    import subprocess
    import sys

    code = (
        "import sys; from carruns.cli.app import run; run(['list']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=live.env, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not {"rich", "anyio", "asyncio", "carrunsd", "uvloop", "tomli", "carruns.aio"} & loaded


def test_demo_shows_the_main_job_and_leaves_nothing(place: Place) -> None:
    done = place.run("demo", env={"CARRUNSD_SOCKET": "/nonexistent/socket"})
    directory = done.stdout.split(" in ", 1)[1].split("\n")[0]
    assert not os.path.exists(directory)
    for agent in ("tester", "compiler", "searcher", "planner"):
        assert agent in done.stdout
    assert "$ carruns list" in done.stdout
    assert "FAIL: test_sum_of_tenths" in done.stdout
    assert not place.car_dir.exists()
    left = [entry for entry in os.listdir("/proc") if entry.isdigit() and _mentions(entry, directory)]
    assert left == []


def _mentions(pid: str, text: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return text.encode() in file.read()
    except OSError:
        return False


def test_demo_stopped_by_ctrl_c_cleans_up(place: Place, terminal: Callable[..., Any]) -> None:
    screen = terminal("demo", NO_COLOR="1")
    seen = screen.wait_for("surveyor")
    directory = seen.split(" in ", 1)[1].split("\r\n")[0].strip()
    screen.type("\x03")
    status, _ = screen.finish()
    assert status == 130
    assert not os.path.exists(directory)


def complete(place: Place, line: str, position: int) -> list[str]:
    env = {"COMP_WORDS": line, "COMP_CWORD": str(position), "_CARRUNS_COMPLETE": "bash_complete"}
    return [row.split(",", 1)[1] for row in place.run(env=env).stdout.splitlines() if row]


def test_completion_offers_commands_runs_and_agents(live: Place) -> None:
    run_id = live.run_of("alpha")
    assert complete(live, "carruns sh", 1) == ["show"]
    assert complete(live, f"carruns show {run_id[:5]}", 2) == [run_id]
    assert complete(live, "carruns list --agent al", 3) == ["alpha"]
    live.daemon.stop()
    assert complete(live, f"carruns show {run_id[:5]}", 2) == [run_id]


def test_completion_never_offers_what_a_shell_would_run(live: Place) -> None:
    with live.client() as client:
        for name in ("$(touch pwned)", "a;b", "a\nb", "`x`"):
            client.run(name, intent="x", run_id=name).succeed()
    assert complete(live, "carruns show ", 2) == []
    assert complete(live, "carruns list --agent ", 3) == []


def test_a_run_of_very_many_turns_is_folded(live: Place) -> None:
    live.run_of("a", turns=[{"tool": f"tool{n}"} for n in range(450)])
    text = live.run("show", "last").stdout
    assert "250 turns left out" in text
    assert "tool99\n" in text
    assert "tool200\n" not in text
    assert "tool449\n" in text
    assert "tool200\n" in live.run("show", "last", "--full").stdout


@pytest.mark.parametrize("how", ["SIGTERM", "closed pipe"])
def test_demo_that_is_stopped_leaves_nothing(place: Place, how: str) -> None:
    process = place.popen("demo")
    assert process.stdout is not None
    directory = process.stdout.readline().decode().split(" in ", 1)[1].strip()
    if how == "SIGTERM":
        process.terminate()
        process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == (143 if how == "SIGTERM" else 141)
    assert not os.path.exists(directory)
    assert [entry for entry in os.listdir("/proc") if entry.isdigit() and _mentions(entry, directory)] == []
