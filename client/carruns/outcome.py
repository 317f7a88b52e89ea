"""An outcome as the daemon takes it, whatever the agent gave: what has a type there is bent to it.  Pure.

The end of a run is worth more than its exactness: a duration of 12.7 ms is rounded, a count that is no number is
kept as text under another name, and what is not known here stays as it came.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from carruns import encoding

#: The metrics that a reader takes for whole numbers from 0 on.
COUNTS = frozenset(("turns", "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed"))
_LARGEST = 2**63 - 1
_GIVEN = "_given"


def fitted(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return an outcome whose summary, evidence and metrics are of the types that the wire wants."""
    fit = dict(outcome)
    if (summary := fit.get("summary")) is not None:
        fit["summary"] = encoding.text(summary)
    if (evidence := fit.get("evidence")) is not None:
        fit["evidence"] = items(evidence)
    if (measured := fit.get("metrics")) is not None:
        fit["metrics"] = metrics(measured)
    return fit


def items(evidence: Any) -> list[Any]:
    """Return evidence as the wire has it; a bare text becomes an item of kind ``note``, as does what is no item."""
    if isinstance(evidence, str | bytes | Mapping):
        return [_item(evidence)]
    try:
        return [_item(item) for item in evidence]
    except Exception:  # no iterable, or one that breaks: it is evidence all the same
        return [_item(evidence)]


def _item(item: Any) -> Any:
    if isinstance(item, str):
        return {"kind": "note", "description": encoding.text(item), "data": None}
    if not isinstance(item, Mapping):
        return {"kind": "note", "description": encoding.text(item), "data": item}
    texts = {name: encoding.text(item[name]) for name in ("kind", "description") if item.get(name) is not None}
    return {**item, **texts}


def metrics(measured: Any) -> dict[str, Any]:
    """Return metrics whose known counts are whole and not negative; one that cannot be is kept as ``..._given``."""
    if not isinstance(measured, Mapping):
        return {"metrics" + _GIVEN: encoding.text(measured)}
    fit: dict[str, Any] = {}
    for name, value in measured.items():
        count = _count(value) if name in COUNTS else value
        if count is not None or name not in COUNTS:
            fit[name] = count
        elif value is not None:
            fit[name + _GIVEN] = encoding.text(value)
    return fit


def _count(value: Any) -> int | None:
    try:
        number = float(value) if not isinstance(value, int) else value
        if isinstance(number, float) and not math.isfinite(number):
            return None
        return min(_LARGEST, max(0, round(number)))
    except (TypeError, ValueError, OverflowError):
        return None
