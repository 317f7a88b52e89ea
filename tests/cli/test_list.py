"""``list``: with a daemon and without, in a pipe and on a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.place import Place


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
