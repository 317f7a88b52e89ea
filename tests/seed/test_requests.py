"""What is acknowledged the seed reads, short: ``make faults`` sends ten times as many requests."""

from __future__ import annotations

from tests.seed import requests
from tests.seed.peer import Peer


def test_whatever_is_acknowledged_the_seed_reads(seed: Peer) -> None:
    figures = requests.fuzz(seed, 1, 2_000)
    assert figures["acknowledged"] > 700
    assert figures["ends"] > 50
