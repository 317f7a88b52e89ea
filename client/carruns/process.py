"""Getting every live client through a fork and to the end of its process."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from carruns.courier import log

T = TypeVar("T")


class SurvivesFork(Protocol):
    """What must be told, in a forked child, that its connection is the parent's."""

    def _after_fork(self) -> None: ...


class SettlesAtExit(Protocol):
    """What has something to deliver before the interpreter ends."""

    def _at_exit(self) -> None: ...


#: Weak, so that being told keeps nobody alive.
_after_fork: weakref.WeakSet[SurvivesFork] = weakref.WeakSet()
_at_exit: weakref.WeakSet[SettlesAtExit] = weakref.WeakSet()


def tell_after_fork(client: SurvivesFork) -> None:
    """Call ``client._after_fork()`` in forked children."""
    _after_fork.add(client)


def tell_at_exit(client: SettlesAtExit) -> None:
    """Call ``client._at_exit()`` when the interpreter ends."""
    _at_exit.add(client)


def _each(clients: Iterable[T], act: Callable[[T], None]) -> None:
    for client in list(clients):
        try:
            act(client)
        except Exception:  # nothing may break a fork or an exit
            log.warning("carruns could not tidy up", exc_info=True)


os.register_at_fork(after_in_child=lambda: _each(_after_fork, lambda client: client._after_fork()))
atexit.register(lambda: _each(_at_exit, lambda client: client._at_exit()))
