"""One turn as lines for a terminal: a head, then what stands out, what went in, what came out.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from carruns.protocol.failures import turn_failed
from carruns.protocol.records import TURN_FIELDS, Record
from carruns.render import cells, harmless, units
from carruns.render.style import Style
from carruns.render.token_counts import tokens_of
from carruns.render.units import turn_times
from carruns.render.value_lines import compact, value_lines

#: Shown by themselves, or of no interest to a person.
_OWN_PLACE = TURN_FIELDS - {"started_at", "tool_call_id", "metadata"}
_GOOD_VERDICTS = ("not_run", "passed", "pass", "approved", "ok", "accepted")
_STREAM_KEYS = {"stream", "text", "omitted_bytes"}


class TurnLines:
    """Draws turns of a run that ``began`` at an instant.  ``most`` bounds the lines of a value (``None``: all)."""

    def __init__(self, style: Style, began: int | None, most: int | None) -> None:
        self._style, self._paint = style, style.paint
        self._began, self._most = began, most

    def lines(self, turn: Record) -> Iterator[str]:
        """Yield the lines of one turn."""
        yield self._head(turn)
        for key, label in (("policy_rejected", "rejected"), ("error", "error")):
            yield from self.part(label, turn.get(key), "red", "bold")
        verdict = turn.get("verifier_verdict", "not_run")
        if compact(verdict).strip('"').lower() not in _GOOD_VERDICTS:
            yield from self.part("verdict", verdict, "yellow", "bold")
        yield from self.part("prompt", turn.get("prompt"), "blue")
        yield from self.part("in", turn.get("parameters"), "magenta")
        yield from self._output(turn.get("output"))
        yield from self.part("result", turn.get("cli_outcome"), "magenta")
        for key in turn:
            if key not in _OWN_PLACE:
                yield from self.part(key, turn[key], "dim")

    def part(self, name: str, value: Any, *styles: str) -> Iterator[str]:
        """Yield a named value, nothing for ``None``."""
        if value is None:
            return
        lines, missing = value_lines(
            value, self._style.text_width - 14, self._most, broken=self._style.width is not None
        )
        bar = self._paint(self._style.mark("│", "|"), "dim")
        label = cells.fit(harmless.line(name), 10)
        for at, line in enumerate(lines):
            yield f"{self._paint(f'{label:>10}' if at == 0 else ' ' * 10, *styles)} {bar} {line}"
        if missing:
            yield f"{'':10} {bar} {self._paint(f'… {missing} (--full)', 'dim')}"

    def _head(self, turn: Record) -> str:
        number = self._paint(f"#{harmless.line(turn.get('index', '?'))}", "cyan")
        bits = [number, self._paint(f"{self._when(turn):>8}", "dim"), *self._who(turn)]
        took = turn.get("duration_ms")
        if isinstance(took, int | float):
            bits.append(self._paint(f"took {units.duration(took / 1000)}", "dim"))
        usage = turn.get("usage")
        if isinstance(usage, dict) and usage:
            words = tokens_of(usage).words() or harmless.line(compact(usage))
            bits.append(self._paint(cells.fit(words, 60), "dim"))
        if turn.get("policy_rejected") is not None:
            bits.append(self._paint(" REJECTED ", "red", "reverse"))
        elif turn.get("error") is not None:
            bits.append(self._paint(" ERROR ", "red", "reverse"))
        elif turn_failed(turn):
            bits.append(self._paint(" FAILED ", "red", "reverse"))
        return "  ".join(bits)

    def _when(self, turn: Record) -> str:
        _, at = turn_times(turn)
        if at is None or self._began is None:
            return ""
        return f"+{units.duration((at - self._began) / units.SECOND)}"

    def _who(self, turn: Record) -> list[str]:
        names = [cells.fit(harmless.line(name), 40) for name in (turn.get("tool"), turn.get("model")) if name]
        if not names:
            return [self._paint("(no tool)", "dim")]
        return [self._paint(names[0], "bold"), *(self._paint(name, "dim") for name in names[1:])]

    def _output(self, output: Any) -> Iterator[str]:
        """Output of ``carruns exec`` is text of a stream: show it as that."""
        if isinstance(output, dict) and isinstance(output.get("text"), str) and set(output) <= _STREAM_KEYS:
            if output.get("omitted_bytes"):
                left_out = f"{units.size(output['omitted_bytes'])} of output"
                yield from self.part("left out", left_out, "yellow", "bold")
            yield from self.part(str(output.get("stream", "out")), output["text"], "green")
        else:
            yield from self.part("out", output, "green")
