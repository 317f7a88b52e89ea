"""Tables fit the screen."""

from __future__ import annotations

import pytest

from carruns.render import cells
from carruns.render.style import Style
from carruns.render.table import Cell, Column, render

COLUMNS = (
    Column("ID"),
    Column("NAME", flexible=True),
    Column("N", right=True, drop=1),
    Column("TEXT", flexible=True),
)
ROWS = [
    [Cell("abc"), Cell("n" * 30), Cell("12345"), Cell("\u4f60" * 30)],
    [Cell("d"), Cell(""), Cell("1"), Cell("")],
]


@pytest.mark.parametrize("width", [20, 30, 50, 80, 200])
def test_a_table_fits(width: int) -> None:
    assert all(cells.width(line) <= width for line in render(Style(width), COLUMNS, ROWS))


def test_a_table_in_a_pipe_is_whole() -> None:
    text = "\n".join(render(Style(None), COLUMNS, ROWS))
    assert "n" * 30 in text
    assert "\u4f60" * 30 in text


def test_columns_go_before_text_becomes_too_short() -> None:
    assert "12345" not in "\n".join(render(Style(24), COLUMNS, ROWS))
    assert "12345" in "\n".join(render(Style(40), COLUMNS, ROWS))
