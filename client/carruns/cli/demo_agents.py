"""The agents of ``carruns demo``: what each runs.  ``python -m carruns.cli.demo_agents`` is the one in Python.

All but one are real commands under ``carruns exec``; the other uses the library, as an agent in Python would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
from typing import NamedTuple

_TESTS = """\
import json, time, unittest

class Numbers(unittest.TestCase):
    def setUp(self): time.sleep(0.25)
    def test_round_trip(self): self.assertEqual(json.loads(json.dumps([1, 2.5])), [1, 2.5])
    def test_sum_of_tenths(self): self.assertEqual(0.1 + 0.2, 0.3)
    def test_big(self): self.assertEqual(len(str(2 ** 1000)), 302)
"""


class Agent(NamedTuple):
    """``argv`` is run in the directory of the material; empty for the agent in Python."""

    name: str
    intent: str
    argv: tuple[str, ...]

    def command(self, place: list[str], material: str) -> list[str]:
        """Return what starts this agent; ``place`` says where the daemon is."""
        if not self.argv:
            return [sys.executable, "-m", "carruns.cli.demo_agents", *place]
        words = [word.replace("{stdlib}", sysconfig.get_path("stdlib")) for word in self.argv]
        mine = ["--agent", self.name, "--intent", self.intent]
        return [sys.executable, "-m", "carruns.cli", "exec", *place, *mine, "--", *words]


_PYTHON = sys.executable
AGENTS = (
    Agent("tester", "run the unit tests", (_PYTHON, "-m", "unittest", "-v", "numbers_test")),
    Agent("compiler", "byte-compile a package", (_PYTHON, "-m", "compileall", "-f", "package")),
    Agent("searcher", "who uses Unix sockets?", ("sh", "-c", "cd '{stdlib}' && grep -l AF_UNIX *.py asyncio/*.py")),
    Agent(
        "bencher",
        "is a join faster than +=?",
        (_PYTHON, "-m", "timeit", "-n", "2000", "''.join(map(str, range(99)))"),
    ),
    Agent(
        "surveyor",
        "what machine is this?",
        ("sh", "-c", "uname -srm; sleep 0.4; df -h . | tail -1; sleep 0.4; id -un"),
    ),
    Agent("crasher", "what is kept when I am killed?", ("sh", "-c", "echo working...; sleep 0.7; kill -KILL $$")),
    Agent("planner", "count the code, in Python", ()),
)


def write_material(directory: str) -> str:
    """Write what the agents work on; return where."""
    material = os.path.join(directory, "work")
    os.makedirs(os.path.join(material, "package"))
    files = {"numbers_test.py": _TESTS, "package/__init__.py": "", "package/good.py": "ANSWER = 42\n"}
    files["package/bad.py"] = "def f(:\n"
    for name, text in files.items():
        with open(os.path.join(material, name), "w") as file:
            file.write(text)
    return material


def planner(car_dir: str, socket: str) -> None:
    """An agent that uses the library: one turn for each command it runs."""
    import carruns

    stdlib = sysconfig.get_path("stdlib")
    with (
        carruns.Client(car_dir, socket) as client,
        client.run("planner", intent="count the code, in Python") as run,
    ):
        run.turn(
            prompt="How many lines has the asyncio package?", output="I shall list its files, then count.",
            model="demo-model-1", usage={"input_tokens": 412, "output_tokens": 57}, duration_ms=180,
        )  # fmt: skip
        lines = 0
        for command in (f"ls {stdlib}/asyncio | wc -l", f"cat {stdlib}/asyncio/*.py | wc -l"):
            began = time.monotonic()
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
            lines = int(done.stdout or 0)
            took = round((time.monotonic() - began) * 1000)
            run.turn(tool="shell", parameters={"command": command}, output=done.stdout, duration_ms=took,
                     cli_outcome={"exit_code": done.returncode, "signal": None, "duration_ms": took})  # fmt: skip
            time.sleep(0.3)
        run.turn(tool="shell", parameters={"command": "rm -rf /"}, policy_rejected={"rule": "no-destruction"})
        run.succeed(
            f"{lines} lines", evidence=[{"kind": "count", "description": "lines of asyncio", "data": lines}]
        )


if __name__ == "__main__":
    planner(sys.argv[2], sys.argv[4])
