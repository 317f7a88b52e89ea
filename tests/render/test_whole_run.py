"""One run, as ``show`` and as the two documents draw it: they all tell the same end."""

from __future__ import annotations

from carruns.render.document.html import page
from carruns.render.document.markdown import markdown
from carruns.render.style import Style
from carruns.render.trace import TraceView
from carruns.render.whole_run import WholeRun
from tests.render.runs import ended, turn, whole


def shown(run: WholeRun, style: Style | None = None) -> str:
    return "\n".join(TraceView(style or Style(), run, 6).render(range(run.tally.turns)))


def every_view(run: WholeRun) -> list[str]:
    return [shown(run), "\n".join(markdown(run)), "\n".join(page(run))]


def test_every_view_tells_the_end_it_is_given() -> None:
    run = whole([turn(0, tool="x")], ended("went well"), ended(status=None, reason="left behind"))
    for text in every_view(run):
        assert "went well" in text
        assert "success" in text
        assert "left behind" not in text


def test_every_view_says_that_a_run_goes_on() -> None:
    for text in every_view(whole([turn(0)], None)):
        assert "in progress" in text


def test_why_a_run_is_incomplete() -> None:
    for text in every_view(whole([turn(0)], ended(status=None, reason="disconnected"))):
        assert "incomplete" in text
        assert "disconnected" in text


def test_the_clock_is_the_one_that_is_given() -> None:
    assert "(1m ago), took 1m00s so far" in shown(whole([turn(0)], None))
    assert "(1m ago), took 30.0s" in shown(whole([turn(0)], ended()))


def test_the_terminal_is_the_one_that_is_given() -> None:
    run = whole([turn(0, prompt="x" * 100), turn(1, error="no")], ended())
    plain = shown(run, Style(width=40, text_width=40, unicode=False))
    assert plain.isascii()
    assert max(map(len, plain.splitlines()[-12:])) <= 60
    assert "\x1b[" not in plain
    assert "\x1b[31;7m ERROR \x1b[0m" in shown(run, Style(color=True))


def test_in_a_pipe_no_line_is_broken() -> None:
    words = " ".join(f"word{n}" for n in range(60))
    run = whole([turn(0, prompt=words, output={"text": words, "k": 1}, tool="x" * 99)], ended(words))
    assert shown(run).count(words) == 3
    assert shown(run, Style(width=80, text_width=80)).count(words) == 0


def test_what_failed_is_counted_and_marked_alike() -> None:
    turns = [turn(0, error="no"), turn(1, policy_rejected={}), turn(2, cli_outcome={"exit_code": 1}), turn(3)]
    turns.append(turn(4, cli_outcome={"exit_code": None, "signal": "SIGTERM"}))
    text = shown(whole(turns, ended()))
    assert "4 failed" in text
    assert text.count(" FAILED ") == 2


def test_a_long_gap_between_turns_has_a_line() -> None:
    assert "nothing for 20.0s" in shown(whole([turn(0), turn(20)], ended()))
