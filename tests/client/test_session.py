"""One run's sender: where each turn is, and that the counts add up whatever happens."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import carruns
from carruns.link import Link
from carruns.session import (
    CHECK_COST,
    MOVES,
    TURN_COST,
    WINDOW_COST,
    ForbiddenMoveError,
    Phase,
    Session,
    gap_turn,
)


def sender() -> Session:
    return Session("run", "agent", "writer")


def take(session: Session, count: int = 1) -> None:
    for _ in range(count):
        session.take(b'{"tool":"t"}')


def test_turns_are_numbered_from_0() -> None:
    session = sender()
    lines = [session.take(b"{}"), session.take(b'{"a":1}')]
    assert [json.loads(line)["params"] for line in lines] == [
        {"run_id": "run", "writer": "writer", "seq": 0, "turns": [{}]},
        {"run_id": "run", "writer": "writer", "seq": 1, "turns": [{"a": 1}]},
    ]
    assert [session.seq_of(line) for line in lines] == [0, 1]
    assert session.turn_of(lines[1]) == b'{"a":1}'
    assert session.seq_of(session.header()) == -1


def test_an_acknowledgement_trims_what_is_kept() -> None:
    session = sender()
    take(session, 5)
    session.ack(2)
    assert (session.base, len(session.unacked)) == (3, 2)
    session.ack(1)
    assert session.acked == 2
    assert session.counts() == (3, 0, 0, 2)


def test_an_acknowledgement_of_more_than_was_sent_is_no_more() -> None:
    session = sender()
    take(session, 2)
    session.ack(9)
    assert session.counts() == (2, 0, 0, 0)
    assert session.lost_by_daemon(9)


def test_the_window_is_bounded_in_turns_and_in_bytes() -> None:
    session = sender()
    take(session, WINDOW_COST // TURN_COST)
    assert session.window_full
    session = sender()
    session.take(b"x" * WINDOW_COST)
    assert session.window_full
    session.note_flush()
    session.ack(0)
    assert not session.window_full


def test_a_flush_is_due_after_so_much() -> None:
    session = sender()
    while session.cost < session.flush_at:
        take(session)
    assert session.next_seq <= CHECK_COST // TURN_COST
    assert session.note_flush() == session.next_seq - 1
    assert session.cost < session.flush_at


def test_a_dropped_turn_uses_no_number_and_is_told_of_by_the_next() -> None:
    session = sender()
    take(session, 2)
    session.drop_last()
    session.settle_owed()
    take(session)
    turns = [json.loads(session.turn_of(line)) for line in session.unacked]
    assert turns[1] == json.loads(gap_turn(1, "spool_full"))
    assert session.counts() == (0, 0, 1, 2)


def test_a_gap_turn_that_could_not_be_kept_either_is_owed_again() -> None:
    session = sender()
    take(session)
    for _ in range(3):
        session.settle_owed()
        take(session)
        session.drop_last()
    assert (session.owed, session.next_seq, session.gaps) == (3, 1, {})
    assert session.counts() == (0, 0, 3, 1)


def test_a_refused_turn_is_replaced_once() -> None:
    session = sender()
    take(session, 3)
    for _ in range(2):
        session.replace(1, session.gap_line(1, "too_large"))
    assert session.counts() == (0, 0, 1, 2)
    session.ack(2)
    assert session.counts() == (2, 0, 1, 0)


def test_going_on_under_a_new_name_tells_of_what_was_lost() -> None:
    session = sender()
    take(session, 5)
    session.ack(2)
    session.rebase("new", 0, ())
    assert session.writer == "new"
    turns = [json.loads(session.turn_of(line)) for line in session.unacked]
    assert turns[0]["error"]["lost"] == 2
    assert len(turns) == 3
    assert session.counts() == (1, 0, 2, 2)


# --- phases ---------------------------------------------------------------------------------------------

ROWS = [(at, to) for at, ways in MOVES.items() for to in sorted(ways, key=lambda phase: phase.value)]
FORBIDDEN = [(at, to) for at in Phase for to in Phase if to not in MOVES[at]]


class Socket(Link):
    """A link that is connected to nothing."""

    def __init__(self) -> None:
        self.rest = b""


def go(session: Session, to: Phase) -> None:
    session.move(to, Socket() if to is Phase.LIVE else None)


def standing(at: Phase) -> Session:
    """A session that has come to a phase on the shortest way that the table has."""
    ways = [[Phase.DOWN]]
    while ways[0][-1] is not at:
        ways += [[*ways[0], to] for to in MOVES[ways[0][-1]] if to not in ways[0]]
        ways.pop(0)
    session = sender()
    for phase in ways[0][1:]:
        go(session, phase)
    return session


@pytest.mark.parametrize(("at", "to"), ROWS, ids=lambda phase: phase.value)
def test_a_move_of_the_table(at: Phase, to: Phase) -> None:
    session = standing(at)
    go(session, to)
    assert session.phase is to
    assert (session.link is not None) == (to is Phase.LIVE)


@pytest.mark.parametrize(("at", "to"), FORBIDDEN, ids=lambda phase: phase.value)
def test_a_move_that_is_not_in_the_table_is_refused_and_changes_nothing(at: Phase, to: Phase) -> None:
    session = standing(at)
    link = session.link
    with pytest.raises(ForbiddenMoveError, match=f"from {at.value} to {to.value}"):
        go(session, to)
    assert (session.phase, session.link) == (at, link)


def test_live_is_with_a_link_and_nothing_else_is() -> None:
    session = standing(Phase.CATCHING_UP)
    for to, link in ((Phase.LIVE, None), (Phase.DOWN, Socket())):
        with pytest.raises(ForbiddenMoveError):
            session.move(to, link)


@pytest.mark.parametrize("at", Phase, ids=lambda phase: phase.value)
def test_from_anywhere_but_the_end_a_session_can_be_taken_down(at: Phase) -> None:
    session = standing(at)
    session.down()
    assert session.phase is (Phase.OVER if at is Phase.OVER else Phase.DOWN)
    assert session.link is None


def test_nothing_but_the_session_sets_phase_and_link() -> None:
    """The table is no table if there is a way around it."""
    for path in Path(carruns.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and node.attr in ("phase", "link")
            ):
                owner = ast.unparse(node.value)
                assert owner == "self", f"{path.name}:{node.lineno} sets {owner}.{node.attr}"
                assert path.name == "session.py" or node.attr == "link", path.name


class Life(RuleBasedStateMachine):
    """Any order of events: every turn taken is counted once, and numbers have no holes."""

    def __init__(self) -> None:
        super().__init__()
        self.session = sender()
        self.taken = 0
        self.writers = 0

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        self.session.settle_owed()
        take(self.session, count)
        self.taken += count

    @precondition(lambda self: self.session.unacked and self.session.next_seq - 1 not in self.session.gaps)
    @rule()
    def drop(self) -> None:
        self.session.drop_last()

    @rule(share=st.floats(0, 1))
    def ack(self, share: float) -> None:
        self.session.ack(int(share * self.session.next_seq) - 1)

    @rule()
    def spool(self) -> None:
        self.session.spooled_all()

    @precondition(lambda self: self.session.unacked)
    @rule(share=st.floats(0, 0.99))
    def refuse(self, share: float) -> None:
        session = self.session
        seq = session.base + int(share * len(session.unacked))
        session.replace(seq, session.gap_line(seq, "no"))

    @precondition(lambda self: self.session.spooled <= self.session.acked)
    @rule(share=st.floats(0, 1))
    def forget(self, share: float) -> None:
        self.writers += 1
        self.session.rebase(f"w{self.writers}", int(share * (self.session.acked + 1)) - 1, ())

    @invariant()
    def every_turn_is_somewhere(self) -> None:
        stored, spooled, dropped, pending = self.session.counts()
        assert min(stored, spooled, dropped, pending) >= 0
        assert stored + spooled + dropped + pending == self.taken

    @invariant()
    def numbers_have_no_holes(self) -> None:
        session = self.session
        kept = [session.seq_of(line) for line in session.unacked]
        assert kept == list(range(session.base, session.next_seq))


Life.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
