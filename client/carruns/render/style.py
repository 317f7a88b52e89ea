"""What the terminal can do, as every view is told: width, colours, Unicode.  Pure: ``cli/screen.py`` asks it."""

from __future__ import annotations

from typing import NamedTuple

_CODES = {
    "bold": "1", "dim": "2", "italic": "3", "reverse": "7", "red": "31", "green": "32", "yellow": "33",
    "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip


class Style(NamedTuple):  # no dataclass: every command loads this, and those cost 2 ms
    """``width``: cells of a line, ``None`` in a pipe, where nothing is cut.

    ``text_width``: cells for running text; in a pipe for what is drawn, while text is
    not broken there.  ``unicode``: marks beyond ASCII can be printed.
    """

    width: int | None = None
    text_width: int = 100
    color: bool = False
    unicode: bool = True

    def paint(self, text: str, *styles: str) -> str:
        """Return the text in these styles (``bold``, ``red``, ...), as it is where there are no colours."""
        codes = ";".join(_CODES[style] for style in styles if style)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.color and codes and text else text

    def mark(self, fancy: str, plain: str) -> str:
        """Return ``fancy`` where it can be printed."""
        return fancy if self.unicode else plain
