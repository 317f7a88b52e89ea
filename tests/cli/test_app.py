"""The command line as a whole: help, what is loaded at start-up, completion."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.place import Place


def test_help_and_usage(place: Place) -> None:
    assert "Examples:" in place.run("--help").stdout
    for command in ("list", "show", "exec", "status", "demo"):
        assert "Usage: carruns " + command in place.run(command, "--help").stdout
    assert "Did you mean" in place.run("lst", code=2).stderr
    assert place.run("--version").stdout.startswith("carruns ")


@pytest.mark.parametrize("command", ["list", "show last", "agents", "tail"])
def test_start_up_loads_only_what_is_needed(live: Place, command: str) -> None:
    live.run_of()

    code = (
        f"import sys; from carruns.cli.app import run; run({command.split()}); "
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=live.env, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not {"rich", "anyio", "asyncio", "carrunsd", "uvloop", "tomli", "carruns.aio"} & loaded


def complete(place: Place, line: str, position: int) -> list[str]:
    env = {"COMP_WORDS": line, "COMP_CWORD": str(position), "_CARRUNS_COMPLETE": "bash_complete"}
    return [row.split(",", 1)[1] for row in place.run(env=env).stdout.splitlines() if row]


def test_completion_offers_commands_runs_and_agents(live: Place) -> None:
    run_id = live.run_of("alpha")
    assert complete(live, "carruns sh", 1) == ["show"]
    assert complete(live, f"carruns show {run_id[:5]}", 2) == [run_id]
    assert complete(live, "carruns list --agent al", 3) == ["alpha"]
    live.daemon.stop()
    assert complete(live, f"carruns show {run_id[:5]}", 2) == [run_id]


def test_completion_never_offers_what_a_shell_would_run(live: Place) -> None:
    with live.client() as client:
        for name in ("$(touch pwned)", "a;b", "a\nb", "`x`"):
            client.run(name, intent="x", run_id=name).succeed()
    assert complete(live, "carruns show ", 2) == []
    assert complete(live, "carruns list --agent ", 3) == []
