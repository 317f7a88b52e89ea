"""A record that is lost is said to be: nobody takes an id that was printed for a run that nobody kept."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import Place

ONE = '{"tool": "x"}\n'


def lost_here(place: Place, env: dict[str, str] | None = None) -> None:
    done = place.run("record", "-a", "a", "-i", "x", given=ONE, code=1, env=env)
    assert "the run is lost" in done.stderr
    done = place.run("record", "-a", "a", "-i", "x", given="", code=1, env=env)
    assert "the run is lost" in done.stderr
    done = place.run("exec", "-a", "a", "--", "sh", "-c", "echo ran; exit 5", code=5, env=env)
    assert done.stdout == "ran\n"
    assert "not recorded" in done.stderr


def test_a_place_where_nothing_can_be_made(place: Place) -> None:
    lost_here(place, {"CAR_HOME": "/proc/none/car"})


def test_a_file_in_the_way(place: Place) -> None:
    place.car_dir.write_text("a file in the way")
    lost_here(place)


@contextlib.contextmanager
def full(place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", place], check=True)
    try:
        with contextlib.suppress(OSError), (place / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        yield
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.root
def test_a_full_disk(place: Place) -> None:
    with full(place.car_dir):
        lost_here(place)


@pytest.mark.root
def test_a_read_only_disk(place: Place) -> None:
    with full(place.car_dir):
        subprocess.run(["mount", "-o", "remount,ro", place.car_dir], check=True)
        lost_here(place)


def test_what_is_spooled_is_not_lost(place: Place) -> None:
    done = place.run("record", "-a", "a", "-i", "x", given=ONE)
    assert "spool" in done.stderr


@pytest.mark.parametrize("home", ["relative", "~"])
def test_without_a_home(place: Place, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """Nothing is ever made under a name of ``~``, nor where one happens to stand."""
    place.env = {name: value for name, value in place.env.items() if name != "CAR_HOME"} | {"HOME": home}
    directory = place.base / "work"
    directory.mkdir()
    monkeypatch.chdir(directory)
    lost_here(place)
    done = place.run("list", code=1)
    assert "no home directory is known" in done.stderr
    assert "CAR_HOME" in done.stderr
    place.run("service", "install", code=1)
    assert list(directory.iterdir()) == []
