"""``make faults``: the long versions.  ``python -m tests.faults [--seed N] [--scale X] [NAME ...]``.

Prints one JSON object a scenario, and ends with 1 if a promise did not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.faults import disk, fuzz, kills, neighbour, neighbours, power
from tests.seed import requests, stores
from tests.seed.peer import peer
from tests.support import short_directory

Figures = dict[str, Any]
_MUST_BE_ZERO = ("lost", "doubled", "disordered", "damaged", "starts_lost", "ends_lost")


def _injections(policy: str) -> Figures:
    with short_directory() as base:
        return disk.injections(base, disk.all_cases(12)[policy], fsync=policy)


def _neighbours(seconds: float) -> Figures:
    return {kind: neighbours.measure(kind, seconds=seconds) for kind in neighbour.KINDS}


def scenarios(seed: int, scale: float) -> dict[str, Callable[[], Figures]]:
    """Return the scenarios by name; ``scale`` 1 is what docs/reliability.md reports."""

    def some(count: int) -> int:
        return max(1, round(count * scale))

    return {
        "daemon-kills": lambda: kills.daemon_kills(seed, some(200)),
        "daemon-kills-always": lambda: kills.daemon_kills(seed + 1, some(60), fsync="always"),
        "agent-kills": lambda: kills.agent_kills(seed, some(200)),
        "disk-everysec": lambda: _injections("everysec"),
        "disk-always": lambda: _injections("always"),
        "cuts-always": lambda: power.snapshots(seed, some(200), fsync="always", seconds=20 * scale),
        "cuts-everysec": lambda: power.snapshots(seed, some(200), fsync="everysec", seconds=20 * scale),
        "shutdowns-always": lambda: power.shutdowns(seed, some(50), fsync="always"),
        "shutdowns-everysec": lambda: power.shutdowns(seed, some(50), fsync="everysec"),
        "neighbours": lambda: _neighbours(max(1.0, 4 * scale)),
        "fuzz": lambda: fuzz.fuzz(seed, some(50_000)),
        "seed-requests": lambda: requests.fuzz(peer(), seed, some(20_000)),
        "seed-stores": lambda: stores.compare(peer(), seed, some(1_000)),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="how much of it; 1 is what the docs report")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    every = scenarios(given.seed, given.scale)
    status = 0
    for name in given.names or every:
        began = time.monotonic()
        figures = every[name]()
        bad = [what for what in _MUST_BE_ZERO if figures.get(what)]
        status |= bool(bad)
        seconds = round(time.monotonic() - began, 1)
        print(json.dumps({"scenario": name, "seed": given.seed, "seconds": seconds, **figures}), flush=True)
        if bad:
            print(f"PROMISE BROKEN in {name}: {', '.join(bad)}", file=sys.stderr, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
