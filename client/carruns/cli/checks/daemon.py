"""Checks of the daemon: does it answer, is it ours, is it of this version; of its socket and its lock."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from carruns.cli.checks.finding import finding
from carruns.cli.settings import Settings
from carruns.protocol import errors, paths
from carruns.protocol.messages import PROTOCOL_VERSION
from carruns.protocol.version import VERSION
from carruns.reading.probe import LOOK_SECS, State, lock_holder, probe
from carrunsd.store.doctor.examine import Finding

_NO_DAEMON = (State.NO_SOCKET, State.STALE)


def check_daemon(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the daemon and its socket."""
    path = settings.socket
    found = probe(path)
    holder = lock_holder(settings.car_dir)
    if found.state is State.UP:
        yield from _ask(settings)
    elif found.state in _NO_DAEMON and holder is not None:
        text = f"{found.text}; but {_named(holder)} holds {paths.LOCK_NAME}"
        remedy = "it listens elsewhere (see its --socket), is starting or stopping, or hangs: look at it"
        yield finding("error", "elsewhere", path, text, remedy)
    elif found.state is State.STALE:
        yield finding("warning", "stale_socket", path, found.text, "remove the socket", mends=True)
    elif found.state is State.NO_SOCKET:
        yield finding(
            "info",
            "daemon_down",
            path,
            found.text,
            "nothing: the first client that records starts one; or carrunsd",
        )
    else:
        yield finding("error", found.state.value, path, found.text, _REMEDIES.get(found.state, "look at the path"))
    yield from _socket_owner(settings)


_HANGS = "it hangs or is overloaded: look at its log, restart it (carruns restart)"
_REMEDIES = {
    State.DENIED: "use the daemon of your own user: see CAR_HOME and CARRUNSD_SOCKET",
    State.BUSY: _HANGS,
    State.NOT_ANSWERING: _HANGS,
    State.NOT_A_SOCKET: "move it away",
    State.PATH_TOO_LONG: "set CARRUNSD_SOCKET (or --socket) to a shorter path",
}


def _ask(settings: Settings) -> Iterator[Finding]:
    path = settings.socket
    try:
        with settings.client(autostart=False, timeout=LOOK_SECS) as client:
            answer = client.handshake()
    except errors.VersionMismatch as error:
        yield finding(
            "error", "version", path, str(error), "install the same carrunsd for both, then carruns restart"
        )
        return
    except (errors.CarrunsError, OSError) as error:
        text = f"it takes connections, but does not answer: {error}"
        yield finding("error", "hangs", path, text, _HANGS)
        return
    theirs, ours = os.path.realpath(str(answer.get("car_dir"))), os.path.realpath(settings.car_dir)
    if theirs != ours:
        text = f"the daemon there serves {theirs}, not {ours}"
        yield finding("error", "other_car_dir", path, text, "unset CARRUNSD_SOCKET, or use --car-dir")
    if answer.get("protocol_version") != PROTOCOL_VERSION:
        text = f"it speaks protocol {answer.get('protocol_version')}, this program {PROTOCOL_VERSION}"
        yield finding("error", "version", path, text, "install the same carrunsd for both, then carruns restart")
    elif answer.get("version") != VERSION:
        text = f"it is carrunsd {answer.get('version')}, this program {VERSION}"
        yield finding("warning", "version", path, text, "carruns restart")


def _socket_owner(settings: Settings) -> Iterator[Finding]:
    try:
        status = settings.socket.lstat()
    except OSError:
        return
    if status.st_uid != os.geteuid():
        text = f"the socket belongs to user {status.st_uid}, you are {os.geteuid()}"
        yield finding("error", "wrong_owner", settings.socket, text, "see CAR_HOME and CARRUNSD_SOCKET")
    elif stat.S_ISSOCK(status.st_mode) and status.st_mode & 0o077:
        text = f"others may connect (mode {stat.S_IMODE(status.st_mode):o})"
        yield finding("warning", "too_open", settings.socket, text, f"chmod 600 {settings.socket}")


def _named(pid: int) -> str:
    return f"process {pid}" if pid else "a process"
