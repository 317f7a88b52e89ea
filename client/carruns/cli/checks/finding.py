"""A finding of the command line's own checks, in the form of those of ``carrunsd/store/doctor/examine.py``."""

from __future__ import annotations

from carrunsd.store.doctor.examine import Finding, Level


def finding(level: Level, kind: str, place: object, text: str, remedy: str, *, mends: bool = False) -> Finding:
    """Return a finding about a whole file or directory; ``mends``: ``--repair`` does what ``remedy`` says."""
    return Finding(level, kind, str(place), 0, text, remedy, mends)
