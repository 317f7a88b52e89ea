"""The fields of a turn as ``run.turn(...)`` takes them, for type checkers.  Nothing runs here."""

from __future__ import annotations

from typing import Any, TypedDict


class TurnFields(TypedDict, total=False):
    """What a turn may say; all of it optional, and kept as it comes (docs/files.md).

    Fields not named here are kept too; a type checker wants them as ``**{"name": value}``.  A known field of
    another type than here is given that type before it is stored, never refused.
    """

    #: The tool that was called: what ``carruns stats`` groups by, and the turns counted as ``tool_calls``.
    tool: str | None
    #: What the tool was called with: any JSON, mostly an object of its arguments.
    parameters: Any
    #: What came back: any JSON.  Strings over the daemon's ``max_string_bytes`` (64 KiB) are cut, and say so.
    output: Any
    #: What the model or the person was asked.
    prompt: str | None
    #: How a command ended: ``{"exit_code": 0}``, with ``signal`` and ``duration_ms`` where ``carruns exec`` ran it.
    cli_outcome: Any
    #: What a check of the result said: ``"not_run"`` if left out, or a word or an object of the verifier's own.
    verifier_verdict: str | dict[str, Any] | None
    #: Why a policy did not let it happen, for example ``{"rule": "no-destruction"}``; counts as a failure.
    policy_rejected: Any
    #: When it began: RFC 3339 with an offset.  When it was stored (``recorded_at``) is the daemon's to say.
    started_at: str | None
    #: How long it took, in milliseconds.
    duration_ms: float | None
    #: The id that the model gave the call, which ties a tool's turn to the model's turn that asked for it.
    tool_call_id: str | None
    #: The model that spoke, by its provider's name for it.
    model: str | None
    #: What the model used, as its provider says it, in tokens: ``input_tokens`` (read: prompt, tools, history)
    #: and ``output_tokens`` (written), or ``prompt_tokens`` and ``completion_tokens``; ``total_tokens``, if it is
    #: there, is taken for the sum of them.  Anything else in it (cached tokens, cost) is kept.
    usage: dict[str, Any] | None
    #: What went wrong: any JSON, mostly ``{"kind": ..., "message": ...}``; anything but null counts as a failure.
    error: Any
    #: Anything else the agent wants to find again.
    metadata: Any
