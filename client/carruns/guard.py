"""Nothing that goes wrong in here reaches the agent: a defect of ours costs the connection, not the run.

What a client raises on purpose is a ``CarrunsError``; anything else that comes out of an agent's call is a defect,
of ours or of the world (a host without ``select.poll``, a full descriptor table).  It is logged, the link is given
up so that everything begins again from what the daemon has, and what was not sent is in the spool.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from carruns.courier import log
from carruns.engine import Engine, Steps
from carruns.protocol import errors

T = TypeVar("T")


class Guarded(Protocol):
    """Whose steps are guarded (:class:`carruns.delivery.Deliverer`)."""

    engine: Engine

    @property
    def strict(self) -> bool: ...
    def after_defect(self, *subjects: Any) -> Any: ...


def harmless(method: Callable[..., Steps[T]]) -> Callable[..., Steps[T]]:
    """Let an agent's call survive what is no ``CarrunsError``; ``strict`` clients get it all."""

    @functools.wraps(method)
    def guarded(this: Guarded, *args: Any, **options: Any) -> Steps[T]:
        try:
            return (yield from method(this, *args, **options))
        except errors.CarrunsError:
            raise
        except Exception as defect:
            if this.strict:
                raise
            log.error("carruns goes on without its connection: %r", defect, exc_info=True)
            this.engine.lose(errors.ConnectionLost(f"given up: {defect!r}"))
            answer: T = this.after_defect(*args)
            return answer

    return guarded
