"""The two systemd protocols: sockets handed over and ``sd_notify`` (sd_listen_fds(3), sd_notify(3)).

Without systemd every function does nothing.
"""

from __future__ import annotations

import os
import socket
import stat

_FIRST_FD = 3  # SD_LISTEN_FDS_START


def listen_socket() -> socket.socket | None:
    """Return the listening Unix socket that systemd handed over, ``None`` if there is none.

    Raises ``OSError`` if what was handed over is no Unix stream socket.  The variables are taken out of the
    environment, so that children do not take them for theirs.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    for fd in range(_FIRST_FD, _FIRST_FD + int(count)):
        os.set_inheritable(fd, False)
    if not stat.S_ISSOCK(os.fstat(_FIRST_FD).st_mode):
        raise OSError("systemd handed over something that is no socket")
    handed = socket.socket(fileno=_FIRST_FD)
    if handed.family != socket.AF_UNIX or handed.type != socket.SOCK_STREAM:
        raise OSError("systemd handed over a socket that is no Unix stream socket")
    return handed


def notify(*lines: str) -> bool:
    """Tell the service manager, e.g. ``READY=1``, if there is one.

    Returns false where it has to be told again: its queue is full.  Waiting for it here would stop the event loop,
    and with it every agent, for as long as the manager is busy.  Never fails: it is no reason to stop.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or address[0] not in "/@":
        return True
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, os.fsencode(address))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def watchdog_interval() -> float | None:
    """Return how many seconds to leave between ``WATCHDOG=1``: half of what systemd allows; ``None`` if off."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not usec.isdigit() or int(usec) <= 0 or pid not in (None, str(os.getpid())):
        return None
    return int(usec) / 2_000_000
