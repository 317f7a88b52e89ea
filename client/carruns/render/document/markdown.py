"""A run as Markdown.  What an agent wrote stands in code only, where Markdown and HTML mean nothing.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from carruns.render import harmless
from carruns.render.document import parts
from carruns.render.whole_run import WholeRun


def markdown(run: WholeRun) -> Iterator[str]:
    """Yield the lines of the parts."""
    yield f"# Run {_code(harmless.line(run.summary.run_id))}"
    yield ""
    yield from _block(parts.text_of(str(run.summary.intent)))
    yield ""
    for name, value in parts.facts(run):
        yield f"- {name}: {_code(value)}"
    for turn in parts.turns(run):
        yield ""
        yield f"## {_code(turn.title)}{' — ' + _code(turn.facts) if turn.facts else ''}"
        yield from _parts(turn.parts)
    yield ""
    yield "## The end"
    yield from _parts(list(parts.ending(run)))


def _parts(shown: Sequence[parts.Part]) -> Iterator[str]:
    for part in shown:
        yield ""
        name = _code(part.name)
        yield f"**{name}**" if part.bad else name
        yield ""
        yield from _block(part.text)


def _code(text: str) -> str:
    """Return an inline code span that holds any text (CommonMark 6.1)."""
    text = text.replace("\n", " ") or " "
    fence = "`" * (_longest(text) + 1)
    space = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{space}{text}{space}{fence}"


def _block(text: str) -> Iterator[str]:
    """Yield a fenced code block whose fence is longer than any in the text (CommonMark 4.5)."""
    fence = "`" * max(3, _longest(text) + 1)
    yield fence
    yield text
    yield fence


def _longest(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
