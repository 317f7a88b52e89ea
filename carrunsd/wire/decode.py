"""From the lines of a block to requests: the quick way for nearly all, and a close look at the others.

What the typed decoder takes needs no more checks.  The close look finds the request in a line, or names the fault;
it is slow on purpose: it is for rare lines, and what it says is what a person reads.  Pure.
"""

from __future__ import annotations

import difflib
import json
import math
from typing import Any

import msgspec
from msgspec import UNSET

from carruns.protocol import errors, nesting
from carruns.protocol.framing import occurrences
from carruns.protocol.records import TURN_FIELDS, Turn
from carrunsd.store import strict
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError

LONG_LINE_BYTES = 64 << 10
MAX_VALUES = 250_000  # on one line; what is small by itself takes 100 times its bytes as objects
MAX_BATCH = 1000  # requests in one array

_LOOSE_FAULTS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def quickly(block: bytes) -> list[Any] | None:
    """Return the requests on the lines of ``block``, ``None`` where each line has to be looked at by itself."""
    if may_hold_too_many_values(block):
        return None
    try:
        incoming = requests.decoder.decode_lines(block)
    except _LOOSE_FAULTS:
        return None
    if len(incoming) != occurrences(block, b"\n"):
        return None  # two on a line, one over two, blank lines: what is taken must not depend on reads
    if requests.CHECKED.issuperset(map(type, incoming)) or strict.plain(block):
        return incoming
    return None


def lines(block: bytes) -> list[bytes]:
    """Return the lines of ``block``, for :func:`line` to look at each by itself."""
    return [text for text in block.split(b"\n") if text and not text.isspace()]


def line(text: bytes) -> Any:
    """Return what stands on a line: a request, a list of them for a batch, or how it is wrong."""
    try:
        return read(text)
    except RequestError as error:
        return error.with_traceback(None)  # it would keep the frames, and with them the line


def long_lines(block: bytes) -> list[Any]:
    """For a thread: return the lines of ``block``, the long ones decoded already."""
    return [line(text) if len(text) > LONG_LINE_BYTES else text for text in lines(block)]


def holds_too_many_values(text: bytes) -> bool:
    """Tell whether JSON ``text`` holds more values than one line may, by its commas and brackets."""
    if not may_hold_too_many_values(text):
        return False
    signs = place = 0
    while place < len(text):  # from string to string: the interpreter's lock is let go of between them
        quote = text.find(b'"', place)
        end = len(text) if quote < 0 else quote
        signs += _signs(text[place:end])
        if signs > MAX_VALUES or quote < 0:
            break
        whole = nesting.STRING.match(text, quote)
        place = whole.end() if whole else len(text)
    return signs > MAX_VALUES


def may_hold_too_many_values(text: bytes) -> bool:
    """Tell the same quickly; true is not certain, since signs in strings are none."""
    return len(text) > 2 * MAX_VALUES and _signs(text) > MAX_VALUES


def _signs(text: bytes) -> int:
    """Count commas and brackets: the quick way where a look here and there meets few, the steady one where many."""
    sample = text[::_SAMPLED]
    if (len(sample) - len(sample.translate(None, _SIGNS))) * 16 < len(sample):
        return sum(occurrences(text, sign) for sign in (b",", b"[", b"{"))
    return len(text) - len(text.translate(None, _SIGNS))


_SIGNS = b",[{"
_SAMPLED = 61


def read(line: bytes) -> Any:
    """Return the request in one ``line``, or a list of them (or of errors) for a batch.

    Raises :class:`RequestError` where there is none.  Turns with unknown fields come as
    :class:`~carrunsd.wire.requests.LooseRecordTurns`.
    """
    if holds_too_many_values(line):
        message = f"the line holds more than {MAX_VALUES} values: send it in parts, or a large value as one string"
        raise RequestError(errors.TOO_LARGE, message, None, max_values=MAX_VALUES)
    if line.lstrip()[:1] == b"[":
        return _read_batch(line)
    return _read_one(line)


def _read_batch(line: bytes) -> list[Any]:
    try:
        parts = msgspec.json.decode(line, type=list[Any])
    except _LOOSE_FAULTS:
        _name_fault(line)
        raise RequestError(errors.PARSE_ERROR, "the batch is not valid JSON", None) from None
    if len(parts) > MAX_BATCH:
        message = f"a batch may hold {MAX_BATCH} requests; this one has {len(parts)}"
        raise RequestError(errors.TOO_LARGE, message, None, max_batch=MAX_BATCH)
    if not parts:
        raise RequestError(errors.INVALID_REQUEST, "a batch must hold at least one request", None)
    out: list[Any] = []
    for part in parts:
        try:
            out.append(_read_one(msgspec.json.encode(part)))
        except RequestError as error:
            out.append(error.with_traceback(None))
    return out


