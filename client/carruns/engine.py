"""The life of a client's link: find the daemon, greet it, ask, read answers, notice that it is gone.

Theory of operation.  Everything that may take time is a generator of *steps*: it does what can be done at
once, yields a :class:`Wait`, and looks again.  The drivers (``sync/driver``, ``aio/driver``) run the steps and
do the waiting, so that this logic exists once.  Between two yields nothing else runs (a lock, or the one thread of
an event loop, sees to it); after a yield anything may have changed, and is looked at again.  A generator may
be closed at any yield: no half-done state survives it, because what is half done is on the link, not in the
generator.

Sockets, the clock and the starting of daemons are given, not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple, Protocol, TypeVar

from carruns import calls
from carruns.connection import READ_BYTES, Answer, Notification, Transport
from carruns.outage import Outage
from carruns.protocol import errors, framing, messages

T = TypeVar("T")
AnswerHandler = Callable[[Answer], None]

#: How often whoever waits looks for a daemon that is not there yet: 1 ms, growing to 20.
_LOOK = 0.001
_LOOK_LONGEST = 0.02
#: A new link gets this long to greet even where an outage has used up the budget.
_GREETING = 0.05
#: A daemon drops events only for a reader whose kernel buffer is full, which holds more than this.
_FLOOD = 1 << 15


class Wait(NamedTuple):
    """What a step waits for: something to read, room to ``write``, a change by someone else, or the deadline."""

    deadline: float
    write: bool = False
    look: bool = False  # the deadline is only the next time to look; nothing need be polled


Steps = Generator[Wait, None, T]


class Starter(Protocol):
    """Starts daemons (:class:`carruns.autostart.Autostart`)."""

    def start(self) -> None:
        """See to it that a daemon is being started; returns at once, never raises."""

    def failed(self) -> str:
        """Say why the daemon that was started has ended again, ``""`` while it may still come up."""

    def up(self) -> None:
        """A daemon answers."""


class Reply:
    """What became of a request: ``answer``, or ``lost`` with the link."""

    __slots__ = ("answer", "handler", "lost")

    def __init__(self, handler: AnswerHandler | None) -> None:
        self.handler = handler
        self.answer: Answer | None = None
        self.lost = False

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self.lost or self.answer is not None


class Engine:
    """One client's link and what is asked on it; see the module's text."""

    def __init__(
        self,
        connect: Callable[[], Transport],
        clock: Callable[[], float],
        starter: Starter | None,
        *,
        budget: float,
        timeout: float,
    ) -> None:
        self._connect = connect
        self.clock = clock
        self._starter = starter
        self._start_due = True
        self.timeout = timeout
        self.budget = budget
        self.outage = Outage(budget)
        self.link: Transport | None = None
        self.ready = False
        self.opened_at = self.moved_at = 0.0
        self.max_line = framing.DEFAULT_MAX_LINE_BYTES
        #: Off while somebody else waits for the socket to be readable: reading it empty would leave them waiting.
        self.may_read = True
        self.flooded = False  # more came at once than a reader who keeps up would see; a follower resets it
        self.problem: Exception | None = None
        self.hopeless = False
        self._replies: dict[int, Reply] = {}
        self.on_ready: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.on_notification: Callable[[Notification], None] = lambda _: None

    # --- the link -------------------------------------------------------------------------------------------

    def try_connect(self) -> bool:
        """Connect and greet if that can be done at once; starts a daemon if there is none."""
        try:
            link = self._connect()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            self._not_there(error)
            return False
        except BlockingIOError:
            self.problem = errors.DaemonUnavailable("the daemon's backlog of connections is full; try again")
            self._failed_try()
            return False
        except Exception as error:  # EACCES, a path too long, another user's socket: waiting will not help
            self._hopeless(error)
            return False
        now = self.clock()
        self.link, self.ready, self.hopeless = link, False, False
        self.opened_at = self.moved_at = now
        greet = calls.handshake()
        self.ask(greet.method, greet.params, lambda answer: self._greeted(answer, greet))
        return self.link is link

    def _not_there(self, error: OSError) -> None:
        self.problem = errors.DaemonUnavailable(f"no daemon answers: {error}")
        self._failed_try()
        if self._starter is None:
            return
        if self._start_due:
            self._start_due = False
            self._starter.start()
        if failure := self._starter.failed():
            self._hopeless(errors.DaemonUnavailable(f"the daemon could not be started: {failure}"))

    def _failed_try(self) -> None:
        now = self.clock()
        self.outage.began(now)
        self.outage.tried(now)

    def _hopeless(self, error: Exception) -> None:
        known = isinstance(error, errors.CarrunsError)
        self.problem = error if known else errors.DaemonUnavailable(f"no daemon can be reached: {error}")
        self.hopeless = True
        self._start_due = True
        self._failed_try()

    def _greeted(self, answer: Answer, greet: calls.Call[Any]) -> None:
        if answer.error is not None:
            self.lose(answer.error)
            if not answer.error.retry:
                self._hopeless(answer.error)
            return
        greeting = greet.parse(answer.result)
        spoken = greeting.get("protocol_version")
        if spoken != messages.PROTOCOL_VERSION:
            mismatch = errors.VersionMismatch(
                f"the daemon speaks protocol {spoken}, this library {messages.PROTOCOL_VERSION}: "
                "upgrade the older of the two, then restart the daemon"
            )
            self.lose(mismatch)
            self._hopeless(mismatch)
            return
        limits = greeting.get("limits")
        limit = limits.get("max_line_bytes") if isinstance(limits, dict) else None
        self.max_line = limit if isinstance(limit, int) and limit > 4096 else framing.DEFAULT_MAX_LINE_BYTES
        self.ready, self.problem, self._start_due = True, None, True
        self.outage.ended(self.clock())
        if self._starter is not None:
            self._starter.up()
        self.on_ready()

    def lose(self, why: Exception) -> None:
        """Give the link up; whatever was asked on it is lost."""
        link, self.link, self.ready = self.link, None, False
        if link is None:
            return
        link.close()
        self.problem = why if isinstance(why, errors.CarrunsError) else errors.ConnectionLost(str(why))
        now = self.clock()
        self.outage.began(now)
        replies, self._replies = self._replies, {}
        for reply in replies.values():
            reply.lost = True
        self.on_lost()

    def forget(self) -> None:
        """In a forked child: drop the parent's link without a word on it."""
        link, self.link, self.ready = self.link, None, False
        if link is not None:
            link.close(wake=False)
        self._replies = {}
        self._start_due = True
        self.outage = Outage(self.budget)

    # --- asking ---------------------------------------------------------------------------------------------

    def ask(self, method: str, params: bytes, handler: AnswerHandler | None = None) -> Reply:
        """Send a request on the link there is; ``handler`` gets the answer when someone reads it."""
        link = self.link
        if link is None:
            return self._lost_reply()
        request_id = link.connection.next_id()
        return self.ask_line(request_id, calls.line(method, params, request_id), handler)

    def ask_line(self, request_id: int, line: bytes, handler: AnswerHandler | None = None) -> Reply:
        """As :meth:`ask`, for a line that is made already."""
        link = self.link
        if link is None:
            return self._lost_reply()
        reply = self._replies[request_id] = Reply(handler)
        self.push(line)
        return reply

    @staticmethod
    def _lost_reply() -> Reply:
        reply = Reply(None)
        reply.lost = True
        return reply

    def push(self, data: bytes) -> None:
        """Send bytes on the link there is; what the kernel does not take waits as its rest."""
        link = self.link
        if link is not None:
            try:
                link.push(data)
            except OSError as error:
                self.lose(error)

    def pump(self) -> None:
        """Send what waits, read what has arrived, and tell whoever asked.  Does not wait."""
        for _ in range(64):  # a daemon that talks without end must not keep us
            link = self.link
            if link is None or not self._pump_once(link):
                return

    def _pump_once(self, link: Transport) -> bool:
        try:
            before = len(link.rest)
            link.push_rest()
            data = link.receive() if self.may_read else None
        except OSError as error:
            self.lose(error)
            return False
        if data is None:
            if len(link.rest) != before:
                self.moved_at = self.clock()
            return False
        if not data:
            self.lose(errors.ConnectionLost("the daemon closed the connection"))
            return False
        self.moved_at = self.clock()
        self.flooded = self.flooded or len(data) >= _FLOOD
        for event in link.connection.receive(data):
            if self.link is not link:
                return False
            if type(event) is Answer:
                self._answered(event)
            elif type(event) is Notification:
                self.on_notification(event)
        return self.link is link and len(data) == READ_BYTES

    def _answered(self, answer: Answer) -> None:
        reply = self._replies.pop(answer.id, None)
        if reply is None:
            return
        reply.answer = answer
        if reply.handler is not None:
            try:
                reply.handler(answer)
            except Exception as error:  # an answer of the wrong shape: this is no daemon of ours
                self.lose(errors.ConnectionLost(f"the daemon's answer makes no sense: {error}"))

    # --- waiting --------------------------------------------------------------------------------------------

    def strive(
        self,
        goal: Callable[[], bool],
        deadline: Callable[[float], float],
        advance: Callable[[], None] | None = None,
        *,
        eager: bool = False,
    ) -> Steps[bool]:
        """Take steps until ``goal()`` or until ``deadline(now)`` has passed; tell which.

        ``advance`` does what can be done now towards the goal.  ``eager`` tries to connect once even where
        the pause between tries has not passed.  Time spent without a greeted daemon is charged to the outage.
        """
        look = _LOOK
        while True:
            self.pump()
            now = self.clock()
            if self.link is None and (eager or self._may_try(now, deadline)):
                eager = False
                if self.try_connect():
                    self.pump()
            if advance is not None:
                advance()
            if goal():
                return True
            now = self.clock()
            until = deadline(now)
            if now >= until or (self.hopeless and self.link is None):
                return False
            if self.link is None:
                yield Wait(min(until, now + look), look=True)
                look = min(look * 1.5, _LOOK_LONGEST)
            else:
                yield Wait(until, bool(self.link.rest))
            if not self.ready:
                self.outage.began(now)  # it may end at the next look; nothing refills until then
                self.outage.spend(now, self.clock())

    def _may_try(self, now: float, deadline: Callable[[float], float]) -> bool:
        """Whoever waits anyway looks often; whoever does not, only when the next try is due."""
        return now >= self.outage.next_try or (not self.hopeless and now < deadline(now))

    def agent_deadline(self, now: float) -> float:
        """Return until when an agent may be kept waiting for a daemon that is away."""
        until = now + self.outage.left(now)
        if self.link is not None and not self.ready:
            return max(until, self.opened_at + min(_GREETING, self.budget))
        return until

    # --- questions ------------------------------------------------------------------------------------------

    def connected(self, timeout: float | None = None) -> Steps[None]:
        """Wait for a greeted daemon; raises what stands in the way."""
        until = self.clock() + (self.timeout if timeout is None else timeout)
        self.hopeless = False
        if not (yield from self.strive(lambda: self.ready, lambda _: until, eager=True)):
            raise self.problem or errors.DaemonUnavailable("the daemon did not greet in time")

    def query(self, call: calls.Call[T], timeout: float | None = None) -> Steps[T]:
        """Ask, wait, and return the parsed answer; a safe question is asked again once if the link is lost.

        Raises ``DaemonUnavailable``, ``ConnectionLost``, ``AnswerTimeout``, ``VersionMismatch`` or what the
        daemon answered.
        """
        until = self.clock() + (self.timeout if timeout is None else timeout)
        for tries_left in (1, 0):
            yield from self.connected(until - self.clock())
            reply = self.ask(call.method, call.params)
            yield from self.strive(lambda reply=reply: reply.done, lambda _: until)  # type: ignore[misc]
            if reply.answer is not None:
                break
            if not reply.lost:
                raise errors.AnswerTimeout(f"{call.method}: no answer from the daemon in time")
            if not (call.safe and tries_left):
                raise errors.ConnectionLost(f"{call.method}: {self.problem or 'the connection was lost'}")
        assert reply.answer is not None
        if reply.answer.error is not None:
            raise reply.answer.error
        try:
            return call.parse(reply.answer.result)
        except errors.CarrunsError:
            raise
        except Exception as error:
            self.lose(error)
            raise errors.ConnectionLost(f"{call.method}: the daemon's answer makes no sense: {error}") from error
