"""``carruns demo``: the main job in a temporary car directory, from the daemon's start to its stop.

Several agent processes run real commands through one daemon at once.  What they record is printed as it arrives,
then the list of runs and one trace.  Nothing stays behind: no process, no file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click

from carruns.cli import exits
from carruns.cli.demo_agents import AGENTS, Agent, write_material
from carruns.cli.event_printer import EventPrinter
from carruns.cli.settings import RUN_VARIABLE, Command, Settings, pass_settings
from carruns.protocol.records import Record
from carruns.reading.probe import State, probe

_START_TIMEOUT = 15.0
_AGENT_TIMEOUT = 60.0
_STOP_TIMEOUT = 10.0


@click.command(cls=Command)
@pass_settings
@click.pass_context
def demo(context: click.Context, settings: Settings) -> None:
    """Several agents at once in a temporary car directory.

    Starts a daemon there, lets agent processes record real commands through it, prints what they record as it
    arrives, then the list of runs and one trace; then stops the daemon and removes everything.
    """
    with _stop_on_signals(), _temporary_directory() as directory:
        ours = Settings()
        ours.car_dir_option, ours.socket_option = directory, os.path.join(directory, "carrunsd.sock")
        ours.color = settings.color
        context.obj = ours
        say = _Narrator(ours)
        with _daemon(ours) as pid:
            say(f"a daemon, process {pid}, in {directory}")
            _record(ours, say)
            say("carruns list", command=True)
            context.invoke(_command(context, "list"), full_ids=False)
            failed = next((run for run in _runs(ours) if run.get("outcome_status") == "failure"), None)
            wanted = failed or _runs(ours)[0]
            say(f"carruns show {wanted.run_id}", command=True)
            context.invoke(_command(context, "show"), run=wanted.run_id, lines=8)
        say("the daemon is stopped, and everything removed")


def _command(context: click.Context, name: str) -> click.Command:
    """Return another command as the root knows it: commands do not import each other."""
    root = context.find_root()
    command = root.command.get_command(root, name) if isinstance(root.command, click.Group) else None
    assert command is not None
    return command


class _Narrator:
    def __init__(self, settings: Settings) -> None:
        self._screen = settings.screen

    def __call__(self, text: str, *, command: bool = False) -> None:
        shown = self._screen.style.paint(f"$ {text}" if command else f"== {text}", "bold")
        self._screen.print(f"\n{shown}" if command else shown)
        sys.stdout.flush()


def _runs(settings: Settings) -> list[Record]:
    with settings.client(autostart=False) as client:
        return client.list_runs()


# --- the daemon ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _temporary_directory() -> Iterator[str]:
    """A short path: a socket's may have 107 bytes, and ``TMPDIR`` is long on some systems."""
    base = "/tmp" if os.access("/tmp", os.W_OK) else None  # noqa: S108  # mkdtemp makes it ours, 0700
    directory = tempfile.mkdtemp(prefix="carruns-demo-", dir=base)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _daemon(settings: Settings) -> Iterator[int]:
    log_path = settings.car_dir / "demo.log"
    with open(log_path, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "carrunsd", *_place(settings)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_up(settings, process)
        yield process.pid
    except BaseException:
        with contextlib.suppress(OSError):
            sys.stderr.write(log_path.read_text(errors="replace") if process.poll() is not None else "")
        raise
    finally:
        _stop(process)


def _wait_until_up(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_TIMEOUT
    while probe(settings.socket).state is not State.UP:
        if process.poll() is not None:
            raise exits.Failure(f"the daemon ended at once with {process.returncode}")
        if time.monotonic() > until:
            raise exits.Failure("the daemon did not come up in time")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP unwind like Ctrl-C, so that everything is cleaned up."""

    def stop(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _place(settings: Settings) -> list[str]:
    return ["--car-dir", str(settings.car_dir), "--socket", str(settings.socket)]


# --- the agents ---------------------------------------------------------------------------------------------


def _record(settings: Settings, say: _Narrator) -> None:
    say(f"{len(AGENTS)} agents, each a process of its own, all at once:")
    material = write_material(str(settings.car_dir))
    with settings.client(autostart=False) as client:
        watch = client.watch()
        printer = EventPrinter(settings.screen)
        all_ended = threading.Event()
        thread = threading.Thread(target=_print_events, args=(watch, printer, all_ended), daemon=True)
        thread.start()
        processes = [_start(settings, agent, material) for agent in AGENTS]
        try:
            for process in processes:
                process.wait(_AGENT_TIMEOUT)
            all_ended.wait(1.0)
        finally:
            for process in processes:
                _stop(process)
            watch.close()
            thread.join(_STOP_TIMEOUT)
    ended = [run for run in _runs(settings) if run.status == "completed"]
    if len(ended) != len(AGENTS):
        raise exits.Failure(f"only {len(ended)} of {len(AGENTS)} runs are complete")


def _start(settings: Settings, agent: Agent, material: str) -> subprocess.Popen[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != RUN_VARIABLE}
    return subprocess.Popen(
        agent.command(_place(settings), material), cwd=material, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _print_events(watch: Iterable[Record], printer: EventPrinter, all_ended: threading.Event) -> None:
    """Print until all runs have ended, or nobody reads any more."""
    try:
        for event in watch:
            printer.show(event)
            if printer.ended == len(AGENTS):
                break
    except OSError:
        pass  # the reader of our output has gone; the main thread meets that too
    finally:
        all_ended.set()
