"""One run's sender: which turns it numbered, which the daemon has, which wait where.  No I/O, no clock.

Theory of operation.  A *writer* numbers the turns of one run from 0 with no gaps (docs/wire.md).  Every
turn taken is one encoded line with its number in it, and is at any moment in exactly one of these places:

    0 .. acked              stored: the daemon said so
    acked+1 .. spooled      in this run's spool file (none if spooled <= acked)
    base .. next_seq-1      in ``unacked``, in memory; also in the kernel if the session is live

What the daemon lost or refused is seen as ``acked`` not advancing, and sent again from there; it skips what
it has already, so sending twice is never wrong and losing one is always seen.  A turn that nobody could keep
uses no number: it is *owed*, and the next turn that can be delivered is preceded by a gap turn that says how
many.

``phase`` moves as :data:`MOVES` says, and only through :meth:`Session.move`; the courier decides when.  ``link``
is set exactly while the phase is LIVE: what has it may write turns to the socket.

``cost`` counts what has been taken, so that one comparison on the hot path bounds both bytes and turns: from
``flush_at`` on a turn goes the slow way, which reads what the daemon has said.  That is where a flush is due, and
every turn of a run that wants to hear of its cancellation.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Protocol

import msgspec

from carruns import encoding
from carruns.cancelling import Cancelling
from carruns.connection import Transport
from carruns.protocol import messages
from carruns.results import End

#: What a turn costs beside its bytes: 8 MiB of cost are at most 8,192 turns.
TURN_COST = 1024
#: After this much, a flush is asked for (512 small turns).
CHECK_COST = 512 * TURN_COST
#: This much may be unacknowledged before the agent waits.
WINDOW_COST = 8 << 20

_TURNS = b',"turns":['
_STARTED_AT = b'"started_at"'


class Phase(Enum):
    """Where a session stands; :data:`MOVES` says how it gets from one to the next."""

    DOWN = "down"
    OPENING = "opening"
    CATCHING_UP = "catching up"
    LIVE = "live"
    CHECKING = "checking"
    HELD = "held"
    OVER = "over"


#: Every move that a session may make.  Wherever it stands, the link may be lost (to DOWN), and the run may end or
#: take no more turns (to OVER); HELD is where it waits while the daemon cannot store: its disk, its load.
MOVES: dict[Phase, frozenset[Phase]] = {
    Phase.DOWN: frozenset((
        Phase.OPENING,  # start and resume sent on a ready link
        Phase.HELD,  # the run's end, asked for before, was refused for now; or a defect that came back
        Phase.OVER,
    )),
    Phase.OPENING: frozenset((
        Phase.CATCHING_UP,  # the daemon said what it has
        Phase.HELD,  # it could not say now
        Phase.DOWN,
        Phase.OVER,
    )),
    Phase.CATCHING_UP: frozenset((
        Phase.LIVE,  # everything since has been handed to the kernel
        Phase.DOWN,
        Phase.OVER,
    )),
    Phase.LIVE: frozenset((
        Phase.CHECKING,  # a flush showed less than was sent: ask for the next one's verdict
        Phase.HELD,  # a flush or the end was refused for now
        Phase.DOWN,  # also: the run ended or is unknown there, and is to be opened again
        Phase.OVER,
    )),
    Phase.CHECKING: frozenset((
        Phase.CATCHING_UP,  # stored after all
        Phase.CHECKING,  # mended, or replaced by a gap turn: ask again
        Phase.HELD,  # the daemon's disk refuses
        Phase.DOWN,  # also as from LIVE
        Phase.OVER,
    )),
    Phase.HELD: frozenset((
        Phase.DOWN,  # its time has come
        Phase.HELD,  # what was asked before is refused too
        Phase.OVER,
    )),
    Phase.OVER: frozenset(),
}  # fmt: skip


class ForbiddenMoveError(LookupError):
    """A session was to move where :data:`MOVES` has no way: a defect of this library's (see ``courier``)."""


