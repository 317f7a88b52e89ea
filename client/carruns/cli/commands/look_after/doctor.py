"""``carruns doctor``: what is wrong with the daemon and the store, where, and what to do; ``--repair`` does it.

Looks at files itself and needs no daemon; asks one for its handshake if it answers.  ``--repair`` holds the lock of
the car directory meanwhile, so no daemon may run.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from carruns.cli import exits
from carruns.cli.screen import print_json
from carruns.cli.settings import Command, Settings, examples, pass_settings
from carruns.protocol import errors, paths
from carruns.protocol.messages import PROTOCOL_VERSION
from carruns.protocol.version import VERSION
from carruns.reading.probe import State, probe
from carruns.render import clean, humane

if TYPE_CHECKING:
    from carrunsd.store.doctor import Examined, Finding

_TIMEOUT = 3.0
_LOW_SHARE = 0.02  # of the disk: less than this is free
_NO_DAEMON = (State.NO_SOCKET, State.STALE)


@click.command(
    cls=Command,
    epilog=examples(
        """
carruns doctor                       exit code 0 if nothing is wrong, 1 if something is
carruns doctor --repair              mend what can be mended; originals stay as <file>.orig
carruns doctor --json | jq 'select(.level == "error")'
"""
    ),
)
@click.option("--repair", is_flag=True, help="Mend what can be mended; no daemon may run meanwhile.")
@pass_settings
def doctor(settings: Settings, *, repair: bool) -> int:
    """Say what is wrong with the daemon and the store, where, and what to do."""
    from carrunsd.store.doctor import Examined

    examined = Examined()
    findings = [*_car_dir(settings), *_daemon(settings), *_config(settings), *_spool(settings), *_disk(settings)]
    findings += _store(settings, examined)
    done = _repair(settings, findings) if repair else []
    _print(settings, findings, done, examined)
    return exits.FAILURE if _left(findings) else 0


def _left(findings: list[Finding]) -> int:
    return sum(finding.level != "info" and not finding.mended for finding in findings)


def _finding(level: Any, kind: str, place: object, text: str, remedy: str, *, mends: bool = False) -> Finding:
    from carrunsd.store.doctor import Finding

    return Finding(level, kind, str(place), 0, text, remedy, mends)


# -- places ------------------------------------------------------------------------------------------------


def _car_dir(settings: Settings) -> Iterator[Finding]:
    path = settings.car_dir
    try:
        status = path.stat()
    except FileNotFoundError:
        text = "there is no car directory yet"
        yield _finding(
            "info", "no_car_dir", path, text, "nothing: the first daemon or run makes it; or use --car-dir"
        )
        return
    except OSError as error:
        yield _finding("error", "unreadable", path, str(error.strerror), "make it readable, or use --car-dir")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _finding("error", "no_directory", path, "the car directory is no directory", "move it away")
    elif status.st_uid != os.geteuid():
        text = f"the car directory belongs to user {status.st_uid}, you are {os.geteuid()}"
        yield _finding("error", "wrong_owner", path, text, "set CAR_HOME (or --car-dir) to one of your own")
    elif status.st_mode & 0o022:
        text = f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
        yield _finding("error", "too_open", path, text, f"chmod go-w {path}; the daemon does so when it starts")


def _config(settings: Settings) -> Iterator[Finding]:
    from carrunsd import config

    path = settings.car_dir / paths.CONFIG_NAME
    for problem in config.load(path).problems:
        yield _finding("warning", "config", path, problem.removeprefix(f"{path}:"), "mend the file, then SIGHUP")


def _spool(settings: Settings) -> Iterator[Finding]:
    path = settings.car_dir / paths.SPOOL_NAME
    try:
        status = path.lstat()
        names = sorted(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:
        return
    except OSError as error:
        yield _finding("error", "spool", path, str(error.strerror), "make it readable: turns may wait there")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _finding(
            "error", "spool", path, "the spool is no directory (or a link): it is not used", "move it away"
        )
    elif status.st_uid != os.geteuid():
        yield _finding("error", "spool", path, f"the spool belongs to user {status.st_uid}", "move it away")
    waiting = [name for name in names if name.endswith(".jsonl")]
    if waiting:
        size = humane.size(sum(_size(path / name) for name in waiting))
        text = f"{len(waiting)} files, {size}, wait for a daemon"
        yield _finding("info", "spooled", path, text, "start a daemon: it takes them in")
    for name in names:
        if name.endswith(".refused"):
            remedy = "look into the daemon's log, then remove it"
            yield _finding("warning", "refused", path / name, "the daemon refused some of its lines", remedy)


def _size(path: os.PathLike[str]) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


def _disk(settings: Settings) -> Iterator[Finding]:
    try:
        disk = os.statvfs(settings.car_dir)
    except OSError:
        return
    for what, free, of in (("space", disk.f_bavail, disk.f_blocks), ("inodes", disk.f_favail, disk.f_files)):
        if of and free < of * _LOW_SHARE:
            yield _finding(
                "warning", "disk", settings.car_dir, f"little {what} is left ({free} of {of})", "make room"
            )


# -- the daemon --------------------------------------------------------------------------------------------


def _daemon(settings: Settings) -> Iterator[Finding]:
    path = settings.socket
    found = probe(path)
    holder = _lock_holder(settings)
    if found.state is State.UP:
        yield from _ask(settings)
    elif found.state in _NO_DAEMON and holder is not None:
        text = f"{found.text}; but {_named(holder)} holds {paths.LOCK_NAME}"
        remedy = "it listens elsewhere (see its --socket), is starting or stopping, or hangs: look at it"
        yield _finding("error", "elsewhere", path, text, remedy)
    elif found.state is State.STALE:
        yield _finding("warning", "stale_socket", path, found.text, "remove the socket", mends=True)
    elif found.state is State.NO_SOCKET:
        yield _finding("info", "daemon_down", path, found.text, "carruns service start, or carrunsd")
    else:
        yield _finding("error", found.state.value, path, found.text, _REMEDIES.get(found.state, "look at the path"))
    yield from _socket_owner(settings)


_REMEDIES = {
    State.DENIED: "use the daemon of your own user: see CAR_HOME and CARRUNSD_SOCKET",
    State.BUSY: "it hangs or is overloaded: look at its log, restart it",
    State.NOT_A_SOCKET: "move it away",
    State.PATH_TOO_LONG: "set CARRUNSD_SOCKET (or --socket) to a shorter path",
}


def _ask(settings: Settings) -> Iterator[Finding]:
    path = settings.socket
    try:
        with settings.client(autostart=False, timeout=_TIMEOUT) as client:
            answer = client.handshake()
    except errors.VersionMismatch as error:
        yield _finding(
            "error", "version", path, str(error), "install the same carrunsd for both, restart the daemon"
        )
        return
    except (errors.CarrunsError, OSError) as error:
        text = f"it takes connections, but does not answer: {error}"
        yield _finding("error", "hangs", path, text, "look at its log, restart it")
        return
    theirs, ours = os.path.realpath(str(answer.get("car_dir"))), os.path.realpath(settings.car_dir)
    if theirs != ours:
        text = f"the daemon there serves {theirs}, not {ours}"
        yield _finding("error", "other_car_dir", path, text, "unset CARRUNSD_SOCKET, or use --car-dir")
    if answer.get("protocol_version") != PROTOCOL_VERSION:
        text = f"it speaks protocol {answer.get('protocol_version')}, this program {PROTOCOL_VERSION}"
        yield _finding("error", "version", path, text, "install the same carrunsd for both, restart the daemon")
    elif answer.get("version") != VERSION:
        text = f"it is carrunsd {answer.get('version')}, this program {VERSION}"
        yield _finding("warning", "version", path, text, "restart the daemon")


def _socket_owner(settings: Settings) -> Iterator[Finding]:
    try:
        status = settings.socket.lstat()
    except OSError:
        return
    if status.st_uid != os.geteuid():
        text = f"the socket belongs to user {status.st_uid}, you are {os.geteuid()}"
        yield _finding("error", "wrong_owner", settings.socket, text, "see CAR_HOME and CARRUNSD_SOCKET")
    elif stat.S_ISSOCK(status.st_mode) and status.st_mode & 0o077:
        text = f"others may connect (mode {stat.S_IMODE(status.st_mode):o})"
        yield _finding("warning", "too_open", settings.socket, text, f"chmod 600 {settings.socket}")


def _lock_holder(settings: Settings) -> int | None:
    """Return the process that holds the lock, 0 if it does not say who it is, ``None`` if nobody does."""
    import fcntl

    try:
        fd = os.open(settings.car_dir / paths.LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    except OSError:
        return None
    finally:
        os.close(fd)
    return None


def _named(pid: int) -> str:
    return f"process {pid}" if pid else "a process"


# -- the store ---------------------------------------------------------------------------------------------


def _store(settings: Settings, examined: Examined) -> list[Finding]:
    from carrunsd.store.doctor import examine

    return list(examine(os.path.join(settings.car_dir, paths.RUNS_NAME), examined))


def _repair(settings: Settings, findings: list[Finding]) -> list[str]:
    from carrunsd.store import lock
    from carrunsd.store.repair import repair

    if not any(finding.mendable for finding in findings):
        return []
    try:
        held = lock.take(os.path.join(settings.car_dir, paths.LOCK_NAME))
    except lock.AlreadyRunningError as error:
        raise exits.Failure(f"--repair needs the store for itself: {error}") from None
    except OSError as error:
        raise exits.Failure(f"--repair cannot take the lock: {error}") from None
    try:
        done = list(_unlink_stale(settings, findings))
        return done + list(repair(str(settings.car_dir), findings))
    finally:
        os.close(held)


def _unlink_stale(settings: Settings, findings: list[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.kind == "stale_socket" and probe(settings.socket).state is State.STALE:
            os.unlink(settings.socket)
            finding.mended = True
            yield f"{settings.socket}: removed"


# -- what is printed ---------------------------------------------------------------------------------------


def _print(settings: Settings, findings: list[Finding], done: list[str], examined: Examined) -> None:
    if settings.json:
        _print_json(findings, examined)
        return
    screen = settings.screen
    for finding in findings:
        style = (
            "dim" if finding.mended or finding.level == "info" else "red" if finding.level == "error" else "yellow"
        )
        where = f"{finding.place}:{finding.line}" if finding.line else finding.place
        mended = "mended: " if finding.mended else ""
        screen.print(screen.paint(f"{finding.level:7}", style), clean.line(f"{where}: {finding.text}"))
        screen.print(f"        {mended}{clean.line(finding.remedy)}" + _hint(finding))
    for line in done:
        screen.print("repaired", clean.line(line))
    left = _left(findings)
    verdict = f"{left} findings" if left else "nothing is wrong"
    looked = f"{humane.count(examined.files)} runs of {humane.count(examined.agents)} agents"
    screen.print(f"{verdict}; looked at {looked}, {humane.size(examined.bytes)}")


def _hint(finding: Finding) -> str:
    return " (carruns doctor --repair does it)" if finding.mendable and not finding.mended else ""


def _print_json(findings: list[Finding], examined: Examined) -> None:
    import msgspec

    for finding in findings:
        print_json({"type": "finding", **msgspec.to_builtins(finding)})
    left = _left(findings)
    print_json({"type": "summary", "findings": left, **msgspec.to_builtins(examined)})
