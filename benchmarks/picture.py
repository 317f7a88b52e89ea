"""The main figures as horizontal bars from zero on, as SVG that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.measure import Result, Row
from benchmarks.report import number

_WIDTH, _LABEL, _FIGURE = 900, 300, 110
_BAR, _GAP, _HEAD, _TITLE = 18, 6, 24, 28
_PEERS = ("SQLite", "Redis", "open,", "append,", "prototype", "C echo", "json.loads", "encode and")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:14px}"
    ".own{fill:#0969da}.peer{fill:#8c959f}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.peer{fill:#6e7681}}"
)


def svg(results: Sequence[Result]) -> str:
    """Return a picture of the tables that are to be drawn."""
    parts: list[str] = []
    top = 10
    for result in results:
        tables = list(result.tables.items())[: result.pictured]
        if not tables:
            continue
        parts.append(f'<text class="t" x="8" y="{top + 16}">{escape(result.title)}</text>')
        top += _TITLE
        for title, rows in tables:
            top = _chart(parts, top, title, rows)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def _chart(parts: list[str], top: int, title: str, rows: Sequence[Row]) -> int:
    """Add one chart from ``top`` on and return where it ends."""
    unit = rows[0].unit
    better = "more" if rows[0].more_is_better else "less"
    parts.append(f'<text x="8" y="{top + 12}">{escape(title)}: {escape(unit)}, {better} is better</text>')
    most = max(row.median for row in rows) or 1
    for place, row in enumerate(rows):
        y = top + _HEAD + place * (_BAR + _GAP) - 4
        width = max(1.0, (_WIDTH - _LABEL - _FIGURE) * row.median / most)
        kind = "peer" if row.contestant.startswith(_PEERS) else "own"
        parts.append(f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(row.contestant)}</text>')
        parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{width:.0f}" height="{_BAR}" rx="2"/>')
        text = f"{number(row.median, unit)}"
        parts.append(f'<text x="{_LABEL + width + 6:.0f}" y="{y + 13}">{text}</text>')
    return top + _HEAD + len(rows) * (_BAR + _GAP) + 10
