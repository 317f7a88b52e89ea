"""Records that are neither a start, a turn nor an end, as one readable line.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carruns.render import harmless
from carruns.render.value_lines import compact

#: What is put down around a cancellation; ours and CAR's.
CANCELLATION_KINDS = ("cancellation_requested", "cancellation_result")


def other_line(record: Mapping[str, Any]) -> str:
    """Return a harmless line: who wants a cancellation and why, what came of it; all there is of other kinds."""
    kind = record.get("record")
    if kind == "cancellation_requested":
        reason, by = record.get("reason"), record.get("principal")
        said = f": {harmless.line(reason)}" if reason else ""
        return f"cancellation requested{said}" + (f" (by {harmless.line(by)})" if by else "")
    if kind == "cancellation_result":
        status = record.get("status") or record.get("result")
        return "cancellation result" + (f": {_word(status)}" if status else _rest(record))
    return compact(dict(record))


def _word(value: Any) -> str:
    return harmless.line(value).replace("_", " ") if isinstance(value, str) else compact(value)


def _rest(record: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in record.items() if key not in ("record", "run_id", "agent_id")}
    return f": {compact(rest)}" if rest else ""
