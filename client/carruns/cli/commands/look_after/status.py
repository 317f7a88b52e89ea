"""``carruns status``: is the daemon up, how is it, and what is wrong if it is not."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import click

from carruns.cli import exits
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors
from carruns.protocol.paths import LOCK_NAME, SPOOL_NAME
from carruns.protocol.version import VERSION
from carruns.reading.probe import LOOK_SECS, State, lock_holder, probe
from carruns.render import harmless, units


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns status                       exit code 0 if the daemon is up, 69 if not
carruns status --json | jq .open_runs
"""
    ),
)
@pass_settings
def status(settings: Settings) -> int:
    """Is the daemon up, and what is wrong if not."""
    report = _report(settings)
    if settings.json:
        print_json(report)
    else:
        _print(settings, report)
    return 0 if report["up"] else exits.UNAVAILABLE


def _report(settings: Settings) -> dict[str, Any]:
    found = probe(settings.socket)
    report: dict[str, Any] = {
        "up": False, "state": found.state.value, "message": found.text, "car_dir": str(settings.car_dir),
        "socket": str(settings.socket), "client_version": VERSION, **_spool(settings),
    }  # fmt: skip
    if found.state is State.UP:
        _ask(settings, report)
    elif (pid := lock_holder(settings.car_dir)) and found.state in (State.NO_SOCKET, State.STALE):
        report["lock_pid"] = pid
        report["message"] += (
            f"; but process {pid} holds {settings.car_dir / LOCK_NAME}: a daemon that listens elsewhere, or is "
            "starting or stopping"
        )
    return report


def _ask(settings: Settings, report: dict[str, Any]) -> None:
    client = settings.client(autostart=False, timeout=LOOK_SECS)
    try:
        greeting, stats = client.handshake(), client.stats()
    except errors.VersionMismatch as error:
        report.update(state="other_version", message=str(error))
    except errors.CarrunsError as error:
        report.update(state="not_answering", message=f"something listens on {settings.socket}, but: {error}")
    else:
        daemon = {key: greeting.get(key) for key in ("version", "protocol_version", "pid", "limits")}
        report.update(up=True, **daemon, **{key: value for key, value in stats.items() if key != "pid"})
        report["daemon_car_dir"] = greeting.get("car_dir")


def _spool(settings: Settings) -> dict[str, int]:
    """Count what clients left for the next daemon, and what a daemon would not take."""
    sizes, refused = [], 0
    with contextlib.suppress(OSError), os.scandir(settings.car_dir / SPOOL_NAME) as entries:
        for entry in entries:
            refused += entry.name.endswith(".refused")
            if entry.name.endswith(".jsonl"):
                sizes.append(entry.stat(follow_symlinks=False).st_size)
    return {"spool_files": len(sizes), "spool_bytes": sum(sizes), "spool_refused": refused}


def _print(settings: Settings, report: dict[str, Any]) -> None:
    screen, style = settings.screen, settings.screen.style
    if report["up"]:
        head = style.paint(style.mark("●", "*") + " up", "green", "bold")
        uptime = units.duration(report.get("uptime", 0))
        screen.print(f"{head}  carrunsd {harmless.line(report['version'])}, process {report['pid']}, for {uptime}")
    else:
        head = style.paint(style.mark("○", "o") + " down", "red", "bold")
        screen.print(f"{head}  {harmless.line(report['message'])}")
    rows = [("car dir", report["car_dir"]), ("socket", report["socket"]), *_counters(report)]
    if report["spool_files"]:
        waiting = (
            f"{units.counted(report['spool_files'], 'file')}, {units.size(report['spool_bytes'])}, waiting for "
        )
        rows.append(("spool", waiting + ("their clients" if report["up"] else "the next daemon")))
    for name, value in rows:
        screen.print(f"  {style.paint(f'{name:<12}', 'dim')}{harmless.line(value)}")
    for text in _advice(report):
        screen.print(f"  {style.paint(text, 'yellow')}")


def _counters(report: dict[str, Any]) -> list[tuple[str, str]]:
    if not report["up"]:
        return []
    n = {key: units.count(value) for key, value in report.items() if isinstance(value, int)}
    sizes = {key: units.size(value) for key, value in report.items() if isinstance(value, int)}
    texts = (
        ("open runs", "{open_runs}"),
        ("connections", "{connections} now, {accepted} in all, {refused} refused"),
        ("written", f"{{records}} records, {sizes.get('bytes')} in {{batches}} batches"),
        ("synced", f"{{syncs}} times (fsync = {report.get('fsync')}), {sizes.get('unsynced_bytes')} not yet"),
        ("requests", "{requests}, {errors} answered with an error"),
        ("events", "{events} sent, {event_gaps} gaps for slow readers"),
    )
    return [(name, text.format_map(_Counters(n))) for name, text in texts]


class _Counters(dict[str, str]):
    """A daemon of another version may not have all of them."""

    def __missing__(self, key: str) -> str:
        return "?"


def _advice(report: dict[str, Any]) -> list[str]:
    out = []
    if report["spool_refused"]:
        files = units.counted(report["spool_refused"], "spool file")
        out.append(f"{files} with lines that the daemon refused: see its log, and carruns doctor")
    if report["up"] and report.get("version") != VERSION:
        out.append(f"the daemon is {report['version']}, this is {VERSION}: carruns restart brings the new one")
    if report["up"] and report.get("sync_errors"):
        out.append(
            f"{units.counted(report['sync_errors'], 'sync')} failed: look at the disk and at the daemon's log"
        )
    if (
        not report["up"]
        and report["state"] in (State.NO_SOCKET.value, State.STALE.value)
        and "lock_pid" not in report
    ):
        out.append("the first client that records starts one; or: carruns restart")
    return out
