"""A run as parts of a document, for Markdown and HTML alike: what is said, in which order.  Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from carruns.cli.commands.look.list import duration_of
from carruns.protocol.records import TURN_FIELDS, Record
from carruns.render import clean, humane
from carruns.render.timeline import turn_times

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
    return "\n".join(clean.lines(plain.rstrip("\n")))


def stream_text(output: Any) -> str | None:
    """Return the text of an output as ``carruns exec`` records it, ``None`` for any other."""
    text = output.get("text") if isinstance(output, dict) and set(output) <= _STREAM_KEYS else None
    if not isinstance(text, str):
        return None
    omitted = output.get("omitted_bytes")
    return f"[{omitted} bytes left out]\n{text}" if omitted else text


def facts(summary: Record, records: Sequence[Record], skipped: int) -> Iterator[tuple[str, str]]:
    """Yield what is known of the run as a whole, as pairs of harmless lines."""
    start = next((record for record in records if record.get("record") == "started"), Record())
    turns = [record for record in records if record.get("record") == "turn"]
    yield "agent", clean.line(summary.agent_id)
    yield "status", clean.line(summary.get("outcome_status") or summary.status)
    yield "began", clean.line(summary.started_at)
    if summary.get("ended_at"):
        yield "ended", clean.line(summary.ended_at)
    seconds = duration_of(summary)
    if seconds is not None:
        yield "took", humane.duration(seconds)
    yield "turns", str(len(turns))
    for key in ("outcome_description", "parent_run_id", "session_id", "cwd"):
        if start.get(key):
            yield key.replace("_", " "), clean.line(start[key])
    if start.get("metadata") is not None:
        yield "metadata", clean.line(msgspec.json.encode(start["metadata"]).decode())
    if skipped:
        yield "left out", f"{skipped} lines of the file that cannot be read"


def turns(summary: Record, records: Sequence[Record]) -> Iterator[Turn]:
    """Yield the turns, and records of kinds that nobody knows."""
    began = humane.instant(summary.get("started_at"))
    for record in records:
        kind = record.get("record")
        if kind == "turn":
            yield _turn(record, began)
        elif kind not in ("started", "ended"):
            yield Turn(
                f"a record of kind {clean.line(kind)}", "", [Part("record", text_of(dict(record)))], bad=False
            )


def _turn(record: Record, began: int | None) -> Turn:
    title = (
        f"#{clean.line(record.get('index', '?'))} {clean.line(record.get('tool') or record.get('model') or 'turn')}"
    )
    _, at = turn_times(record)
    out = [] if at is None or began is None else [f"+{humane.duration((at - began) / humane.SECOND)}"]
    if isinstance(record.get("duration_ms"), int | float):
        out.append(f"took {humane.duration(record['duration_ms'] / 1000)}")
    if record.get("tool") and record.get("model"):
        out.append(clean.line(record["model"]))
    if record.get("usage") is not None:
        out.append(clean.line(msgspec.json.encode(record["usage"]).decode()))
    parts = list(_parts(record))
    return Turn(title, ", ".join(out), parts, any(part.bad for part in parts))


def _parts(record: Record) -> Iterator[Part]:
    others = [key for key in record if key not in TURN_FIELDS]
    for key in (*_FIRST, "started_at", "tool_call_id", "metadata", *others):
        value = record.get(key)
        if value is None or key in _SHOWN_IN_HEAD or (key == "verifier_verdict" and value == "not_run"):
            continue
        text = stream_text(value) if key == "output" else None
        if text is not None:
            yield Part(clean.line(value.get("stream", "output")), text_of(text))
        else:
            yield Part(clean.line(key.replace("_", " ")), text_of(value), key in ("policy_rejected", "error"))


def ending(summary: Record, records: Sequence[Record]) -> Iterator[Part]:
    """Yield how the run ended: the reason or the outcome's summary, its evidence, its metrics."""
    ends = [record for record in records if record.get("record") == "ended"]
    if not ends or summary.status == "in_progress":
        yield Part("status", "in progress" if summary.status == "in_progress" else "no end is recorded")
        return
    termination = ends[-1].get("termination")
    outcome = termination.get("outcome") if isinstance(termination, dict) else None
    status = clean.line(summary.get("outcome_status") or summary.status)
    yield Part("status", status, status in ("failure", "timeout", "incomplete"))
    if ends[-1].get("reason"):
        yield Part("reason", text_of(ends[-1]["reason"]))
    if isinstance(outcome, dict):
        for key in ("summary", "evidence", "metrics"):
            if outcome.get(key):
                yield Part(key, text_of(outcome[key]))
