"""The main figures as horizontal bars on a logarithmic scale, as SVG that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.measure import Result, Row
from benchmarks.report import number

_WIDTH, _LABEL, _FIGURE = 900, 300, 110
_BAR, _GAP, _HEAD = 18, 6, 34
_OWN = ("carruns", "raw wire", "one agent", "daemon")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:13px}"
    ".own{fill:#0969da}.other{fill:#8c959f}.grid{stroke:#d0d7de;stroke-width:1}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#30363d}.other{fill:#6e7681}}"
)


def svg(results: Sequence[Result]) -> str:
    """Return a picture of the tables that are to be drawn."""
    parts: list[str] = []
    top = 10
    for result in results:
        for title, rows in list(result.tables.items())[: result.pictured]:
            if min(row.median for row in rows) > 0:
                top = _chart(parts, top, f"{result.title}: {title}", rows)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>"]) + "\n"


def _chart(parts: list[str], top: int, title: str, rows: Sequence[Row]) -> int:
    """Add one chart from ``top`` on and return where it ends."""
    unit = rows[0].unit
    better = "more" if rows[0].more_is_better else "less"
    parts.append(
        f'<text class="t" x="8" y="{top + 14}">{escape(title)} ({escape(unit)}, {better} is better)</text>'
    )
    figures = [row.median for row in rows]
    low, high = math.floor(math.log10(min(figures))), math.ceil(math.log10(max(figures)))
    high = max(high, low + 1)
    room = _WIDTH - _LABEL - _FIGURE
    bottom = top + _HEAD + len(rows) * (_BAR + _GAP)
    for power in range(low, high + 1):
        x = _LABEL + room * (power - low) / (high - low)
        parts.append(f'<line class="grid" x1="{x:.0f}" x2="{x:.0f}" y1="{top + 22}" y2="{bottom}"/>')
    for place, row in enumerate(rows):
        y = top + _HEAD + place * (_BAR + _GAP) - 4
        width = max(2.0, room * (math.log10(row.median) - low) / (high - low))
        kind = "own" if row.contestant.startswith(_OWN) else "other"
        parts.append(f'<text x="{_LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(row.contestant)}</text>')
        parts.append(f'<rect class="{kind}" x="{_LABEL}" y="{y}" width="{width:.0f}" height="{_BAR}" rx="2"/>')
        text = f"{number(row.median, unit)}"
        parts.append(f'<text x="{_LABEL + width + 6:.0f}" y="{y + 13}">{text}</text>')
    return bottom + 14
