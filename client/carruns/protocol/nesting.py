"""How deep JSON nests, told from its bytes.  Pure."""

from __future__ import annotations

import re
from itertools import accumulate

from carruns.protocol.framing import occurrences

#: serde_json refuses the 128th level of nesting (its ``remaining_depth`` starts there).
MAX_DEPTH = 127


def may_be_too_deep(text: bytes) -> bool:
    """Tell whether JSON ``text`` has brackets enough to nest too deep; false is certain, true is not."""
    return occurrences(text, b"{") + occurrences(text, b"[") > MAX_DEPTH


def depth(text: bytes) -> int:
    """Return how deep valid JSON ``text`` nests; brackets in strings do not count."""
    return bracket_depth(without_strings(text).translate(None, _NOT_BRACKETS))


def without_strings(text: bytes) -> bytes:
    """Return valid JSON ``text`` without what stands in its strings."""
    return STRING.sub(b"", text)


def bracket_depth(skeleton: bytes) -> int:
    """Return how deep a row of brackets nests, taking each closing one for the end of whatever is open."""
    rounds = 0
    while skeleton and rounds < _PEEL_ROUNDS and len(skeleton) < _PEEL_BYTES:
        rest = skeleton.replace(b"{}", b"").replace(b"[]", b"")
        if rest == skeleton:
            break
        skeleton = rest
        rounds += 1
    level = deepest = 0
    for start in range(0, len(skeleton), _PEEL_BYTES):
        steps = [1 if byte in b"{[" else -1 for byte in skeleton[start : start + _PEEL_BYTES]]
        *levels, level = accumulate(steps, initial=level)
        deepest = max(deepest, level, *levels)
        if deepest > MAX_DEPTH:
            break
    return rounds + deepest


_PEEL_BYTES = 1 << 16
_PEEL_ROUNDS = 12  # deeper than nearly everything; what is left is counted bracket by bracket
#: One JSON string, its quotes included.
STRING = re.compile(rb'"(?:[^"\\]+|\\.)*+"')
_NOT_BRACKETS = bytes(c for c in range(256) if c not in b"{}[]")
