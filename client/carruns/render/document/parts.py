"""A run as parts of a document, for Markdown and HTML alike: what is said, in which order.  Pure.

How a part is written is the business of each form (``markdown``, ``html``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from carruns.protocol.failures import turn_failed
from carruns.protocol.records import TURN_FIELDS, Record
from carruns.render import harmless, units
from carruns.render.other_records import CANCELLATION_KINDS, other_line
from carruns.render.token_counts import tokens_of
from carruns.render.turn_view import turn_of
from carruns.render.units import turn_times
from carruns.render.whole_run import WholeRun, outcome_of

_SHOWN_IN_HEAD = ("record", "index", "tool", "model", "duration_ms", "recorded_at", "writer", "seq", "usage")
_STREAM_KEYS = {"stream", "text", "omitted_bytes"}
_FIRST = ("policy_rejected", "error", "verifier_verdict", "prompt", "parameters", "output", "cli_outcome")


class Part(NamedTuple):
    """A named value of a turn; ``bad`` ones stand out.  ``text`` is harmless, with newlines."""

    name: str
    text: str
    bad: bool = False


class Turn(NamedTuple):
    """One turn: a line about it and its parts."""

    title: str
    facts: str
    parts: list[Part]
    bad: bool


def text_of(value: Any) -> str:
    """Return a value as harmless text: strings as they are, all else as indented JSON."""
    plain = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return "\n".join(harmless.lines(plain.rstrip("\n")))


def stream_text(output: Any) -> str | None:
    """Return the text of an output as ``carruns exec`` records it, ``None`` for any other."""
    text = output.get("text") if isinstance(output, dict) and set(output) <= _STREAM_KEYS else None
    if not isinstance(text, str):
        return None
    omitted = output.get("omitted_bytes")
    return f"[{omitted} bytes left out]\n{text}" if omitted else text


def facts(run: WholeRun) -> Iterator[tuple[str, str]]:
    """Yield what is known of the run as a whole, as pairs of harmless lines."""
    summary, started = run.summary, run.started
    yield "agent", harmless.line(summary.agent_id)
    yield "status", harmless.line(summary.get("outcome_status") or summary.status)
    yield "began", harmless.line(summary.started_at)
    if summary.get("ended_at"):
        yield "ended", harmless.line(summary.ended_at)
    if run.seconds is not None:
        yield "took", units.duration(run.seconds)
    yield "turns", str(run.tally.turns)
    for key in ("outcome_description", "parent_run_id", "session_id", "cwd"):
        if started.get(key):
            yield key.replace("_", " "), harmless.line(started[key])
    if started.get("metadata") is not None:
        yield "metadata", harmless.line(msgspec.json.encode(started["metadata"]).decode())
    if run.skipped:
        yield "left out", f"{units.counted(run.skipped, 'line')} of the file: not readable"


def turns(run: WholeRun) -> Iterator[Turn]:
    """Yield the turns, and records of kinds that nobody knows."""
    for record in run.records:
        kind = record.get("record")
        turn = turn_of(record)
        if turn is not None:
            yield _turn(turn, run.began)
        elif kind in CANCELLATION_KINDS:
            yield Turn(other_line(record), "", [], bad=False)
        elif kind not in ("started", "ended"):
            title = f"a record of kind {harmless.line(kind)}"
            yield Turn(title, "", [Part("record", text_of(dict(record)))], bad=False)


def _turn(record: Record, began: int | None) -> Turn:
    name = record.get("tool") or record.get("model") or "turn"
    title = f"#{harmless.line(record.get('index', '?'))} {harmless.line(name)}"
    _, at = turn_times(record)
    out = [] if at is None or began is None else [f"+{units.duration((at - began) / units.SECOND)}"]
    if isinstance(record.get("duration_ms"), int | float):
        out.append(f"took {units.duration(record['duration_ms'] / 1000)}")
    if record.get("tool") and record.get("model"):
        out.append(harmless.line(record["model"]))
    if record.get("usage") is not None:
        words = tokens_of(record["usage"]).words()
        out.append(words or harmless.line(msgspec.json.encode(record["usage"]).decode()))
    parts = list(_parts(record))
    return Turn(title, ", ".join(out), parts, turn_failed(record))


def _parts(record: Record) -> Iterator[Part]:
    others = [key for key in record if key not in TURN_FIELDS]
    for key in (*_FIRST, "started_at", "tool_call_id", "metadata", *others):
        value = record.get(key)
        if value is None or key in _SHOWN_IN_HEAD or (key == "verifier_verdict" and value == "not_run"):
            continue
        text = stream_text(value) if key == "output" else None
        if text is not None:
            yield Part(harmless.line(value.get("stream", "output")), text_of(text))
        else:
            yield Part(harmless.line(key.replace("_", " ")), text_of(value), key in ("policy_rejected", "error"))


def ending(run: WholeRun) -> Iterator[Part]:
    """Yield how the run ended: the reason or the outcome's summary, its evidence, its metrics."""
    if run.in_progress or run.end is None:
        yield Part("status", "in progress" if run.in_progress else "no end is recorded")
        return
    outcome = outcome_of(run.end)
    status = harmless.line(run.summary.get("outcome_status") or run.summary.status)
    yield Part("status", status, status in ("failure", "timeout", "incomplete"))
    if run.end.get("reason"):
        yield Part("reason", text_of(run.end["reason"]))
    for key in ("summary", "evidence", "metrics"):
        if outcome.get(key):
            yield Part(key, text_of(outcome[key]))
