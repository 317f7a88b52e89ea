"""What nobody foresaw in a host process reaches no agent: it is logged, and the run is stored or spooled."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from carruns import Client, spool
from carruns.autostart import Autostart
from carruns.link import Link
from carruns.sync.driver import Driver
from tests.support import Daemon

pytestmark = pytest.mark.timeout(60)


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


ERRORS = [ValueError("v"), AttributeError("a"), RuntimeError("r"), KeyError("k"), OverflowError("o")]


def an_agent(client: Client) -> Any:
    with client.run("a", intent="x") as run:
        run.turn(tool="t")
        run.flush()
    return run.delivery()


def test_a_host_without_poll(daemon: Daemon) -> None:
    """eventlet.monkey_patch() takes it away."""
    code = """
        import select, sys
        del select.poll
        from carruns import Client
        with Client(sys.argv[1]) as client, client.run("a", intent="x") as run:
            run.turn(tool="t")
            assert run.flush().stored == 1, run.flush()
        assert run.delivery().ok, run.delivery()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(daemon.car_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_waiting_fails(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, defects: list[str], error: Exception
) -> None:
    monkeypatch.setattr(Driver, "_look", raising(error))
    with Client(daemon.car_dir, autostart=False) as client:
        delivery = an_agent(client)
    assert (delivery.stored + delivery.spooled, delivery.dropped, delivery.pending) == (1, 0, 0)
    assert defects
    defects.clear()


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_shelving_fails(car: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(spool.SpoolFile, "append", raising(error))
    with Client(car, autostart=False) as client:
        delivery = an_agent(client)
    assert not delivery.ok
    assert str(error) in delivery.reason


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_connecting_fails(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(Link, "__init__", raising(error))
    with Client(daemon.car_dir, autostart=False) as client:
        assert an_agent(client).spooled == 1


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_starting_fails(car: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(Autostart, "_start", raising(error))
    with Client(car, autostart=True) as client:
        assert an_agent(client).spooled == 1


def test_strict_clients_hear_of_it(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(daemon.car_dir, autostart=False, strict=True) as client:
        run = client.run("a", intent="x")
        with monkeypatch.context() as patch:
            patch.setattr(Driver, "_look", raising(ValueError("v")))
            with pytest.raises(ValueError, match="v"):
                run.flush(durable=True)
        run.done()
