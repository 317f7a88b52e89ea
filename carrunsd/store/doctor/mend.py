"""Making a record readable that an earlier version or another program wrote with the wrong types.  Pure.

What can be kept is kept: a float becomes the whole number next to it, what is no string its JSON text, a time is
written as RFC 3339, a number beyond a double becomes text; of a field given twice the last counts, as it did when
it was read.  What has no meaning at all gets what is most likely: a turn the next index, an end the time before it.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
from msgspec import Struct

from carruns.protocol import nesting, times
from carruns.protocol.records import OUTCOME_STATUSES
from carrunsd.store import chrono, strict, typed

Json = dict[str, Any]


class Known(Struct):
    """What the lines before say: whose run it is, the next index and the latest time."""

    run_id: str
    agent_id: str
    at: str
    next_index: int = 0

    def take(self, record: Json) -> None:
        """Account for a record that is readable."""
        kind = record["record"]
        if kind in typed.TURN_KINDS and record["index"] < typed.FAR_INDEX:
            self.next_index = max(self.next_index, record["index"] + 1)
        elif kind == "started":
            self.run_id, self.agent_id = record["run_id"], record["agent_id"]
        for name in ("started_at", "recorded_at", "ended_at"):
            text = record.get(name)
            if type(text) is str and chrono.may_be_written(text):
                self.at = text


def mended(text: bytes, known: Known) -> bytes | None:
    """Return a line, without its newline, that says the same and is readable; ``None`` where there is none."""
    try:
        value = json.loads(
            text.decode("utf-8", "replace"), parse_constant=str, parse_float=_number, parse_int=_number
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or type(value.get("record")) is not str:
        return None
    record: Json = _whole_text(value)
    _MEND.get(record["record"], _as_it_is)(record, known)
    try:
        return strict.line(_flat(record)).removesuffix(b"\n")
    except strict.UnreadableError:
        return None


def _number(text: str) -> int | float | str:
    if len(text) > 4000:  # Python reads no longer whole number
        return text
    number = float(text)
    if not math.isfinite(number):
        return text
    return int(text) if text.lstrip("-").isdigit() else number


def _whole_text(value: Any) -> Any:
    """Return a value without lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(item) for key, item in value.items()}
    return [_whole_text(item) for item in value] if isinstance(value, list) else value


def _flat(record: Json) -> Json:
    """Return a record whose fields that nest too deep for the seed are JSON text."""
    deep = {name: text for name, value in record.items() if nesting.depth(text := msgspec.json.encode(value)) > 100}
    return {**record, **{name: text.decode() for name, text in deep.items()}}


def _as_it_is(record: Json, known: Known) -> None:
    """A kind that the seed does not know has no types."""


def _started(record: Json, known: Known) -> None:
    _ids(record, known)
    record["intent"] = _text(record.get("intent", ""))
    if record.get("outcome_description") is not None:
        record["outcome_description"] = _text(record["outcome_description"])
    record["started_at"] = _time(record.get("started_at"), known)


def _turn(record: Json, known: Known) -> None:
    index = _count(record.get("index"))
    record["index"] = known.next_index if index is None else index
    for name in ("prompt", "tool"):
        if record.get(name) is not None:
            record[name] = _text(record[name])


def _ended(record: Json, known: Known) -> None:
    _ids(record, known)
    record["ended_at"] = _time(record.get("ended_at"), known)
    termination = record.get("termination")
    says = typed.ending(termination)
    if says is None or says == "incomplete":
        record["termination"] = {"kind": "incomplete"}
        return
    given = termination if isinstance(termination, dict) else {}
    if given.get("kind") == "outcome" or says in OUTCOME_STATUSES:
        record["termination"] = {**given, **_outcome_end(given, says, record["ended_at"])}
    else:
        record["termination"] = {**given, "kind": says}


def _outcome_end(termination: Json, says: str, at: str) -> Json:
    """Return the termination with a readable outcome, wherever serde's encoding has it."""
    outcome = _outcome_in(termination)
    given = [outcome.get("status"), says]
    status = next((one for one in given if one in OUTCOME_STATUSES), "done")
    fitting = {**outcome, "status": status, "summary": _text(outcome.get("summary") or "")}
    evidence = outcome.get("evidence")
    fitting["evidence"] = evidence if isinstance(evidence, list) else [evidence] if evidence is not None else []
    fitting["metrics"] = _metrics(outcome.get("metrics"))
    stamp = outcome.get("timestamp")
    fitting["timestamp"] = _written(stamp) or at
    if says not in OUTCOME_STATUSES:
        fitting["status_as_given"] = says
    return {"kind": "outcome", "status": status, "outcome": fitting}


def _outcome_in(value: Any, levels: int = 3) -> Json:
    """Return the object that is the outcome, or the one that comes closest."""
    if not isinstance(value, dict):
        return {}
    inner = value.get("outcome")
    if isinstance(inner, dict):
        deeper = inner.get("outcome")
        return deeper if isinstance(deeper, dict) else inner
    for name in ("Outcome", "content", "data", "value", "c"):
        if levels and isinstance(value.get(name), dict):
            return _outcome_in(value[name], levels - 1)
    return {}


def _metrics(given: Any) -> Json:
    out: Json = dict(given) if isinstance(given, dict) else {}
    for name in typed.METRICS:
        if name in out:
            number = _count(out[name])
            if number is None:
                out[f"{name}_as_given"] = out.pop(name)
            else:
                out[name] = number
    return out


def _ids(record: Json, known: Known) -> None:
    for name in ("run_id", "agent_id"):
        if type(record.get(name)) is not str:
            record[name] = getattr(known, name)


def _count(value: Any) -> int | None:
    """Return the whole number from 0 next to a number; ``None`` where there is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = round(value)
    return number if 0 <= number <= typed.MAX_INDEX else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(value: Any, known: Known) -> str:
    return _written(value) or known.at


def _written(value: Any) -> str | None:
    """Return a time as it may be written; ``None`` where it is none."""
    if type(value) is not str:
        return None
    if chrono.may_be_written(value):
        return value
    instant = chrono.instant(value.strip().upper())
    try:
        return None if instant is None else times.render(instant, 9)
    except ValueError:
        return None


_MEND = {"started": _started, "turn": _turn, "model_turn": _turn, "ended": _ended}
