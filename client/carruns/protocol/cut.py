"""Cutting text that is too long, and the marker that says so; both ends cut, and mark it alike.  Pure.

A marker states how many bytes of UTF-8 are missing, so that nobody takes a part for the whole::

    the beginning of a long text... [truncated: 71234 bytes missing]
    [truncated: 71234 bytes missing]                                       in place of a whole field
"""

from __future__ import annotations

import re

#: Finds either marker, and the one that the library wrote up to 0.1.0; group 1 is the number of missing bytes.
MARKER = re.compile(r"(?:\.\.\. )?\[(?:truncated|carruns): ([0-9]+) bytes missing\]")
#: More than the marker behind a cut text takes, whatever its number.
_MARKER_BYTES = 48


def marker(missing: int) -> str:
    """Return what stands in place of a field of ``missing`` bytes."""
    return f"[truncated: {missing} bytes missing]"


def cut(text: str, limit: int) -> str:
    """Return ``text`` within ``limit`` bytes of UTF-8, its missing bytes stated at the end.

    No character is cut in two.  Under 48 bytes of ``limit`` nothing but the marker is left, which may be longer.
    """
    if len(text) * 4 <= limit:
        return text
    raw = text.encode(errors="replace")  # a lone surrogate, which only the library may meet, becomes "?"
    if len(raw) <= limit:
        return text
    kept = raw[: max(0, limit - _MARKER_BYTES)].decode(errors="ignore")
    return f"{kept}... {marker(len(raw) - len(kept.encode()))}"
