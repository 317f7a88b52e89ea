"""Encoding turns: the fast way, and what becomes of a turn that is long, deep or not JSON at all.

``run.turn`` calls :attr:`TurnEncoder.encode` itself and comes here only with what that refuses or what may be
too much for a line.  How objects become JSON is in ``encoding``; here it is decided what a client wants.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from carruns import encoding
from carruns.protocol import numbers

log = logging.getLogger("carruns")

#: No turn of at most so many bytes can nest too deep or hold a number that is too big.
SHORT_TURN = 2 * encoding.DEEPEST
#: A turn of at most this many bytes passes under any limit a daemon has; longer ones are looked at.
PLAIN_TURN = 1 << 20
#: Bytes of a line that are not the turn: method, ids, numbers.
_LINE_OVERHEAD = 4096


class TurnEncoder:
    """Encodes the turns of one client."""

    def __init__(self, max_line: Callable[[], int], *, strict: bool) -> None:
        """``max_line`` tells how many bytes a line may have now; ``strict``: raise instead of bending."""
        self._max_line = max_line
        self._strict = strict
        #: The fast way; where it raises, :meth:`encode_slowly` is to be asked.
        self.encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode if strict else encoding.encode

    @property
    def longest(self) -> int:
        """How many bytes an encoded turn may have."""
        return self._max_line() - _LINE_OVERHEAD

    def check(self, fields: Any, turn: bytes) -> bytes:
        """Return ``turn``, which is long or has many brackets or digits, as it was encoded if it may stay so.

        Raises ``ValueError`` as :meth:`encode_slowly` does.
        """
        if len(turn) <= PLAIN_TURN and not numbers.may_hold_huge(turn) and encoding.surely_shallow(fields):
            return turn
        return self.encode_slowly(fields)

    def encode_slowly(self, fields: Any) -> bytes:
        """Return a turn as JSON where the fast encoder did not do: bent, or cut to what a line may hold.

        Raises ``ValueError`` instead if ``strict``.
        """
        if self._strict:
            return self._encode_strictly(fields)
        try:
            return encoding.fit(encoding.encode_any(fields), self.longest)
        except Exception as error:  # nothing an agent records may break it
            log.warning("a turn could not be encoded: %r", error)
            return encoding.encode({"error": {"kind": "unencodable", "reason": type(error).__name__}})

    def _encode_strictly(self, fields: Any) -> bytes:
        try:
            turn = self.encode(fields)
        except Exception as error:
            raise ValueError(f"JSON cannot hold this turn: {error}") from error
        if len(turn) > self.longest:
            raise ValueError(f"the turn has {len(turn)} bytes; the daemon takes {self.longest}")
        if encoding.nests_too_deep(turn):
            raise ValueError(f"the turn nests deeper than {encoding.DEEPEST}")
        if numbers.may_hold_huge(turn) and encoding.encode_any(fields) != turn:
            raise ValueError("the turn holds a whole number beyond a double; record it as text")
        return turn
