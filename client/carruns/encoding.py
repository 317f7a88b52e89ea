"""Make JSON of anything: the encoder of turns, and the slow path for what JSON cannot hold.  Pure.

The fast path is one call of a msgspec encoder.  Only what that refuses, or what might nest too deep for a
strict reader, is walked in Python: a turn is never refused for what is in it, it is bent until it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from carruns.protocol import nesting, numbers
from carruns.protocol.cut import cut, marker
from carruns.protocol.framing import occurrences

#: What we bend nests at most this deep: below a strict reader's 127 with the record around it.
DEEPEST = 100
#: The daemon cuts strings longer than this in any case (``max_string_bytes``'s default).
LONG_STRING = 64 << 10

CYCLE = "[carruns: a cycle, not followed]"
TOO_DEEP = f"[carruns: nested deeper than {DEEPEST}, not followed]"


def text_of(value: Any) -> str:
    """Return what stands in a record for an object that JSON has no form for; never raises."""
    try:
        if hasattr(type(value), "__fspath__"):  # os.PathLike, without os
            return path_text(value.__fspath__())
        if isinstance(value, int):
            return str(numbers.bent(value))
        shown = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return shown if len(shown) <= LONG_STRING else cut(shown, LONG_STRING)


def text(value: Any) -> str:
    """Return ``value`` as text that a record may hold; never raises."""
    return _clean(value if isinstance(value, str) else text_of(value))


def path_text(path: str | bytes) -> str:
    r"""Return a path as text: bytes that are no UTF-8 (surrogates in Python) as ``\xNN``."""
    try:
        given = path.encode("utf-8", "surrogateescape") if isinstance(path, str) else path
        return given.decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return _clean(str(path))


def _base_of(value: Any) -> Any:
    """The encoder's hook: subclasses of JSON's own types lose their class, everything else becomes text."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    return text_of(value)


#: The fast path of every turn: raises whatever msgspec raises where :func:`bend` is needed.
encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_base_of).encode


def bend(value: Any) -> bytes:
    """Return JSON for any object: surrogates, cycles, depth, keys, numbers bent until a strict reader takes it."""
    return encode(_plain(value, 0, set()))


def encode_any(value: Any) -> bytes:
    """Return JSON for any object, the fast way where it is possible."""
    try:
        encoded = encode(value)
    except Exception:  # whatever an object's own hooks raise as well
        return bend(value)
    return _bent_if_refused(value, encoded)


def encode_each(values: Sequence[Any]) -> list[bytes]:
    """Return JSON for each of some objects, the fast way where it is possible for all of them."""
    values = list(values)
    try:
        encoded = [encode(value) for value in values]
    except Exception:
        return [encode_any(value) for value in values]
    return [
        # As _has_many_brackets, without two calls for each.
        text
        if len(text) - len(text.replace(b"{", b"").replace(b"[", b"")) <= DEEPEST
        and not numbers.may_hold_huge(text)
        else _bent_if_refused(value, text)
        for value, text in zip(values, encoded, strict=True)
    ]


def _bent_if_refused(value: Any, encoded: bytes) -> bytes:
    if numbers.may_hold_huge(encoded):
        return bend(value)
    if not _has_many_brackets(encoded) or surely_shallow((value,)) or not nests_too_deep(encoded):
        return encoded
    return bend(value)


def nests_too_deep(encoded: bytes) -> bool:
    """Tell whether encoded JSON nests deeper than a strict reader takes, with room for the record around it."""
    return _has_many_brackets(encoded) and nesting.depth(encoded) > DEEPEST


def _has_many_brackets(encoded: bytes) -> bool:
    return occurrences(encoded, b"{") + occurrences(encoded, b"[") > DEEPEST


