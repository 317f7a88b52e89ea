"""Fork, threads, signals, exit, SIGKILL: what happens to the process does not happen to its turns.

Agents are real processes running :data:`AGENT` code; the daemon is the real one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest

from carruns import Client, Trace
from tests.support import Daemon, wait_until

pytestmark = pytest.mark.timeout(60)
PREAMBLE = """
import os, signal, sys, threading, time, atexit
from carruns import Client
client = Client(sys.argv[1])
"""


def agent(car: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run an agent to its end, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PREAMBLE + textwrap.dedent(code), str(car)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


def clean(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert (done.returncode, done.stderr) == (code, "")
    return done.stdout.strip()


def trace_of(car: Path, run_id: str) -> Trace:
    with Client(car, autostart=False) as client:
        trace = client.get_trace(run_id)
    assert trace is not None
    return trace


def numbers(trace: Trace) -> list[int]:
    return [turn["parameters"] for turn in trace.turns]


@pytest.mark.usefixtures("daemon")
def test_killed_on_the_next_instruction(car: Path) -> None:
    done = agent(
        car,
        """
        run = client.run("agent", intent="die")
        print(run.id, flush=True)
        for number in range(3000):
            run.turn(parameters=number, output="x" * 300)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    assert done.returncode == -signal.SIGKILL
    run_id = done.stdout.strip()
    wait_until(lambda: len(trace_of(car, run_id)) > 3000)  # the daemon may still be reading what the kernel kept
    assert numbers(trace_of(car, run_id)) == list(range(3000))


@pytest.mark.usefixtures("daemon")
def test_threads_share_one_run_and_one_connection(car: Path) -> None:
    with Client(car) as client, client.run("agent", intent="share") as run:

        def work(name: int) -> None:
            for number in range(400):
                run.turn(parameters=[name, number])
                if number % 100 == 0:
                    assert client.agent_for_run(run.id) == "agent"
                    assert run.flush().dropped == 0

        threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert run.flush().stored == 3200
    parameters = [turn["parameters"] for turn in trace_of(car, run.id).turns]
    for name in range(8):
        assert [number for thread, number in parameters if thread == name] == list(range(400))


@pytest.mark.usefixtures("daemon")
def test_fork_gives_the_child_a_writer_of_its_own(car: Path) -> None:
    done = agent(
        car,
        """
        with client.run("agent", intent="fork") as run:
            for number in range(100):
                run.turn(parameters=number)
            pid = os.fork()
            for number in range(100):
                run.turn(parameters=number + (1000 if pid else 2000))
            if pid == 0:
                sys.exit(0 if run.flush().stored == 100 else 1)  # leaves the block: the run is the parent's to end
            assert os.waitpid(pid, 0)[1] == 0
            run.turn(parameters=5000)
            print(run.id, flush=True)
            assert run.succeed("both").stored == 201
        """,
    )
    trace = trace_of(car, clean(done))
    seen = numbers(trace)
    assert Counter(seen) == Counter([*range(100), *range(1000, 1100), *range(2000, 2100), 5000])
    for base in (1000, 2000):
        assert [n for n in seen if base <= n < base + 100] == list(range(base, base + 100))
    assert len({turn.writer for turn in trace.turns}) == 2
    assert trace[-1].termination["status"] == "success"


@pytest.mark.usefixtures("daemon")
def test_fork_while_another_thread_is_in_a_call(car: Path) -> None:
    done = agent(
        car,
        """
        run = client.run("agent", intent="fork")
        stop = threading.Event()
        def work():
            while not stop.is_set():
                run.turn(parameters=0)
                run.flush()
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        import warnings; warnings.simplefilter("ignore")
        pids = []
        for number in range(20):
            pid = os.fork()
            if pid == 0:
                run.turn(parameters=1 + number)
                os._exit(0 if run.flush().stored == 1 else 1)
            pids.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in pids]
        stop.set()
        for thread in threads: thread.join()
        assert codes == [0] * 20, codes
        print(run.id, run.succeed().ok)
        """,
    )
    run_id, ok = clean(done).split()
    assert ok == "True"
    assert sorted(n for n in numbers(trace_of(car, run_id)) if n) == list(range(1, 21))


@pytest.mark.usefixtures("daemon")
def test_exit_without_a_word(car: Path) -> None:
    done = agent(
        car,
        """
        run = client.run("agent", intent="exit")
        atexit.register(lambda: run.turn(parameters=1))
        for number in range(1000):
            run.turn(parameters=0)
        print(run.id)
        """,
    )
    assert numbers(trace_of(car, clean(done))) == [0] * 1000 + [1]


