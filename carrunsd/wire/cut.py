"""Cutting what is too big in a turn, so that one huge output never costs the turn (docs/wire.md).

Strings over a limit keep their beginning and get a marker that says how many bytes are missing.  A turn that is
still too big has its largest parts replaced by such a marker, the largest first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol.cut import cut, marker
from carruns.protocol.records import Turn

__all__ = ["cut", "cut_strings", "fit_turn", "lines_within"]

_REPLACEABLE = ("output", "parameters", "prompt")


def fit_turn(turn: Any, max_string: int, max_turn: int) -> tuple[Any, bool] | None:
    """Return the turn made to fit and whether anything was cut; ``None`` if it cannot be made to fit.

    ``turn`` is a :class:`Turn` or a mapping; limits are in bytes of UTF-8 and of JSON.
    """
    size = len(msgspec.json.encode(turn))
    if size <= min(max_string, max_turn):
        return turn, False
    value = msgspec.to_builtins(turn)
    value, was_cut = cut_strings(value, max_string)
    if was_cut:
        size = len(msgspec.json.encode(value))
    while size > max_turn:
        sizes = {key: len(msgspec.json.encode(value.get(key))) for key in _REPLACEABLE}
        largest = max(sizes, key=lambda key: sizes[key])
        instead = marker(sizes[largest])
        if sizes[largest] <= len(instead) + 2:
            return None
        value[largest] = instead
        was_cut = True
        size = len(msgspec.json.encode(value))
    return (_as_turn(turn, value), True) if was_cut else (turn, False)


def _as_turn(turn: Any, value: Any) -> Any:
    return value if type(turn) is dict else msgspec.convert(value, Turn)


def cut_strings(value: Any, limit: int) -> tuple[Any, bool]:
    """Return ``value`` with every string over ``limit`` bytes cut, and whether any was.  Keys stay."""
    if isinstance(value, str):
        text = cut(value, limit)
        return text, text is not value
    if isinstance(value, dict):
        items = {key: cut_strings(item, limit) for key, item in value.items()}
        return {key: item for key, (item, _) in items.items()}, any(was for _, was in items.values())
    if isinstance(value, list):
        parts = [cut_strings(item, limit) for item in value]
        return [item for item, _ in parts], any(was for _, was in parts)
    return value, False


def lines_within(block: bytes, limit: int) -> bool:
    """Tell whether no line of ``block`` can be longer than ``limit`` bytes, by looking at few places."""
    if len(block) <= limit:
        return True
    half = limit // 2
    if half < 512:
        return False
    return all(block.find(b"\n", at, at + half) >= 0 for at in range(0, len(block) - half, half))
