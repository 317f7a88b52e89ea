"""The figures as a table on the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result, Row, Target

_VERDICTS = {True: "met", False: "not met", None: "not measured"}


def number(value: float, unit: str) -> str:
    """Return a figure as people read it."""
    digits = 0 if abs(value) >= 100 or unit in ("bytes", "times") else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(row: Row) -> str:
    """Return the lowest and the highest of the rounds."""
    if len(row.values) < 2:
        return ""
    return f"{number(min(row.values), row.unit)} .. {number(max(row.values), row.unit)}"


def against_first(row: Row, rows: Sequence[Row]) -> str:
    """Return how a row does beside the first of its table: above 1 it does better."""
    if row is rows[0] or not row.median or not rows[0].median or row.unit != rows[0].unit:
        return ""
    times = row.median / rows[0].median
    return f"{times if row.more_is_better else 1 / times:.2f}"


_HEADS = ("contestant", "median", "unit", "lowest .. highest", "beside the first", "an acknowledgement means")


def _cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    return (row.contestant, number(row.median, row.unit), row.unit, spread(row), against_first(row, rows), row.ack)


def show(result: Result, console: Console) -> None:
    """Print what a case found."""
    console.rule(result.title)
    for title, rows in result.tables.items():
        table = Table(*_HEADS, title=title, title_justify="left", box=None, pad_edge=False)
        for column in table.columns[1:5]:
            column.justify = "right"
        for row in rows:
            table.add_row(*_cells(row, rows))
        console.print(table, "")
    for target in result.targets:
        colour = {True: "green", False: "red", None: "yellow"}[target.met]
        console.print(
            f"[{colour}]{_VERDICTS[target.met]:>12}[/]  {target.number}  {target.text}: {target.measured}"
        )
    for note in result.notes:
        console.print(note)


def markdown(results: Sequence[Result], facts: dict[str, str], remarks: Sequence[str]) -> str:
    """Return everything as one page."""
    return "\n".join(_lines(results, facts, remarks)) + "\n"


def _lines(results: Sequence[Result], facts: dict[str, str], remarks: Sequence[str]) -> Iterator[str]:
    yield "# Results of `make bench`"
    yield ""
    yield "Written by `python -m benchmarks`. A figure is the median of the rounds; the contestants take turns in"
    yield 'each round, on a machine that others use too: look at ratios first. "Beside the first" is above 1 where'
    yield "the contestant does better than the first one of its table."
    yield ""
    yield from (f"- {key}: {value}" for key, value in facts.items())
    yield from (f"- {remark}" for remark in remarks)
    yield ""
    yield "![The main figures as bars](results.svg)"
    yield ""
    yield "## Targets"
    yield ""
    targets = [target for result in results for target in result.targets]
    yield from _targets(sorted(targets, key=lambda target: target.number))
    for result in results:
        yield from ("", f"## {result.title}")
        yield from (note for note in result.notes)
        for title, rows in result.tables.items():
            yield from ("", f"### {title}", "")
            yield "| " + " | ".join(_HEADS) + " |"
            yield "|---|--:|---|--:|--:|---|"
            yield from ("| " + " | ".join(_cells(row, rows)) + " |" for row in rows)


def _targets(targets: Sequence[Target]) -> Iterator[str]:
    yield "| no. | target | measured | verdict |"
    yield "|---|---|---|---|"
    for target in targets:
        verdict = _VERDICTS[target.met]
        mark = verdict if target.met else f"**{verdict}**"
        yield f"| {target.number} | {target.text} | {target.measured} | {mark} |"
