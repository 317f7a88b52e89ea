"""A quick look at many lines: turns just as we write them, which need no other look.  Pure.

The seed's Rust writes them alike.  The type says of a turn that it nests a few levels at most, that its numbers are
ordinary and its fields have the seed's types; msgspec checks UTF-8 and surrogates as it builds the values.  What it
does not see (a field given twice, two objects on a line, one over two lines, anything beside them) shows when the
turns are encoded again: then it is not the same bytes.  That takes no longer than the checks one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Union

import msgspec
from msgspec import Meta, UnsetType

from carruns.protocol.records import Turn

CHUNK_BYTES = 32 << 10  # looked at in one call: it stays in the processor's cache
_LEVELS = 6  # as deep as nearly all agents write; the type has twice as many nodes for each more


def _json(levels: int) -> Any:
    """Return the type of JSON values that nest ``levels`` deep and whose whole numbers have 64 bits."""
    if not levels:
        return _scalar
    inner = _json(levels - 1)
    return Union[_scalar, list[inner], dict[str, inner]]  # type: ignore[valid-type]


_whole = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_scalar = Union[str, _whole, float, bool, None]
_object = dict[str, _json(_LEVELS - 1)]  # type: ignore[misc, valid-type]

#: Narrower types of the fields of a turn that may hold any JSON: with them a turn is strict as it is.
NARROW: dict[str, Any] = {
    "parameters": _json(_LEVELS),
    "verifier_verdict": Union[str, _object],
    "usage": Union[_object, None, UnsetType],
    "duration_ms": Union[_whole, float, UnsetType, None],
    **dict.fromkeys(
        ("output", "cli_outcome", "policy_rejected", "error", "metadata"), Union[_json(_LEVELS), UnsetType]
    ),
}


def narrowed(name: str, **more: Any) -> Any:
    """Return :class:`Turn` with narrower types (and ``more`` of them): the same fields in the same order."""
    types = {**NARROW, **more}
    return msgspec.defstruct(
        name,
        [(f.name, types.get(f.name, f.type), f.default) for f in msgspec.structs.fields(Turn)],
        tag_field="record",
        tag="turn",
        forbid_unknown_fields=True,
        gc=False,
    )


_optional = Union[_scalar, UnsetType]
_decode = msgspec.json.Decoder(
    narrowed(
        "PlainTurn",
        index=Annotated[int, Meta(ge=0, le=(1 << 63) - 1)],
        recorded_at=_optional,
        writer=_optional,
        seq=_optional,
    )
).decode_lines
_encode = msgspec.json.Encoder().encode_lines
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def turns(lines: bytes) -> list[Any] | None:
    """Return the turns in ``lines`` if they are nothing else, as we write them; ``None`` if each wants a look."""
    try:
        found = _decode(lines)
    except _BAD:
        return None
    return found if _encode(found) == lines else None


def chunks(block: bytes, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a block of whole lines in parts of about ``size`` bytes, or of one longer line."""
    if len(block) <= size:
        yield block
        return
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + size) + 1 or block.find(b"\n", start + size) + 1 or len(block)
        yield block[start:end]
        start = end