@pytest.mark.usefixtures("daemon")
def test_used_by_an_exit_handler_that_runs_after_ours(car: Path) -> None:
    code = """
import atexit, sys
atexit.register(lambda: (run.turn(parameters=7), print(run.id, run.succeed().ok)))
from carruns import Client
run = Client(sys.argv[1]).run('agent', intent='late')
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", code, str(car)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    run_id, ok = clean(done).split()
    assert ok == "True"
    assert numbers(trace_of(car, run_id)) == [7]


@pytest.mark.usefixtures("daemon")
def test_a_signal_handler_records_in_the_middle_of_a_call(car: Path) -> None:
    done = agent(
        car,
        """
        run = client.run("agent", intent="signals")
        count = 0
        def ring(*_):
            global count
            count += 1
            run.turn(parameters=-count)
            if count % 10 == 0: run.flush()
        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
        for number in range(20000):
            run.turn(parameters=number)
            if number % 100 == 0: run.flush()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(run.id, count, run.succeed().stored)
        """,
    )
    run_id, count, stored = clean(done).split()
    assert int(stored) == 20000 + int(count)
    seen = numbers(trace_of(car, run_id))
    assert [n for n in seen if n >= 0] == list(range(20000))
    # On a loaded machine a second signal comes into the handler before its own turn is taken, and goes first.
    assert sorted(-n for n in seen if n < 0) == list(range(1, int(count) + 1))


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize(
    ("leave", "status", "summary"),
    [
        ("pass", "done", ""),
        ("sys.exit(0)", "done", ""),
        ("sys.exit(3)", "failure", "SystemExit: 3"),
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", "failure", "KeyboardInterrupt"),
        ("raise ValueError('bad')", "failure", "ValueError: bad"),
    ],
)
def test_how_the_block_is_left_is_the_outcome(car: Path, leave: str, status: str, summary: str) -> None:
    agent(car, f"with client.run('agent', intent='leave', run_id='the-run') as run: {leave}")
    termination = trace_of(car, "the-run")[-1].termination
    assert (termination["status"], termination["outcome"]["summary"]) == (status, summary)


def test_the_daemon_is_killed_again_and_again(car: Path, daemon: Daemon) -> None:
    """SIGKILL under load; turns go to the spool in between, and come back from there."""
    with Client(car, budget=0.05) as client, client.run("agent", intent="survive") as run:
        for number in range(6000):
            run.turn(parameters=number)
            if number % 1000 == 500:
                daemon.kill()
            if number % 1000 == 900:
                daemon.start()
        delivery = run.flush()
        assert (delivery.stored, delivery.ok) == (6000, True), delivery
    assert numbers(trace_of(car, run.id)) == list(range(6000))
    assert list((car / "spool").iterdir()) == []


def test_the_next_daemon_drains_what_a_dead_agent_left(car: Path, stopped: Daemon) -> None:
    done = agent(
        car,
        """
        with client.run("agent", intent="alone") as run:
            for number in range(50):
                run.turn(parameters=number)
            print(run.id, flush=True)
            assert run.succeed("alone").spooled == 50
        run = client.run("agent", intent="killed")
        for number in range(50):
            run.turn(parameters=number)
        print(run.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    finished, killed = done.stdout.split()
    stopped.start()
    wait_until(lambda: not list((car / "spool").iterdir()))
    assert numbers(trace_of(car, finished)) == list(range(50))
    assert trace_of(car, finished)[-1].termination["status"] == "success"
    assert numbers(trace_of(car, killed)) == list(range(50))


def test_sigpipe_set_back_to_its_default_does_not_kill_the_agent(car: Path, daemon: Daemon) -> None:
    script = (
        "import signal, sys\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nfrom carruns import Client\n"
        "run = Client(sys.argv[1]).run('agent', intent='pipe')\nprint(run.id, flush=True)\nsys.stdin.readline()\n"
        "for n in range(10): run.turn(parameters=n)\nprint(run.delivery().spooled)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(car)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    daemon.stop()
    out, _ = process.communicate("\n", timeout=30)
    assert (process.returncode, out.strip()) == (0, "10")


@pytest.mark.usefixtures("daemon")
def test_no_descriptor_is_left_open(car: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with Client(car) as client, client.run("agent", intent="tidy") as run:
            run.turn(parameters=1)
    with Client(car) as client:
        client.run("agent", intent="tidy").turn(parameters=1)
    Client(car).run("agent", intent="not closed at all").turn(parameters=1)
    assert sorted(os.listdir("/proc/self/fd")) == before
