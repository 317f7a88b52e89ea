"""The requests of the wire (docs/wire.md) as types: one struct a method, told apart by ``method``.

``decoder`` reads a block of lines in one call.  Its types say of a turn that it nests a few levels at most and
holds ordinary numbers, so what it takes needs no other check; what it will not take goes to ``decode``, and there
to ``whole_decoder``, which takes all that is JSON.
"""

from __future__ import annotations

from typing import Annotated, Any, Union

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from carruns.protocol.messages import MAX_TURNS_PER_BATCH
from carruns.protocol.records import Turn
from carrunsd.store import plain

Id = Union[int, float, str, None, UnsetType]
_Seq = Annotated[int, Meta(ge=0)]
_Limit = Annotated[int, Meta(ge=1)]
_Name = Annotated[str, Meta(min_length=1)]
_Text = Union[str, None]


class Request(Struct, tag_field="method", gc=False):
    """What all requests share; ``id`` is ``UNSET`` for one that wants no answer."""

    id: Id = UNSET


class HandshakeParams(Struct):
    client_version: Any = None
    protocol_version: Any = None
    required_capabilities: Union[list[_Name], None] = None
    optional_capabilities: Union[list[_Name], None] = None


class StartParams(Struct):
    """``intent`` and the rest of ``started``; fields not named here are kept as they came."""

    intent: str
    agent_id: _Text = None
    agent_name: _Text = None
    outcome_description: _Text = None
    idempotency_key: _Text = None
    started_at: _Text = None
    parent_run_id: _Text = None
    session_id: _Text = None
    cwd: _Text = None
    detached: Union[bool, None] = None
    metadata: Any = None


class RecordTurnsParams(Struct, gc=False):
    run_id: str
    turns: Annotated[list[Turn], Meta(min_length=1, max_length=MAX_TURNS_PER_BATCH)]
    writer: Union[_Name, None] = None
    seq: Union[_Seq, None] = None
    durable: bool = False


#: :class:`Turn` with narrower types, as the store reads it in bulk.
QuickTurn = plain.narrowed("QuickTurn")


class QuickTurnsParams(Struct, gc=False):
    run_id: str
    turns: Annotated[list[QuickTurn], Meta(min_length=1, max_length=MAX_TURNS_PER_BATCH)]  # type: ignore[valid-type]
    writer: Union[_Name, None] = None
    seq: Union[_Seq, None] = None
    durable: bool = False


class LooseTurnsParams(Struct):
    """``record_turns`` where a turn has a field that :class:`Turn` does not know."""

    run_id: str
    turns: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=MAX_TURNS_PER_BATCH)]
    writer: Union[_Name, None] = None
    seq: Union[_Seq, None] = None
    durable: bool = False


class RecordModelTurnParams(Struct):
    run_id: str
    assistant_text: _Text = None
    requested_tool_calls: Union[list[Any], None] = None
    model_id: _Text = None
    turn_index: Any = None
    token_usage: Union[dict[str, Any], None] = None
    duration_ms: Union[int, float, None] = None
    writer: Union[_Name, None] = None
    seq: Union[_Seq, None] = None
    durable: bool = False


class FlushParams(Struct):
    run_id: str
    writer: Union[_Name, None] = None
    durable: bool = False


class CompleteParams(Struct):
    run_id: str
    outcome: dict[str, Any]
    ended_at: _Text = None


class AbandonParams(Struct):
    run_id: str
    reason: _Text = None
    ended_at: _Text = None


class CancelParams(Struct, forbid_unknown_fields=True):
    """All required, none besides, as CAR has it.  Lengths are looked at where it is carried out."""

    run_id: str
    idempotency_key: _Name
    reason: str


class ResumeParams(Struct):
    run_id: str
    writer: Union[_Name, None] = None


class AppendParams(Struct):
    agent_id: _Name
    run_id: _Name
    records: list[dict[str, Any]]


