"""``carruns show``: the trace of one run as a person reads it.  Options only; ``render/trace.py`` draws it."""

from __future__ import annotations

import click

from carruns.cli.option_types import agent_option, run_argument
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.reading.find_run import find_run


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns show last                   the newest run
carruns show 019a2f --full | less   everything, nothing folded
carruns show 019a2f --turns -5:     the last five turns
carruns show 019a2f --raw           the records as they stand in the file
"""
    ),
)
@run_argument()
@agent_option("Where several agents have a run of that id.")
@click.option("--full", is_flag=True, help="Fold nothing.")
@click.option("--lines", type=click.IntRange(min=1), default=6, show_default=True, help="Lines of each value.")
@click.option("--turns", "span", metavar="A:B", help="Only these turns, counted as in a Python slice: 0:10, -5:")
@click.option("--tool", metavar="NAME", help="Only turns of this tool.")
@click.option("--raw", is_flag=True, help="The records as they are, one JSON object a line.")
@pass_settings
def show(
    settings: Settings, run: str, agent: str | None, full: bool, lines: int, span: str | None, tool: str | None,
    raw: bool,
) -> int:  # fmt: skip
    """Show one run: each turn with its timing, and how it ended.

    RUN is an id, an unambiguous beginning of one, or `last`.
    """
    source = settings.source()
    summary = find_run(source, run, agent)
    trace = source.trace(summary.run_id, summary.agent_id)
    keep = _slice(span)
    if raw or settings.json:
        for record in trace:
            print_json(record)
        return 0
    from carruns.cli.load_run import load_run
    from carruns.render.trace import TraceView

    whole = load_run(summary, trace)
    view = TraceView(settings.screen.style, whole, None if full else lines)
    settings.screen.print_all(view.render(whole.tally.places(keep, tool)))
    return 0


def _slice(text: str | None) -> slice:
    """Return what ``A:B``, ``A:`` and ``A`` select."""
    if text is None:
        return slice(None)
    try:
        parts = [int(part) if part.strip() else None for part in text.split(":")]
    except ValueError:
        parts = []
    if len(parts) == 1 and parts[0] is not None:
        return slice(parts[0], parts[0] + 1 or None)
    if len(parts) != 2:
        raise click.BadParameter(f"{text!r} is no span; write it like 3, 0:10 or -5:", param_hint="--turns")
    return slice(*parts)
