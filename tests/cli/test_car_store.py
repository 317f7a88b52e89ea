"""The command line on a store as CAR leaves it, with a daemon and without one."""

from __future__ import annotations

import json

import pytest

from tests.cli.car_store import AGENT, BESIDE, RUNS, leave
from tests.cli.place import Place


@pytest.fixture(params=["daemon", "files"])
def store(place: Place, request: pytest.FixtureRequest) -> Place:
    """A place with that store, and a daemon or none."""
    leave(place.car_dir)
    if request.param == "daemon":
        place.daemon.start()
    return place


def kept(place: Place) -> dict[str, bytes]:
    """Return what stands in each file of the store that is CAR's."""
    names = [*BESIDE, *(f"runs/{AGENT}/{run}.jsonl" for run in RUNS)]
    return {name: (place.car_dir / name).read_bytes() for name in names if (place.car_dir / name).exists()}


def test_list(store: Place) -> None:
    before = kept(store)
    runs = store.json("list")
    assert [run.run_id for run in runs] == list(reversed(RUNS))
    assert {run.run_id: run.turn_count for run in runs} == {
        "run-success": 3, "run-cancelled": 1, "run-failed": 1, "run-incomplete": 1
    }  # fmt: skip
    assert {run.agent_id for run in runs} == {AGENT}
    assert kept(store) == before


def test_ends_of_cars_own_are_final(store: Place) -> None:
    ends = {run.run_id: (run.status, run.get("outcome_status")) for run in store.json("list")}
    assert ends == {
        "run-success": ("completed", "success"), "run-cancelled": ("completed", "cancelled"),
        "run-failed": ("completed", "failed"), "run-incomplete": ("incomplete", None),
    }  # fmt: skip
    for outcome, run in (("cancelled", "run-cancelled"), ("failed", "run-failed")):
        assert [one.run_id for one in store.json("list", "--outcome", outcome)] == [run]
        assert f"ended {outcome}" in store.run("show", run).stdout


def test_show(store: Place) -> None:
    text = store.run("show", "run-success", env={"COLUMNS": "200"}).stdout
    assert "missing" not in text
    assert "unknown" not in text
    for shown in (
        "3 turns", "2,000 input tokens, 40 output tokens, 1,400 cached tokens, 60 tokens written to the cache",
        "#0", "qwen/q3", "1,000 in / 20 out / 700 cached", "I read the panic first", "src/0.rs", "#2",
    ):  # fmt: skip
        assert shown in text
    assert "and mend the borrow" in store.run("show", "run-success", "--turns", "-1:").stdout
    assert store.json("show", "run-success") == RUNS["run-success"]


def test_show_says_that_a_cancellation_was_asked_for(store: Place) -> None:
    text = store.run("show", "run-cancelled").stdout
    assert "cancellation requested (by host:me)" in text
    assert "cancellation result: cancelled confirmed" in text
    assert "unknown" not in text


def test_stats(store: Place) -> None:
    rows = store.json("stats")
    (agent,) = [row for row in rows if row.kind == "agent"]
    assert (agent.runs, agent.in_progress, agent.succeeded, agent.turns) == (4, 0, 1, 6)
    assert (agent.tokens, agent.cached_tokens) == (5 * 1020, 5 * 730)
    tools = {row.tool: row.turns for row in rows if row.kind == "tool"}
    assert tools == {"edit": 1, None: 5}


def test_grep(store: Place) -> None:
    (match,) = store.json("grep", "mend the borrow")
    assert (match.run_id, match.where, match.field) == ("run-success", "#2", "output")
    assert len(store.json("grep", "src/0.rs", "--in", "output")) == 4
    (match,) = store.json("grep", "-F", "fix run-failed")
    assert match.where == "started"


def test_tail(store: Place) -> None:
    text = store.run("tail", "-n", "100").stdout
    for shown in (
        "#2 qwen/q3  40ms  {assistant_text: and mend the borrow", "cancellation requested (by host:me)",
        "cancellation result: cancelled confirmed", "cancelled: not needed", "failed: the model is gone",
        "success: fixed", "incomplete: no outcome",
    ):  # fmt: skip
        assert shown in text
    assert len(text.splitlines()) == sum(map(len, RUNS.values()))


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_export_as_a_document(store: Place, form: str) -> None:
    text = store.run("export", "run-success", "--format", form).stdout
    for shown in ("#0 qwen/q3", "I read the panic first", "1,000 in / 20 out / 700 cached"):
        assert shown in text
    assert "a record of kind" not in store.run("export", "run-cancelled", "--format", form).stdout


def test_export_as_records(store: Place) -> None:
    lines = store.run("export", "run-cancelled").stdout.splitlines()
    assert [json.loads(line) for line in lines] == RUNS["run-cancelled"]


def test_doctor_finds_nothing_wrong_with_it(store: Place) -> None:
    findings = [row for row in store.json("doctor") if row.type == "finding"]
    assert [row.kind for row in findings] == ([] if store.daemon.running else ["daemon_down"])


def test_gc_takes_whole_runs_and_leaves_what_is_beside_them(place: Place) -> None:
    leave(place.car_dir)
    place.daemon.configure("[runs]\nmax_per_agent = 2\n")
    before = kept(place)
    place.daemon.start()
    place.run("prune", "--yes")
    assert [run.run_id for run in place.json("list")] == ["run-incomplete", "run-failed"]
    gone = {f"runs/{AGENT}/{run}.jsonl" for run in ("run-success", "run-cancelled")}
    assert kept(place) == {name: data for name, data in before.items() if name not in gone}


def test_a_daemon_on_it_reopens_and_mends_nothing(place: Place) -> None:
    leave(place.car_dir)
    place.daemon.configure("[carrunsd]\nadopt_grace_secs = 0\n")
    before = kept(place)
    place.daemon.start().restart()
    wire = place.daemon.wire()
    for run in ("run-success", "run-cancelled", "run-failed"):
        assert wire.error("runs.resume", run_id=run)["code"] == -32002
    assert kept(place) == before


def test_what_is_recorded_behind_it_goes_on_counting(place: Place) -> None:
    leave(place.car_dir)
    place.daemon.start()
    wire = place.daemon.wire()
    wire.call("runs.resume", run_id="run-incomplete")
    assert wire.turns("run-incomplete", "more")["base_index"] == 1
    snapshot = wire.call("runs.subscribe", run_id="run-incomplete")
    assert [one["record"] for one in snapshot["turns_so_far"]] == ["model_turn", "turn"]
    assert snapshot["cursor"] == 2
