"""A run as one HTML file: no script, nothing loaded, whatever an agent wrote as text.  Pure.

Safe in three ways: every text goes through ``html.escape`` after ``harmless`` (no control or direction marks are
left); texts are put between tags only, never into an attribute; and the page's own policy forbids scripts and all
loading.
"""

from __future__ import annotations

import html as escaping
from collections.abc import Iterator, Sequence

from carruns.render import harmless
from carruns.render.document import parts
from carruns.render.whole_run import WholeRun

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_FOLD_LINES = 12
_STYLE = """
:root { color-scheme: light dark; --dim: #777; --line: #8884; --bad: #c0392b; --good: #1e8449 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.2rem; overflow-wrap: anywhere } h2 { font-size: 1rem; margin: 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem } dt, .dim { color: var(--dim) }
dd { margin: 0; overflow-wrap: anywhere }
.intent { font-size: 1.1rem; white-space: pre-wrap; overflow-wrap: anywhere }
section { border-top: 1px solid var(--line); padding: .7rem 0 } .bad, .bad h2 { color: var(--bad) }
pre { margin: .2rem 0 .6rem; padding: .5rem .7rem; background: #8881; border-radius: .3rem; white-space: pre-wrap;
  overflow-wrap: anywhere; color: CanvasText } .bad pre { border-left: 3px solid var(--bad) }
summary { cursor: pointer; color: var(--dim) } .good { color: var(--good) }
"""


def page(run: WholeRun) -> Iterator[str]:
    """Yield the lines of the page."""
    title = _text(f"{harmless.line(run.summary.agent_id)}: {harmless.line(run.summary.intent)}"[:120])
    yield "<!doctype html>"
    yield '<html lang="en" dir="ltr"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
    yield f"<title>{title}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>Run {_text(harmless.line(run.summary.run_id))}</h1>"
    yield f'<p class="intent">{_text(parts.text_of(str(run.summary.intent)))}</p><dl>'
    for name, value in parts.facts(run):
        yield f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>"
    yield "</dl>"
    for turn in parts.turns(run):
        yield f'<section{_bad(turn.bad)}><h2>{_text(turn.title)} <span class="dim">{_text(turn.facts)}</span></h2>'
        yield from _parts(turn.parts)
        yield "</section>"
    yield "<section><h2>The end</h2>"
    yield from _parts(list(parts.ending(run)))
    yield "</section></body></html>"


def _parts(shown: Sequence[parts.Part]) -> Iterator[str]:
    for part in shown:
        body = f"<pre>{_text(part.text)}</pre>"
        lines = part.text.count("\n") + 1
        if lines > _FOLD_LINES:
            yield f"<details{_bad(part.bad)}><summary>{_text(part.name)} ({lines} lines)</summary>{body}</details>"
        else:
            yield f'<div{_bad(part.bad)}><span class="dim">{_text(part.name)}</span>{body}</div>'


def _bad(bad: bool) -> str:
    return ' class="bad"' if bad else ""


def _text(text: str) -> str:
    return escaping.escape(text, quote=True)
