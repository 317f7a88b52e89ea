"""``demo``: the main job, and nothing stays behind however it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.cli.place import Place


def test_demo_shows_the_main_job_and_leaves_nothing(place: Place) -> None:
    done = place.run("demo", env={"CARRUNSD_SOCKET": "/nonexistent/socket"})
    directory = done.stdout.split(" in ", 1)[1].split("\n")[0]
    assert not os.path.exists(directory)
    for agent in ("tester", "compiler", "searcher", "planner"):
        assert agent in done.stdout
    assert "$ carruns list" in done.stdout
    assert "FAIL: test_sum_of_tenths" in done.stdout
    assert not place.car_dir.exists()
    left = [entry for entry in os.listdir("/proc") if entry.isdigit() and _mentions(entry, directory)]
    assert left == []


def _mentions(pid: str, text: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return text.encode() in file.read()
    except OSError:
        return False


def test_demo_stopped_by_ctrl_c_cleans_up(place: Place, terminal: Callable[..., Any]) -> None:
    screen = terminal("demo", NO_COLOR="1")
    seen = screen.wait_for("surveyor")
    directory = seen.split(" in ", 1)[1].split("\r\n")[0].strip()
    screen.type("\x03")
    status, _ = screen.finish()
    assert status == -signal.SIGINT
    assert not os.path.exists(directory)


@pytest.mark.parametrize("how", ["SIGTERM", "closed pipe"])
def test_demo_that_is_stopped_leaves_nothing(place: Place, how: str) -> None:
    process = place.popen("demo")
    assert process.stdout is not None
    directory = process.stdout.readline().decode().split(" in ", 1)[1].strip()
    if how == "SIGTERM":
        process.terminate()
        process.stdout.read()
    process.stdout.close()
    assert process.wait(30) == (143 if how == "SIGTERM" else 141)
    assert not os.path.exists(directory)
    assert [entry for entry in os.listdir("/proc") if entry.isdigit() and _mentions(entry, directory)] == []
