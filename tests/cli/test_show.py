"""``show``: for reading, with what is missing and how it ended, whatever an agent wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.hostile import HOSTILE, assert_harmless
from tests.cli.place import Place


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
    assert "1 line of the file left out: not readable" in text
    assert "turns are missing: 1-2" in text
    assert "1 turn truncated: too large" in text


def test_show_counts_what_the_library_cut_in_either_form(live: Place) -> None:
    run_id = live.run_of("worker", turns=[{"output": "x"} for _ in range(3)])
    live.daemon.stop()
    path = live.runs_root / "worker" / f"{run_id}.jsonl"
    lines = path.read_text().splitlines()
    for at, text in ((1, "[carruns: 9 bytes missing]"), (3, "[truncated: 9 bytes missing]")):
        lines[at] = json.dumps(json.loads(lines[at]) | {"output": f"start{text}"})
    path.write_text("\n".join(lines) + "\n")
    assert "2 turns truncated: too large" in live.run("show", run_id).stdout


@pytest.mark.parametrize("daemon", [True, False])
def test_every_view_tells_the_same_end(place: Place, daemon: bool) -> None:
    ids, at = {"run_id": "r", "agent_id": "a"}, "2099-01-01T00:00:0"
    outcome = {"status": "success", "summary": "went well", "evidence": [], "metrics": {}, "timestamp": f"{at}2Z"}
    records: list[dict[str, Any]] = [
        {"record": "started", **ids, "intent": "x", "started_at": f"{at}0Z"},
        {"record": "ended", **ids, "termination": {"kind": "outcome", "status": "success", "outcome": outcome},
         "ended_at": f"{at}2Z"},
        {"record": "ended", **ids, "termination": {"kind": "incomplete"}, "ended_at": f"{at}9Z", "reason": "gone"},
    ]  # fmt: skip
    directory = place.runs_root / "a"
    directory.mkdir(parents=True, mode=0o700)
    (directory / "r.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if daemon:
        place.daemon.start()
    (run,) = place.json("list")
    assert (run.outcome_status, run.duration_ms) == ("success", 2000)
    for command in ("show", "export -f markdown", "export -f html"):
        text = place.run(*command.split(), "r").stdout
        assert "went well" in text, command
        assert "gone" not in text, command
    (agent, *_) = place.json("stats")
    assert (agent.succeeded, agent.in_progress, agent.median_ms) == (1, 0, 2000)


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


def test_a_run_of_very_many_turns_is_folded(live: Place) -> None:
    live.run_of("a", turns=[{"tool": f"tool{n}"} for n in range(450)])
    text = live.run("show", "last").stdout
    assert "250 turns left out" in text
    assert "tool99\n" in text
    assert "tool200\n" not in text
    assert "tool449\n" in text
    assert "tool200\n" in live.run("show", "last", "--full").stdout
