"""``carruns``: the command line for people and scripts.  Only the way in is here; commands have files of their own.

The command line stands above both packages: it may use the library and, where no daemon runs, ``carrunsd.store``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status (``carruns.cli.exits``), or by the signal that ended it."""
    from carruns.cli.app import run

    code = run(sys.argv[1:] if argv is None else list(argv))
    if code < 0:
        from carruns.cli.passing.signals import end_like

        end_like(-code)
    sys.exit(code)
