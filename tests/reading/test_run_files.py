"""Which run files there are, and the one way to open one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carruns.reading import run_files

LINE = b'{"record":"started","run_id":"r","agent_id":"a","intent":"x","started_at":"2026-11-22T00:00:00Z"}\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    (root / "a" / "r.jsonl").write_bytes(LINE + b"\n\n{bad\n")
    (root / "b" / "s.jsonl").write_bytes(LINE)
    (root / "a" / "notes.txt").write_bytes(b"no run")
    return root


def names(found: list[run_files.RunFile]) -> list[str]:
    return [f"{file.directory}/{file.run_id}" for file in found]


def test_all_runs_or_those_of_an_agent(root: Path) -> None:
    assert names(run_files.run_files(root)) == ["a/r", "b/s"]
    assert names(run_files.run_files(root, "b")) == ["b/s"]
    assert run_files.run_files(root, "nobody") == []
    assert run_files.run_files(root / "nowhere") == []


def test_lines_are_those_that_are_not_blank(root: Path) -> None:
    (file, _) = run_files.run_files(root)
    assert list(run_files.lines(file)) == [LINE.rstrip(b"\n"), b"{bad"]
    assert list(run_files.lines(file.path)) == list(run_files.lines(file))


def test_in_the_store_no_link_is_followed(root: Path, tmp_path: Path) -> None:
    (root / "a" / "link.jsonl").symlink_to(root / "b" / "s.jsonl")
    (root / "c").symlink_to(root / "b")
    assert names(run_files.run_files(root)) == ["a/r", "b/s"]
    for run_id, agent in (("link", "a"), ("s", "c")):
        with pytest.raises(OSError), run_files.opened(run_files.file_of(root, run_id, agent)):
            pass


def test_a_file_that_a_person_names_may_be_a_link_but_no_pipe(root: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(root / "b" / "s.jsonl")
    assert list(run_files.lines(link)) == [LINE.rstrip(b"\n")]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(OSError, match="no regular file"), run_files.opened(path):
            pass


def test_a_file_that_holds_no_run_has_no_summary(root: Path) -> None:
    (root / "a" / "empty.jsonl").write_bytes(b"")
    summaries = {file.run_id: run_files.summary(file) for file in run_files.run_files(root, "a")}
    assert summaries["empty"] is None
    assert summaries["r"] is not None
    assert run_files.summary(run_files.file_of(root, "gone", "a")) is None
