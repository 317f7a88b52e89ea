"""Where things are, and whose: what is refused before anything is made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carruns import Client, NotStored
from carruns.protocol import owners, paths
from tests.support import Daemon

USER = 54321


def unknown(monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    """A uid that nobody knows, as in a container."""
    import pwd

    def nobody(_: int) -> pwd.struct_passwd:
        raise KeyError("no such uid")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("CAR_HOME")
    monkeypatch.delenv("HOME") if home is None else monkeypatch.setenv("HOME", home)


@pytest.mark.parametrize("home", [None, "relative", ""])
def test_no_home(base: Path, monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    unknown(monkeypatch, home)
    monkeypatch.chdir(base)
    for find in (paths.car_dir, paths.home):
        with pytest.raises(paths.NoHomeError, match="set HOME, or CAR_HOME"):
            find()
    with Client() as client:
        with client.run("a", intent="x") as run:
            run.turn(tool="t")
        assert "no home directory is known" in run.delivery().reason
        assert run.delivery().lost
    with pytest.raises(paths.NoHomeError):
        Client(strict=True)
    assert os.listdir(base) == ["home"]


def test_what_is_said_wins_over_a_missing_home(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown(monkeypatch, None)
    assert paths.car_dir(base) == base
    monkeypatch.setenv("CAR_HOME", str(base / "car"))
    assert paths.car_dir() == base / "car"


@pytest.mark.root
def test_root_makes_nothing_of_its_own_at_a_users(base: Path, stopped_at: Daemon) -> None:
    """Neither in the car directory, nor where there is none yet."""
    os.chown(base, USER, USER)
    for place in (base / "car", base / "deep/er/car"):
        with pytest.raises(owners.ForeignPlaceError, match=f"belongs to user {USER}.* set CAR_HOME"):
            owners.refuse_foreign(place)
        for autostart in (True, False):
            with Client(place, autostart=autostart) as client:
                with client.run("a", intent="x") as run:
                    run.turn(tool="t")
                assert "run it as that user" in run.delivery().reason
        with pytest.raises(NotStored, match="run it as that user"), Client(place, autostart=True, strict=True) as c:
            c.run("a", intent="x")
        assert not place.exists()
    process = stopped_at.spawn()
    assert process.wait(20) == 73
    assert "run it as that user" in stopped_at.log()
    stopped_at.car_dir.mkdir(mode=0o700)
    os.chown(stopped_at.car_dir, USER, USER)
    with Client(stopped_at.car_dir, autostart=True) as client:
        with client.run("a", intent="x") as run:
            run.turn(tool="t")
        assert run.delivery().lost
    assert os.listdir(stopped_at.car_dir) == []


@pytest.fixture
def stopped_at(base: Path) -> Daemon:
    return Daemon(base)


@pytest.mark.root
def test_a_place_of_roots_own_is_fine(base: Path) -> None:
    owners.refuse_foreign(base / "new/car")
    (base / "car").mkdir()
    owners.refuse_foreign(base / "car")
