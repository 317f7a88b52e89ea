"""From a request to its method: the table of methods, and what becomes of an error on the way."""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from carruns.protocol import errors
from carrunsd.core import Core
from carrunsd.methods import append, cancel, end, keep, record, server, start, subscribe, trace
from carrunsd.methods.checks import Client
from carrunsd.methods.list import agents, list_runs
from carrunsd.run import Run
from carrunsd.store.layout import NameConflictError
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket

log = logging.getLogger("carrunsd.dispatch")

#: Methods that take ``(core, peer, params, ticket)``.
_PLAIN: dict[type, Callable[..., Any]] = {
    requests.Handshake: server.handshake,
    requests.Ping: server.ping,
    requests.Stats: server.stats,
    requests.Start: start.start,
    requests.List: list_runs,
    requests.Agents: agents,
    requests.GetTrace: trace.get_trace,
    requests.Watch: subscribe.watch,
    requests.Unwatch: subscribe.unwatch,
    requests.Gc: keep.gc,
    requests.AdoptOrphans: keep.adopt_orphans,
    requests.Restore: keep.restore,
}

#: What a daemon that is about to stop no longer answers: it finishes what there is to record.
QUESTIONS = frozenset(
    (requests.List, requests.Agents, requests.GetTrace, requests.Subscribe, requests.Watch, requests.Gc)
)

#: Methods on a run, which take ``(core, peer, run, params, ticket)``.
_ON_RUN: dict[type, Callable[..., Any]] = {
    requests.QuickRecordTurns: record.record_turns,
    requests.RecordTurns: record.record_turns,
    requests.LooseRecordTurns: record.record_turns,
    requests.RecordModelTurn: record.record_model_turn,
    requests.Flush: record.flush,
    requests.Complete: end.complete,
    requests.Abandon: end.abandon,
    requests.Cancel: cancel.cancel,
    requests.Resume: end.resume,
    requests.Append: append.append,
    requests.AgentForRun: trace.agent_for_run,
    requests.Subscribe: subscribe.subscribe,
    requests.Unsubscribe: subscribe.unsubscribe,
    requests.Remove: keep.remove,
}


def handle(core: Core, peer: Client, request: Any, ticket: Ticket | None, *, big: bool) -> Awaitable[None] | None:
    """Carry out a request; its ticket is answered now, at the next flush or sync, or by what is returned."""
    core.stats.requests += 1
    try:
        outcome = _call(core, peer, request, ticket, big=big)
    except Exception as error:
        answer_error(core, request, ticket, error)
        return None
    return _guarded(core, request, ticket, outcome) if outcome is not None else None


def _call(core: Core, peer: Client, request: Any, ticket: Ticket | None, *, big: bool) -> Any:
    kind = type(request)
    params = request.params
    if kind is requests.Start:
        key = params.get("idempotency_key")
        found = core.table.find(key) if isinstance(key, str) else None
        if found is not None and not isinstance(found, Run):
            return _after(found, lambda _: start.start(core, peer, params, ticket))
    if kind in _PLAIN:
        return _PLAIN[kind](core, peer, params, ticket)
    method = _ON_RUN[kind]
    run = core.table.find(params.run_id)
    if run is not None and not isinstance(run, Run):
        return _after(run, lambda found: _on_run(method, core, peer, found, params, ticket, big=big))
    return _on_run(method, core, peer, run, params, ticket, big=big)


def _on_run(
    method: Callable[..., Any],
    core: Core,
    peer: Client,
    run: Run | None,
    params: Any,
    ticket: Any,
    *,
    big: bool,
) -> Any:
    if method is record.record_turns:
        return method(core, peer, run, params, ticket, big=big)
    return method(core, peer, run, params, ticket)


async def _after(first: Awaitable[Any], then: Callable[[Any], Any]) -> None:
    outcome = then(await first)
    if inspect.isawaitable(outcome):
        await outcome


async def _guarded(core: Core, request: Any, ticket: Ticket | None, outcome: Awaitable[None]) -> None:
    try:
        await outcome
    except Exception as error:
        answer_error(core, request, ticket, error)


def answer_error(core: Core, request: Any, ticket: Ticket | None, error: Exception) -> None:
    """Tell the client what went wrong; what nobody foresaw goes to the log whole."""
    if isinstance(error, RequestError):
        code, message, data = error.code, error.message, error.data
    elif isinstance(error, NameConflictError):
        code, message, data = errors.CONFLICT, str(error.strerror), {}
    elif isinstance(error, OSError):
        code = errors.STORAGE
        data = {"errno": errno.errorcode.get(error.errno or 0, "EIO")}
        message = f"the store failed: {error.strerror or error}"
        log.error("%s: %s", type(request).__name__, error)
    else:
        code, data = errors.INTERNAL_ERROR, {}
        message = f"a defect in the daemon: {type(error).__name__}; its log says more"
        log.error("%s failed", type(request).__name__, exc_info=error)
    core.stats.errors += 1
    if ticket is not None and ticket.text is None:
        ticket.fail(code, message, data)
