"""Make the synchronous client from the asynchronous one: ``client/carruns/sync`` from ``client/carruns/aio``.

The two differ in how they wait, which is in the ``driver.py`` of each, and in the words below.
``python client/make_sync.py`` writes; with ``--check`` it only tells, by its exit status, whether anything is
to be written.  The idea is httpcore's ``unasync.py``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parent / "carruns"
FILES = ("run.py", "client.py", "subscriptions.py")
WRITTEN_BY_HAND = ("__init__.py", "driver.py")
WORDS = (
    (r"from \.driver import AsyncDriver(, Beginning)?", "from .driver import Driver"),
    (r"Beginning\[AsyncRun\]", "Run"),
    ("The asynchronous client", "The synchronous client"),
    ("as the asynchronous client has it", "as the synchronous client has it"),
    ("any number of tasks", "any number of threads"),
    (
        r"for programs with an event loop, asyncio \(uvloop too\) or trio\.",
        "for programs without an event loop; safe to use from any number of threads.",
    ),
    (r"\basync (?=def|with|for)", ""),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"__a(enter|exit|iter|next)__", r"__\1__"),
)


def made(name: str) -> str:
    """Return the text of a file of the synchronous client."""
    text = (CLIENT / "aio" / name).read_text()
    for word, instead in WORDS:
        text = re.sub(word, instead, text)
    text = f"# Made from ../aio/{name} by client/make_sync.py: change that, then `make sync`.\n{text}"
    for tidy in (("check", "--select", "I", "--fix"), ("format",)):
        command = [sys.executable, "-m", "ruff", *tidy, "--quiet", "--stdin-filename", f"{CLIENT}/sync/{name}", "-"]
        text = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout
    return text


def main() -> int:
    stale = {name: text for name in FILES if _there(name) != (text := made(name))}
    if "--check" not in sys.argv[1:]:
        for name, text in stale.items():
            (CLIENT / "sync" / name).write_text(text)
            print(f"wrote client/carruns/sync/{name}")
        return 0
    for name in stale:
        print(f"client/carruns/sync/{name} is not what aio/{name} makes: run `make sync`")
    strangers = {path.name for path in (CLIENT / "sync").glob("*.py")} - {*WRITTEN_BY_HAND, *FILES}
    for name in strangers:
        print(f"client/carruns/sync/{name} is made from nothing: it belongs in aio/, and in FILES")
    return 1 if stale or strangers else 0


def _there(name: str) -> str:
    path = CLIENT / "sync" / name
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
