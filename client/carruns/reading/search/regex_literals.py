"""The literals of a regular expression: plain text that every match must hold, as it stands in JSON.  Pure.

For ``connection (refused|reset)`` that is ``connection``; for ``Traceback|ENOSPC`` one of the two.  The parser of
``re`` is asked; what it returns is no public interface, so whatever is unknown there just gives no literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: ASCII that looks the same in JSON whoever wrote it, in a string, a key or a number.
_PLAIN = frozenset(map(chr, range(0x20, 0x7F))) - set('"\\/{}[]:, ')
#: Letters that ``re.IGNORECASE`` also finds in other scripts (the Kelvin sign, the long s, the dotless i).
_FOREIGN_CASES = frozenset("iksIKS")


def required_literals(expression: re.Pattern[str]) -> list[bytes] | None:
    """Return texts of which each match holds at least one (lower case under ``IGNORECASE``), else ``None``."""
    ignore_case = bool(expression.flags & re.IGNORECASE)
    try:
        from re import _parser  # type: ignore[attr-defined]

        found = _of_sequence(list(_parser.parse(expression.pattern, expression.flags)), ignore_case)
    except Exception:
        return None
    if not found:
        return None
    return [(text.lower() if ignore_case else text).encode() for text in found]


def _of_sequence(items: Iterable[tuple[Any, Any]], ignore_case: bool) -> list[str]:
    """Return the best of what the parts of a sequence demand; empty if none demands anything."""
    candidates: list[list[str]] = []
    run = ""
    for name, argument in items:
        kind = str(name)
        char = chr(argument) if kind == "LITERAL" else ""
        if char in _PLAIN and not (ignore_case and char in _FOREIGN_CASES):
            run += char
            continue
        if run:
            candidates.append([run])
        run = ""
        demanded = _of_part(kind, argument, ignore_case)
        if demanded:
            candidates.append(demanded)
    if run:
        candidates.append([run])
    return max(candidates, key=lambda texts: (min(map(len, texts)), -len(texts)), default=[])


def _of_part(kind: str, argument: Any, ignore_case: bool) -> list[str]:
    if kind == "SUBPATTERN":
        _, added, removed, inner = argument
        return [] if added or removed else _of_sequence(inner, ignore_case)
    if kind == "ATOMIC_GROUP":
        return _of_sequence(argument, ignore_case)
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, _, inner = argument
        return _of_sequence(inner, ignore_case) if least else []
    if kind == "BRANCH":
        branches = [_of_sequence(branch, ignore_case) for branch in argument[1]]
        return [text for texts in branches for text in texts] if all(branches) and len(branches) <= 8 else []
    return []
