"""``runs.cancel``: ask a run's owners to end it, and answer with a receipt once it has ended."""

from __future__ import annotations

import logging
import os
from functools import partial

import msgspec

from carruns.protocol import errors
from carrunsd.core import Core
from carrunsd.methods.checks import Client, known
from carrunsd.methods.trace import inline_or_thread
from carrunsd.run import Run
from carrunsd.store import layout, receipt
from carrunsd.wire import requests
from carrunsd.wire.errors import RequestError
from carrunsd.wire.replies import Ticket

log = logging.getLogger("carrunsd.methods")

MAX_KEY_BYTES = 128
MAX_REASON_BYTES = 1024


async def cancel(
    core: Core, peer: Client, run: Run | None, params: requests.CancelParams, ticket: Ticket | None
) -> None:
    """``runs.cancel``: the request is put down, the answer comes when the run has ended.

    It holds up nothing else: the ticket is one beside the row of answers.  The receipt is derived from the file.
    """
    for name, most in (("idempotency_key", MAX_KEY_BYTES), ("reason", MAX_REASON_BYTES)):
        if len(getattr(params, name).encode()) > most:
            raise RequestError(errors.INVALID_PARAMS, f"runs.cancel: {name} has more than {most} bytes")
    run = known(run, params.run_id)
    found = await _find(core, run, params.idempotency_key)
    answer = partial(_answer, core, run, params, ticket)
    if not run.may_be_cancelled:
        if found.end is None:  # it ended while its file was read
            found = await _find(core, run, params.idempotency_key)
        answer(found)
        return
    if found.request is None:
        core.cancellations.ask(run, params.idempotency_key, params.reason)
    core.cancellations.wait(run, lambda: answer(_read(core, run, params.idempotency_key)))
    core.appender.flush()


def _answer(
    core: Core, run: Run, params: requests.CancelParams, ticket: Ticket | None, found: receipt.Found
) -> None:
    if ticket is None:
        return
    principal = f"uid:{os.geteuid()}"
    asked = receipt.request(run.run_id, params.idempotency_key, params.reason, principal, "")
    ticket.done(msgspec.json.encode(receipt.receipt(run.run_id, asked, found)))


async def _find(core: Core, run: Run, key: str) -> receipt.Found:
    core.appender.flush()
    size = core.appender.size(run)
    found: receipt.Found = await inline_or_thread(1 << 62 if size is None else size, _read, core, run, key)
    return found


def _read(core: Core, run: Run, key: str) -> receipt.Found:
    try:
        with layout.opened(core.tree.root, run.path) as fd:
            return receipt.find(fd, key)
    except OSError as error:
        log.warning("run %s cannot be read: %s", run.run_id, error)
        return receipt.Found()
