"""One run as lines for a terminal, as ``carruns show`` prints it: head, timeline, turns, how it ended.  Pure.

One turn is drawn by ``trace_turn``; what is not there is said by ``missing``.  Everything an agent wrote goes
through ``harmless`` on its way here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from carruns.protocol.records import Record
from carruns.render import harmless, units
from carruns.render.other_records import CANCELLATION_KINDS, other_line
from carruns.render.run_cells import status_cell
from carruns.render.style import Style
from carruns.render.timeline import GAP_SHARE, gaps_between, sparkline
from carruns.render.trace_turn import TurnLines
from carruns.render.units import turn_times
from carruns.render.value_lines import value_lines
from carruns.render.whole_run import WholeRun, outcome_of

#: A run of more turns is shown by its first and last.
_MANY, _SHOWN = 400, 100


class TraceView:
    """Draws one run.  ``most`` bounds the lines of each value, ``None`` folds nothing."""

    def __init__(self, style: Style, run: WholeRun, most: int | None) -> None:
        self._style, self._paint = style, style.paint
        self._run, self._tally = run, run.tally
        self._most = most
        self._turn = TurnLines(style, run.began, most)

    def render(self, places: Sequence[int]) -> Iterator[str]:
        """Yield the lines, with the turns at these places; the middle of very many is left out, and said so."""
        yield from self._head()
        if self._most is not None and len(places) > _MANY:
            yield from self._in_part(places)
        else:
            yield from self._drawn_turns(self._run.turns(frozenset(places)))
        if len(places) < self._tally.turns:
            yield self._paint(f"({len(places)} of {self._tally.turns} turns shown)", "dim")
        yield from self._others()
        yield from self._end()

    def _in_part(self, places: Sequence[int]) -> Iterator[str]:
        turns = self._run.turns(frozenset([*places[:_SHOWN], *places[-_SHOWN:]]))
        yield from self._drawn_turns(islice(turns, _SHOWN))
        left_out = f"{len(places) - 2 * _SHOWN:,} turns left out (--turns, --full)"
        yield self._paint(f"  {self._style.mark('⋮', ':')}  {left_out}", "yellow")
        yield from self._drawn_turns(turns)

    # --- head -----------------------------------------------------------------------------------------------

    def _head(self) -> Iterator[str]:
        summary, started = self._run.summary, self._run.started
        yield self._title()
        yield from self._field("intent", started.get("intent", summary.intent))
        if started.get("outcome_description"):
            yield from self._field("wanted", started["outcome_description"])
        yield from self._field("began", self._when())
        yield from self._field("holds", self._holds())
        for key in ("parent_run_id", "session_id", "cwd", "metadata"):
            if started.get(key) is not None:
                yield from self._field(key.removesuffix("_run_id").removesuffix("_id"), started[key])
        for text in self._tally.missing.sentences(self._run.skipped):
            yield self._paint(f"  {self._style.mark('⚠', '!')} {text}", "yellow", "bold")
        drawn = sparkline(self._style, self._run, max(10, min(60, self._style.text_width - 20)))
        if drawn:
            yield f"  {self._paint('timeline', 'dim')}  {drawn}"

    def _title(self) -> str:
        summary = self._run.summary
        run, agent = (self._paint(harmless.line(text), "bold") for text in (summary.run_id, summary.agent_id))
        return f"{self._paint('run', 'dim')} {run}  {agent}  {self._status()}"

    def _status(self) -> str:
        status = status_cell(self._run.summary)
        return self._paint(status.text, *status.styles, "bold")

    def _field(self, name: str, value: Any) -> Iterator[str]:
        lines, left_out = value_lines(
            value, self._style.text_width - 12, self._most, broken=self._style.width is not None
        )
        for at, line in enumerate(lines):
            label = name if at == 0 else ""
            yield f"  {self._paint(f'{label:<8}', 'dim')}  {line}"
        if left_out:
            yield " " * 12 + self._paint(f"{self._style.mark('…', '...')} {left_out} (--full)", "dim")

    def _when(self) -> str:
        began, seconds = self._run.began, self._run.seconds
        if began is None:
            return f"at a time that cannot be read: {self._run.summary.get('started_at')}"
        ago = units.age((self._run.now_ns - began) / units.SECOND)
        so_far = " so far" if self._run.in_progress else ""
        took = "" if seconds is None else f", took {units.duration(seconds)}{so_far}"
        return f"{units.local(began)} ({ago}{'' if ago == 'now' else ' ago'}){took}"

    def _holds(self) -> str:
        tally = self._tally
        parts = [units.counted(tally.turns, "turn"), units.size(self._run.summary.bytes)]
        parts += [f"{units.count(number)} {name}" for name, number in self._tokens() if number]
        return ", ".join(parts + ([f"{tally.failed} failed"] if tally.failed else []))

    def _tokens(self) -> Iterator[tuple[str, int]]:
        """Yield what the turns took in all, by name."""
        found = self._tally.tokens
        yield from (("input tokens", found.fresh), ("output tokens", found.output), ("tokens", found.unsplit))
        yield from (("cached tokens", found.read), ("tokens written to the cache", found.written))

    # --- turns ----------------------------------------------------------------------------------------------

    def _drawn_turns(self, turns: Iterable[Record]) -> Iterator[str]:
        previous: int | None = None
        long = GAP_SHARE * (self._run.seconds or 0)
        for turn in turns:
            _, at = turn_times(turn)
            if previous is not None and at is not None:
                yield from self._gap(gaps_between(previous, turn), long)
            previous = at if at is not None else previous
            yield from self._turn.lines(turn)

    def _gap(self, seconds: float, long: float) -> Iterator[str]:
        if seconds >= 1 and seconds >= long:
            dots = self._style.mark("┆", ":")
            yield self._paint(f"  {dots}  nothing for {units.duration(seconds)}", "dim", "yellow")

    # --- the end --------------------------------------------------------------------------------------------

    def _others(self) -> Iterator[str]:
        for record in self._run.others():
            if record.get("record") in CANCELLATION_KINDS:
                yield self._paint(f"  {self._style.mark('✕', 'x')} {other_line(record)}", "yellow")
            else:
                yield from self._turn.part("unknown", record, "yellow")

    def _end(self) -> Iterator[str]:
        end = self._run.end
        if self._run.in_progress or end is None:
            yield self._paint("in progress" if self._run.in_progress else "no end is recorded", "cyan")
            return
        outcome = outcome_of(end)
        said = end.get("reason")
        reason = f" ({harmless.line(said)})" if said and said != self._run.summary.get("outcome_status") else ""
        yield f"{self._paint('ended', 'dim')} {self._status()}{reason}"
        yield from self._turn.part("summary", outcome.get("summary") or None, "dim")
        for item in outcome.get("evidence") or []:
            yield from self._evidence(item)
        if outcome.get("metrics"):
            yield from self._turn.part("metrics", outcome["metrics"], "dim")

    def _evidence(self, item: Any) -> Iterator[str]:
        if not isinstance(item, dict):
            yield from self._turn.part("evidence", item, "green")
            return
        said = f"{item.get('kind', '')}: {item.get('description', '')}"
        yield from self._turn.part("evidence", said, "green")
        rest = {
            key: value for key, value in item.items() if key not in ("kind", "description") and value is not None
        }
        yield from self._turn.part("", rest["data"] if set(rest) == {"data"} else rest or None)
