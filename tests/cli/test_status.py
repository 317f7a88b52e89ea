"""``status``: what it says of a daemon that is up, down, or something else."""

from __future__ import annotations

import socket

from tests.cli.place import Place


def test_status_of_a_daemon_that_is_up(live: Place) -> None:
    text = live.run("status").stdout
    assert "up" in text
    assert str(live.daemon.pid) in text
    assert str(live.car_dir) in text
    (report,) = live.json("status")
    assert (report.up, report.pid, report.open_runs) == (True, live.daemon.pid, 0)


def test_status_says_what_is_wrong(place: Place) -> None:
    (report,) = place.json("status", code=69)
    assert (report.up, report.state) == (False, "no_socket")
    place.daemon.start()
    place.daemon.kill()
    (report,) = place.json("status", code=69)
    assert report.state == "stale_socket"
    place.daemon.socket.unlink()
    place.daemon.socket.write_text("no socket")
    assert "move it away" in place.run("status", code=69).stdout


def test_status_of_something_else_on_the_socket(place: Place) -> None:
    place.car_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place.daemon.socket))
        listener.listen()
        (report,) = place.json("status", code=69)
    assert report.state == "not_answering"
