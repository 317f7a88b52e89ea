"""What a new user tries at the terminal, and what stood in the way."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from carruns.cli.app import COMMANDS, root
from carruns.cli.parse_units import parse_instant
from carruns.protocol import times
from carruns.protocol.times import parse
from tests.cli.conftest import Terminals
from tests.cli.place import Place
from tests.support import wait_until

SOURCES = Path(__file__).parents[2]


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("22:00", "2026-11-24T22:00:00Z"),
        ("19:14", "2026-11-25T19:14:00Z"),
        ("19:14:01", "2026-11-24T19:14:01Z"),
        ("00:00", "2026-11-25T00:00:00Z"),
        ("23:59:59", "2026-11-24T23:59:59Z"),
    ],
)
def test_a_time_of_day_is_never_in_the_future(text: str, want: str) -> None:
    assert parse_instant(text, parse("2026-11-25T19:14:00Z")) == parse(want)


def test_a_future_time_is_warned_of(place: Place) -> None:
    assert "in the future" in place.run("list", "--since", "2999-01-01").stderr
    assert "in the future" in place.run("grep", "x", "--since", "2999-01-01", code=1).stderr
    assert "in the future" not in place.run("list", "--until", "2999-01-01").stderr


def started(agent: str, run_id: str) -> dict[str, Any]:
    now = times.render(time.time_ns())
    return {"record": "started", "run_id": run_id, "agent_id": agent, "intent": "do it", "started_at": now}


def test_a_short_id_of_a_filtered_list_is_accepted(live: Place, terminal: Terminals) -> None:
    with live.client() as client:
        for agent, run_id in (("a", "0123456789abcdef-one"), ("b", "0123456789abcdef-two")):
            client.append(agent, run_id, [started(agent, run_id)])
    for options in (["--agent", "a"], ["--grep", "do it", "-n", "1"], ["--status", "open"]):
        _, seen = terminal("list", *options).finish()
        short = re.findall(r"0123456789abcdef[\w-]*", seen)
        assert short, seen
        for text in short:
            assert "do it" in live.run("show", text).stdout


def test_the_words_of_the_table_are_accepted(live: Place) -> None:
    with live.client() as client:
        for status in ("partial_success", "failure", "success"):
            client.run("a", intent=status).finish(status, "")
        client.start(agent_id="a", intent="still open")  # which the daemon keeps open for its grace
    rows = live.run("list").stdout.splitlines()[1:]
    words = {line.split()[2] for line in rows}
    assert words == {"open", "partial", "failure", "success"}
    for word in words:
        for option in ("--status", "--outcome"):
            (line,) = live.run("list", option, word).stdout.splitlines()[1:]
            assert line.split()[2] == word
    assert len(live.json("list", "--status", "completed")) == 3
    assert len(live.json("list", "--outcome", "partial_success")) == 1
    assert len(live.json("rm", "--outcome", "partial", "--dry-run")) == 1
    assert "none of" in live.run("list", "--status", "broken", code=2).stderr


def test_failed_is_counted_alike_by_stats_and_show(live: Place) -> None:
    turns: list[dict[str, Any]] = [
        {"error": "x"},
        {"policy_rejected": {"rule": "r"}},
        {"cli_outcome": {"exit_code": 2}},
        {"tool": "fine"},
    ]
    run_id = live.run_of("a", turns=turns)
    assert live.json("stats")[0].failed_turns == 3
    assert "3 failed" in live.run("show", run_id).stdout


_ADVISED = re.compile(r"carruns ([a-z]+)(?: ([a-z]+))?")
#: In quotes of Python only where a command begins; on a page where it is code.
_IN_PROGRAMS, _ON_PAGES = (
    re.compile(r"`carruns [^`]*`|[\"'(]carruns [a-z]+ [a-z]+\b"),
    re.compile(r"`carruns [^`]*`"),
)


def test_only_commands_that_exist_are_advised() -> None:
    """In every text of the programs and on every page."""
    programs = [*(SOURCES / "client/carruns/cli").rglob("*.py"), *(SOURCES / "carrunsd/store").rglob("*.py")]
    pages = [*(SOURCES / "docs").glob("*.md"), SOURCES / "README.md"]
    advice = [(page, text) for page in programs for text in _IN_PROGRAMS.findall(page.read_text())]
    advice += [(page, text) for page in pages for text in _ON_PAGES.findall(page.read_text())]
    assert len(advice) > 40
    assert not [f"{page.name}: {text}" for page, text in advice if not all(map(_exists, _ADVISED.findall(text)))]


def _exists(named: tuple[str, str]) -> bool:
    name, inner = named
    if name not in {name for section in COMMANDS.values() for name in section}:
        return False
    command = root.get_command(click.Context(root), name)
    return not (inner and isinstance(command, click.Group)) or inner in command.commands


@pytest.mark.parametrize(
    "command", [("prune",), ("rm", "--agent", "a"), ("import", "run.jsonl")], ids=lambda command: str(command[0])
)
def test_a_dry_run_starts_no_daemon(live: Place, command: tuple[str, ...]) -> None:
    run_id = live.run_of("a")
    (live.base / "run.jsonl").write_text(live.run("export", run_id).stdout)
    (live.car_dir / "config.toml").write_text("[runs]\nmax_per_agent = 1\n")
    live.run_of("a")
    live.daemon.stop()
    arguments = [word.replace("run.jsonl", str(live.base / "run.jsonl")) for word in command]
    done = live.run(*arguments, "--dry-run", env={"CARRUNS_AUTOSTART": "1"})
    assert not (live.car_dir / "carrunsd.sock").exists()
    assert done.stdout
    assert live.json(*arguments, "--dry-run")


def test_stop_and_restart(live: Place) -> None:
    first = live.daemon.pid
    assert live.run("stop").stdout == f"stopped process {first}\n"
    assert live.daemon.process is not None
    assert live.daemon.process.wait(20) == 0
    assert live.run("stop").stdout == "no daemon was running\n"
    assert "runs as process" in live.run("restart").stdout
    (pid,) = live.json("status")
    assert live.json("restart")[0].stopped == pid.pid
    (again,) = live.json("status")
    assert again.pid != pid.pid
    assert live.json("stop")[0] == {"stopped": True, "pid": again.pid}
    assert "lock_pid" not in live.json("status", code=69)[0]


def test_tail_names_the_run_and_cuts_no_name(live: Place, terminal: Terminals) -> None:
    run_id = live.run_of("an-agent-with-a-long-name", "do it")
    text = live.run("tail").stdout
    assert all(f" {run_id} an-agent-with-a-long-name " in line for line in text.splitlines())
    _, seen = terminal("tail").finish()
    short = re.findall(r"[0-9a-f]{8}-[0-9a-f-]+", seen)[0]
    assert len(short) < len(run_id)
    assert "do it" in live.run("show", short).stdout
    assert "an-agent-with-a-long-name" in seen


def test_in_a_pipe_nothing_is_broken_or_cut(live: Place) -> None:
    words = " ".join(f"word{n}" for n in range(900))
    run_id = live.run_of("a", words, [{"tool": "t" * 40, "output": words}])
    assert live.run("show", run_id).stdout.count(words) == 2
    found = live.run("grep", "word899").stdout
    assert found.count(words) == 2
    assert "t" * 40 in found


def test_what_was_restored_is_not_removed(live: Place) -> None:
    kept, back = live.run_of("a"), live.run_of("a")
    live.run("rm", "--yes", kept, back)
    assert {row.run_id for row in live.json("list", "--removed")} == {kept, back}
    live.run("trash", "restore", back)
    assert {row.run_id for row in live.json("list", "--removed")} == {kept}


# --- a daemon that is not there, or does not answer ---------------------------------------------------------


def seconds_of(place: Place, *arguments: str, code: int = 0) -> tuple[float, str]:
    began = time.monotonic()
    done = place.run(*arguments, code=code)
    return time.monotonic() - began, done.stdout + done.stderr


def start_up(place: Place) -> float:
    return seconds_of(place, "list", "--help")[0]


def test_top_once_without_a_daemon_does_not_wait(place: Place) -> None:
    assert seconds_of(place, "top", "--once")[0] < 1.0 + start_up(place) * 2


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("list",), 0),
        (("show", "last"), 0),
        (("status",), 69),
        (("top", "--once"), 0),
        (("agents",), 0),
        (("du",), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_daemon_that_does_not_answer_costs_a_look_a_second(
    live: Place, command: tuple[str, ...], code: int
) -> None:
    live.run_of("a")
    os.kill(live.daemon.pid, signal.SIGSTOP)
    try:
        seconds, text = seconds_of(live, *command, code=code)
        assert seconds < 1.5 + start_up(live) * 2
        assert "does not answer" in text
    finally:
        os.kill(live.daemon.pid, signal.SIGCONT)
    wait_until(lambda: live.json("status")[0].up)


def test_whoever_answers_anything_is_looked_at_closer(place: Place) -> None:
    place.car_dir.mkdir(mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.car_dir / "carrunsd.sock"))
        listener.listen()
        process = place.popen("status", "--json")
        for _ in range(2):
            peer = listener.accept()[0]
            peer.sendall(b"220 ready\n")
            peer.close()
        assert b'"up":false' in process.communicate(timeout=30)[0]
