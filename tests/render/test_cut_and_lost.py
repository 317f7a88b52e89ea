"""What is not in a run is said: bad lines, gaps, turns that were cut, by whoever cut them."""

from __future__ import annotations

from typing import Any

import pytest

from carruns.protocol.records import Record
from carruns.render.cut_and_lost import Missing, is_cut
from tests.render.runs import turn


def sentences(*turns: Record, skipped: int = 0) -> list[str]:
    missing = Missing()
    for one in turns:
        missing.take(one)
    return list(missing.sentences(skipped))


@pytest.mark.parametrize(
    "output",
    [
        "xxx... [truncated: 4464 bytes missing]",  # the daemon, and the library from now on: a string
        "[truncated: 2097154 bytes missing]",  # a whole field
        "xxx[carruns: 4464 bytes missing]",  # the library before
        "[carruns: 70000 bytes missing]",
        {"deep": ["in it", {"somewhere": "x[truncated: 1 bytes missing]"}]},
    ],
)
def test_a_turn_that_was_cut_is_counted_whoever_cut_it(output: Any) -> None:
    turns = [turn(0, output="whole"), turn(1, output=output), turn(2, prompt=output)]
    assert sum(map(is_cut, turns)) == 2
    assert sentences(*turns) == ["2 turns truncated: too large"]


@pytest.mark.parametrize("output", ["[truncated: many bytes missing]", "[other: 3 bytes missing]", None])
def test_what_only_looks_like_it_is_not_counted(output: Any) -> None:
    assert not is_cut(turn(0, output=output))


def test_gaps_in_the_numbers() -> None:
    assert sentences(turn(0), turn(2), turn(6)) == ["turns are missing: 1, 3-5"]
    assert sentences(turn(0), turn(1)) == []
    many = [turn(index) for index in range(1, 40, 2)]
    assert sentences(*many) == ["turns are missing: 0, 2, 4, 6, 8, 10 ..."]


def test_what_the_agent_lost_and_what_cannot_be_read() -> None:
    gap = turn(0, error={"kind": "gap", "lost": 3, "reason": "spool \x1bfull"})
    assert sentences(gap, skipped=2) == [
        "2 lines of the file left out: not readable",
        "3 turns before #0 were lost with the agent: spool \\efull",
    ]
