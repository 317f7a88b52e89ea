"""Getting every live client through a fork and to the end of its process."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable
from typing import Any

from carruns.courier import log

#: Every live client's way to get through a fork and to the end of the process.
_after_fork: weakref.WeakSet[Any] = weakref.WeakSet()
_at_exit: weakref.WeakSet[Any] = weakref.WeakSet()


def watch_over(client: Any, *, at_exit: bool) -> None:
    """Call ``client._after_fork()`` in forked children, ``client._at_exit()`` when the interpreter ends."""
    _after_fork.add(client)
    if at_exit:
        _at_exit.add(client)


def _each(clients: weakref.WeakSet[Any], act: Callable[[Any], None]) -> None:
    for client in list(clients):
        try:
            act(client)
        except Exception:  # nothing may break a fork or an exit
            log.warning("carruns could not tidy up", exc_info=True)


os.register_at_fork(after_in_child=lambda: _each(_after_fork, lambda client: client._after_fork()))
atexit.register(lambda: _each(_at_exit, lambda client: client._at_exit()))
