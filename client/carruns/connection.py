"""One socket's life, seen from the client: request ids out, bytes in, events out.  No I/O, no clock.

Theory of operation.  A connection is born with its id counter at 1.  :meth:`Connection.request` returns the
bytes to send and the id to wait for.  :meth:`Connection.receive` takes what the socket gave, in any portions,
and returns what the daemon said: an :class:`Answer` for each id, a :class:`Notification` for what came
unasked, and :class:`Garbage` for a line that is neither.  Results stay undecoded (``Raw``): whoever asked
knows their type. A line that cannot be read never hides the ones around it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Union

import msgspec
from msgspec import Raw, Struct

from carruns.protocol import errors, framing, messages

#: What is read at once: below malloc's mmap threshold, an answer is a few bytes most of the time.  A read that
#: brings less has emptied the socket.
READ_BYTES = 1 << 16
#: A page of a trace is bounded by the daemon; a longer line than this is not from one.
MAX_ANSWER_BYTES = 256 << 20


class Answer(NamedTuple):
    """The answer to request ``id``: its undecoded ``result``, or ``error``."""

    id: int
    result: bytes | memoryview | Raw
    error: errors.RemoteError | None


class Notification(NamedTuple):
    """What the daemon sends unasked; ``params`` undecoded."""

    method: str
    params: bytes | Raw


class Garbage(NamedTuple):
    """A line that is no message, or an error answer that names no request."""

    line: bytes


Event = Union[Answer, Notification, Garbage]


class _Message(Struct, gc=False):
    id: Any = None
    result: Raw = Raw(b"")
    error: Any = None
    method: str = ""
    params: Raw = Raw(b"")


_decoder = msgspec.json.Decoder(_Message)


class Connection:
    """The protocol state of one connection; see the module's text."""

    __slots__ = ("_framer", "_last_id")

    def __init__(self) -> None:
        self._last_id = 0
        self._framer = framing.LineFramer(MAX_ANSWER_BYTES)

    def next_id(self) -> int:
        """Return an id that this connection has not used."""
        self._last_id += 1
        return self._last_id

    def request(self, method: str, params: Any) -> tuple[int, bytes]:
        """Return a fresh id and the line that asks ``method`` under it."""
        request_id = self.next_id()
        return request_id, messages.request(method, params, request_id)

    def receive(self, data: bytes) -> list[Event]:
        """Return what the bytes complete, in the order in which it came."""
        block = self._framer.feed(data)
        events: list[Event] = [Garbage(b"")] * self._framer.overlong
        self._framer.overlong = 0
        if not block:
            return events
        if len(block) > READ_BYTES and (answer := _long_answer(block)) is not None:
            return [*events, answer]
        try:
            messages = _decoder.decode_lines(block)
        except Exception:  # also RecursionError and UnicodeDecodeError, which are no DecodeError
            events += [_event_of_line(line) for line in block.split(b"\n") if line.strip()]
            return events
        events += map(_event_of, messages)
        return events


class HasFileno(Protocol):
    """What a driver can wait on."""

    def fileno(self) -> int: ...


class Transport(Protocol):
    """The socket that carries a connection (:class:`carruns.link.Link`); nothing on it ever waits."""

    connection: Connection
    #: What the kernel did not take yet; it goes before anything else.
    rest: bytes
    #: The socket's own ``send``, for who knows that there is no rest.
    send: Callable[[bytes, int], int]

    def push(self, data: bytes) -> None: ...
    def push_rest(self) -> bool: ...
    def receive(self) -> bytes | None: ...
    def close(self, *, wake: bool = True) -> None: ...
    def watch(self) -> HasFileno: ...
    def unwatch(self) -> None: ...


def _long_answer(block: bytes) -> Answer | None:
    """Return the one answer that ``block`` is, its result cut out, if it looks as the daemon writes it.

    To look for the end of a result of megabytes takes as long as to read it, which whoever asked does anyway.
    """
    head = _ANSWER_HEAD.match(block)
    if head is None or block.find(b"\n") != len(block) - 1 or not block.endswith(b"}\n"):
        return None
    return Answer(int(head[1]), memoryview(block)[head.end() : -2], None)


_ANSWER_HEAD = re.compile(rb'\{"jsonrpc":"2\.0","id":([0-9]{1,18}),"result":')


def _event_of_line(line: bytes) -> Event:
    try:
        return _event_of(_decoder.decode(line))
    except Exception:  # as above: this line alone is bad
        return Garbage(line[:200])


def _event_of(message: _Message) -> Event:
    if message.method:
        return Notification(message.method, message.params)
    if type(message.id) is not int:
        return Garbage(repr(message.error).encode()[:200])
    if message.error is None:
        return Answer(message.id, message.result, None)
    error = message.error if isinstance(message.error, dict) else {"message": repr(message.error)}
    return Answer(message.id, b"", errors.from_wire(error))


def as_request(notification: bytes, request_id: int) -> bytes:
    """Return a request line that asks what an encoded notification line tells, so that an answer comes."""
    return b'{"id":%d,%b' % (request_id, notification[1:])
