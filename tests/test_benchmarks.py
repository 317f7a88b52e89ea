"""The benchmark suite still runs, small and without a look at its times."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import measure, report
from benchmarks.measure import Result, Row

ROOT = Path(__file__).parent.parent


@pytest.mark.timeout(240)  # about 25 s alone; the other tests run beside it
def test_the_quick_suite_runs_and_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "RESULTS.md"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    text = page.read_text()
    for number in (
        "1a",
        "1b",
        "2a",
        "2b",
        "2c",
        "2d",
        "3a",
        "3b",
        "4a",
        "5a",
        "5b",
        "5c",
        "6a",
        "6b",
        "7a",
        "7e",
        "8",
    ):
        assert f"\n| {number} | " in text, f"target {number} is not on the page"
    assert ET.parse(page.with_name("results.svg")).getroot().tag.endswith("svg")


def test_contestants_take_turns_and_every_round_begins_with_another() -> None:
    order: list[str] = []
    entries = {name: lambda name=name: order.append(name) for name in "abc"}
    measure.interleave(entries, 3, before=lambda: order.append("-"))
    assert "".join(order) == "-abc-bca-cab"


def test_a_ratio_is_of_the_same_round() -> None:
    assert measure.ratio([10, 200, 30], [5, 100, 15]) == 2


def test_one_lucky_pair_of_rounds_does_not_meet_a_target() -> None:
    assert measure.at_least([131, 137, 273], [138, 215, 273]) == 137 / 215


def test_percentiles() -> None:
    assert [measure.percentile(range(100), percent) for percent in (0, 50, 99, 100)] == [0, 50, 99, 99]


def test_beside_the_first_is_above_one_for_the_better() -> None:
    fast, slow = Row("a", "", measure.RATE, [200]), Row("b", "", measure.RATE, [100])
    quick, late = Row("a", "", "us", [1]), Row("b", "", "us", [2])
    assert report.against_first(fast, [slow, fast]) == "2.00"
    assert report.against_first(late, [quick, late]) == "0.50"


def test_the_page_says_what_was_not_measured() -> None:
    result = Result("x", "X")
    result.target("9", "text", "nothing", None)
    assert "| 9 | text | nothing | **not measured** |" in report.markdown([result], {"processor": "p"}, [])
