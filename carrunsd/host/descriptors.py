"""How many file descriptors there may be."""

from __future__ import annotations

import resource


def most_open_files() -> int:
    """Raise the soft limit to the hard one and return how many run files may be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65536
    wanted = min(wanted, 65536)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError):
            pass
    return max(8, soft // 4)
