"""``tail`` and ``top``: what is recorded is seen once, through a daemon that is killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Terminals
from tests.cli.place import Place
from tests.support import wait_until


def test_tail_shows_the_last_records(live: Place) -> None:
    run_id = live.run_of("a", "do it", [{"tool": f"tool{n}"} for n in range(20)])
    lines = live.run("tail", run_id, "-n", "3").stdout.splitlines()
    assert len(lines) == 3
    assert "tool18" in lines[0]
    assert "success" in lines[2]
    live.daemon.stop()
    assert live.run("tail", run_id, "-n", "3").stdout.splitlines() == lines
    assert live.run("tail", "-n", "0").stdout == ""
    assert len(live.run("tail", "--agent", "a").stdout.splitlines()) == 10


def test_tail_follows_a_run_to_its_end(live: Place) -> None:
    with live.client() as client, client.run("a", intent="x") as run:
        run.turn(tool="before")
        run.flush()
        following = live.popen("tail", "-f", run.id[:-1], "--json")
        assert following.stdout is not None
        seen = [json.loads(following.stdout.readline()) for _ in range(2)]
        run.turn(tool="after")
        run.succeed()
    seen += [json.loads(line) for line in following.communicate(timeout=30)[0].splitlines()]
    assert following.returncode == 0
    assert [item["record"]["record"] for item in seen] == ["started", "turn", "turn", "ended"]
    assert [item["line"] for item in seen] == [1, 2, 3, 4]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_lost_or_repeated_over_restarts(live: Place, how: signal.Signals) -> None:
    following = live.popen("tail", "-f", "--all", "--json")
    wire = live.daemon.wire()
    wait_until(lambda: wire.call("server.stats")["connections"] == 3)
    code = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"
    agent = live.popen("exec", "--agent", "a", "--", sys.executable, "-c", code, stdin=subprocess.PIPE)
    assert agent.stdin is not None
    assert agent.stdout is not None
    for n in range(12):
        agent.stdin.write(b"line %d\n" % n)
        agent.stdin.flush()
        assert agent.stdout.readline() == b"line %d\n" % n
        if n in (3, 7):
            live.daemon.signal(how)
            live.daemon.wait()
            live.daemon.start()
    live.run_of("b", "while the other runs", [{"tool": "x"}])
    agent.communicate(timeout=30)
    seen = read_until_ended(following, 2)
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == -signal.SIGINT
    runs = {item["run_id"] for item in seen}
    assert len(runs) == 2
    for run_id in runs:
        with live.client() as client:
            trace = client.get_trace(run_id)
        assert trace is not None
        assert [item["record"] for item in seen if item["run_id"] == run_id] == list(trace)


def read_until_ended(process: subprocess.Popen[bytes], runs: int) -> list[dict[str, Any]]:
    assert process.stdout is not None
    seen: list[dict[str, Any]] = []
    while sum(item["record"]["record"] == "ended" for item in seen) < runs:
        line = process.stdout.readline()
        assert line, "it ended by itself"
        seen.append(json.loads(line))
    process.stdout.close()
    return seen


def test_tail_waits_for_a_daemon(place: Place) -> None:
    following = place.popen("tail", "-f", "--json")
    assert following.stderr is not None
    assert b"waiting" in following.stderr.readline()
    place.daemon.start()
    place.run_of("a", "x")
    assert [item["record"]["record"] for item in read_until_ended(following, 1)] == ["started", "ended"]
    following.send_signal(signal.SIGINT)
    assert following.wait(30) == -signal.SIGINT
    following.stderr.close()


def test_top_is_a_live_screen(live: Place, terminal: Callable[..., Any]) -> None:
    with live.client() as client, client.run("worker-bee", intent="make honey") as run:
        run.turn(tool="fly")
        run.flush()
        screen = terminal("top", "--interval", "0.1")
        screen.wait_for("worker-bee")
        screen.wait_for("fly")
        run.turn(tool="land")
        screen.wait_for("land")
        live.daemon.kill()
        screen.wait_for("down")
        live.daemon.start()
        run.turn(tool="again")
        screen.wait_for("again")
        screen.type("q")
        status, seen = screen.finish()
    assert status == 0
    assert seen.rstrip().endswith("\x1b[?1049l\x1b[?25h") or "\x1b[?1049l" in seen  # the screen is given back


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_the_terminal_is_as_before_whatever_ends_top(
    live: Place, terminal: Terminals, number: signal.Signals
) -> None:
    screen = terminal("top")
    before = screen.modes
    screen.wait_for("no open runs")
    assert screen.modes != before
    screen.process.send_signal(number)
    status, seen = screen.finish()
    assert (status, screen.modes) == (-number, before)
    assert seen.rindex("\x1b[?1049l") > seen.rindex("\x1b[?1049h")
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(live: Place, terminal: Terminals) -> None:
    screen = terminal("top")
    before = screen.modes
    screen.wait_for("no open runs")
    screen.type("\x1a")
    screen.wait_for("\x1b[?1049l")
    wait_until(lambda: Path(f"/proc/{screen.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    assert screen.modes == before
    screen.seen = b""
    screen.process.send_signal(signal.SIGCONT)
    screen.wait_for("no open runs")
    assert screen.modes != before
    screen.type("q")
    assert screen.finish()[0] == 0
    assert screen.modes == before


def test_top_once_and_as_json(live: Place) -> None:
    with live.client() as client, client.run("worker-bee", intent="make honey \x1b[2J") as run:
        run.turn(tool="fly")
        run.flush()
        text = live.run("top").stdout
        daemon, row = live.json("top", "--stuck", "0s")
    assert "worker-bee" in text
    assert "\x1b" not in text
    assert (daemon.kind, daemon.up, daemon.open_runs) == ("daemon", True, 1)
    assert (row.kind, row.agent_id, row.last_tool, row.turn_count, row.stuck) == (
        "run",
        "worker-bee",
        "fly",
        1,
        True,
    )


def test_top_without_a_daemon(place: Place) -> None:
    assert "down" in place.run("top", "--once").stdout
