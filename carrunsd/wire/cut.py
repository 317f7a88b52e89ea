"""Cutting what is too big in a turn, so that one huge output never costs the turn (docs/wire.md).

Strings over a limit keep their beginning and get a marker that says how many bytes are missing.  A turn that is
still too big has its largest parts replaced by such a marker, the largest first.
"""

from __future__ import annotations

from typing import Any

import msgspec

from carruns.protocol.records import Turn

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
        marker = f"[truncated: {sizes[largest]} bytes missing]"
        if sizes[largest] <= len(marker) + 2:
            return None
        value[largest] = marker
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


def cut(text: str, limit: int) -> str:
    """Return ``text`` within ``limit`` bytes of UTF-8, its missing bytes stated at the end."""
    if len(text) * 4 <= limit:
        return text
    raw = text.encode()
    if len(raw) <= limit:
        return text
    room = max(0, limit - 48)
    kept = raw[:room].decode(errors="ignore")
    return f"{kept}... [truncated: {len(raw) - len(kept.encode())} bytes missing]"


def lines_within(block: bytes, limit: int) -> bool:
    """Tell whether no line of ``block`` can be longer than ``limit`` bytes, by looking at few places."""
    if len(block) <= limit:
        return True
    half = limit // 2
    if half < 512:
        return False
    return all(block.find(b"\n", at, at + half) >= 0 for at in range(0, len(block) - half, half))
