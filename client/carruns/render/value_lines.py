"""Any JSON value as lines for reading: strings as text, objects by key, cut to a number of lines.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from carruns.render import cells, harmless

_INDENT = "  "


def value_lines(value: Any, width: int, most: int | None) -> tuple[list[str], str]:
    """Return a value as harmless lines of at most ``width`` cells, and what is missing from them.

    ``most`` bounds the lines (``None``: all of them).  What is missing is ``""`` or like ``12 lines``.
    """
    width = max(width, 16)
    if most is None:
        return list(_value(value, width, None)), ""
    bound = width * (most + 1)  # characters of one string that can matter; a huge one is not gone through
    found = list(islice(_value(value, width, bound), most + 1))
    if len(found) <= most:
        return found, ""
    size = len(value) if isinstance(value, str) else len(msgspec.json.encode(value))
    shown = sum(map(len, found[:most]))
    missing = value.count("\n") + 1 - most if isinstance(value, str) and size < 1 << 20 else 0
    return found[:most], f"{missing} more lines" if missing > 0 else f"{max(1, size - shown):,} more characters"


def _value(value: Any, width: int, bound: int | None) -> Iterator[str]:
    if isinstance(value, str):
        yield from _text(value, width, bound)
    elif isinstance(value, dict) and value:
        yield from _items(((harmless.line(key), item) for key, item in value.items()), value, width, bound)
    elif isinstance(value, list) and value:
        yield from _items((("-", item) for item in value), value, width, bound)
    else:
        yield from cells.wrap(compact(value), width)


def _text(text: str, width: int, bound: int | None) -> Iterator[str]:
    if bound is not None:
        text = text[: bound * 2]
    rows = harmless.lines(text)
    if len(rows) > 1 and not rows[-1]:
        rows.pop()
    for row in rows:
        yield from cells.wrap(row, width)


def _items(items: Iterator[tuple[str, Any]], whole: Any, width: int, bound: int | None) -> Iterator[str]:
    """One line where it fits and nothing in it has lines of its own, else one entry after another."""
    if _is_flat(whole):
        line = compact(whole)
        if cells.width(line) <= width:
            yield line
            return
    for key, item in items:
        head = f"{key} " if key == "-" else f"{cells.fit(key, width // 2)}: "
        if isinstance(item, str) and ("\n" in item[:-1] or len(item) > width):
            yield head.rstrip()
            inner = _text(item, width - 2, bound)
        elif isinstance(item, dict | list) and item and not _fits(item, width - len(head)):
            yield head.rstrip()
            inner = _value(item, width - 2, bound)
        else:
            text = harmless.line(item.rstrip("\n")) if isinstance(item, str) else compact(item)
            yield from cells.wrap(head + text, width)
            continue
        for line in inner:
            yield _INDENT + line


def _is_flat(value: Any) -> bool:
    """Whether a value is short and without text of several lines; looks at a few entries only."""
    if len(value) > 12:
        return False
    parts = list(value.values()) if isinstance(value, dict) else value
    return all(
        (len(part) < 200 and "\n" not in part) if isinstance(part, str)
        else _is_flat(part) if isinstance(part, dict | list) else True
        for part in parts
    )  # fmt: skip


def _fits(value: Any, width: int) -> bool:
    return _is_flat(value) and cells.width(compact(value)) <= width


def compact(value: Any) -> str:
    """Return a value as one harmless line: ``{k: v, …}`` for objects, JSON for the rest."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{harmless.line(key)}: {compact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(compact, value)) + "]"
    return harmless.line(msgspec.json.encode(value).decode())
