"""A run's trace as lines: header, timeline, turns with what stands out, the outcome.  Pure but for the clock.

Everything an agent wrote goes through ``clean`` on its way here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from carruns.cli.commands.look.list import duration_of, status_cell
from carruns.cli.screen import Screen
from carruns.protocol.records import TURN_FIELDS, Record
from carruns.render import clean, humane
from carruns.render.fold import compact, value_lines
from carruns.render.timeline import GAP_SHARE, gaps_between, sparkline, turn_times

#: Shown by themselves, or of no interest to a person.
_OWN_PLACE = TURN_FIELDS - {"started_at", "tool_call_id", "metadata"}
_GOOD_VERDICTS = ("not_run", "passed", "pass", "approved", "ok", "accepted")


#: A run of more turns is shown by its first and last.
_MANY, _SHOWN = 400, 100


class TraceView:
    """Draws one run.  ``most`` bounds the lines of each value, ``None`` folds nothing."""

    def __init__(
        self, screen: Screen, summary: Record, records: Sequence[Record], skipped: int, most: int | None
    ) -> None:
        self._screen = screen
        self._paint = screen.paint
        self._summary = summary
        self._records = records
        self._turns = [record for record in records if record.get("record") == "turn"]
        self._skipped = skipped
        self._most = most
        self._width = screen.text_width
        self._began = humane.instant(summary.get("started_at"))

    def render(self, turns: Sequence[Record]) -> Iterator[str]:
        """Yield the lines, with these turns of the run; the middle of very many is left out, and said so."""
        yield from self._header()
        if self._most is not None and len(turns) > _MANY:
            yield from self._drawn_turns(turns[:_SHOWN])
            left_out = len(turns) - 2 * _SHOWN
            yield self._paint(
                f"  {self._screen.mark('⋮', ':')}  {left_out:,} turns left out (--turns, --full)", "yellow"
            )
            yield from self._drawn_turns(turns[-_SHOWN:])
        else:
            yield from self._drawn_turns(turns)
        if len(turns) < len(self._turns):
            yield self._paint(f"({len(turns)} of {len(self._turns)} turns shown)", "dim")
        yield from self._others()
        yield from self._end()

    # --- header ---------------------------------------------------------------------------------------------

    def _header(self) -> Iterator[str]:
        summary, start = self._summary, next((r for r in self._records if r.get("record") == "started"), Record())
        status = status_cell(summary)
        run, agent = clean.line(summary.run_id), clean.line(summary.agent_id)
        ended = self._paint(status.text, *status.styles, "bold")
        yield f"{self._paint('run', 'dim')} {self._paint(run, 'bold')}  {self._paint(agent, 'bold')}  {ended}"
        yield from self._field("intent", start.get("intent", summary.intent))
        if start.get("outcome_description"):
            yield from self._field("wanted", start["outcome_description"])
        yield from self._field("began", self._when())
        yield from self._field("holds", self._holds())
        for key in ("parent_run_id", "session_id", "cwd", "metadata"):
            if start.get(key) is not None:
                yield from self._field(key.removesuffix("_run_id").removesuffix("_id"), start[key])
        for text in self._missing():
            yield self._paint(f"  {self._screen.mark('⚠', '!')} {text}", "yellow", "bold")
        drawn = sparkline(self._screen, self._summary, self._turns, max(10, min(60, self._width - 20)))
        if drawn:
            yield f"  {self._paint('timeline', 'dim')}  {drawn}"

    def _field(self, name: str, value: Any) -> Iterator[str]:
        lines, missing = value_lines(value, self._width - 12, self._most)
        for at, line in enumerate(lines):
            label = name if at == 0 else ""
            yield f"  {self._paint(f'{label:<8}', 'dim')}  {line}"
        if missing:
            yield " " * 12 + self._paint(f"{self._screen.mark('…', '...')} {missing} (--full)", "dim")

    def _when(self) -> str:
        if self._began is None:
            return f"at a time that cannot be read: {self._summary.get('started_at')}"
        ago = humane.age((time.time_ns() - self._began) / humane.SECOND)
        seconds = duration_of(self._summary)
        so_far = " so far" if self._summary.status == "in_progress" else ""
        took = "" if seconds is None else f", took {humane.duration(seconds)}{so_far}"
        return f"{humane.local(self._began)} ({ago}{'' if ago == 'now' else ' ago'}){took}"

    def _holds(self) -> str:
        parts = [f"{len(self._turns)} turns", humane.size(self._summary.bytes)]
        tokens: dict[str, int] = {}
        for turn in self._turns:
            usage = turn.get("usage")
            for key, value in usage.items() if isinstance(usage, dict) else ():
                if isinstance(value, int) and not isinstance(value, bool):
                    tokens[key] = tokens.get(key, 0) + value
        parts += [f"{humane.count(value)} {key.replace('_', ' ')}" for key, value in tokens.items()]
        errors = sum(1 for turn in self._turns if turn.get("error") is not None)
        return ", ".join(parts + ([f"{errors} errors"] if errors else []))

    def _missing(self) -> Iterator[str]:
        """Say plainly what is not here."""
        if self._skipped:
            yield f"{self._skipped} lines of the file cannot be read and are left out"
        lost = _lost_indexes(self._turns)
        if lost:
            yield f"turns are missing: {', '.join(lost[:6])}{' ...' if len(lost) > 6 else ''}"
        for turn in self._turns:
            error = turn.get("error")
            if isinstance(error, dict) and error.get("kind") == "gap":  # as the library writes it (carruns.session)
                count, reason = clean.line(error.get("lost")), clean.line(error.get("reason"))
                yield f"{count} turns before #{clean.line(turn.get('index'))} were lost with the agent: {reason}"
        cut = sum(1 for turn in self._turns if _TRUNCATED.search(compact(turn))) if len(self._turns) < 5000 else 0
        if cut:
            yield f"{cut} turns were too large and are truncated"

    # --- turns ----------------------------------------------------------------------------------------------

    def _drawn_turns(self, turns: Sequence[Record]) -> Iterator[str]:
        previous: int | None = None
        gap = GAP_SHARE * (duration_of(self._summary) or 0)
        for turn in turns:
            _, at = turn_times(turn)
            if previous is not None and at is not None:
                yield from self._gap(gaps_between(previous, turn), gap)
            previous = at if at is not None else previous
            yield from self._turn(turn, at)

    def _gap(self, seconds: float, long: float) -> Iterator[str]:
        if seconds >= 1 and seconds >= long:
            dots = self._screen.mark("┆", ":")
            yield self._paint(f"  {dots}  nothing for {humane.duration(seconds)}", "dim", "yellow")

    def _turn(self, turn: Record, at: int | None) -> Iterator[str]:
        yield self._turn_head(turn, at)
        for key, label in (("policy_rejected", "rejected"), ("error", "error")):
            if turn.get(key) is not None:
                yield from self._part(label, turn[key], "red", "bold")
        verdict = turn.get("verifier_verdict", "not_run")
        if compact(verdict).strip('"').lower() not in _GOOD_VERDICTS:
            yield from self._part("verdict", verdict, "yellow", "bold")
        yield from self._part("prompt", turn.get("prompt"), "blue")
        yield from self._part("in", turn.get("parameters"), "magenta")
        yield from self._output(turn.get("output"))
        yield from self._part("result", turn.get("cli_outcome"), "magenta")
        for key in turn:
            if key not in _OWN_PLACE:
                yield from self._part(key, turn[key], "dim")

    def _turn_head(self, turn: Record, at: int | None) -> str:
        when = (
            "" if at is None or self._began is None else f"+{humane.duration((at - self._began) / humane.SECOND)}"
        )
        took = turn.get("duration_ms")
        tool = turn.get("tool")
        model = turn.get("model")
        bits = [self._paint(f"#{clean.line(turn.get('index', '?'))}", "cyan"), self._paint(f"{when:>8}", "dim")]
        who = [clean.fit(clean.line(name), 40) for name in (tool, model) if name]
        bits.append(self._paint(who[0], "bold") if who else self._paint("(no tool)", "dim"))
        bits += [self._paint(name, "dim") for name in who[1:]]
        if isinstance(took, int | float):
            bits.append(self._paint(f"took {humane.duration(took / 1000)}", "dim"))
        usage = turn.get("usage")
        if isinstance(usage, dict):
            bits.append(self._paint(clean.fit(_tokens(usage), 40), "dim"))
        if turn.get("policy_rejected") is not None:
            bits.append(self._paint(" REJECTED ", "red", "reverse"))
        elif turn.get("error") is not None:
            bits.append(self._paint(" ERROR ", "red", "reverse"))
        return "  ".join(bits)

    def _output(self, output: Any) -> Iterator[str]:
        """Output of ``carruns exec`` is text of a stream: show it as that."""
        if isinstance(output, dict) and isinstance(output.get("text"), str) and set(output) <= _STREAM_KEYS:
            if output.get("omitted_bytes"):
                yield from self._part(
                    "left out", f"{humane.size(output['omitted_bytes'])} of output", "yellow", "bold"
                )
            yield from self._part(str(output.get("stream", "out")), output["text"], "green")
        else:
            yield from self._part("out", output, "green")

    def _part(self, name: str, value: Any, *styles: str) -> Iterator[str]:
        if value is None:
            return
        lines, missing = value_lines(value, self._width - 14, self._most)
        bar = self._screen.mark("│", "|")
        label = clean.fit(clean.line(name), 10)
        for at, line in enumerate(lines):
            shown = self._paint(f"{label:>10}" if at == 0 else " " * 10, *styles)
            yield f"{shown} {self._paint(bar, 'dim')} {line}"
        if missing:
            yield f"{'':10} {self._paint(bar, 'dim')} {self._paint(f'… {missing} (--full)', 'dim')}"

    # --- the end --------------------------------------------------------------------------------------------

    def _others(self) -> Iterator[str]:
        for record in self._records:
            if record.get("record") not in ("started", "turn", "ended"):
                yield from self._part("unknown", record, "yellow")

    def _end(self) -> Iterator[str]:
        ends = [record for record in self._records if record.get("record") == "ended"]
        if self._summary.status == "in_progress" or not ends:
            yield self._paint(
                "in progress" if self._summary.status == "in_progress" else "no end is recorded", "cyan"
            )
            return
        end = next((r for r in reversed(ends) if _outcome(r)), ends[-1])
        status = status_cell(self._summary)
        outcome = _outcome(end)
        reason = f" ({clean.line(end['reason'])})" if end.get("reason") else ""
        yield f"{self._paint('ended', 'dim')} {self._paint(status.text, *status.styles, 'bold')}{reason}"
        yield from self._part("summary", outcome.get("summary") or None, "dim")
        for item in outcome.get("evidence") or []:
            yield from self._evidence(item)
        if outcome.get("metrics"):
            yield from self._part("metrics", outcome["metrics"], "dim")

    def _evidence(self, item: Any) -> Iterator[str]:
        if not isinstance(item, dict):
            yield from self._part("evidence", item, "green")
            return
        yield from self._part("evidence", f"{item.get('kind', '')}: {item.get('description', '')}", "green")
        rest = {
            key: value for key, value in item.items() if key not in ("kind", "description") and value is not None
        }
        yield from self._part("", rest["data"] if set(rest) == {"data"} else rest or None)


#: As the daemon writes it (carrunsd/limits.py).
_TRUNCATED = re.compile(r"\[truncated: \d+ bytes missing\]")
_STREAM_KEYS = {"stream", "text", "omitted_bytes"}


def _tokens(usage: dict[str, Any]) -> str:
    parts = [
        f"{humane.count(usage[key])} {short}"
        for key, short in (("input_tokens", "in"), ("output_tokens", "out"))
        if isinstance(usage.get(key), int)
    ]
    return " / ".join(parts) or clean.line(compact(usage))


def _outcome(end: Record) -> dict[str, Any]:
    termination = end.get("termination")
    outcome = termination.get("outcome") if isinstance(termination, dict) else None
    return outcome if isinstance(outcome, dict) else {}


def _lost_indexes(turns: Sequence[Record]) -> list[str]:
    """Return the gaps in the daemon's numbers, like ``3`` and ``7-9``."""
    out, expected = [], 0
    for turn in turns:
        index = turn.get("index")
        if isinstance(index, int):
            if index > expected:
                out.append(f"{expected}" if index == expected + 1 else f"{expected}-{index - 1}")
            expected = max(expected, index + 1)
    return out
