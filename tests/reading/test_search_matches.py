"""Searching run files finds what is there, however the lines fall into blocks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from carruns.reading.search.matches import Query, Search


def test_lines_longer_than_the_buffer_and_torn_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "a"
    directory.mkdir(parents=True)
    lines = [{"record": "turn", "index": n, "output": "x" * (n * 37) + f" needle{n}"} for n in range(40)]
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"record":"turn","index":40,"output":"needle40"}'
    (directory / "r.jsonl").write_text(text)
    monkeypatch.setattr("carruns.reading.search.matches._BLOCK", 100)
    query = Query(re.compile("needle"), None, None, ("output",), None, None)
    search = Search(tmp_path, query, lambda done, total: None)
    assert [match.where for match in search.matches()] == [f"#{n}" for n in range(41)]


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    directory.mkdir()
    (directory / "r.jsonl").write_text('{"record":"turn","index":0,"output":"x"}\n')
    told: list[tuple[int, int]] = []
    query = Query(re.compile("x"), None, None, ("output",), None, None)
    found = list(Search(tmp_path, query, lambda done, total: told.append((done, total))).matches())
    assert len(found) == 1
    assert told[-1][0] == told[-1][1] > 0
