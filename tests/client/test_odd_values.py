"""What an agent gives is taken, whatever it is: with a daemon and without, a start, a turn, an outcome."""

from __future__ import annotations

import enum
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from carruns import Client, encoding, outcome
from tests.support import Daemon, wait_until

pytestmark = pytest.mark.timeout(60)


class _Breaks:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class _Kind(enum.Enum):
    ODD = 1


def _cycle() -> dict[str, Any]:
    cyclic: dict[str, Any] = {}
    cyclic["me"] = cyclic
    return cyclic


ODD: dict[str, Any] = {
    "path": Path("/x"), "object": object(), "cycle": _cycle(), "surrogate": "\udcff", "breaks": _Breaks(),
    "beyond a double": 10**400, "beyond str()": -(10**5000), "key beyond str()": {10**5000: 1}, "nan": math.nan,
    "bytes": b"\xff", "enum": _Kind.ODD, "path no UTF-8": Path("/a\udcffb"), "nested": [{"n": 10**400}] * 300,
}  # fmt: skip


@pytest.fixture(params=ODD, ids=list(ODD))
def odd(request: pytest.FixtureRequest) -> Any:
    return ODD[request.param]


def use(client: Client, odd: Any) -> str:
    """Give the odd value wherever there is room for one; return the run's id."""
    with client.run("a", intent=odd, metadata={"m": odd}, outcome_description=odd, session_id=odd) as run:
        run.turn(tool="before")
        run.turn(output={"kept": "this", "odd": odd}, parameters=odd, metadata=odd, error=odd)
        run.turn(tool="after")
        run.succeed(odd, [odd, {"kind": odd, "description": odd, "data": odd}], {"mine": odd, "turns": odd})
    return run.id


def test_without_a_daemon_it_is_spooled_and_drained(stopped: Daemon, car: Path, odd: Any) -> None:
    with Client(car, autostart=False) as client:
        run_id = use(client, odd)
    (spooled,) = (car / "spool").glob("*.jsonl")
    lines = [json.loads(line) for line in spooled.read_bytes().splitlines()]
    assert [line["method"] for line in lines] == ["runs.start", *["runs.record_turns"] * 3, "runs.complete"]
    with Client(stopped.start().car_dir, autostart=False) as client:
        assert_whole(client, run_id)
    assert not list((car / "spool").glob("*.refused"))


def test_with_a_daemon_it_is_stored(daemon: Daemon, odd: Any) -> None:
    with Client(daemon.car_dir, autostart=False) as client:
        run_id = use(client, odd)
        assert_whole(client, run_id)
    daemon.records("a", run_id)  # a strict reader takes all of it


def assert_whole(client: Client, run_id: str) -> None:
    def ended() -> Any:
        trace = client.get_trace(run_id)
        return trace if trace is not None and trace[-1].get("record") == "ended" else None

    trace = wait_until(ended)
    assert [turn.get("tool") for turn in trace.turns] == ["before", None, "after"]
    assert trace.turns[1].output["kept"] == "this"
    assert trace[-1].termination["outcome"]["status"] == "success"


@pytest.mark.parametrize("exponent", [309, 400, 5000])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_beyond_a_double_becomes_text(exponent: int, sign: int) -> None:
    number = sign * 10**exponent
    (bent,) = json.loads(encoding.encode_any([number]))
    assert isinstance(bent, str)
    assert bent == (str(number) if exponent < 4300 else hex(number))


@pytest.mark.parametrize("levels", range(90, 130, 3))
def test_any_depth_is_kept_as_far_as_a_reader_goes(shared: Daemon, levels: int) -> None:
    """With what is around it on the wire and in an answer, too: never a gap in place of the turn."""
    deep: Any = "bottom"
    for _ in range(levels):
        deep = [deep]
    with Client(shared.car_dir, autostart=False) as client:
        with client.run("a", intent="x", metadata=deep) as run:
            run.turn(output={"deep": deep, "kept": "this"})
            run.succeed("", [{"kind": "k", "description": "d", "data": deep}])
        assert run.delivery().ok
        trace = client.get_trace(run.id)
    assert trace is not None
    assert trace.turns[0].output["kept"] == "this"
    assert trace[-1].termination["outcome"]["evidence"][0]["kind"] == "k"


def test_the_largest_double_stays_a_number() -> None:
    largest = int(1.7976931348623157e308)
    assert json.loads(encoding.encode_any([largest, "9" * 400])) == [largest, "9" * 400]


def test_killed_after_a_number_beyond_a_double(daemon: Daemon) -> None:
    """Nothing is left to mend later: the line is right when it leaves."""
    code = """
import os, signal, sys
from carruns import Client
run = Client(sys.argv[1]).run("a", intent="die")
for number in range(5): run.turn(output={"n": 10**400, "i": number})
print(run.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(daemon.car_dir)], capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: len(daemon.records("a", done.stdout.strip())) == 6)


def test_a_working_directory_that_is_no_utf8(base: Path, car: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = base / "a\udcffb"
    odd.mkdir()
    monkeypatch.chdir(odd)
    with Client(car, autostart=False) as client, client.run("a", intent="x") as run:
        run.turn(tool="t")
    (spooled,) = (car / "spool").glob("*.jsonl")
    start = json.loads(spooled.read_bytes().splitlines()[0])
    assert start["params"]["cwd"] == os.fsencode(odd).decode("utf-8", "backslashreplace")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"duration_ms": 12.7, "turns": -3}, {"duration_ms": 13, "turns": 0}),
        ({"turns": "7", "retries": True, "tool_calls": None}, {"turns": 7, "retries": 1}),
        ({"turns": "many", "mine": -0.5}, {"turns_given": "many", "mine": -0.5}),
        ({"turns": math.inf, "duration_ms": 10**400}, {"turns_given": "inf", "duration_ms": 2**63 - 1}),
        ("nonsense", {"metrics_given": "nonsense"}),
    ],
)
def test_known_metrics_are_whole_and_not_negative(given: Any, kept: dict[str, Any]) -> None:
    assert outcome.metrics(given) == kept


def test_evidence_that_is_no_list() -> None:
    note = {"kind": "note", "description": "seen", "data": None}
    assert outcome.items("seen") == [note]
    assert outcome.items({"kind": "k", "x": 1}) == [{"kind": "k", "x": 1}]
    assert outcome.items(5) == [{"kind": "note", "description": "5", "data": 5}]