def surely_shallow(value: Any) -> bool:
    """Tell whether a value that has been encoded is made of JSON's own types and nests a few levels only.

    It does not look into strings, so it tells at once where a long text is full of brackets.  Of more than some
    hundred things it says no: there the text is looked at faster.
    """
    level = [value]
    left = _FEW
    for _ in range(_SHALLOW):
        inner: list[Any] = []
        for container in level:
            left -= len(container)
            if left < 0:
                return False
            for item in tuple(container.values() if type(container) is dict else container):
                kind = type(item)
                if kind in _CONTAINERS:
                    inner.append(item)
                elif kind not in _LEAVES:
                    return False
        if not inner:
            return True
        level = inner
    return False


_SHALLOW = 12
_FEW = 300
_CONTAINERS = frozenset((dict, list, tuple))
_LEAVES = frozenset((str, int, float, bool, type(None)))


def _plain(value: Any, level: int, above: set[int]) -> Any:
    """Return ``value`` made of dicts, lists and scalars only; ``above`` holds the ids of its containers."""
    if value is None or isinstance(value, bool | float):
        return value if type(value) in _SCALARS else _base_of(value)
    if isinstance(value, int):
        return numbers.bent(value)
    if isinstance(value, str):
        return _clean(value)
    if id(value) in above:
        return CYCLE
    if level >= DEEPEST:
        return TOO_DEEP
    above.add(id(value))
    try:
        return _plain_container(value, level + 1, above)
    except Exception:  # a container's own iterator or conversion may raise anything
        return _clean(text_of(value))
    finally:
        above.discard(id(value))


_SCALARS = frozenset((type(None), bool, float))


def _plain_container(value: Any, level: int, above: set[int]) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, level, above) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, level, above) for item in value]
    # Dataclasses, datetimes, decimals, enums, bytes, msgspec structs: msgspec knows one level of them.
    builtin = msgspec.to_builtins(value, enc_hook=_base_of)
    return _clean(builtin) if isinstance(builtin, str) else _plain(builtin, level, above)


def _key(key: Any) -> str:
    return _clean(key if isinstance(key, str) else text_of(key))


def _clean(text: str) -> str:
    """Return the text with each lone surrogate as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return str.__str__(text)


def mend(turn: bytes) -> bytes | None:
    """Return a turn that was refused with its known fields in their types, ``None`` if they were already."""
    fields = msgspec.json.decode(turn)
    if not isinstance(fields, dict):
        return None
    mended = dict(fields)
    for name in _TEXTS & fields.keys():
        if not isinstance(fields[name], str | None):
            mended[name] = encode(fields[name]).decode()
    if not isinstance(fields.get("duration_ms"), int | float | None):
        mended["metadata"] = {"duration_ms": mended.pop("duration_ms"), "metadata": fields.get("metadata")}
    if not isinstance(fields.get("usage"), dict | None):
        mended["usage"] = {"value": fields["usage"]}
    if not isinstance(fields.get("verifier_verdict"), str | dict | None):
        mended["verifier_verdict"] = {"value": fields["verifier_verdict"]}
    return None if mended == fields else encode(mended)


def has_field(turn: bytes, name: str) -> bool:
    """Tell whether an encoded turn has a field ``name``, and be it null: it may not be given twice."""
    fields = msgspec.json.decode(turn)
    return isinstance(fields, dict) and name in fields


_TEXTS = frozenset(("tool", "prompt", "started_at", "tool_call_id", "model"))


def fit(turn: bytes, limit: int) -> bytes:
    """Return the encoded ``turn`` in at most ``limit`` bytes: strings cut, then whole fields, with a marker."""
    if len(turn) <= limit:
        return turn
    fields = _shorten(msgspec.json.decode(turn), LONG_STRING)
    shorter = encode(fields)
    if len(shorter) <= limit or not isinstance(fields, dict):
        return shorter
    for name, size in _largest_first(fields):
        fields[name] = marker(size)
        shorter = encode(fields)
        if len(shorter) <= limit:
            break
    return shorter


def _largest_first(fields: dict[str, Any]) -> Iterable[tuple[str, int]]:
    return sorted(((name, len(encode(item))) for name, item in fields.items()), key=lambda pair: -pair[1])


def _shorten(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return cut(value, longest)
    if isinstance(value, dict):
        return {key: _shorten(item, longest) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item, longest) for item in value]
    return value
