"""Text that agents wrote, made harmless for a terminal, and fitted to its cells.  Pure.

Agents write escape codes, carriage returns, NULs and marks that turn the direction of text; a terminal obeys them.
Whatever is not plain text is shown as the escape a programmer would write for it.  Nothing is dropped silently.
"""

from __future__ import annotations

import re

#: C0 and C1 controls, DEL, marks of direction, what is invisible (but for the joiners that emoji and Indic scripts
#: need), line separators, tags, private "interlinear" marks, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\uffa0\ud800-\udfff\U000e0000-\U000e0fff]"
)
_UNSAFE_BUT_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e", "\0": "\\0"}
ELLIPSIS = "…"
_EMOJI_FORM = "\ufe0f"  # makes the character before it one cell wider


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    return _NAMES.get(char) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def line(text: object) -> str:
    """Return any text as one harmless line."""
    return _UNSAFE.sub(_escape, str(text))


def lines(text: object) -> list[str]:
    r"""Return any text as harmless lines; tabs become spaces, and ``\r\n`` ends a line as ``\n`` does."""
    plain = str(text).replace("\r\n", "\n").expandtabs(4)
    return _UNSAFE_BUT_LINES.sub(_escape, plain).split("\n")


def width(text: str) -> int:
    """Return how many cells a harmless line takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, cells: int) -> str:
    """Return a harmless line cut to ``cells``, with an ellipsis where something is missing."""
    if len(text) <= cells and (text.isascii() or width(text) <= cells):
        return text
    if cells <= 0:
        return ""
    text = text[: cells * 8]  # marks of no width may come by the thousand
    if text.isascii():
        return text[: cells - 1] + ELLIPSIS
    from rich.cells import set_cell_size

    return set_cell_size(text, cells - 1).rstrip(" ") + ELLIPSIS if width(text) > cells else text


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Return a harmless line filled with spaces to ``cells``."""
    space = " " * (cells - width(text))
    return space + text if right else text + space


def wrap(text: str, cells: int) -> list[str]:
    """Return a harmless line broken into pieces of at most ``cells``; nothing is lost."""
    if text.isascii():
        return [text[at : at + cells] for at in range(0, len(text), cells)] or [""]
    return _wrapped(text, cells)


def _wrapped(text: str, cells: int) -> list[str]:
    """Break text by the widths of its characters; ``rich.cells.chop_cells`` loses lone modifiers."""
    from rich.cells import get_character_cell_size

    out, start, used = [], 0, 0
    for at, char in enumerate(text):
        size = 1 if char == _EMOJI_FORM else get_character_cell_size(char)
        if used + size > cells and at > start:
            out.append(text[start:at])
            start, used = at, 0
        used += size
    return [*out, text[start:]]
