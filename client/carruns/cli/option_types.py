"""Types of options and arguments: runs, agents, times, sizes; how they are read, and completed by the shell."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from carruns.cli import parse_units
from carruns.cli.screen import warn
from carruns.protocol.records import OTHER_ENDS, OUTCOME_STATUSES, Record
from carruns.render import harmless
from carruns.render.run_cells import SHORT

F = TypeVar("F", bound=Callable[..., Any])

#: Ids that a shell may put on its command line as they are: agents choose ids, and ``$(...)`` is one.
_SAFE = re.compile(r"[\w.:@%+=,-]+", re.ASCII)

if TYPE_CHECKING:
    _Text = click.ParamType[str]
    _Number = click.ParamType[int]
else:  # generic for type checkers only, since click 8.4
    _Text = _Number = click.ParamType


class RunId(_Text):
    """A run as the user names it; completes to ids, with the agent and the intent beside them."""

    name = "run"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the newest runs that begin so."""
        return [
            CompletionItem(run.run_id, help=harmless.line(f"{run.agent_id}: {run.intent}")[:70])
            for run in _quiet_runs(ctx)
            if run.run_id.startswith(incomplete) and _SAFE.fullmatch(run.run_id)
        ][:50]


class AgentId(_Text):
    """An agent's id; completes to those in the store."""

    name = "agent"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the agents that begin so."""
        names = dict.fromkeys(str(run.agent_id) for run in _quiet_runs(ctx))
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and _SAFE.fullmatch(name)]


def _quiet_runs(ctx: click.Context) -> list[Record]:
    """Completion says nothing and breaks nothing."""
    from carruns.cli.settings import Settings

    try:
        return ctx.ensure_object(Settings).source(quiet=True).runs()
    except Exception:
        return []


class Instant(_Number):
    """A time as people write it (``parse_units.parse_instant``), in nanoseconds since 1970.

    One in the future is warned of, but for the end of a span: nothing has happened since then.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the instant."""
        try:
            if isinstance(value, int):
                return value
            now = time.time_ns()
            at = parse_units.parse_instant(value, now)
        except (ValueError, OverflowError, OSError) as error:
            self.fail(str(error), param, ctx)
        if at > now and param is not None and param.name != "until":
            warn(f"{param.opts[0]} {harmless.line(value)} is in the future")
        return at


#: What the STATUS column says for a status and for an outcome's, and what it stands for.
SHOWN_AS = {short: word for word, short in SHORT.items()}


class Word(_Text):
    """One of some words of the STATUS column, by the name in the files or by the shorter one on the screen."""

    name = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._all = (*words, *(short for short, word in SHOWN_AS.items() if word in words))

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Show the words as people see them in the table."""
        short = {word: name for name, word in SHOWN_AS.items()}
        return "[" + "|".join(short.get(word, word) for word in self._words) + "]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word as it stands in the files."""
        if str(value) not in self._all:
            self.fail(f"{value!r} is none of {', '.join(self._all)}", param, ctx)
        return SHOWN_AS.get(str(value), str(value))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the words that begin so."""
        return [CompletionItem(word) for word in self._all if word.startswith(incomplete)]


#: How a run can stand: what ``--status`` and ``--outcome`` of all commands that look take alike.
STANDINGS = ("in_progress", "completed", "incomplete", *OUTCOME_STATUSES, *OTHER_ENDS)


def stands(run: Mapping[str, Any], word: str | None) -> bool:
    """Return whether a run stands so, by its status or its outcome's; ``run`` is a summary."""
    return word is None or word in (run.get("status"), run.get("outcome_status"))


class Size(_Number):
    """A size as people write it, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        try:
            return value if isinstance(value, int) else parse_units.parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def run_argument(**attrs: Any) -> Callable[[F], F]:
    """Return the RUN argument as all commands have it."""
    return click.argument("run", type=RunId(), metavar="RUN", **attrs)


def agent_option(text: str = "Only this agent's runs.") -> Callable[[F], F]:
    """Return ``--agent`` as reading commands have it."""
    return click.option("--agent", "-a", type=AgentId(), metavar="AGENT", help=text)


def time_options(command: F) -> F:
    """Add ``--since`` and ``--until``."""
    command = click.option("--until", type=Instant(), metavar="TIME", help="Begun before then.")(command)
    return click.option(
        "--since", type=Instant(), metavar="TIME", help="Begun since then: 2h, yesterday, 14:30, 2026-11-22."
    )(command)
