"""Whether a turn went wrong: the one place that every count, mark and colour asks.  Pure."""

from __future__ import annotations

from typing import Any


def failed(error: Any, policy_rejected: Any, cli_outcome: Any) -> bool:
    """Return whether a turn with these fields failed.

    It did if it has an ``error``, was rejected by a policy, or its command ended by a signal or with another exit
    code than 0.
    """
    if error is not None or policy_rejected is not None:
        return True
    if not isinstance(cli_outcome, dict):
        return False
    return cli_outcome.get("exit_code") not in (0, None) or bool(cli_outcome.get("signal"))


def turn_failed(turn: dict[str, Any]) -> bool:
    """Return whether a turn failed; ``turn`` is its record."""
    return failed(turn.get("error"), turn.get("policy_rejected"), turn.get("cli_outcome"))
