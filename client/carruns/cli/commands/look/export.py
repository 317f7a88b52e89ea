"""``carruns export``: one run in a form for somewhere else.  Where it goes; each form has a file of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import IO

import click

from carruns.cli import exits
from carruns.cli.load_run import load_run
from carruns.cli.option_types import agent_option, run_argument
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol.records import Record
from carruns.reading.find_run import find_run
from carruns.reading.source import Trace
from carruns.render.harmless import json_text
from carruns.render.whole_run import WholeRun

FORMATS = ("jsonl", "json", "markdown", "html")
_BY_ENDING = {
    ".jsonl": "jsonl",
    ".json": "json",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
}


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns export last --format html -o run.html
carruns export 019a2f -f markdown | less
carruns export 019a2f > run.jsonl          `carruns import` takes it back
"""
    ),
)
@run_argument()
@agent_option("Where several agents have a run of that id.")
@click.option("--format", "-f", "form", type=click.Choice(FORMATS), help="Default: by FILE's ending, else jsonl.")
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE", help="Default: standard output.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@pass_settings
def export(
    settings: Settings, run: str, agent: str | None, form: str | None, output: str | None, force: bool
) -> None:  # fmt: skip
    """Export a run as JSONL (as it is stored), JSON, Markdown, or one self-contained HTML file.

    HTML has no script and loads nothing; whatever an agent wrote is text in it.  FILE is made with mode 0600.
    """
    source = settings.source()
    summary = find_run(source, run, agent)
    trace = source.trace(summary.run_id, summary.agent_id)
    ending = os.path.splitext(output or "")[1].lower()
    text = _pieces(form or _BY_ENDING.get(ending, "jsonl"), summary, trace)
    if output is None or output == "-":
        sys.stdout.writelines(text)
        return
    with _opened(output, force=force) as file:
        file.writelines(text)


def _pieces(form: str, summary: Record, trace: Trace) -> Iterator[str]:
    if form == "jsonl":
        return (json_text(record) + "\n" for record in trace)
    run = load_run(summary, trace)
    if form == "json":
        return _json(run)
    if form == "markdown":
        from carruns.render.document.markdown import markdown

        return (line + "\n" for line in markdown(run))
    from carruns.render.document.html import page

    return (line + "\n" for line in page(run))


def _json(run: WholeRun) -> Iterator[str]:
    """Yield one object in pieces: a run may be larger than memory."""
    yield f'{{"summary":{json_text(run.summary)},"records":['
    for number, record in enumerate(run.records):
        yield ("," if number else "") + json_text(record)
    yield f'],"skipped":{run.skipped}}}\n'


def _opened(path: str, *, force: bool) -> IO[str]:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        return os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace")
    except FileExistsError:
        raise exits.Failure(f"{path} is there already; --force overwrites it") from None
