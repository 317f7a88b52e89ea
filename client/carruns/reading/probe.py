"""Is a daemon there, and does it answer?  Within a second; says what is wrong in words."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from carruns.protocol.paths import LOCK_NAME, MAX_SOCKET_PATH_BYTES

#: What looking at a daemon may cost: one that takes connections and does not answer (stopped, wedged) is not up.
#: (One that is well answers within a quarter of this, whatever else it does.)
LOOK_SECS = 1.0
_PATIENCE = 0.9  # seconds
_PING = b'{"jsonrpc":"2.0","id":0,"method":"server.ping"}\n'


class State(str, Enum):
    """What was found where the socket should be."""

    UP = "up"
    NO_SOCKET = "no_socket"
    STALE = "stale_socket"
    DENIED = "denied"
    BUSY = "busy"
    NOT_A_SOCKET = "not_a_socket"
    PATH_TOO_LONG = "path_too_long"
    BROKEN = "broken"
    NOT_ANSWERING = "not_answering"


class Probe(NamedTuple):
    """What was found, and a sentence for people."""

    state: State
    text: str


def probe(path: Path) -> Probe:
    """Connect to the socket, say a ping, and say what came of it; takes a second at most, never raises.

    What is answered is not looked at: whoever asks for more learns whether it is a daemon.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        length = len(os.fsencode(path))
        text = f"the socket's path has {length} bytes, a socket's may have {MAX_SOCKET_PATH_BYTES}: use --socket"
        return Probe(State.PATH_TOO_LONG, text)
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_PATIENCE)
            sock.connect(os.fspath(path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(_PING)
            return _answer(path, sock)
    except OSError as error:
        return _why_not(path, error)


def _answer(path: Path, sock: socket.socket) -> Probe:
    until = time.monotonic() + _PATIENCE
    try:
        # To the end of its line: what is closed with something unread is reset, and the other side hears of that.
        while (data := sock.recv(1 << 16)) and b"\n" not in data and time.monotonic() < until:
            pass
    except TimeoutError:
        return Probe(State.NOT_ANSWERING, f"what listens on {path} does not answer")
    except ConnectionResetError:
        pass
    return Probe(State.UP, f"a daemon listens on {path}")


def _why_not(path: Path, error: OSError) -> Probe:
    if isinstance(error, FileNotFoundError):
        return Probe(State.NO_SOCKET, f"no daemon is running (there is no {path})")
    if isinstance(error, ConnectionRefusedError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return Probe(State.NOT_A_SOCKET, f"{path} is no socket: move it away")
        text = f"no daemon is running ({path} is left from one that is gone; the next one replaces it)"
        return Probe(State.STALE, text)
    if isinstance(error, PermissionError):
        return Probe(State.DENIED, f"{path} may not be used: {error.strerror}")
    if isinstance(error, BlockingIOError | TimeoutError):
        return Probe(State.BUSY, f"the daemon at {path} does not take connections now")
    return Probe(State.BROKEN, f"{path}: {error.strerror or error}")


def lock_holder(car_dir: Path) -> int | None:
    """Return the process id of who holds a car directory's lock, ``None`` if nobody does.

    0 if the holder does not say who it is.  A lock file that cannot be looked at counts as nobody's.
    """
    import fcntl

    try:
        fd = os.open(car_dir / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, and for an instant: a daemon that starts right then sees the lock taken only if it is that quick.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    except OSError:
        return None
    finally:
        os.close(fd)
    return None