def _read_one(line: bytes) -> Any:
    try:
        request = requests.whole_decoder.decode(line)
    except _LOOSE_FAULTS as fault:
        request = _loose(line, fault)
    if strict.too_deep(line):
        raise RequestError(errors.UNREADABLE, _DEEP, _answerable(request.id))
    if strict.may_hold_huge_number(line):
        _name_fault(line)
    if type(request) is requests.RecordTurns:
        for turn in request.params.turns:
            if turn.verifier_verdict is None:
                turn.verifier_verdict = "not_run"
    return request


_DEEP = f"the request nests deeper than {nesting.MAX_DEPTH} levels, which strict JSON readers refuse; flatten it"


def _loose(line: bytes, fault: Exception) -> Any:
    """The typed decoder refused: unknown fields in a turn are fine, anything else is named."""
    message = _name_fault(line)
    if message.get("method") == "runs.record_turns" and "unknown field" in str(fault):
        try:
            request = requests.loose_turns.decode(line)
        except _LOOSE_FAULTS as error:
            raise _invalid_params(message, str(error)) from None
        for number, turn in enumerate(request.params.turns):
            check_turn(turn, f"$.params.turns[{number}]", request.id)
        return request
    _check_envelope(message)
    raise _invalid_params(message, str(fault))


def check_turn(turn: dict[str, Any], path: str, request_id: Any) -> None:
    """Raise :class:`RequestError` if a known field of ``turn`` has a wrong type."""
    if turn.get("record", "turn") != "turn":
        raise RequestError(errors.INVALID_PARAMS, f'{path}.record must be "turn"', _answerable(request_id))
    try:
        msgspec.convert({k: v for k, v in turn.items() if k in TURN_FIELDS}, Turn)
    except msgspec.ValidationError as error:
        text = str(error).replace("`$", f"`{path}")
        raise RequestError(errors.INVALID_PARAMS, text, _answerable(request_id)) from None


def _name_fault(line: bytes) -> dict[str, Any]:
    """Return the message as an object, or raise what is wrong with it as JSON."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RequestError(errors.PARSE_ERROR, f"not UTF-8 at byte {error.start}; send UTF-8", None) from None
    unreadable: list[str] = []
    try:
        number = _finite(unreadable)
        value = json.loads(text, parse_constant=_no_constant, parse_float=number, parse_int=number)
    except RecursionError:
        raise RequestError(errors.UNREADABLE, _DEEP, None) from None
    except ValueError as error:
        raise RequestError(errors.PARSE_ERROR, f"not JSON: {error}", None) from None
    request_id = _answerable(value.get("id", UNSET)) if isinstance(value, dict) else None
    if unreadable:
        raise RequestError(errors.UNREADABLE, f"{unreadable[0]} is out of range for a number", request_id)
    if _has_surrogate(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            message = "a string holds a lone surrogate (\\ud800 to \\udfff), which is no Unicode text; replace it"
            raise RequestError(errors.UNREADABLE, message, request_id) from None
    if not isinstance(value, dict):
        raise RequestError(errors.INVALID_REQUEST, "a request is a JSON object with a `method`", None)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; send null or a string")


_MAX_INT_DIGITS = 300  # fewer make a finite float for certain


def _finite(unreadable: list[str]) -> Any:
    def parse(text: str) -> float | int:
        if len(text) < _MAX_INT_DIGITS and text.lstrip("-").isdigit():
            return int(text)
        number = float(text)
        if not math.isfinite(number):
            unreadable.append(f"{text[:20]}{'...' if len(text) > 20 else ''}")
        return number

    return parse


def _has_surrogate(text: str) -> bool:
    return "\\ud" in text or "\\uD" in text


def _check_envelope(message: dict[str, Any]) -> None:
    request_id = _answerable(message.get("id", UNSET))
    given = message.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, (int, float, str))):
        raise RequestError(errors.INVALID_REQUEST, "`id` must be a string, a number or null", None)
    method = message.get("method")
    if not isinstance(method, str):
        request_id = None if request_id is UNSET else request_id  # this is no notification, but no request at all
        raise RequestError(errors.INVALID_REQUEST, "`method` must be a string", request_id)
    if method not in requests.METHODS:
        near = difflib.get_close_matches(method[:80], requests.METHODS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise RequestError(errors.METHOD_NOT_FOUND, f"unknown method {method[:80]!r}{hint}", request_id)


def _invalid_params(message: dict[str, Any], text: str) -> RequestError:
    request_id = _answerable(message.get("id", UNSET))
    return RequestError(errors.INVALID_PARAMS, f"{message.get('method')}: {text}", request_id)


def _answerable(request_id: Any) -> Any:
    """Return the id to answer to; ``UNSET`` stays: a notification gets no answer, an error neither."""
    if request_id is UNSET or request_id is None or isinstance(request_id, str):
        return request_id
    if isinstance(request_id, (int, float)) and not isinstance(request_id, bool):
        return request_id
    return None