class Spool(Protocol):
    """A file for the turns of one run (:class:`carruns.spool.SpoolFile`, which says what may be raised)."""

    size: int

    def append(self, data: bytes) -> None: ...
    def lines(self, offset: int) -> Iterator[bytes]: ...
    def replace(self, lines: Iterable[bytes]) -> Spool: ...
    def remove(self) -> None: ...
    def release(self) -> None: ...
    def forget(self) -> None: ...


class Session:
    """The sender of one run; see the module's text."""

    __slots__ = (
        "__weakref__", "acked", "agent_id", "asked", "cancelling", "checks", "cost", "dropped", "end", "end_line",
        "end_sent", "flush_at", "flush_due", "flushes", "gaps", "head", "held_for", "link", "mended", "next_seq",
        "offset", "over", "owed",
        "phase", "refusal", "retry_at", "run_id", "sent", "spool", "spooled", "spooled_before", "start", "started",
        "stored_before", "tentative", "unacked", "warned", "window_from", "writer",
    )  # fmt: skip

    def __init__(self, run_id: str, agent_id: str, writer: str, start: bytes | None = None) -> None:
        """Begin a sender; ``start`` is the ``runs.start`` that creates the run, if it may not exist yet.

        Its parameters are encoded once, by who knows how: socket and spool get the same bytes.
        """
        self.run_id, self.agent_id = run_id, agent_id
        self.start = start
        self.started = start is None
        self.dropped = self.owed = self.stored_before = self.spooled_before = 0
        self.spool: Spool | None = None
        self.over = ""
        self.end: End = ""
        self.end_line = b""
        self.end_sent = False
        self.refusal: Exception | None = None
        self.warned = False
        self.retry_at = self.held_for = 0.0
        self.cancelling = Cancelling()
        self.phase = Phase.DOWN
        self.link: Transport | None = None
        self._number_anew(writer)

    def _number_anew(self, writer: str) -> None:
        self.writer = writer
        self.head = messages.turn_head(self.run_id, writer)
        self.next_seq = 0
        self.acked = self.spooled = self.sent = -1
        self.asked = self.mended = -1
        self.tentative = (-1, 0)
        self.checks = 0
        self.unacked: deque[bytes] = deque()
        self.gaps: dict[int, int] = {}  # gap turns: their number, and how many turns each stands for
        self.cost = self.window_from = 0
        self._flush_after(CHECK_COST)
        self.flushes: deque[tuple[int, int]] = deque()
        self.offset = 0

    def begin(self, writer: str) -> None:
        """Number from 0 again under a new name, with nothing unacknowledged and no link."""
        self.down()
        self._number_anew(writer)

    # --- moving ---------------------------------------------------------------------------------------------

    def move(self, phase: Phase, link: Transport | None = None) -> None:
        """Go on to ``phase``; ``link`` with LIVE, and with nothing else.

        Raises :class:`ForbiddenMoveError`, with nothing changed, where :data:`MOVES` has no such way.
        """
        if phase not in MOVES[self.phase] or (link is None) is (phase is Phase.LIVE):
            raise ForbiddenMoveError(f"a session may not move from {self.phase.value} to {phase.value}")
        # No call stands between the two, so no signal handler finds one without the other.
        self.link, self.phase = link, phase

    def down(self) -> None:
        """The link is lost, or of no use any more; nothing to a session that is down or over."""
        if self.phase is not Phase.DOWN and self.phase is not Phase.OVER:
            self.move(Phase.DOWN)

    # --- what there is --------------------------------------------------------------------------------------

    @property
    def base(self) -> int:
        """The number of the first turn in memory."""
        return self.next_seq - len(self.unacked)

    @property
    def has_backlog(self) -> bool:
        """Whether the spool file holds turns that the daemon has not acknowledged."""
        return self.spooled > self.acked

    @property
    def window_full(self) -> bool:
        """Whether more is unacknowledged in memory than should be."""
        return self.cost - self.window_from > WINDOW_COST

    # --- taking turns ---------------------------------------------------------------------------------------

    def take(self, turn: bytes) -> bytes:
        """Number an encoded turn and keep its line until it is acknowledged or spooled; return the line.

        A signal handler may take a turn in the middle of this, in a call or where a number is formatted: then
        we number anew.  Between the comparison and the keeping no handler can run, so numbers and lines stay
        in step.
        """
        while True:
            seq = self.next_seq
            line = b'%b%d,"turns":[%b]}}\n' % (self.head, seq, turn)  # messages.turn_line, written out
            if self.next_seq == seq:
                break
        self.next_seq = seq + 1
        self.unacked.append(line)
        self.cost += len(line) + TURN_COST
        return line

    def settle_owed(self) -> None:
        """Number the gap turn for what was dropped, so that it goes before whatever comes next."""
        if self.owed:
            self.tentative = (self.next_seq, self.owed)
            self.gaps[self.next_seq] = self.owed
            self.take(gap_turn(self.owed, "spool_full"))
            self.owed = 0

    def untake(self) -> bytes:
        """Take back the last turn, which was sent to nobody: its number is free again."""
        line = self.unacked.pop()
        self.next_seq -= 1
        self.cost -= len(line) + TURN_COST
        return line

    def drop_last(self) -> None:
        """Give up the last turn, which was sent to nobody; a gap turn will tell.

        A gap turn put before it in the hope that it could be kept goes with it, and is owed again.
        """
        self.untake()
        self.dropped += 1
        self.owed += 1
        gap, lost = self.tentative
        if gap == self.next_seq - 1 > self.sent and self.unacked:
            self.untake()
            del self.gaps[gap]
            self.owed += lost
        self.tentative = (-1, 0)

    # --- what the daemon says -------------------------------------------------------------------------------

    def ack(self, acked: int) -> None:
        """The daemon has everything up to ``acked``."""
        if acked <= self.acked:
            return
        self.acked = min(acked, self.next_seq - 1)
        base = self.base
        if self.acked < base:
            return
        if self.acked == self.next_seq - 1:
            self.unacked.clear()
        else:
            for _ in range(self.acked - base + 1):
                self.unacked.popleft()
        while self.flushes and self.flushes[0][0] <= self.acked:
            self.window_from = self.flushes.popleft()[1]
        if not self.unacked:
            self.window_from = self.cost

    def note_flush(self) -> int:
        """Note that a flush goes out behind all that was taken, and return the number it should show."""
        self.asked = self.next_seq - 1
        self._flush_after(self.cost + CHECK_COST)
        self.flushes.append((self.asked, self.cost))
        return self.asked

    def _flush_after(self, cost: int) -> None:
        self.flush_due = cost
        self.flush_at = cost if self.cancelling.callback is None else 0

    def listen(self) -> None:
        """The run has a callback now: every turn goes the way on which it is heard."""
        self._flush_after(self.flush_due)

    def lost_by_daemon(self, acked: int) -> bool:
        """Tell whether what the daemon says it has does not fit what it said before."""
        return acked < self.acked or acked >= self.next_seq

    def rebase(self, writer: str, acked: int, spooled: Iterable[bytes], lost: int = 0) -> None:
        """Go on under a new name: the daemon has lost what it had acknowledged (``acked`` is what is left).

        ``spooled`` are the lines of the spool file after the old ``acked``; all of them are in memory
        afterwards. ``lost`` counts those among them that are lost as well.
        """
        known = acked < self.next_seq  # if not, we cannot tell what it has, and take its old word for it
        upto = min(acked, self.acked) if known else self.acked
        stored, kept = self._stored(self.acked), self._stored(upto)
        retold = sum(count for seq, count in self.gaps.items() if upto < seq <= self.acked)
        gaps = self.gaps
        turns = [(gaps.get(self.seq_of(line), 0), self.turn_of(line)) for line in (*spooled, *self.unacked)]
        self._number_anew(writer)
        self.stored_before = kept
        self.dropped += lost + stored - kept
        self.owed += lost + stored - kept + retold
        self.settle_owed()
        for stands_for, turn in turns:
            if stands_for:
                self.gaps[self.next_seq] = stands_for
            self.take(turn)

    def gap_line(self, seq: int, reason: str) -> bytes:
        """Return the line that stands for turn ``seq`` from now on, refused for good; counts it as dropped."""
        if seq not in self.gaps:
            self.gaps[seq] = 1
            self.dropped += 1
        return messages.turn_line(self.head, seq, gap_turn(1, reason))

    def replace(self, seq: int, line: bytes) -> None:
        """Put another line in a turn's place in memory."""
        self.unacked[seq - self.base] = line

    # --- the spool ------------------------------------------------------------------------------------------

    def spooled_all(self) -> None:
        """Everything in memory is in the spool file now."""
        self.spooled = self.next_seq - 1
        self.unacked.clear()
        self.flushes.clear()
        self.window_from = self.cost

    def unspooled(self, lines: Iterable[bytes]) -> None:
        """What was in the spool file is in memory instead."""
        self.unacked.extendleft(reversed(list(lines)))
        self.spooled = -1

    def leave_behind(self, writer: str) -> None:
        """The spool file is the next daemon's now: whatever comes after is counted anew under a new name."""
        stored, spooled, _, _ = self.counts()
        self.stored_before, self.spooled_before = stored, spooled
        self.spool = None
        self.begin(writer)

    def header(self) -> bytes:
        """Return the line that opens the run for whoever drains the spool file."""
        if self.start is not None and not self.started:
            return messages.request("runs.start", msgspec.Raw(self.start))
        return messages.request("runs.resume", {"run_id": self.run_id, "writer": self.writer})

    # --- lines ----------------------------------------------------------------------------------------------

    def turn_of(self, line: bytes) -> bytes:
        """Return the encoded turn that a line of ours carries."""
        return line[line.index(_TURNS, len(self.head)) + len(_TURNS) : -4]

    def dated(self, line: bytes, moment: bytes) -> bytes:
        """Return a line for the spool: its turn says when it happened, which is not when it will be drained.

        What the agent said itself stays.
        """
        turn = self.turn_of(line) if line.startswith(self.head) else b""
        if turn[:1] != b"{" or (_STARTED_AT in turn and encoding.has_field(turn, "started_at")):
            return line
        at = len(line) - len(turn) - 4
        rest = b"," + turn[1:] if turn != b"{}" else b"}"
        return b'%b{%b:"%b"%b%b' % (line[:at], _STARTED_AT, moment, rest, line[-4:])

    def seq_of(self, line: bytes) -> int:
        """Return the number of a line of ours, ``-1`` if it carries no turn."""
        if not line.startswith(self.head):
            return -1
        return int(line[len(self.head) : line.index(b",", len(self.head))])

    def lines_from(self, seq: int) -> Iterator[bytes]:
        """Return the lines in memory from turn ``seq`` on."""
        skip = max(0, seq - self.base)
        return iter([line for number, line in enumerate(self.unacked) if number >= skip])

    # --- counting -------------------------------------------------------------------------------------------

    def _stored(self, upto: int) -> int:
        return self.stored_before + upto + 1 - sum(seq <= upto for seq in self.gaps)

    def counts(self) -> tuple[int, int, int, int]:
        """Return how many turns of the agent's are stored, spooled, dropped and pending; gap turns do not count."""
        upto = max(self.acked, self.spooled)
        spooled = upto - self.acked - sum(self.acked < seq <= upto for seq in self.gaps)
        pending = self.next_seq - 1 - upto - sum(seq > upto for seq in self.gaps)
        return self._stored(self.acked), self.spooled_before + spooled, self.dropped, pending


def gap_turn(lost: int, reason: str) -> bytes:
    """Return the turn that stands in a trace where ``lost`` turns are missing."""
    return encoding.encode({"error": {"kind": "gap", "lost": lost, "reason": reason}})
