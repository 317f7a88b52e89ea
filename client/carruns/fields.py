"""The fields of a turn as ``run.turn(...)`` takes them, for type checkers.  Nothing runs here."""

from __future__ import annotations

from typing import Any, TypedDict


class TurnFields(TypedDict, total=False):
    """What a turn may say; all of it optional (SPEC section 2).

    Fields not named here are kept as they come; a type checker wants them as ``**{"name": value}``.
    ``started_at`` is RFC 3339, ``duration_ms`` milliseconds.
    """

    tool: str | None
    parameters: Any
    output: Any
    prompt: str | None
    cli_outcome: Any
    verifier_verdict: str | dict[str, Any] | None
    policy_rejected: Any
    started_at: str | None
    duration_ms: float | None
    tool_call_id: str | None
    model: str | None
    usage: dict[str, Any] | None
    error: Any
    metadata: Any
