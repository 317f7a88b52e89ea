"""Answers in the order of their requests, although some wait for the disk and others do not.

Each request with an id takes a ticket from its connection; what is finished goes out up to the first ticket
that is not.  A batch (JSON array) is a ticket that waits for its own.  Pure: ``write`` is handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from carruns.protocol import errors


class Ticket:
    """The place of one answer.  Exactly one of ``done`` and ``fail`` is called, once: ``text`` is its line then."""

    __slots__ = ("_queue", "request_id", "text")

    def __init__(self, queue: Outbox | Batch | Aside, request_id: Any) -> None:
        self._queue = queue
        self.request_id = request_id
        self.text: bytes | None = None

    def done(self, *result: bytes) -> None:
        """Answer with an encoded ``result``, given in any number of pieces."""
        request_id = self.request_id
        text = b"%d" % request_id if type(request_id) is int else msgspec.json.encode(request_id)
        self.text = b"".join((b'{"jsonrpc":"2.0","id":', text, b',"result":', *result, b"}\n"))
        self._queue.settled()

    def fail(self, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        """Answer with an error; ``error.data.kind`` is filled in from the code."""
        error = {"code": code, "message": message, "data": {"kind": errors.KINDS[code], **(data or {})}}
        self.text = msgspec.json.encode({"jsonrpc": "2.0", "id": self.request_id, "error": error}) + b"\n"
        self._queue.settled()


class Batch(Ticket):
    """The place of a batch's answers, sent as one array when the last is there."""

    __slots__ = ("_closed", "_parts", "_seen", "_size")

    def __init__(self, queue: Outbox) -> None:
        super().__init__(queue, None)
        self._parts: list[Ticket] = []
        self._closed = False
        self._seen = self._size = 0

    @property
    def size(self) -> int:
        """How many bytes of answers there are, up to the first that is not there yet."""
        while self._seen < len(self._parts):
            text = self._parts[self._seen].text
            if text is None:
                break
            self._size += len(text)
            self._seen += 1
        return self._size

    def ticket(self, request_id: Any) -> Ticket:
        """Take the place of one answer within the batch."""
        part = Ticket(self, request_id)
        self._parts.append(part)
        return part

    def close(self) -> None:
        """All of the batch has been taken up; it may be answered as soon as its parts are."""
        self._closed = True
        self.settled()

    def settled(self) -> None:
        """Send the array if nothing is missing any more; a batch of notifications gets no answer."""
        if self._closed and self.text is None and all(part.text is not None for part in self._parts):
            texts = [part.text[:-1] for part in self._parts if part.text]
            self.text = b"[%b]\n" % b",".join(texts) if texts else b""
            self._queue.settled()


class Aside(Ticket):
    """The place of an answer that may come late, beside the row: nothing waits behind it."""

    __slots__ = ("_outbox",)

    def __init__(self, outbox: Outbox, request_id: Any) -> None:
        super().__init__(self, request_id)
        self._outbox = outbox
        outbox.aside += 1

    def settled(self) -> None:
        """Send it, behind what waits by now."""
        self._outbox.aside -= 1
        self._outbox.send(self.text or b"")


class Outbox:
    """A connection's answers and events, in order; ``aside`` counts answers that will come beside the row."""

    __slots__ = ("_waiting", "_write", "aside", "held_bytes")

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._waiting: deque[Ticket | bytes] = deque()
        self.held_bytes = 0
        self.aside = 0

    def ticket(self, request_id: Any) -> Ticket:
        """Take the next place for an answer."""
        place = Ticket(self, request_id)
        self._waiting.append(place)
        return place

    def batch(self) -> Batch:
        """Take the next place for a batch's answers."""
        place = Batch(self)
        self._waiting.append(place)
        return place

    def send(self, line: bytes) -> None:
        """Send a whole line unasked, behind whatever waits."""
        if self._waiting:
            self._waiting.append(line)
            self.held_bytes += len(line)
        else:
            self._write(line)

    @property
    def waiting(self) -> int:
        """How many places are taken and not sent."""
        return len(self._waiting)

    def settled(self) -> None:
        """Send everything up to the first answer that is not there yet."""
        waiting = self._waiting
        out: list[bytes] = []
        while waiting:
            head = waiting[0]
            if type(head) is bytes:
                out.append(head)
                self.held_bytes -= len(head)
            else:
                text = head.text  # type: ignore[union-attr]
                if text is None:
                    break
                if text:
                    out.append(text)
            waiting.popleft()
        if out:
            self._write(out[0] if len(out) == 1 else b"".join(out))


_encode = msgspec.json.encode


def answer(ticket: Ticket | None, result: Any) -> None:
    if ticket is not None:
        ticket.done(_encode(result))
