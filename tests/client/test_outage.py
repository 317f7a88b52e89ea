"""The budget of an outage and the pauses between tries."""

from __future__ import annotations

import pytest

from carruns.outage import FIRST_PAUSE, LONGEST_PAUSE, Outage


def test_waiting_spends_and_nothing_refills_while_it_lasts() -> None:
    outage = Outage(0.25)
    outage.began(100)
    assert outage.left(100) == 0.25
    outage.spend(100, 100.1)
    assert outage.left(5000) == pytest.approx(0.15)
    outage.spend(4999, 5000)
    assert outage.left(9000) == 0


def test_it_refills_slowly_once_the_daemon_is_back() -> None:
    outage = Outage(0.25)
    outage.began(100)
    outage.spend(100, 100.25)
    outage.ended(200)
    assert outage.left(200) == 0
    assert outage.left(202) == pytest.approx(0.1)
    assert outage.left(999) == 0.25


def test_a_daemon_that_keeps_dying_costs_a_twentieth_at_most() -> None:
    outage, now, waited = Outage(0.25), 0.0, 0.0
    for _ in range(1000):
        outage.began(now)
        cost = min(0.1, outage.left(now))
        outage.spend(now, now + cost)
        waited, now = waited + cost, now + cost
        outage.ended(now)
        now += 0.2
    assert waited < 0.25 + now / 20


def test_tries_are_spaced_further_and_further() -> None:
    outage, now = Outage(0.25), 0.0
    outage.began(now)
    pauses = []
    for _ in range(10):
        outage.tried(now)
        pauses.append(outage.next_try - now)
        now = outage.next_try
    assert pauses[0] == FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    assert pauses == sorted(pauses)


def test_tries_of_who_waits_anyway_do_not_count() -> None:
    outage = Outage(0.25)
    outage.began(10)
    outage.tried(10)
    due = outage.next_try
    outage.tried(10.001)
    assert outage.next_try == due


def test_waiting_together_costs_once() -> None:
    outage = Outage(0.25)
    outage.began(100)
    for _ in range(10):
        outage.spend(100, 100.1)
    assert outage.left(101) == pytest.approx(0.15)
