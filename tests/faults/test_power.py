"""Power cuts: short versions of ``make faults``, on file systems that are cut off or copied live."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import power

pytestmark = pytest.mark.root


def _clean(figures: dict[str, object]) -> bool:
    return not any(figures[name] for name in ("lost", "doubled", "damaged", "starts_lost", "ends_lost"))


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_copies_of_the_device_under_a_live_daemon(fsync: str) -> None:
    figures = power.snapshots(21, 10, fsync=fsync, seconds=2.0)
    assert figures["turns_due"] > 100
    assert _clean(figures), str(figures)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
def test_the_device_is_shut_off_under_a_live_daemon(fsync: str) -> None:
    figures = power.shutdowns(22, 2, fsync=fsync)
    assert _clean(figures), str(figures)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
@pytest.mark.parametrize("asked", [True, False])
def test_what_a_killed_daemon_had_not_synced_is_not_taken_for_synced(base: Path, fsync: str, asked: bool) -> None:
    recorded, there = power.after_a_restart(base, fsync, asked=asked)
    assert there == recorded


def test_the_harness_sees_what_a_daemon_that_never_syncs_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other tests here prove nothing unless this one finds losses."""
    monkeypatch.setitem(power.GRACE, "no", 0.0)
    figures = power.snapshots(23, 3, fsync="no", seconds=0.5)
    assert figures["lost"] > 0, figures
