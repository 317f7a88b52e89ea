"""The seed's types: what its serde reader takes for a record, as rules on a decoded line.  Pure.

The structs are ``RunStarted``, ``RunTurn``, ``RunEnded``, ``AgentOutcome`` and ``OutcomeMetrics`` of the Rust
store; where Rust and JSON differ, serde decides: a field given twice is an error, ``null`` is only an ``Option``'s,
a whole number is not a float.  Reading takes more on purpose: ``model_turn``, kinds and ends that are not known,
terminations in any of serde's encodings.  :func:`fault` serves the reader and, with ``writing``, whoever puts lines
down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from carruns.protocol.records import OUTCOME_STATUSES
from carrunsd.store import chrono

#: The kinds that are turns: they count, and their ``index`` is one of the run's.
TURN_KINDS = frozenset(("turn", "model_turn"))

#: Fields that serde refuses twice, by kind.  The tag is one of them everywhere.
NAMES: dict[str, tuple[str, ...]] = {
    "started": ("run_id", "agent_id", "intent", "outcome_description", "started_at"),
    "turn": (
        "index", "prompt", "tool", "parameters", "output", "cli_outcome", "verifier_verdict", "policy_rejected",
    ),
    "model_turn": ("index",),
    "ended": ("run_id", "agent_id", "termination", "ended_at"),
}  # fmt: skip
METRICS = ("turns", "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed")
_OUTCOME = ("status", "summary", "evidence", "metrics", "timestamp")

MAX_INDEX = (1 << 64) - 1  # usize, and u64, where the seed runs
#: An index from here on does not move the next one: what follows must stay a number that everyone can read.
FAR_INDEX = 1 << 62
_TAGS = ("kind", "type", "tag", "t")  # of an enum that is tagged, in the order of how often
_CONTENTS = ("content", "data", "value", "c")


def fault(record: dict[str, Any], *, writing: bool = False) -> str | None:
    """Return what the seed's reader does not take in ``record``, naming the field; ``None`` if all is well.

    A ``doubled`` attribute of an object in it (see ``reader``) names the keys that stood there twice.  With
    ``writing`` only what the seed itself reads will do, and kinds and ends that it does not know.
    """
    kind = record.get("record")
    if type(kind) is not str:
        return "`record` must be a string that names the kind"
    twice = _twice(record, ("record", *NAMES.get(kind, ())))
    if twice:
        return twice
    check = _CHECKS.get(kind)
    return None if check is None else check(record, writing)


def _started(record: dict[str, Any], writing: bool) -> str | None:
    wrong = _texts(record, ("run_id", "agent_id", "intent"))
    if not wrong and not _is_text_or_null(record.get("outcome_description")):
        wrong = "`outcome_description` must be a string"
    return wrong or _time(record, "started_at", writing)


def _turn(record: dict[str, Any], writing: bool) -> str | None:
    wrong = _index(record, writing)
    for name in ("prompt", "tool"):
        if not _is_text_or_null(record.get(name)):
            wrong = wrong or f"`{name}` must be a string"
    return wrong


def _index(record: dict[str, Any], writing: bool) -> str | None:
    return None if _is_whole(record.get("index")) else "`index` must be a whole number from 0"


def _ended(record: dict[str, Any], writing: bool) -> str | None:
    wrong = _texts(record, ("run_id", "agent_id")) or _time(record, "ended_at", writing)
    if wrong:
        return wrong
    termination = record.get("termination")
    return _termination(termination, writing) if writing or _as_the_seed(termination) else _known_end(termination)


_CHECKS: dict[str, Callable[[dict[str, Any], bool], str | None]] = {
    "started": _started,
    "turn": _turn,
    "model_turn": _index,
    "ended": _ended,
}


# -- ends ----------------------------------------------------------------------------------------------------


def _as_the_seed(termination: Any) -> bool:
    """Tell whether ``termination`` is encoded as the seed does it: the rest is read beyond it, if at all."""
    if not isinstance(termination, dict) or "kind" not in termination:
        return False
    return termination["kind"] == "incomplete" or (
        termination["kind"] == "outcome" and not any(name in termination for name in _CONTENTS)
    )


def _termination(termination: Any, writing: bool) -> str | None:
    if not isinstance(termination, dict) or type(termination.get("kind")) is not str:
        return "`termination` must be an object with a string `kind`"
    twice = _twice(termination, ("kind",))
    kind = termination["kind"]
    if twice or kind == "incomplete":
        return twice
    if kind == "outcome":
        return _twice(termination, ("status", "outcome")) or _outcome_end(termination, writing)
    if not kind or _snake(kind) in ("outcome", "incomplete"):
        return f'`termination.kind` {kind!r} is no kind: "outcome" and "incomplete" are'
    return None  # CAR's own, such as `cancelled`


def _known_end(termination: Any) -> str | None:
    return "`termination` says no end" if ending(termination) is None else None


def _outcome_end(termination: dict[str, Any], writing: bool) -> str | None:
    wrong = _status(termination.get("status"), "termination.status")
    return wrong or outcome_fault(termination.get("outcome"), "termination.outcome", writing=writing)


def outcome_fault(outcome: Any, where: str = "outcome", *, writing: bool = True) -> str | None:
    """Return what the seed does not take in an outcome, naming the field; ``None`` if all is well."""
    if not isinstance(outcome, dict):
        return f"`{where}` must be an object"
    wrong = _twice(outcome, _OUTCOME, where) or _status(outcome.get("status"), f"{where}.status")
    wrong = wrong or _texts(outcome, ("summary",), where)
    if not wrong and not isinstance(outcome.get("evidence", []), list):
        wrong = f"`{where}.evidence` must be an array"
    wrong = wrong or _metrics(outcome.get("metrics", {}), f"{where}.metrics")
    return wrong or _time(outcome, "timestamp", writing, where)


def _metrics(metrics: Any, where: str) -> str | None:
    if not isinstance(metrics, dict):
        return f"`{where}` must be an object"
    for name in METRICS:
        if not _is_whole(metrics.get(name, 0)):
            return f"`{where}.{name}` must be a whole number from 0"
    return _twice(metrics, METRICS, where)


def _status(status: Any, where: str) -> str | None:
    if type(status) is str and status in OUTCOME_STATUSES:
        return None
    return f"`{where}` must be one of {', '.join(OUTCOME_STATUSES)}"


def ending(termination: Any) -> str | None:
    """Return what a ``termination`` says: the outcome's status, ``"incomplete"``, or the kind of another end.

    ``None`` where it says nothing.  Reads every encoding serde has for the enum: internally tagged (the one we
    write), externally tagged, adjacently tagged, untagged (https://serde.rs/enum-representations.html), in snake
    case or as Rust names it.
    """
    if type(termination) is str:
        return _snake(termination) or None
    if not isinstance(termination, dict):
        return None
    tag, body = _tagged(termination)
    if tag == "incomplete":
        return tag
    status = body.get("status", termination.get("status"))
    if status is None and isinstance(body.get("outcome"), dict):
        status = body["outcome"].get("status")
    if type(status) is str and status:
        return _snake(status)
    return "done" if tag in ("outcome", "status") else tag


def _tagged(termination: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the name of the variant, in snake case, and the object its fields stand in."""
    tag = next((termination[name] for name in _TAGS if type(termination.get(name)) is str), None)
    body: Any = termination
    if tag is not None:
        inner = next((termination[name] for name in _CONTENTS if name in termination), None)
        body = inner if isinstance(inner, dict) else termination
    elif len(termination) == 1 and not termination.keys() & set(_TAGS):
        tag, inner = next(iter(termination.items()))
        body = inner if isinstance(inner, dict) else {}
    return (_snake(tag) if tag else None), body


def _snake(name: str) -> str:
    return "".join(("_" if i and c.isupper() else "") + c.lower() for i, c in enumerate(name))


# -- fields --------------------------------------------------------------------------------------------------


def _twice(value: dict[str, Any], names: tuple[str, ...], where: str = "") -> str | None:
    doubled = getattr(value, "doubled", None)
    if doubled:
        for name in names:
            if name in doubled:
                return f"`{_path(where, name)}` is given twice"
    return None


def _texts(value: dict[str, Any], names: tuple[str, ...], where: str = "") -> str | None:
    for name in names:
        if type(value.get(name)) is not str:
            return f"`{_path(where, name)}` must be a string"
    return None


def _time(value: dict[str, Any], name: str, writing: bool, where: str = "") -> str | None:
    text = value.get(name)
    if type(text) is str and (chrono.may_be_written(text) if writing else chrono.instant(text) is not None):
        return None
    return f"`{_path(where, name)}` must be an RFC 3339 time with `T` and an offset"


def _is_text_or_null(value: Any) -> bool:
    return value is None or type(value) is str


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INDEX


def _path(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
