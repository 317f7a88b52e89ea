"""What moves: a line for each record as it comes, and the picture of the open runs."""

from __future__ import annotations

from typing import Any

import pytest

from carruns.protocol.records import Record
from carruns.render import cells
from carruns.render.event_lines import EventLines
from carruns.render.style import Style
from carruns.render.top_screen import plain, screenful
from tests.render.runs import NOW, STARTED, ended, turn


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (STARTED, "▶ do it"),
        (turn(3, tool="ls", duration_ms=40, output="a\nb"), "#3 ls  40ms  a\\nb"),
        (turn(0, error="no\x1b[2J"), "#0 turn ERROR no\\e[2J"),
        (ended("fine"), "■ success: fine"),
        (ended(status=None, reason="left"), "■ incomplete: left"),
        (Record(record="note", x=1), '{record: "note", x: 1}'),
    ],
)
def test_a_record_is_a_line(record: Record, text: str) -> None:
    (line,) = EventLines().lines("an agent", record, Style(), NOW)
    assert line.split("an agent     ", 1)[1] == text


def test_output_of_a_command_keeps_its_lines() -> None:
    record = turn(0, tool="exec", output={"stream": "stdout", "text": "one\ntwo\n"})
    assert [line[-5:] for line in EventLines().lines("a", record, Style(), NOW)] == ["  one", "  two"]


@pytest.mark.parametrize("width", [60, 80])
def test_a_line_fits_the_terminal_it_has_now(width: int) -> None:
    view, record = EventLines(), turn(0, output="x" * 500)
    assert all(cells.width(line) <= width for line in view.lines("a", record, Style(width=width), NOW))


def open_run(number: int, *, stuck: bool = False) -> dict[str, Any]:
    return {
        "run_id": f"run-{number:04d}-x", "agent_id": "a", "intent": "do it", "turn_count": number, "bytes": 1,
        "turns_per_second": 0.5, "last_tool": "ls", "age_seconds": 60.0, "idle_seconds": 5.0, "stuck": stuck,
    }  # fmt: skip


DAEMON: dict[str, Any] = {
    "up": True, "pid": 7, "version": "1", "uptime": 5, "connections": 1, "open_runs": 2, "records": 3, "bytes": 4,
    "errors": 0, "queue": 0, "unsynced_bytes": 0, "records_per_second": 1.5, "bytes_per_second": 10.0,
}  # fmt: skip


def test_the_open_runs_in_a_pipe_are_whole() -> None:
    text = "\n".join(plain(Style(), DAEMON, [open_run(1), open_run(2, stuck=True)]))
    assert "up 5.0s  carrunsd 1, process 7" in text
    assert "run-0001-x" in text
    assert "5s stuck" in text


def test_the_picture_has_the_height_it_is_given() -> None:
    runs = [open_run(number) for number in range(100)]
    lines = plain(Style(width=80, text_width=80), DAEMON, runs, 12)
    shown = sum("run-00" in line for line in lines)
    assert len(lines) <= 12
    assert lines[-1] == f"and {100 - shown} more"
    assert str(screenful(Style(), DAEMON, runs, 80, 12)).count("\n") < 12


def test_a_daemon_that_is_down() -> None:
    text = "\n".join(plain(Style(unicode=False), {"up": False, "message": "gone\x07"}, []))
    assert text == "o down  gone\\x07\n\nno open runs"
