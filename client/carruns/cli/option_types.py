"""Types of options and arguments: runs, agents, times, sizes; how they are read, and completed by the shell."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from carruns.cli import parse_units
from carruns.protocol.records import OTHER_ENDS, OUTCOME_STATUSES, Record, RunStatus
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
    """A time as people write it (``parse_units.parse_instant``), in nanoseconds since 1970."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the instant."""
        try:
            return value if isinstance(value, int) else parse_units.parse_instant(value, time.time_ns())
        except (ValueError, OverflowError, OSError) as error:
            self.fail(str(error), param, ctx)


class Size(_Number):
    """A size as people write it, in bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return bytes."""
        try:
            return value if isinstance(value, int) else parse_units.parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Shown(click.Choice if not TYPE_CHECKING else click.Choice[str]):  # type: ignore[misc]
    """A choice that takes the words that tables show, too: ``open`` for ``in_progress``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the word of a summary."""
        return super().convert(_LONG.get(value, value), param, ctx)


_LONG = {short: long for long, short in SHORT.items()}
STATUS = _Shown([str(status) for status in RunStatus])
OUTCOME = _Shown([*OUTCOME_STATUSES, *OTHER_ENDS])


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
