"""``carruns exec``: real commands, pipes, signals and a terminal; what is passed on and what is recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from carruns.protocol.records import Record
from tests.cli.place import Place
from tests.support import wait_until


def only_run(place: Place) -> Record:
    with place.client() as client:
        (run,) = client.list_runs()
    return Record(run)


def recorded(place: Place, stream: str) -> str:
    outputs = [turn["output"] for turn in place.turns() if isinstance(turn.get("output"), dict)]
    return "".join(output["text"] for output in outputs if output["stream"] == stream)


def outcome(place: Place) -> dict[str, Any]:
    return dict(place.turns()[-1]["cli_outcome"])


def script(text: str) -> list[str]:
    return ["exec", "--agent", "tester", "--", "sh", "-c", text]


def test_output_passes_unchanged_and_is_recorded(live: Place) -> None:
    done = live.run(*script("echo out; echo err >&2; printf 'no newline'"))
    assert (done.stdout, done.stderr) == ("out\nno newline", "err\n")
    assert (recorded(live, "stdout"), recorded(live, "stderr")) == ("out\nno newline", "err\n")
    assert only_run(live).outcome_status == "success"
    ended = outcome(live)
    assert (ended["exit_code"], ended["signal"], ended["stdout_bytes"]) == (0, None, 14)
    assert ended["duration_ms"] >= 0


def test_the_first_turn_says_what_runs_before_it_ends(live: Place) -> None:
    process = live.popen(*script("read line; echo $line"), stdin=subprocess.PIPE)
    with live.client() as client:
        (run,) = wait_until(lambda: [r for r in client.list_runs() if r.turn_count])
        assert run.status == "in_progress"
        trace = client.get_trace(run.run_id)
        assert trace is not None
        assert trace.turns[0].parameters == {"argv": ["sh", "-c", "read line; echo $line"]}
    assert process.communicate(b"hello\n", 30)[0] == b"hello\n"


def test_output_is_recorded_as_it_comes(live: Place) -> None:
    process = live.popen(*script("echo first; read line; echo second"), stdin=subprocess.PIPE)
    with live.client() as client:
        wait_until(lambda: [r for r in client.list_runs() if r.turn_count == 2])
        assert only_run(live).status == "in_progress"
    process.communicate(b"\n", 30)
    assert recorded(live, "stdout") == "first\nsecond\n"


@pytest.mark.parametrize(
    ("text", "code", "want"),
    [
        ("exit 3", 3, {"exit_code": 3, "signal": None}),
        ("exit 255", 255, {"exit_code": 255, "signal": None}),
        ("kill -TERM $$", -15, {"exit_code": None, "signal": "SIGTERM"}),
        ("kill -KILL $$", -9, {"exit_code": None, "signal": "SIGKILL"}),
        ("kill -SEGV $$", -11, {"exit_code": None, "signal": "SIGSEGV"}),
    ],
)
def test_the_commands_own_end_is_returned_and_recorded(
    live: Place, text: str, code: int, want: dict[str, Any]
) -> None:
    live.run(*script(text), code=code)
    assert outcome(live).items() >= want.items()
    assert only_run(live).outcome_status == "failure"


@pytest.mark.parametrize(("command", "code"), [("no-such-command-here", 127), ("/etc/passwd", 126), ("/tmp", 126)])
def test_what_cannot_be_started_is_recorded(live: Place, command: str, code: int) -> None:
    done = live.run("exec", "--agent", "tester", command, code=code)
    assert command in done.stderr
    assert live.turns()[-1]["error"].startswith(command)
    assert only_run(live).outcome_status == "failure"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_sent_to_us_alone_reach_the_command(live: Place, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(60)"
    )
    process = live.popen("exec", "--agent", "tester", "--", sys.executable, "-c", code, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 7
    assert outcome(live)["signals_received"] == [number.name]
    assert outcome(live)["exit_code"] == 7


def test_ctrl_c_on_a_terminal_ends_the_command_once(live: Place, terminal: Callable[..., Any]) -> None:
    code = (
        "import signal, time\ncount = 0\ndef on(*_):\n  global count; count += 1; print('hit', count, flush=True)\n"
    )
    code += "signal.signal(2, on)\nprint('ready', flush=True)\n"
    code += "end = time.monotonic() + 0.5\nwhile not count: time.sleep(0.01)\ntime.sleep(0.2); print('hits', count)"
    screen = terminal("exec", "--agent", "tester", "--", sys.executable, "-c", code)
    screen.wait_for("ready")
    screen.type("\x03")
    status, seen = screen.finish()
    assert status == 0
    assert "hits 1" in seen
    assert outcome(live)["signals_received"] == ["SIGINT"]


def test_ctrl_c_kills_a_command_that_does_not_care(live: Place, terminal: Callable[..., Any]) -> None:
    screen = terminal("exec", "--agent", "tester", "--", "sh", "-c", "echo ready; exec sleep 60")
    screen.wait_for("ready")
    screen.type("\x03")
    status, _ = screen.finish()
    assert status == -signal.SIGINT
    assert outcome(live)["signal"] == "SIGINT"
    assert only_run(live).outcome_status == "failure"


def test_standard_input_passes(live: Place) -> None:
    data = os.urandom(300_000)
    process = live.popen("exec", "--agent", "tester", "cat", stdin=subprocess.PIPE)
    assert process.communicate(data, 30)[0] == data


def test_bytes_that_are_no_text_pass_unchanged_and_are_readable_in_the_record(live: Place) -> None:
    process = live.popen(*script(r"printf '\377\000\033[31mx\303\244'"))
    assert process.communicate(timeout=30)[0] == b"\xff\x00\x1b[31mx\xc3\xa4"
    assert recorded(live, "stdout") == "\\xff\x00\x1b[31mx\u00e4"


def test_a_character_split_between_two_writes_stays_one(live: Place) -> None:
    code = "import os, time; os.write(1, b'\\xc3'); time.sleep(0.4); os.write(1, b'\\xa4\\n')"
    process = live.popen("exec", "--agent", "tester", "--", sys.executable, "-c", code)
    assert process.communicate(timeout=30)[0] == b"\xc3\xa4\n"
    assert recorded(live, "stdout") == "\u00e4\n"


def test_much_output_is_passed_whole_and_recorded_within_bounds(live: Place) -> None:
    code = "for n in range(200000): print(f'line {n}')"
    done = live.run("exec", "--agent", "t", "--max-output", "64K", "--", sys.executable, "-c", code)
    whole = "".join(f"line {n}\n" for n in range(200000))
    assert done.stdout == whole
    text, ended = recorded(live, "stdout"), outcome(live)
    assert len(text) == 96 << 10
    assert text == whole[: 64 << 10] + whole[-(32 << 10) :]
    assert ended["stdout_bytes"] == len(whole)
    assert ended["omitted_bytes"] == len(whole) - (96 << 10)
    said = [
        turn["output"]["omitted_bytes"] for turn in live.turns() if "omitted_bytes" in (turn.get("output") or {})
    ]
    assert said == [ended["omitted_bytes"]]


def test_a_reader_that_goes_away_is_the_commands_business(live: Place) -> None:
    process = live.popen("exec", "--agent", "t", "--", "sh", "-c", "yes; echo $? >&2")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() in (b"141\n", b"yes: standard output: Broken pipe\n1\n", b"141\n")
    process.stderr.close()
    assert process.wait(30) == 0


def test_a_process_left_behind_keeps_its_output(live: Place) -> None:
    done = live.popen(*script("(read line < gate; echo late) & echo now"), cwd=_with_gate(live))
    assert done.wait(30) == 0  # while the one left behind still waits
    assert only_run(live).status == "completed"
    (live.base / "gate").write_text("go\n")
    assert done.stdout is not None
    assert done.stdout.read() == b"now\nlate\n"
    done.stdout.close()
    assert done.stderr is not None
    done.stderr.close()


def _with_gate(place: Place) -> str:
    os.mkfifo(place.base / "gate")
    return str(place.base)


def test_without_a_daemon_the_command_runs_and_the_next_daemon_gets_the_record(place: Place) -> None:
    done = place.run(*script("echo hello; exit 5"), code=5)
    assert done.stdout == "hello\n"
    place.daemon.start()
    with place.client() as client:
        wait_until(lambda: [run for run in client.list_runs() if run.status == "completed"])
    assert recorded(place, "stdout") == "hello\n"
    assert outcome(place)["exit_code"] == 5


def test_a_car_directory_that_cannot_be_used_does_not_stop_the_command(place: Place) -> None:
    place.car_dir.write_text("a file in the way")
    done = place.run(*script("echo hello; exit 5"), code=5)
    assert done.stdout == "hello\n"


def test_the_daemon_may_die_meanwhile(live: Place) -> None:
    process = live.popen(*script("echo one; read line; echo two"), stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    live.daemon.kill()
    assert process.communicate(b"\n", 30)[0] == b"two\n"
    assert process.returncode == 0
    live.daemon.start()
    with live.client() as client:
        wait_until(lambda: [run for run in client.list_runs() if run.status == "completed"])
    assert recorded(live, "stdout") == "one\ntwo\n"


def test_a_run_inside_a_run_names_its_parent(live: Place) -> None:
    inner = [sys.executable, "-m", "carruns.cli", "exec", "--agent", "inner", "true"]
    live.run("exec", "--agent", "outer", "--", *inner)
    runs = [json.loads(line) for line in live.run("list", "--json").stdout.splitlines()]
    ids = {run["agent_id"]: run["run_id"] for run in runs}
    with live.client() as client:
        trace = client.get_trace(ids["inner"])
    assert trace is not None
    assert trace[0].parent_run_id == ids["outer"]


def test_usage(place: Place) -> None:
    assert "--agent" in place.run("exec", "true", code=2).stderr
    assert "CMD" in place.run("exec", "--agent", "me", code=2).stderr
    assert "size" in place.run("exec", "--agent", "me", "--max-output", "lots", "true", code=2).stderr


def test_an_agent_name_that_cannot_be_used_is_said_before_anything_runs(live: Place) -> None:
    done = live.run("exec", "--agent", "x" * 300, "--", "sh", "-c", "echo ran", code=125)
    assert done.stdout == ""
    assert "not started" in done.stderr


def test_a_closed_standard_output_gets_nobody_elses_number(live: Place) -> None:
    words = " ".join([*live.argv(["exec", "--agent", "t", "--", "sh", "-c", "'echo hello'"]), ">&-", "2>&-", "<&-"])
    process = subprocess.run(["sh", "-c", words], env=live.env, timeout=30, check=False)
    assert process.returncode == 0
    assert recorded(live, "stdout") == "hello\n"
    for path in live.runs_root.rglob("*.jsonl"):
        assert all(json.loads(line)["record"] for line in path.read_text().splitlines())
