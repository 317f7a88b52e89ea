"""The configuration: every problem is named with its line, and the rest holds."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from carrunsd.config import Settings, load


def problems(base: Path, text: str) -> list[str]:
    path = base / "config.toml"
    path.write_text(text)
    return [problem.removeprefix(f"{path}:") for problem in load(path).problems]


def test_a_missing_file_is_the_defaults(base: Path) -> None:
    config = load(base / "config.toml")
    assert (config.settings, config.problems) == (Settings(), ())
    assert config.retention is not None


def test_every_key_can_be_set(base: Path) -> None:
    wanted = {f.name: 1024 for f in dataclasses.fields(Settings) if f.name != "fsync"}
    text = "[carrunsd]\nfsync = 'always'\n" + "".join(f"{key} = {value}\n" for key, value in wanted.items())
    assert problems(base, text) == []
    assert load(base / "config.toml").settings == Settings(fsync="always", **wanted)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[carrunsd]\n\nfsync = 'never'\n", 3, "fsync = 'never' is none of always"),
        ("[carrunsd]\nfsyncc = 'no'\n", 2, "did you mean fsync"),
        ("# c\n[other]\nfsync = 1\n[carrunsd]\nfsync = 1\n", 5, "fsync"),
        ("[carrunsd]\nmax_line_bytes = 1\n", 2, "16777216 holds"),
        ("[carrunsd]\nmax_line_bytes = '1'\n", 2, "whole number"),
        ("[carrunsd]\nmax_connections = true\n", 2, "whole number"),
        ("[carrunsd]\ngc_interval_secs = 1.5\n", 2, "whole number"),
        ('[carrunsd]\n"adopt_grace_secs" = -1\n', 2, "adopt_grace_secs"),
        ("\ncarrunsd = 3\n", 2, "not a table"),
        ("[carrunsd]\nx = 1\n[runs]\nmax_age_days = -1\n", 2, "x is not a key"),
    ],
)
def test_a_bad_key_is_named_with_its_line(base: Path, text: str, line: int, words: str) -> None:
    found = problems(base, text)
    assert any(problem.startswith(f"{line}: ") and words in problem for problem in found), found
    assert load(base / "config.toml").settings == Settings()


@pytest.mark.parametrize(
    "text", ["[runs]\nmax_age_days = -1\n", "[runs", "runs = 1\n", "[runs]\nmax_per_agent = 'x'\n", "\udcff"]
)
def test_bad_retention_removes_nothing(base: Path, text: str) -> None:
    (base / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    config = load(base / "config.toml")
    assert config.retention is None
    (problem,) = config.problems
    assert "removes nothing until the file is mended" in problem


def test_a_syntax_error_names_its_line(base: Path) -> None:
    (problem,) = problems(base, "[carrunsd]\nfsync = \n")
    assert re.search(r"line 2", problem)


def test_a_good_key_beside_a_bad_one_holds(base: Path) -> None:
    assert len(problems(base, "[carrunsd]\nfsync = 'no'\nmax_connections = 0\n")) == 1
    assert load(base / "config.toml").settings == Settings(fsync="no")
