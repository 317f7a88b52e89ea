"""What a run knows of itself, whichever client it belongs to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from carruns import encoding, outcome
from carruns.core import Core
from carruns.protocol import records, times
from carruns.session import Session


class RunBase:
    """What a run knows of itself, sync or async."""

    def __init__(self, core: Core, session: Session, *, turns_before: int = 0) -> None:
        self._core = core
        self._turns = core.turns
        self._encode = core.turns.encode
        self._session = session
        self._pid = os.getpid()
        self._began = time.monotonic()
        self._tool_calls = 0
        self._turns_before = turns_before
        self._ended = False

    @property
    def id(self) -> str:
        """The run's id."""
        return self._session.run_id

    @property
    def run_id(self) -> str:
        """The run's id, by the name that it has in every record; the same as :attr:`id`."""
        return self._session.run_id

    @property
    def agent_id(self) -> str:
        """The id of the agent that the run belongs to."""
        return self._session.agent_id

    @property
    def writer(self) -> str:
        """The name under which this sender numbers its turns."""
        return self._session.writer

    @property
    def in_creator(self) -> bool:
        """Whether this is the process that began the run, not one forked from it."""
        return self._pid == os.getpid()

    def _outcome(
        self, status: str, summary: str, evidence: Sequence[Any], metrics: dict[str, Any] | None
    ) -> dict[str, Any]:
        if status not in records.OUTCOME_STATUSES:
            raise ValueError(f"{status!r} is no outcome; those are: {', '.join(records.OUTCOME_STATUSES)}")
        measured = {
            "turns": self._turns_before + sum(self._session.counts()),
            "tool_calls": self._tool_calls,
            "duration_ms": round((time.monotonic() - self._began) * 1000),
        }
        return {
            "status": status,
            "summary": encoding.text(summary),
            "evidence": outcome.items(evidence),
            "metrics": {**measured, **outcome.metrics(metrics or {})},
            "timestamp": times.render(time.time_ns(), 9),
        }

    def _outcome_of(self, error: BaseException | None) -> tuple[str, str]:
        """Return status and summary for how a ``with`` block was left."""
        if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
            return "done", ""
        try:
            text = str(error)
        except Exception:  # an exception class of the agent's may break in its own __str__
            text = ""
        name = type(error).__name__
        return "failure", f"{name}: {text}" if text else name

    @staticmethod
    def _model_turn(
        text: str,
        tool_calls: Sequence[Any],
        model_id: str,
        usage: Any,
        duration_ms: float,
        turn_index: int | None,
    ) -> dict[str, Any]:
        turn: dict[str, Any] = {
            "output": {"assistant_text": text, "requested_tool_calls": list(tool_calls)},
            "model": model_id,
            "duration_ms": duration_ms,
        }
        if usage is not None:
            turn["usage"] = usage
        if turn_index is not None:
            turn["metadata"] = {"turn_index": turn_index}
        return turn
