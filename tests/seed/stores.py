"""Random and damaged stores: ``RunStore`` and the seed's program say the same of each, and do the same to it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from carrunsd.store import RunStore, layout
from tests.seed import comparing
from tests.seed.making import Maker
from tests.seed.peer import Peer
from tests.support import short_directory

AGENTS = ("a", "name:b", "..c.")


def compare(seed: Peer, dice: int, count: int) -> dict[str, int]:
    """Make ``count`` stores and compare what is said of them; return what was compared."""
    figures = {"stores": count, "runs": 0, "records": 0, "removed": 0, "adopted": 0}
    for number in range(count):
        with short_directory() as base:
            made = _make(Maker(f"stores/{dice}/{number}"), base / "ours")
            _look(seed, base / "ours", made, figures)
            _act(seed, base, "gc", figures, "removed")
            _act(seed, base, "adopt", figures, "adopted")
    return figures


def _make(maker: Maker, runs: Path) -> list[tuple[str, str]]:
    made = []
    many = maker.dice.random() < 0.04
    for agent in maker.dice.sample(AGENTS, maker.dice.choice((1, 1, 2))):
        place = runs / (agent.strip(".") or "_")
        place.mkdir(parents=True)
        for number in range(60 if many else maker.dice.choice((0, 1, 1, 3))):
            run = f"{place.name[-1]}-{number}"
            (place / f"{run}.jsonl").write_bytes(maker.file(agent, run))
            made.append((agent, run))
    return made


def _look(seed: Peer, runs: Path, made: list[tuple[str, str]], figures: dict[str, int]) -> None:
    store = RunStore(runs)
    for agent in {agent for agent, _ in made}:
        _same_list(seed, runs, agent)
    for _, run in made[:8]:
        figures["runs"] += 1
        assert store.agent_for_run(run) in (seed.ask("agent", runs, run), "..c."), run
        theirs = [comparing.record(record) for record in seed.ask("trace", runs, run)]
        kinds = ("started", "turn", "ended")
        ours = [comparing.record(one) for one in store.get_run_trace(run) or () if one["record"] in kinds]
        assert comparing.same(ours, theirs), _difference(runs, run, ours, theirs)
        figures["records"] += len(theirs)


def _same_list(seed: Peer, runs: Path, agent: str) -> None:
    ours = sorted((comparing.summary(run) for run in RunStore(runs).list_runs(agent)), key=str)
    theirs = sorted((comparing.summary(run) for run in seed.ask("list", runs, agent)), key=str)
    assert ours == theirs, _difference(runs, agent, ours, theirs)


def _act(seed: Peer, base: Path, what: str, figures: dict[str, int], name: str) -> None:
    """Let both do it to the same store, each to a copy, and compare what is there then."""
    ours, theirs = base / "ours", base / "theirs"
    shutil.rmtree(theirs, ignore_errors=True)
    shutil.copytree(ours, theirs)
    store = RunStore(ours)
    done = store.gc() if what == "gc" else store.adopt_orphans()
    assert done == seed.ask(what, theirs), what
    figures[name] += done
    if what == "adopt" and not _all_in_place(ours):
        return
    assert _files(ours) == _files(theirs), what
    for agent in AGENTS:
        read = [sorted(_listed(seed, place, agent), key=str) for place in (ours, theirs)]
        assert read[0] == read[1], (what, read)
        _same_list(seed, ours, agent)


def _all_in_place(runs: Path) -> bool:
    """Tell whether every run lies where it belongs: the seed writes the end of another there, not behind it."""
    found = (run for agent in AGENTS for run in RunStore(runs).list_runs(agent))
    names = {(layout.sanitize(run.agent_id), layout.sanitize(run.run_id) + layout.SUFFIX) for run in found}
    files = {(path.parent.name, path.name) for path in runs.rglob("*.jsonl")}
    return names <= files


def _listed(seed: Peer, runs: Path, agent: str) -> list[dict[str, Any]]:
    return [{**comparing.summary(run), "ended_at": None} for run in seed.ask("list", runs, agent)]


def _files(runs: Path) -> set[str]:
    return {str(path.relative_to(runs)) for path in runs.rglob("*.jsonl")}


def _difference(runs: Path, name: str, ours: Any, theirs: Any) -> str:
    missing = [one for one in theirs if one not in ours][:2], [one for one in ours if one not in theirs][:2]
    run = next((one.get("run_id", name) for one in (*missing[0], *missing[1])), name)
    texts = [path.read_bytes().decode(errors="replace")[-6000:] for path in runs.rglob(f"{run}.jsonl")]
    return f"theirs alone {missing[0]}\nours alone {missing[1]}\n" + "\n".join(texts)
