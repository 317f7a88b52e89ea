"""``carruns cancel``, and what ``carruns exec`` does when its run is cancelled."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from carruns.protocol.records import Record
from tests.cli.place import Place
from tests.daemon.lives import config
from tests.support import wait_until


def started(place: Place, *command: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a command that prints ``ready`` as a run; return the process and the run's id once it has."""
    process = place.popen("exec", "--agent", "tester", "--", *command)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    (run,) = place.json("list")
    return process, run.run_id


def summary(place: Place) -> Record:
    (run,) = place.json("list")
    return run


def end(place: Place, run_id: str) -> Record:
    return Record(place.json("show", run_id)[-1])


def test_a_detached_run_is_cancelled_and_shown_so(live: Place) -> None:
    run = live.run("start", "--agent", "backup", "--intent", "copy").stdout.strip()
    done = live.run("cancel", run[:13], "--reason", "wrong disk")
    assert done.stdout == f"{run} cancelled\n"
    assert "cancelled" in live.run("list").stdout
    assert live.run("show", run).stdout.endswith("ended cancelled\n")
    asked, over = live.run("tail", "-n", "2").stdout.splitlines()
    assert "cancellation requested: wrong disk" in asked
    assert over.endswith("■ cancelled")
    assert [row.run_id for row in live.json("list", "--outcome", "cancelled")] == [run]
    assert live.json("list", "--outcome", "failure") == []
    assert end(live, run).final is True
    requested = live.json("show", run)[1]
    assert (requested.record, requested.reason) == ("cancellation_requested", "wrong disk")


def test_the_receipt_as_json_is_the_same_again(live: Place) -> None:
    run = live.run("start", "--agent", "backup", "--intent", "copy").stdout.strip()
    (first,) = live.json("cancel", run, "--key", "k")
    assert (first.status, first.run_id) == ("cancelled_confirmed", run)
    assert live.json("cancel", run, "--key", "k") == [first]
    (other,) = live.json("cancel", run)
    assert other.status == "already_terminal"
    assert live.run("cancel", run).stdout == f"{run} was cancelled before\n"


def test_an_ended_run_has_ended_by_itself(live: Place) -> None:
    run = live.run_of()
    assert live.run("cancel", run).stdout == f"{run} has ended by itself (success)\n"


def test_what_cannot_be_asked(live: Place) -> None:
    live.run("cancel", "nobody", code=3)
    run = live.run_of()
    assert "idempotency_key" in live.run("cancel", run, "--key", "k" * 200, code=2).stderr
    live.daemon.stop()
    live.run("cancel", run, code=69)


def test_exec_stops_its_command_though_it_is_silent(live: Place) -> None:
    process, run = started(live, "sh", "-c", "echo ready; exec sleep 60")
    began = time.monotonic()
    done = live.run("cancel", run, "--reason", "wrong branch")
    assert "has ended by itself (failure)" in done.stdout
    assert process.wait(20) == -signal.SIGTERM
    assert time.monotonic() - began < 5
    outcome = end(live, run).termination["outcome"]
    assert (outcome["status"], outcome["summary"]) == ("failure", "cancelled: wrong branch")
    assert live.turns(run)[-1].cli_outcome["signal"] == "SIGTERM"
    assert summary(live).outcome_status == "failure"


def test_a_command_may_end_tidily(live: Place) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(15, lambda *_: (print('tidy', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(60)"
    )
    process, run = started(live, sys.executable, "-c", code)
    live.run("cancel", run)
    assert process.communicate(timeout=20)[0] == b"tidy\n"
    assert process.returncode == 0
    assert end(live, run).termination["outcome"]["status"] == "give_up"


def test_a_command_that_does_not_care_is_killed(place: Place) -> None:
    place.daemon.configure(config(cancel_grace_secs=60))
    place.daemon.start()
    code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)"
    process, run = started(place, sys.executable, "-c", code)
    place.run("cancel", run)
    assert process.wait(20) == -signal.SIGKILL
    assert end(place, run).termination["outcome"]["summary"] == "cancelled: cancelled by hand"


def test_a_daemon_that_was_away_finds_the_command_again(live: Place) -> None:
    process, run = started(live, "sh", "-c", "echo ready; exec sleep 60")
    live.daemon.kill()
    live.daemon.start()
    wire = live.daemon.wire()
    wait_until(lambda: wire.call("server.stats")["runs_in_memory"])  # it was resumed
    live.run("cancel", run)
    assert process.wait(20) == -signal.SIGTERM
    assert summary(live).outcome_status == "failure"


def test_the_words_that_tables_show_are_taken(live: Place) -> None:
    live.run("start", "--agent", "backup", "--intent", "copy")
    assert "open" in live.run("list").stdout
    assert len(live.json("list", "--status", "open")) == 1
    assert live.json("list", "--outcome", "partial") == []
