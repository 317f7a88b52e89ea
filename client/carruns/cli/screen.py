"""Standard output: what it can do (width, colours, Unicode), and printing on it.  How things look: ``render``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from carruns.render.style import Style


class Screen:
    """Standard output as a command sees it."""

    def __init__(self, *, color: bool | None = None) -> None:
        """``color`` is what the user asked for, ``None`` for what the terminal and ``NO_COLOR`` say."""
        self._wanted = color

    @property
    def style(self) -> Style:
        """What it can do now: a terminal may change its width."""
        return Style(width=self.width, text_width=self._text_width, color=self.color, unicode=self._unicode)

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
    def _text_width(self) -> int:
        """Cells for running text, in a pipe too: it may end on the terminal that the person has (``| head``)."""
        width = self.width
        if width is not None:
            return width
        try:
            return max(20, os.get_terminal_size(2).columns)
        except OSError:
            return 100

    @cached_property
    def _unicode(self) -> bool:
        return "utf" in (sys.stdout.encoding or "").lower()

    def print(self, *parts: str) -> None:
        """Print a line, which is harmless already."""
        sys.stdout.write(" ".join(parts) + "\n")

    def print_all(self, lines: Iterable[str]) -> None:
        """Print lines."""
        for text in lines:
            sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Print an object as one line of JSON, harmless on a terminal too."""
    from carruns.render.harmless import json_text

    sys.stdout.write(json_text(value) + "\n")


def warn(text: str) -> None:
    """Say something to the person on standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"carruns: {text}\n")
    sys.stderr.flush()
