"""What retention keeps and takes away, in sentences, as ``carruns du`` ends.  Pure.

The rules and the rows are those of ``reading/retention_forecast.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from carruns.render import harmless, units

Row = Mapping[str, Any]


def retention_lines(rules: Row, going: Sequence[Row], now_ns: int) -> list[str]:
    """Return the rules and what follows from them; ``going`` are the ended runs, the first to go first."""
    if rules["max_per_agent"] is None:
        return [harmless.line(problem) for problem in rules["problems"]]
    count, days = rules["max_per_agent"], rules["max_age_days"]
    out = [f"the newest {count} ended runs of an agent stay, for {days} days from their end"]
    due = [row for row in going if row["due"]]
    if due:
        out.append(_due(due))
    later = [row for row in going if not row["due"]]
    if later:
        seconds = ((units.instant(later[0]["expires_at"]) or 0) - now_ns) / units.SECOND
        run = harmless.line(later[0]["run_id"])
        out.append(f"after that, the first to go by age is {run}, in {units.age(seconds)}")
    return out


def _due(due: Sequence[Row]) -> str:
    size = units.size(sum(row["bytes"] for row in due))
    counts = ((sum(row["reason"] == why for row in due), why) for why in ("count", "age"))
    reasons = ", ".join(f"{count} by {why}" for count, why in counts if count)
    return (
        f"the next collection removes {units.counted(len(due), 'run')}, {size} ({reasons}): carruns prune --dry-run"
    )
