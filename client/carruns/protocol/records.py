"""The records of a run: what stands on one line of a run file, and what a reader gets back.

The kinds and fields are in docs/files.md.  :class:`Turn` is the typed form for the path a turn takes; whatever
has fields that it does not know goes as a plain mapping, and every reader gets :class:`Record`.
No I/O, no clock.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Union

from msgspec import UNSET, Struct, UnsetType

_Text = Union[str, None, UnsetType]


class RunStatus(str, Enum):
    """What a run file says about its run (the seed's ``RunStatus``)."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"

    def __str__(self) -> str:
        return self.value


#: The six statuses of an outcome.
OUTCOME_STATUSES = ("success", "partial_success", "done", "give_up", "timeout", "failure")


#: The kinds of records that are a turn: ours and the seed's, and a model's turn as CAR writes it.
TURN_KINDS = ("turn", "model_turn")

#: Which of its times says when a record of any kind was made: the first that it has.
TIMES = ("recorded_at", "ended_at", "requested_at", "started_at")

#: What a run's ``outcome_status`` may be beside them: a run that was cancelled; ends as CAR writes them.
OTHER_ENDS = ("cancelled", "failed")


class Record(dict[str, Any]):
    """A JSON object as it stands in the store, its keys readable as attributes too.

    Fields nobody knows are in it like all others.  An absent key is ``AttributeError`` or ``KeyError``.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"this record has no {name!r}; it has: {', '.join(self)}") from None


class Turn(Struct, tag_field="record", tag="turn", forbid_unknown_fields=True, gc=False):
    """One turn with known fields only, in the order in which they stand in the file.

    ``index``, ``recorded_at``, ``writer`` and ``seq`` belong to the daemon: what a client sends there is read
    past and overwritten.
    """

    index: Any = 0
    prompt: _Text = UNSET
    tool: _Text = UNSET
    parameters: Any = None
    output: Any = UNSET
    cli_outcome: Any = UNSET
    verifier_verdict: Union[str, dict[str, Any], None] = "not_run"
    policy_rejected: Any = UNSET
    recorded_at: Any = UNSET
    started_at: _Text = UNSET
    duration_ms: Union[int, float, UnsetType, None] = UNSET
    tool_call_id: _Text = UNSET
    model: _Text = UNSET
    usage: Union[dict[str, Any], UnsetType, None] = UNSET
    error: Any = UNSET
    writer: Any = UNSET
    seq: Any = UNSET
    metadata: Any = UNSET


#: What :class:`Turn` knows, its tag included.
TURN_FIELDS = frozenset(("record", *Turn.__struct_fields__))


class RunStarted(Struct, tag_field="record", tag="started", omit_defaults=True, kw_only=True):
    """The first record of a run.  Times are RFC 3339 in UTC."""

    run_id: str
    agent_id: str
    intent: str
    started_at: str
    outcome_description: Union[str, None] = None
    agent_name: Union[str, None] = None
    parent_run_id: Union[str, None] = None
    session_id: Union[str, None] = None
    cwd: Union[str, None] = None
    detached: bool = False
    metadata: Any = None


class RunEnded(Struct, tag_field="record", tag="ended", omit_defaults=True, kw_only=True):
    """The last record of a run.  ``termination`` as in docs/files.md; ``reason`` only where incomplete."""

    run_id: str
    agent_id: str
    termination: Any
    ended_at: str
    reason: Union[str, None] = None
    final: bool = False


class RunSummary(Struct, omit_defaults=True, kw_only=True):
    """What ``list_runs`` says of a run (the seed's ``RunSummary``, with ``bytes`` and ``outcome_status``).

    ``bytes`` is the file's size; times are RFC 3339 in UTC.
    """

    run_id: str
    agent_id: str
    intent: str
    started_at: str
    status: RunStatus
    turn_count: int
    bytes: int
    ended_at: Union[str, None] = None
    outcome_status: Union[str, None] = None


def agent_slug(name: str) -> str:
    """Return ``name:<slug>`` for an agent's display name: letters and digits kept, the rest one ``-``.

    Raises ``ValueError`` if nothing is left to make an id of.
    """
    slug = re.sub(r"[^\w]+|_+", "-", name.lower()).strip("-")
    if not slug:
        raise ValueError("agent_name has no letter or digit to make an agent id of")
    return f"name:{slug}"
