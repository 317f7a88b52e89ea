"""``carruns grep``: search what agents did.  Options and printing; ``reading/search`` reads the files, and fast."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

import click

from carruns.cli import exits
from carruns.cli.option_types import AgentId, Instant
from carruns.cli.screen import Screen, print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.render import cells, harmless, units

if TYPE_CHECKING:
    from carruns.reading.search.matches import Match, Query, Search

FIELDS = ("intent", "prompt", "tool", "parameters", "output", "error", "cli_outcome", "summary")


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns grep 'connection refused'
carruns grep -i 'traceback|error' --agent researcher --since 2d
carruns grep --tool shell --in parameters 'rm -rf'
carruns grep -l ENOSPC | xargs -n1 carruns show
"""
    ),
)
@click.argument("pattern")
@click.option("-i", "--ignore-case", is_flag=True, help="Upper and lower case are the same.")
@click.option("-F", "--fixed", is_flag=True, help="PATTERN is text, no regular expression.")
@click.option("-a", "--agent", type=AgentId(), metavar="AGENT", help="Only this agent's runs.")
@click.option("-t", "--tool", metavar="NAME", help="Only turns of this tool.")
@click.option("--in", "fields", multiple=True, type=click.Choice(FIELDS), help="Only in this field (repeatable).")
@click.option("--since", type=Instant(), metavar="TIME", help="Only what was recorded since then.")
@click.option("--until", type=Instant(), metavar="TIME", help="Only what was recorded before then.")
@click.option(
    "-C",
    "--context",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="N lines before and after a match, too.",
)
@click.option("-l", "--list", "ids_only", is_flag=True, help="Only the ids of the runs.")
@click.option("-c", "--count", is_flag=True, help="Only how many turns match in each run.")
@pass_settings
def grep(
    settings: Settings, pattern: str, ignore_case: bool, fixed: bool, agent: str | None, tool: str | None,
    fields: tuple[str, ...], since: int | None, until: int | None, context: int, ids_only: bool, count: bool,
) -> int:  # fmt: skip
    """Search prompts, tools, parameters and outputs of all runs.

    PATTERN is a Python regular expression; `^` and `$` are the ends of a line of the text.  Reads the files, daemon
    or not.  Exit code 0 if something was found, 1 if not.
    """
    from carruns.reading.search.matches import Query, Search

    try:
        expression = re.compile(
            re.escape(pattern) if fixed else pattern, re.MULTILINE | (re.IGNORECASE if ignore_case else 0)
        )
    except re.error as error:
        raise click.BadParameter(f"{error}", param_hint="PATTERN") from None
    query = Query(expression, agent, tool, fields or FIELDS, since, until)
    search = Search(settings.runs_root, query, _Progress().tell)
    if ids_only or count:
        return _summed(settings, search, count=count)
    found = False
    printer = _Printer(settings.screen, query, context)
    for match in search.matches():
        found = True
        if settings.json:
            print_json(match.as_json())
        else:
            printer.show(match)
    _complain(search)
    return 0 if found else exits.NOTHING_FOUND


def _summed(settings: Settings, search: Search, *, count: bool) -> int:
    per_run: dict[tuple[str, str], set[int]] = {}
    for match in search.matches():
        per_run.setdefault((match.run_id, match.agent_id), set()).add(match.offset)
    for (run_id, agent_id), turns in per_run.items():
        if settings.json:
            print_json({"run_id": run_id, "agent_id": agent_id, "matches": len(turns)})
        else:
            settings.screen.print(f"{harmless.line(run_id)}" + (f"  {len(turns)}" if count else ""))
    _complain(search)
    return 0 if per_run else exits.NOTHING_FOUND


def _complain(search: Search) -> None:
    for text in search.problems[:5]:
        sys.stderr.write(f"carruns: {harmless.line(text)}\n")


class _Progress:
    """How far the search is, on a terminal that is not the output, after the first second."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._next = time.monotonic() + 1

    def tell(self, done: int, total: int) -> None:
        """Take how many bytes were read, of how many."""
        if not self._shown or (time.monotonic() < self._next and done < total):
            return
        self._next = time.monotonic() + 0.2
        end = "\r\x1b[K" if done >= total else ""
        sys.stderr.write(f"\r\x1b[K{units.size(done)} of {units.size(total)}{end}")
        sys.stderr.flush()


class _Printer:
    """Prints matches grouped by run, as ``grep --heading`` does."""

    def __init__(self, screen: Screen, query: Query, context: int) -> None:
        self._screen, self._style = screen, screen.style
        self._expression, self._context = query.expression, context
        self._run = ""

    def show(self, match: Match) -> None:
        """Print one field's matching lines."""
        paint = self._style.paint
        if match.run_id != self._run:
            if self._run:
                self._screen.print("")
            self._run = match.run_id
            run = harmless.line(match.run_id)
            self._screen.print(f"{paint(run, 'bold')}  {paint(harmless.line(match.agent_id), 'cyan')}")
        tool = self._cut_tool(harmless.line(match.tool)) + " " if match.tool else ""
        label = f"{harmless.line(match.where)} {tool}{match.field}"
        for text, hit in match.lines(self._context):
            mark = ":" if hit else "-"
            self._screen.print(f"  {paint(label, 'dim')}{mark} {self._marked(text, hit=hit)}")

    def _cut_tool(self, tool: str) -> str:
        return tool if self._style.width is None else cells.fit(tool, 24)

    def _marked(self, text: str, *, hit: bool) -> str:
        """Paint the matches; on a terminal cut a long line around the first.  Made harmless piece by piece."""
        found = list(self._expression.finditer(text)) if hit else []
        room = len(text) if self._style.width is None else max(40, self._style.text_width - 24)
        at = found[0].start() if found else 0
        start = max(0, at - room // 3) if len(text) > room else 0
        end = min(len(text), start + room)
        out = ["…" if start else ""]
        position = start
        for match in found:
            if match.start() >= end or match.start() < position or match.start() == match.end():
                continue
            stop = min(end, match.end())
            out.append(harmless.line(text[position : match.start()]))
            out.append(self._style.paint(harmless.line(text[match.start() : stop]), "red", "bold"))
            position = stop
        out.append(harmless.line(text[position:end]))
        return "".join(out) + ("…" if end < len(text) else "")