class ListParams(Struct):
    agent_id: _Text = None
    status: _Text = None
    since: _Text = None
    until: _Text = None
    cursor: Union[_Seq, None] = None
    limit: Union[_Limit, None] = None


class GetTraceParams(Struct):
    run_id: str
    agent_id: _Text = None
    cursor: Union[_Seq, None] = None
    limit: Union[_Limit, None] = None


class RunParams(Struct):
    run_id: str


class SubscribeParams(Struct):
    run_id: str
    cursor: Union[_Seq, None] = None
    limit: Union[_Limit, None] = None


class RemoveParams(Struct):
    run_id: str
    agent_id: _Text = None


class WatchParams(Struct):
    agent_id: _Text = None


class GcParams(Struct):
    dry_run: bool = False


class Handshake(Request, tag="server.handshake"):
    params: Union[HandshakeParams, None] = None


class Ping(Request, tag="server.ping"):
    params: Any = None


class Stats(Request, tag="server.stats"):
    params: Any = None


class Start(Request, tag="runs.start", kw_only=True):
    params: dict[str, Any]


class RecordTurns(Request, tag="runs.record_turns", kw_only=True, gc=False):
    params: RecordTurnsParams


class QuickRecordTurns(Request, tag="runs.record_turns", kw_only=True, gc=False):
    params: QuickTurnsParams


class LooseRecordTurns(Request, tag="runs.record_turns", kw_only=True):
    params: LooseTurnsParams


class RecordModelTurn(Request, tag="runs.record_model_turn", kw_only=True):
    params: RecordModelTurnParams


class Flush(Request, tag="runs.flush", kw_only=True, gc=False):
    params: FlushParams


class Complete(Request, tag="runs.complete", kw_only=True):
    params: CompleteParams


class Abandon(Request, tag="runs.abandon", kw_only=True):
    params: AbandonParams


class Resume(Request, tag="runs.resume", kw_only=True):
    params: ResumeParams


class Append(Request, tag="runs.append", kw_only=True):
    params: AppendParams


class List(Request, tag="runs.list"):
    params: Union[ListParams, None] = None


class Agents(Request, tag="runs.agents"):
    params: Any = None


class GetTrace(Request, tag="runs.get_trace", kw_only=True):
    params: GetTraceParams


class AgentForRun(Request, tag="runs.agent_for_run", kw_only=True):
    params: RunParams


class Subscribe(Request, tag="runs.subscribe", kw_only=True):
    params: SubscribeParams


class Cancel(Request, tag="runs.cancel", kw_only=True):
    params: CancelParams


class Unsubscribe(Request, tag="runs.unsubscribe", kw_only=True):
    params: RunParams


class Watch(Request, tag="runs.watch"):
    params: Union[WatchParams, None] = None


class Unwatch(Request, tag="runs.unwatch"):
    params: Union[WatchParams, None] = None


class Gc(Request, tag="runs.gc"):
    params: Union[GcParams, None] = None


class Remove(Request, tag="runs.remove", kw_only=True):
    params: RemoveParams


class Restore(Request, tag="runs.restore", kw_only=True):
    params: RemoveParams


class AdoptOrphans(Request, tag="runs.adopt_orphans"):
    params: Any = None


KINDS: tuple[type[Request], ...] = (
    RecordTurns, Flush, Handshake, Ping, Stats, Start, RecordModelTurn, Complete, Abandon, Cancel, Resume, Append,
    List, Agents, GetTrace, AgentForRun, Subscribe, Unsubscribe, Watch, Unwatch, Gc, AdoptOrphans,
    Remove, Restore,
)  # fmt: skip

METHODS = tuple(str(kind.__struct_config__.tag) for kind in KINDS)

decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[(QuickRecordTurns, *KINDS[1:])])
whole_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[KINDS])
loose_turns = msgspec.json.Decoder(LooseRecordTurns)

#: What ``decoder`` takes of these holds nothing that a strict reader would refuse.
CHECKED = frozenset((QuickRecordTurns, Flush, Ping, Handshake, Resume, GetTrace, List))
