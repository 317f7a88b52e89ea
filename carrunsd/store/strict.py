"""What a strict, typed reader such as the seed's accepts, checked before anything is written (docs/files.md).

Of a line that msgspec decoded, UTF-8, escapes, surrogates and number ranges are right already; nesting and types
are left.  Of objects that came from Python, everything is left.  The types themselves are ``typed``'s.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from carruns.protocol import nesting
from carrunsd.store import typed

_DIGITS = re.compile(rb"[0-9]{300}")


class UnreadableError(ValueError):
    """A strict reader would refuse the line; the message says why."""


class WrongTypeError(UnreadableError):
    """A field has not the type that the seed's reader wants there; the message names it."""


def too_deep(text: bytes) -> bool:
    """Tell whether valid JSON ``text``, one document a line, nests deeper than serde_json reads."""
    if not nesting.may_be_too_deep(text):
        return False
    return any(nesting.may_be_too_deep(one) and nesting.depth(one) > nesting.MAX_DEPTH for one in text.split(b"\n"))


def plain(text: bytes) -> bool:
    """Tell whether valid JSON ``text``, one document a line, surely holds nothing that needs a closer look."""
    return not nesting.may_be_too_deep(text) and not may_hold_huge_number(text)


def too_deep_to_fetch(record: Any) -> bool:
    """Tell whether ``record`` would nest too deep in the answer of ``runs.get_trace``, three levels further in."""
    text = msgspec.json.encode(record)
    return too_deep(b"[[[" + text + b"]]]")


def may_hold_huge_number(text: bytes) -> bool:
    """Tell whether JSON ``text`` has so many digits in a row that they may be no finite number."""
    return _DIGITS.search(text) is not None


def too_big_a_number(text: bytes) -> bool:
    """Tell whether valid JSON ``text`` holds a whole number that no double can hold: serde_json refuses it.

    (msgspec reads whole numbers of any size, and refuses others out of range by itself.)  Such a number has 309
    digits or more, so every 34th byte shows it: nine digits in a row.
    """
    if _DIGITS_IN_SAMPLE.search(text[::34]) is None:
        return False
    found = _WHOLE_NUMBER.findall(nesting.without_strings(text))
    return any(math.isinf(float(number)) for number in found)


_DIGITS_IN_SAMPLE = re.compile(rb"[0-9]{9}")
_WHOLE_NUMBER = re.compile(rb"(?<![0-9.eE+])-?([0-9]{309,})(?![0-9.eE])")


def check_record(record: Any) -> None:
    """Raise :class:`UnreadableError`, naming the field, for a record that the seed's typed reader would refuse.

    ``record`` is a mapping or a struct.  The one check of what is put down, whichever way it comes in; of a turn as
    nearly all send it the decoder's type says as much (``plain.narrowed``).  What the seed does not know may
    stand in it: ``model_turn``, other kinds, ends of CAR's own.
    """
    line(record)


def line(record: Any) -> bytes:
    """Return a record as a line with its newline.  Raises as :func:`check_record`."""
    try:
        value = msgspec.to_builtins(record)
        if not isinstance(value, dict):
            raise UnreadableError("a record is an object with a string `record` that names its kind")
        check_numbers(value)
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        raise UnreadableError("a string holds a lone surrogate; replace it before recording") from None
    except RecursionError:
        raise UnreadableError("the record nests too deep; a strict reader stops at 127 levels") from None
    wrong = typed.fault(msgspec.json.decode(text), writing=True)  # as it stands there: subclasses are gone
    if wrong:
        raise WrongTypeError(wrong)
    if too_deep(text):
        raise UnreadableError("the record nests too deep; a strict reader stops at 127 levels")
    if too_big_a_number(text):
        raise UnreadableError("a number is out of range; a strict reader stops at 1.8e308: record it as a string")
    return text + b"\n"


def one_end(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return ``records``, an end that is told twice once.  Raises :class:`UnreadableError` for two different ones.

    Turns between an ``incomplete`` and the next end are a run that was resumed; behind a final end nothing ends it
    again.
    """
    out: list[dict[str, Any]] = []
    end: dict[str, Any] | None = None
    for record in records:
        kind = record.get("record")
        if kind == "ended":
            if end is not None and record != end:
                raise WrongTypeError("two different ends follow each other; a run has one")
            if record == end:
                continue
            end = record
        elif kind in typed.TURN_KINDS and end is not None and typed.ending(end.get("termination")) == "incomplete":
            end = None
        out.append(record)
    return out


def check_numbers(value: Any) -> None:
    """Raise :class:`UnreadableError` if a number in ``value`` is not finite: JSON has no word for it."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnreadableError(f"{value} is no JSON number; record it as a string or null")
    elif isinstance(value, dict):
        for item in value.values():
            check_numbers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_numbers(item)
