"""``grep`` finds what is there and only that; ``stats``, ``agents`` and ``du`` count."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.place import Place


@pytest.fixture
def store(live: Place) -> Place:
    live.run_of("alpha", "look for errors", [
        {"tool": "shell", "parameters": {"command": "rm -rf it"}, "output": "one\nConnection refused by X\nthree"},
        {"tool": "fetch", "output": {"status": 500, "body": "x" * 500}, "duration_ms": 20},
    ])  # fmt: skip
    live.run_of("beta", "caf\u00e9", [{"prompt": "\u212aelvin", "usage": {"input_tokens": 3, "output_tokens": 4}}])
    return live


def test_grep_shows_the_run_the_turn_and_the_line(store: Place) -> None:
    text = store.run("grep", "refused").stdout
    assert "alpha" in text
    assert "#0 shell output: Connection refused by X" in text
    assert "one" not in text
    assert "one" in store.run("grep", "refused", "-C", "1").stdout


def test_grep_without_a_daemon_is_the_same(store: Place) -> None:
    before = store.run("grep", "-i", "CONNECTION").stdout
    store.daemon.stop()
    assert store.run("grep", "-i", "CONNECTION").stdout == before != ""


@pytest.mark.parametrize(
    ("arguments", "hits"),
    [
        (["refused"], 1), (["REFUSED"], 0), (["-i", "REFUSED"], 1), (["caf\u00e9"], 1), (["-i", "kelvin"], 1),
        (["500"], 1), (["status"], 1), (["rm -rf", "--in", "output"], 0), (["rm -rf", "--in", "parameters"], 1),
        (["rm", "--tool", "fetch"], 0), (["r[em]fu"], 1), (["-F", "r.f"], 0), (["r.f"], 1),
        (["look", "-a", "beta"], 0),
        (["look", "--since", "1h"], 1), (["look", "--until", "1h"], 0), (["went well", "--in", "summary"], 2),
        (["^three$"], 1), (["one.three"], 0),
    ],
)  # fmt: skip
def test_grep_options(store: Place, arguments: list[str], hits: int) -> None:
    found = store.json("grep", *arguments, code=0 if hits else 1)
    assert len(found) == hits


def test_grep_lists_runs_and_counts(store: Place) -> None:
    (run,) = store.json("list", "--agent", "alpha")
    assert store.run("grep", "-l", "refused").stdout.split() == [run.run_id]
    assert store.run("grep", "-c", "e").stdout.splitlines()[0].split()[1].isdigit()
    assert "missing )" in store.run("grep", "(", code=2).stderr


# --- counting -----------------------------------------------------------------------------------------------


def test_stats(store: Place) -> None:
    with store.client() as client, client.run("alpha", intent="fails") as run:
        run.turn(tool="fetch", error="no", duration_ms=40)
        run.fail("no")
    rows = store.json("stats")
    agents: dict[Any, Any] = {row.agent_id: row for row in rows if row.kind == "agent"}
    tools: dict[Any, Any] = {row.tool: row for row in rows if row.kind == "tool"}
    assert (agents["alpha"].runs, agents["alpha"].success_rate, agents["alpha"].failed_turns) == (2, 0.5, 1)
    assert agents["beta"].tokens == 7
    assert (tools["fetch"].turns, tools["fetch"].median_ms, tools["fetch"].p95_ms) == (2, 20, 40)
    assert "fetch" in store.run("stats").stdout
    assert store.json("stats", "--until", "yesterday") == []


@pytest.mark.parametrize("daemon", [True, False])
def test_agents(store: Place, daemon: bool) -> None:
    if not daemon:
        store.daemon.stop()
    rows = {row.agent_id: row for row in store.json("agents")}
    assert set(rows) == {"alpha", "beta"}
    assert (rows["alpha"].runs, rows["alpha"].in_progress) == (1, 0)
    assert "alpha" in store.run("agents").stdout


def test_du_says_what_goes_and_when(live: Place) -> None:
    live.car_dir.joinpath("config.toml").write_text("[runs]\nmax_per_agent = 2\n")
    live.daemon.restart()
    live.daemon.stop()  # so that nothing is removed meanwhile
    directory = live.runs_root / "a"
    directory.mkdir(parents=True, mode=0o700)
    for n in range(4):
        ids = {"run_id": f"run-{n}", "agent_id": "a"}
        at = f"2026-11-2{n}T00:00:00Z"
        outcome = {"status": "done", "summary": "", "timestamp": at}
        end = {"kind": "outcome", "status": "done", "outcome": outcome}
        lines: list[Any] = [{"record": "started", **ids, "intent": "x", "started_at": at}]
        lines.append({"record": "ended", **ids, "termination": end, "ended_at": at})
        (directory / f"run-{n}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = live.json("du")
    due = {row.run_id: row.reason for row in rows if row.kind == "expiry" and row.due}
    assert {"run-0", "run-1"} <= set(due)
    assert "the newest 2 ended runs" in live.run("du").stdout
