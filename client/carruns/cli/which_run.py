"""What is said where it is not clear which run is meant.  Pure; ``reading/find_run.py`` and ``trash.py`` look."""

from __future__ import annotations

from collections.abc import Sequence

from carruns.protocol.records import Record
from carruns.reading.errors import AmbiguousRun, NoSuchRun
from carruns.render import harmless

_SHOWN = 8


def no_such_run(error: NoSuchRun) -> str:
    """Return it as a sentence that says where to look."""
    wanted = repr(harmless.line(error.wanted))
    if error.where == "trash":
        return f"no run in the trash begins with {wanted}; `carruns trash list` shows them"
    return f"no run's id begins with {wanted}; `carruns list` shows them"


def ambiguous(error: AmbiguousRun) -> str:
    """Return the runs to choose from, the first of very many."""
    wanted, found = repr(harmless.line(error.wanted)), error.found
    if error.where == "trash":
        return "\n".join([f"{len(found)} runs in the trash begin so:", *map(_line, found[:_SHOWN])])
    if len({run.run_id for run in found}) == 1:
        agents = ", ".join(harmless.line(run.agent_id) for run in found)
        return f"several agents have a run {wanted} ({agents}): say which with --agent"
    return "\n".join([f"{len(found)} runs begin with {wanted}:", *map(_line, found[:_SHOWN]), *_more(found)])


def _line(run: Record) -> str:
    intent = f": {harmless.line(run.intent)[:60]}" if "intent" in run else ""
    return f"  {harmless.line(run.run_id)}  {harmless.line(run.agent_id)}{intent}"


def _more(found: Sequence[Record]) -> list[str]:
    return [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
