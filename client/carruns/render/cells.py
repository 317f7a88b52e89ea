"""How wide a harmless line is on a terminal, and making it fit: cut, filled, broken.  Pure.

A cell is what one ASCII character takes; others take two or none.  What is unsafe in a text is ``harmless``'s job.
"""

from __future__ import annotations

ELLIPSIS = "…"
_EMOJI_FORM = "\ufe0f"  # makes the character before it one cell wider


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
