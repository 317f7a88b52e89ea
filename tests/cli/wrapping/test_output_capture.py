"""What of a command's output becomes turns: soon, in bounded pieces, never too many."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from carruns.cli.output_capture import PIECE, TAIL, Capture


def captured(limit: int) -> tuple[Capture, list[dict[str, Any]]]:
    turns: list[dict[str, Any]] = []
    return Capture(lambda **turn: turns.append(turn["output"]), limit), turns


@given(st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=40)), max_size=20))
def test_within_the_limit_all_of_it_is_recorded(pieces: list[tuple[str, bytes]]) -> None:
    capture, turns = captured(10_000)
    for at, (stream, data) in enumerate(pieces):
        capture.take(stream, data, at * 0.07)
        capture.tick(at * 0.07)
    capture.finish()
    for stream in ("stdout", "stderr"):
        whole = b"".join(data for name, data in pieces if name == stream)
        text = "".join(turn["text"] for turn in turns if turn["stream"] == stream)
        assert text == whole.decode("utf-8", "backslashreplace")
        assert capture.counts()[f"{stream}_bytes"] == len(whole)


def test_pieces_are_bounded_and_the_middle_of_too_much_is_left_out() -> None:
    capture, turns = captured(50_000)
    data = b"".join(b"%07d\n" % n for n in range(100_000))
    for at in range(0, len(data), 65_536):
        capture.take("stdout", data[at : at + 65_536], 0.0)
    capture.finish()
    assert all(len(turn["text"]) <= PIECE for turn in turns)
    text = "".join(turn["text"] for turn in turns)
    assert text.encode() == data[:50_000] + data[-TAIL:]
    omitted = len(data) - 50_000 - TAIL
    assert [turn["omitted_bytes"] for turn in turns if "omitted_bytes" in turn] == [omitted]
    assert capture.counts()["omitted_bytes"] == omitted


def test_output_is_recorded_within_a_fifth_of_a_second() -> None:
    capture, turns = captured(1000)
    capture.take("stdout", b"x", 10.0)
    capture.tick(10.1)
    assert turns == []
    assert 10.1 < capture.due <= 10.2
    capture.tick(10.2)
    assert turns == [{"stream": "stdout", "text": "x"}]
    assert capture.due == float("inf")


def test_a_day_of_dripping_output_is_a_few_thousand_turns() -> None:
    capture, turns = captured(1 << 30)
    for step in range(2 * 86_400):
        capture.take("stdout", b".\n", step / 2)
        capture.tick(step / 2)
    assert len(turns) < 6000
