"""The command line as a process, beside a real daemon; nothing outside a temporary directory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from carruns import Client
from carruns.protocol.records import Record
from tests.support import PATIENCE, Daemon, clean_environment

_UNSET = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")


class Place:
    """A car directory, a daemon for it that may not run, and the command line run on it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.daemon = Daemon(base)
        self._started: list[subprocess.Popen[bytes]] = []
        self.car_dir, self.runs_root = self.daemon.car_dir, self.daemon.car_dir / "runs"
        environment = clean_environment(self.daemon.home, self.car_dir)
        self.env = {key: value for key, value in environment.items() if key not in _UNSET} | {
            "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "TZ": "UTC", "PYTHONWARNINGS": "error",
        }  # fmt: skip

    @staticmethod
    def argv(arguments: Sequence[str]) -> list[str]:
        """Return what a process of the command line is started with."""
        return [sys.executable, "-m", "carruns.cli", *arguments]

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start the command line; its output goes to pipes unless said otherwise."""
        pipes: dict[str, Any] = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        wanted = {"stdin": subprocess.DEVNULL, **pipes, **options, "env": self.env | options.get("env", {})}
        process: subprocess.Popen[bytes] = subprocess.Popen(self.argv(arguments), **wanted)
        self._started.append(process)
        return process

    def close(self) -> None:
        """End everything that was started here."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self.daemon.close()

    def run(
        self, *arguments: str, code: int = 0, given: str | bytes = b"", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end, with ``given`` on its standard input, and check its exit code."""
        raw = subprocess.run(
            self.argv(arguments), env=self.env | (env or {}), capture_output=True, timeout=PATIENCE * 2,
            input=given.encode() if isinstance(given, str) else given, check=False,
        )  # fmt: skip
        done = subprocess.CompletedProcess(raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode())
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, code: int = 0) -> list[Record]:
        """Run the command line with ``--json`` and return the objects it prints."""
        lines = self.run(*arguments, "--json", code=code).stdout.splitlines()
        return [Record(json.loads(line)) for line in lines]

    def client(self) -> Client:
        """Return a client of the daemon."""
        return Client(self.car_dir, autostart=False)

    def run_of(self, agent: str = "tester", intent: str = "try it", turns: Sequence[dict[str, Any]] = ()) -> str:
        """Record a whole run that succeeds, and return its id."""
        with self.client() as client, client.run(agent, intent=intent) as run:
            for turn in turns:
                run.turn(**turn)
            run.succeed("went well")
            return run.id

    def turns(self, run_id: str | None = None) -> list[Record]:
        """Return the turns of a run, of the only one if none is named."""
        with self.client() as client:
            trace = client.get_trace(run_id or client.list_runs()[0].run_id)
            assert trace is not None
            return trace.turns
