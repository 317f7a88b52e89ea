"""``carruns import``: runs from files or another car directory, through the daemon.  Nothing is overwritten."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from carruns.cli import exits
from carruns.cli.option_types import AgentId
from carruns.cli.screen import print_json, warn
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors
from carruns.reading.import_files import Bundle, bundles_in, plain_bundle, run_paths
from carruns.render import harmless, units

if TYPE_CHECKING:
    from carruns import Client

#: Records of one request: well within the daemon's line of 16 MiB, and not so many that others wait long.
_BATCH_BYTES, _BATCH_COUNT = 2 << 20, 256


@click.command(
    "import",
    cls=Command,
    epilog=examples(
        """
carruns import run.jsonl
carruns import /mnt/old-laptop/.car
carruns import --agent old --intent 'notes of 2025' notes.jsonl
carruns import --dry-run backup/*.jsonl
"""
    ),
)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True), metavar="FILE|DIRECTORY...")
@click.option("--agent", "-a", type=AgentId(), metavar="NAME", help="For plain JSONL: whose run it is.")
@click.option("--intent", "-i", metavar="TEXT", help="For plain JSONL: what for (default: the file's name).")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_settings
def import_runs(
    settings: Settings, paths: tuple[str, ...], agent: str | None, intent: str | None, dry_run: bool
) -> int:  # fmt: skip
    """Bring runs in: exported files, run files, a car directory; or plain JSONL, one turn a line, with --agent.

    A run whose id is in the store already is left alone.  Lines that cannot be read are left out and counted.  Exit
    code 1 if something could not be brought in.
    """
    files = list(run_paths(paths))
    counts: Counter[str] = Counter()
    progress = sys.stderr.isatty() and len(files) > 1
    with _store(settings, dry_run=dry_run) as store:
        for number, path in enumerate(files, start=1):
            if progress:
                sys.stderr.write(f"\r\x1b[K{number} of {len(files)}")
            for result in _file(store, path, agent, intent):
                counts[result["result"]] += 1
                if settings.json:
                    print_json({"file": str(path), **result})
                elif result["result"] in ("failed", "skipped") or result.get("left_out") or result.get("mended"):
                    warn(("\r\x1b[K" if progress else "") + _sentence(path, result))
    if progress:
        sys.stderr.write("\r\x1b[K")
    if not settings.json:
        did = "would be imported" if dry_run else "imported"
        there, failed = counts["skipped"], counts["failed"]
        settings.screen.print(f"{counts['imported']} {did}, {there} there already, {failed} failed")
    return exits.FAILURE if counts["failed"] else 0


def _sentence(path: Path, result: dict[str, Any]) -> str:
    said = (path, result.get("run_id") or "", result.get("message") or result["result"])
    parts = [harmless.line(text) for text in said]
    if result.get("mended"):
        parts.append(f"{units.counted(result['mended'], 'line')} had fields of the wrong type and were put right")
    if result.get("left_out"):
        parts.append(f"{units.counted(result['left_out'], 'line')} left out: not readable")
    return ": ".join(part for part in parts if part)


class _Store(NamedTuple):
    """Where runs go.  ``client`` is ``None`` where nothing shall be done, and no daemon be started for it."""

    knows: Callable[[str], bool]
    client: Client | None


@contextlib.contextmanager
def _store(settings: Settings, *, dry_run: bool) -> Iterator[_Store]:
    if dry_run:
        ids = {run.run_id for run in settings.source().runs()}
        yield _Store(ids.__contains__, None)
        return
    with settings.client() as client:
        yield _Store(lambda run_id: client.agent_for_run(run_id) is not None, client)


def _file(store: _Store, path: Path, agent: str | None, intent: str | None) -> Iterator[dict[str, Any]]:
    try:
        bundles = list(bundles_in(path))
        if not any(bundle.started for bundle in bundles):
            bundles = [plain_bundle(path, agent, intent)]
    except (OSError, ValueError) as error:
        yield {"result": "failed", "message": str(error)}
        return
    for bundle in bundles:
        yield _bundle(store, bundle)


def _bundle(store: _Store, bundle: Bundle) -> dict[str, Any]:
    result: dict[str, Any] = {
        "run_id": bundle.run_id, "agent_id": bundle.agent_id, "records": len(bundle.records),
        "left_out": bundle.left_out, "mended": bundle.mended,
    }  # fmt: skip
    fault = bundle.fault()
    if fault:
        return {**result, "result": "failed", "message": fault}
    try:
        if store.knows(bundle.run_id):
            return {**result, "result": "skipped", "message": "is there already"}
        if store.client is not None:
            _append(store.client, bundle)
    except errors.RemoteError as error:
        return {**result, "result": "failed", "message": str(error)}
    return {**result, "result": "imported"}


def _append(client: Client, bundle: Bundle) -> None:
    """Append all records; a run that was begun and could not be finished is left as ``incomplete``."""
    begun = False
    try:
        for batch in _batches(bundle.records):
            client.append(bundle.agent_id, bundle.run_id, batch)
            begun = True
    except errors.RemoteError:
        if begun:
            client.abandon(bundle.run_id, "import failed")
        raise


def _batches(records: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for record in records:
        length = len(msgspec.json.encode(record))
        if batch and (size + length > _BATCH_BYTES or len(batch) >= _BATCH_COUNT):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch
