"""``rm``, ``prune`` and the trash: asked first, undone again, never an open run; ``list --removed`` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cli.place import Place


def listed(place: Place) -> set[str]:
    return {run.run_id for run in place.json("list")}


def test_a_run_goes_to_the_trash_and_comes_back(live: Place) -> None:
    run_id, other = live.run_of("a", "one", [{"tool": "x"}]), live.run_of("a", "two")
    before = (live.runs_root / "a" / f"{run_id}.jsonl").read_bytes()
    live.run("rm", run_id[:-1], "--yes")
    assert listed(live) == {other}
    (gone,) = live.json("list", "--removed")
    assert (gone.run_id, gone.reason, gone.intent) == (run_id, "user", "one")
    assert run_id in live.run("trash", "list").stdout
    assert run_id in live.run("list", "--removed", "--since", "1h").stdout
    assert "nothing" in live.run("list", "--removed", "--until", "1h").stdout
    live.run("trash", "restore", run_id[:-1])
    assert listed(live) == {run_id, other}
    assert (live.runs_root / "a" / f"{run_id}.jsonl").read_bytes() == before
    live.run("trash", "restore", run_id, code=3)


def test_an_open_run_never_goes(live: Place) -> None:
    with live.client() as client, client.run("a", intent="open") as run:
        run.flush()
        assert "in progress" in live.run("rm", run.id, "--yes", code=1).stderr
        live.run("rm", "--agent", "a", "--yes")
        assert listed(live) == {run.id}


def test_nothing_goes_unasked(live: Place, terminal: Callable[..., Any]) -> None:
    run_id = live.run_of("a")
    assert "--yes" in live.run("rm", run_id, code=1).stderr
    assert run_id in live.run("rm", run_id, "--dry-run").stdout
    live.run("rm", code=2)
    screen = terminal("rm", "last")
    screen.wait_for("[y/N]")
    screen.type("n\n")
    assert screen.finish()[0] == 1
    assert listed(live) == {run_id}
    screen = terminal("rm", "last")
    screen.wait_for("[y/N]")
    screen.type("y\n")
    assert screen.finish()[0] == 0
    assert listed(live) == set()
    live.run("trash", "empty", code=1)
    assert "1 run deleted for good" in live.run("trash", "empty", "--yes").stdout
    assert "empty" in live.run("trash", "list").stdout


def test_rm_by_filter(live: Place) -> None:
    keep = live.run_of("keep")
    with live.client() as client, client.run("a", intent="x") as run:
        run.fail()
    live.run("rm", "--outcome", "failure", "--before", "now", "--yes")
    assert listed(live) == {keep}


def test_prune_shows_and_removes_what_retention_does_not_keep(live: Place) -> None:
    runs = [live.run_of("a", f"run {n}") for n in range(3)]
    live.daemon.configure("[runs]\nmax_per_agent = 1\n[carrunsd]\ngc_interval_secs = 86400\n")
    assert "nothing" in live.run("prune", "--dry-run").stdout
    live.daemon.restart()
    left = listed(live)
    assert left == {runs[-1]}  # the daemon collected at its start
    gone = {row.run_id: row.reason for row in live.json("list", "--removed")}
    assert gone == dict.fromkeys(runs[:2], "count")
    assert "nothing" in live.run("prune", "--yes").stdout


def test_an_ambiguous_id_in_the_trash(live: Place) -> None:
    for _ in range(2):
        live.run("rm", live.run_of(), "--yes")
    assert "begin so" in live.run("trash", "restore", "0", code=4).stderr
