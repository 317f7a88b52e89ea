"""``config.toml``: what it says, and what is wrong with it (docs/files.md).

A bad or unknown key never keeps the daemon from starting: it is named with its line, and the default holds.
Retention is different: where anything is wrong with it, nothing is removed until the file is mended.
"""

from __future__ import annotations

import dataclasses
import difflib
import errno
import os
import re
import stat
from dataclasses import dataclass, field
from typing import Any

import tomli

from carrunsd.store.retention import MAX_COUNT, MAX_DAYS, RetentionConfig, whole_number

FSYNC_POLICIES = ("always", "everysec", "no")


@dataclass(frozen=True, slots=True)
class Settings:
    """The ``[carrunsd]`` table.  Seconds, bytes and counts are whole numbers."""

    adopt_grace_secs: int = 15
    cancel_grace_secs: int = 10
    detached_idle_secs: int = 86_400
    disconnect_grace_secs: int = 10
    fsync: str = "everysec"
    gc_interval_secs: int = 3600
    trash_max_age_days: int = 7
    max_line_bytes: int = 16 << 20
    max_turn_bytes: int = 1 << 20
    max_string_bytes: int = 64 << 10
    max_turns_per_run: int = 100_000
    max_connections: int = 1024


_RANGES = {
    "adopt_grace_secs": (0, 86_400 * 365),
    "cancel_grace_secs": (0, 86_400 * 365),
    "detached_idle_secs": (0, 86_400 * 3650),
    "disconnect_grace_secs": (0, 86_400 * 365),
    "gc_interval_secs": (1, 86_400 * 365),
    "trash_max_age_days": (0, 1_000_000),
    "max_line_bytes": (1024, 128 << 20),
    "max_turn_bytes": (512, 128 << 20),
    "max_string_bytes": (64, 1 << 30),
    "max_turns_per_run": (1, 1 << 53),
    "max_connections": (1, 1 << 20),
}


@dataclass(frozen=True, slots=True)
class Config:
    """A configuration file as read.  ``retention`` is ``None`` where nothing may be removed."""

    settings: Settings = field(default_factory=Settings)
    retention: RetentionConfig | None = field(default_factory=RetentionConfig)
    problems: tuple[str, ...] = ()


def load(path: str | os.PathLike[str]) -> Config:
    """Read a configuration file.  A missing one gives the defaults; ``problems`` says what is wrong.

    Never raises, whatever the file holds, and waits for nothing: a pipe is no file.
    """
    try:
        text = _read(path)
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        return Config(retention=None, problems=(f"{path}: cannot be read: {error}; {_KEPT}",))
    try:
        document = tomli.loads(text)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, 400 levels: no TOMLDecodeError
        return Config(retention=None, problems=(f"{path}: not TOML: {error}; {_KEPT}",))
    return _from_document(str(path), text, document)


_KEPT = "the defaults hold, and retention removes nothing until the file is mended"
MAX_BYTES = 1 << 20  # of a configuration


def _read(path: str | os.PathLike[str]) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no regular file; move it away")
        return file.read(MAX_BYTES).decode()


def _from_document(path: str, text: str, document: dict[str, Any]) -> Config:
    problems: list[str] = []
    retention: RetentionConfig | None
    try:
        retention = _without_zeros(RetentionConfig.from_table(document.get("runs", {})))
    except ValueError as error:
        where = _line_of(text, "runs", str(error).split(" ", 1)[0])
        problems.append(f"{path}:{where}: [runs] {error}; {_KEPT}")
        retention = None
    if _unknown(path, text, document, problems):
        retention = None
    settings = _settings(path, text, document.get("carrunsd", {}), problems)
    return Config(settings, retention, tuple(problems))


def _without_zeros(retention: RetentionConfig) -> RetentionConfig:
    """0 is no limit for the daemon (for the seed, and so for ``RunStore``, it is "keep none")."""
    return RetentionConfig(retention.max_per_agent or MAX_COUNT, retention.max_age_days or MAX_DAYS)


def _unknown(path: str, text: str, document: dict[str, Any], problems: list[str]) -> bool:
    """Name the sections and the keys of ``[runs]`` that nobody knows; tell whether retention may have been meant.

    What is written nearly like a limit may be one that was to keep more: then nothing is removed.
    """
    runs = document.get("runs")
    places = [("", name, _SECTIONS) for name in document]
    places += [("runs", name, _RUNS_KEYS) for name in (runs if isinstance(runs, dict) else ())]
    meant = False
    for section, name, known in places:
        if name in known or (not section and not isinstance(document[name], dict)):
            continue
        near = difflib.get_close_matches(name, known, 1)
        about_runs = bool(near) and (section == "runs" or near == ["runs"])
        hint = f"; did you mean {near[0]}?" if near else ""
        what = f"[{section}] {name} is not a key of {section}" if section else f"[{name[:60]}] is no section"
        end = f"; {_KEPT}" if about_runs else "; ignored"
        problems.append(f"{path}:{_line_of(text, section, name)}: {what[:160]}{hint}{end}")
        meant = meant or about_runs
    return meant


_SECTIONS = ("runs", "carrunsd")
_RUNS_KEYS = ("max_per_agent", "max_age_days")


def _settings(path: str, text: str, table: Any, problems: list[str]) -> Settings:
    if not isinstance(table, dict):
        problems.append(f"{path}:{_line_of(text, '', 'carrunsd')}: carrunsd is not a table; ignored")
        return Settings()
    good: dict[str, Any] = {}
    for key in table:
        try:
            good[key] = _value(table, key)
        except ValueError as error:
            problems.append(f"{path}:{_line_of(text, 'carrunsd', key)}: [carrunsd] {error}")
    return Settings(**good)


def _value(table: dict[str, Any], key: str) -> Any:
    defaults = {f.name: f.default for f in dataclasses.fields(Settings)}
    if key not in defaults:
        near = difflib.get_close_matches(key, defaults, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{key} is not a key of carrunsd{hint}; ignored")
    if key == "fsync":
        if table[key] not in FSYNC_POLICIES:
            raise ValueError(f'fsync = {table[key]!r} is none of {", ".join(FSYNC_POLICIES)}; "everysec" holds')
        return table[key]
    try:
        return whole_number(table, key, 0, *_RANGES[key])
    except ValueError as error:
        raise ValueError(f"{error}; {defaults[key]} holds") from None


def _line_of(text: str, section: str, key: str) -> int:
    """Return the line a key stands on, as a person would look for it; its table's line, else 1."""
    current, fallback = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            current = header[1]
            fallback = number if current in (section, key) else fallback
        elif current == section and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
            return number
    return fallback
