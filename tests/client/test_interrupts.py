"""Ctrl-C at any instant: it comes out as itself, nobody else waits for what it left, and the run goes on.

Random instants, from a signal handler that raises, as Python's own does.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.support import Daemon

pytestmark = pytest.mark.timeout(90)

CODE = """
import random, signal, sys, threading, time
from carruns import Client

random.seed(int(sys.argv[2]))
def interrupt(*_): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
client = Client(sys.argv[1], budget=2.0)
run = client.run("a", intent="be interrupted")
stop = threading.Event()
longest = [0.0]
def other():
    while not stop.is_set():
        began = time.monotonic()
        run.turn(tool="other")
        run.flush()
        longest[0] = max(longest[0], time.monotonic() - began)
threads = [threading.Thread(target=other) for _ in range(int(sys.argv[3]))]
for thread in threads: thread.start()
interrupts = 0
try:
    while interrupts < 400:
        try:
            try:
                signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.002))
                while True:
                    run.turn(tool="mine")
                    if random.random() < 0.3: run.flush()
            finally: signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt as error:
            interrupts += 1
            kept = error  # and its frames
            assert not client._driver._reader or client._driver._reader.thread != threading.get_ident()
finally:
    stop.set()
    for thread in threads: thread.join(20)
assert not any(thread.is_alive() for thread in threads)
assert longest[0] < 5, longest
run.turn(tool="last")
delivery = run.succeed("x")
assert delivery.ok, delivery
"""


@pytest.mark.parametrize("threads", [0, 2])
def test_at_any_instant(daemon: Daemon, threads: int) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(daemon.car_dir), "1", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
