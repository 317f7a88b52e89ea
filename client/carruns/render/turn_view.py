"""A turn as every view takes it, whatever record holds it: ours, or a model's turn as CAR writes it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carruns.protocol.records import TURN_KINDS, Record

#: Fields of a ``model_turn`` by the names that a turn has for them.
_NAMES = {"model_id": "model", "token_usage": "usage"}
_OUTPUT = ("assistant_text", "requested_tool_calls")


def turn_of(record: Mapping[str, Any]) -> Record | None:
    """Return the turn in a record, ``None`` if it is another kind of record.

    A ``model_turn`` becomes what ``runs.record_model_turn`` would have stored: what the model said and asked for is
    its ``output``.  Fields that nobody knows stay.
    """
    kind = record.get("record")
    if kind not in TURN_KINDS:
        return None
    if kind == "turn":
        return record if isinstance(record, Record) else Record(record)
    out = Record(
        (_NAMES.get(key, key), value) for key, value in record.items() if key not in (*_OUTPUT, "turn_index")
    )
    out["output"] = {key: record[key] for key in _OUTPUT if record.get(key) not in (None, "", [])}
    if record.get("turn_index") is not None:
        out.setdefault("metadata", {"turn_index": record["turn_index"]})
    return out
