"""Strings and turns over the limits are cut with a marker (docs/wire.md)."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support import Daemon, Wire


def test_long_strings_are_cut_and_say_how_much_is_missing(shared: Daemon, wire: Wire, run: str) -> None:
    limit = 64 << 10
    long = "ü" * limit
    result = wire.call(
        "runs.record_turns",
        run_id=run,
        turns=[
            {"prompt": long, "output": {"deep": [long, "short"]}},
            {"prompt": "x" * limit},
            {"x_unknown": "y" * (limit + 1)},
        ],
    )
    assert result == {"run_id": run, "base_index": 0, "count": 3, "ok": True, "truncated": 2}
    first, second, third = shared.records(wire.summary(run)["agent_id"], run)[1:]
    for text in (first["prompt"], first["output"]["deep"][0]):
        kept, missing = re.fullmatch(r"(ü+)\.\.\. \[truncated: (\d+) bytes missing\]", text).groups()  # type: ignore[union-attr]
        assert len(text.encode()) <= limit
        assert len(kept.encode()) + int(missing) == 2 * limit
    assert first["output"]["deep"][1] == "short"
    assert second["prompt"] == "x" * limit
    assert "bytes missing" in third["x_unknown"]


def test_a_turn_over_the_limit_loses_its_largest_parts(shared: Daemon, wire: Wire, run: str) -> None:
    output = ["x" * 60_000] * 20
    result = wire.call(
        "runs.record_turns", run_id=run, turns=[{"prompt": "p", "parameters": {"a": 1}, "output": output}]
    )
    assert (result["ok"], result["truncated"]) == (True, 1)
    record = shared.records(wire.summary(run)["agent_id"], run)[1]
    missing = re.fullmatch(r"\[truncated: (\d+) bytes missing\]", record["output"])
    assert missing is not None
    assert int(missing[1]) == len(json.dumps(output, separators=(",", ":")))
    assert (record["prompt"], record["parameters"]) == ("p", {"a": 1})


def test_the_limits_of_a_small_configuration(make_daemon: Any) -> None:
    daemon = make_daemon(
        config="[carrunsd]\nmax_string_bytes = 64\nmax_turn_bytes = 512\nmax_turns_per_run = 3\n"
    ).start()
    wire = daemon.wire()
    run = wire.start()
    assert wire.turns(run, "x" * 65)["truncated"] == 1
    assert wire.call("runs.record_turns", run_id=run, turns=[{"output": list(range(300))}])["truncated"] == 1
    assert wire.turns(run, "a", "b") == {"run_id": run, "ok": False, "dropped": "run_turn_limit"}
    assert wire.turns(run, "a", writer="w", seq=0)["ok"]
    assert wire.turns(run, "b", writer="w", seq=1)["dropped"] == "run_turn_limit"
    assert wire.turns(run, "a", writer="w", seq=0)["duplicates"] == 1
    prompts = [record.get("prompt") for record in daemon.records("agent-a", run)[1:]]
    assert prompts[0] is not None
    assert len(prompts[0].encode()) <= 64
    assert prompts[2] == "a"
    wire.complete(run)
