"""What standard output can do (width, colours, Unicode), and printing on it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import Any

_CODES = {
    "bold": "1", "dim": "2", "italic": "3", "reverse": "7", "red": "31", "green": "32", "yellow": "33",
    "blue": "34", "magenta": "35", "cyan": "36",
}  # fmt: skip


class Screen:
    """Standard output as a command sees it."""

    def __init__(self, *, color: bool | None = None) -> None:
        """``color`` is what the user asked for, ``None`` for what the terminal and ``NO_COLOR`` say."""
        self._wanted = color

    @cached_property
    def tty(self) -> bool:
        """Whether a person looks at it."""
        return sys.stdout.isatty()

    @cached_property
    def color(self) -> bool:
        """Whether styles are printed (https://no-color.org, ``FORCE_COLOR``, ``TERM=dumb``)."""
        if self._wanted is not None:
            return self._wanted
        if os.environ.get("NO_COLOR"):
            return False
        if os.environ.get("FORCE_COLOR"):
            return True
        return self.tty and os.environ.get("TERM", "") not in ("", "dumb")

    @property
    def width(self) -> int | None:
        """Cells in a line; ``None`` in a pipe, where nothing is cut."""
        if self.tty or os.environ.get("COLUMNS", "").isdigit():
            return max(20, shutil.get_terminal_size().columns)
        return None

    @property
    def text_width(self) -> int:
        """Cells for running text, in a pipe too: it may end on the terminal that the person has (``| head``)."""
        if self.width is not None:
            return self.width
        try:
            return max(20, os.get_terminal_size(2).columns)
        except OSError:
            return 100

    @cached_property
    def unicode(self) -> bool:
        """Whether lines and marks beyond ASCII can be printed."""
        return "utf" in (sys.stdout.encoding or "").lower()

    def paint(self, text: str, *styles: str) -> str:
        """Return the text in these styles, as it is where there are none."""
        codes = ";".join(_CODES[style] for style in styles if style)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.color and codes and text else text

    def mark(self, fancy: str, plain: str) -> str:
        """Return ``fancy`` where it can be printed."""
        return fancy if self.unicode else plain

    def print(self, *parts: str) -> None:
        """Print a line, which is harmless already."""
        sys.stdout.write(" ".join(parts) + "\n")

    def print_all(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for text in lines:
            sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Print an object as one line of JSON, harmless on a terminal too."""
    sys.stdout.write(json_text(value) + "\n")


def json_text(value: Any) -> str:
    """Return an object as one harmless line of JSON."""
    import msgspec

    return _harmless(msgspec.json.encode(value).decode())


def _harmless(text: str) -> str:
    r"""JSON escapes C0 itself; DEL, C1 and the marks of direction are left: write them as ``\uXXXX``."""
    if text.isascii() and "\x7f" not in text:
        return text
    from carruns.render.clean import _UNSAFE

    return _UNSAFE.sub(lambda match: _json_escape(ord(match[0])), text)


def _json_escape(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def warn(text: str) -> None:
    """Say something to the person on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"carruns: {text}\n")
    sys.stderr.flush()
