"""Any JSON value as lines for reading: strings as text, objects by key, cut to a number of lines.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from carruns.render import cells, harmless, units

_INDENT = "  "


class _How(NamedTuple):
    """``width`` decides about the layout; where ``broken`` is set no line is longer.  ``most`` bounds the lines."""

    width: int
    most: int | None
    broken: bool

    def within(self) -> _How:
        """The same, for what is indented."""
        return self._replace(width=self.width - len(_INDENT))

    def wrap(self, line: str) -> list[str]:
        """Return a harmless line as pieces."""
        return cells.wrap(line, self.width) if self.broken else [line]

    def that_matter(self, text: str) -> str:
        """Return the beginning of a text from which lines can come; a huge one is not gone through."""
        if self.most is None:
            return text
        if self.broken:
            return text[: self.width * (self.most + 1) * 2]
        return "\n".join(text.split("\n", self.most + 1)[: self.most + 1])


def value_lines(value: Any, width: int, most: int | None, *, broken: bool = True) -> tuple[list[str], str]:
    """Return a value as harmless lines of at most ``width`` cells, and what is missing from them.

    ``most`` bounds the lines (``None``: all of them).  What is missing is ``""`` or like ``12 lines``.  Without
    ``broken`` lines may be longer: a program that reads them finds words whole.
    """
    how = _How(max(width, 16), most, broken)
    if most is None:
        return list(_value(value, how)), ""
    found = list(islice(_value(value, how), most + 1))
    if len(found) <= most:
        return found, ""
    size = len(value) if isinstance(value, str) else len(msgspec.json.encode(value))
    shown = sum(map(len, found[:most]))
    missing = value.count("\n") + 1 - most if isinstance(value, str) and size < 1 << 20 else 0
    return found[:most], _more(missing, max(1, size - shown))


def _more(lines: int, characters: int) -> str:
    return units.counted(lines, "more line") if lines > 0 else units.counted(characters, "more character")


def _value(value: Any, how: _How) -> Iterator[str]:
    if isinstance(value, str):
        yield from _text(value, how)
    elif isinstance(value, dict) and value:
        yield from _items(((harmless.line(key), item) for key, item in value.items()), value, how)
    elif isinstance(value, list) and value:
        yield from _items((("-", item) for item in value), value, how)
    else:
        yield from how.wrap(compact(value))


def _text(text: str, how: _How) -> Iterator[str]:
    rows = harmless.lines(how.that_matter(text))
    if len(rows) > 1 and not rows[-1]:
        rows.pop()
    for row in rows:
        yield from how.wrap(row)


def _items(items: Iterator[tuple[str, Any]], whole: Any, how: _How) -> Iterator[str]:
    """One line where it fits and nothing in it has lines of its own, else one entry after another."""
    width = how.width
    if _is_flat(whole):
        line = compact(whole)
        if cells.width(line) <= width:
            yield line
            return
    for key, item in items:
        head = f"{key} " if key == "-" else f"{cells.fit(key, width // 2) if how.broken else key}: "
        if isinstance(item, str) and ("\n" in item[:-1] or len(item) > width):
            yield head.rstrip()
            inner = _text(item, how.within())
        elif isinstance(item, dict | list) and item and not _fits(item, width - len(head)):
            yield head.rstrip()
            inner = _value(item, how.within())
        else:
            text = harmless.line(item.rstrip("\n")) if isinstance(item, str) else compact(item)
            yield from how.wrap(head + text)
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
