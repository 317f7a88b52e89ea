"""One run's sender: where each turn is, and that the counts add up whatever happens."""

from __future__ import annotations

import json

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from carruns.session import CHECK_COST, TURN_COST, WINDOW_COST, Session, gap_turn


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
    session.fly()
    session.ack(0)
    assert not session.window_full


def test_a_flush_is_due_after_so_much() -> None:
    session = sender()
    while session.cost < session.mark:
        take(session)
    assert session.next_seq <= CHECK_COST // TURN_COST
    assert session.fly() == session.next_seq - 1
    assert session.cost < session.mark


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
