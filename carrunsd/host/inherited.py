"""What a daemon keeps of the client that happened to start it: nothing.

A client that starts a daemon says so in its environment (``carruns.autostart.launch``).  Such a daemon serves
everybody, so that the first one's limits, priority, processors, blocked or ignored signals and service manager are
dropped.  A daemon that a person or a unit starts keeps what they gave it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal

_MARK = "CARRUNSD_AUTOSTARTED"
_MANAGERS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
#: Raised for good where this user may (root): what they do is kill, or fail everybody's writes.
_DEADLY = (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)
#: Up to the hard limit.  Not the stack's, which threads are made by; descriptors are seen to elsewhere.
_RAISED = tuple(
    getattr(resource, name)
    for name in ("RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_NPROC", "RLIMIT_MEMLOCK", "RLIMIT_SIGPENDING", "RLIMIT_RTTIME")
    if hasattr(resource, name)
)
_KEPT_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)  # errors instead of signals, as Python wants it


def shed() -> None:
    """Drop what was inherited.  Nothing of it is worth failing for."""
    if os.environ.pop(_MARK, None) is None:
        _foreign_manager()
        return
    for name in _MANAGERS:
        os.environ.pop(name, None)
    _signals()
    _limits()
    _priority()


def _foreign_manager() -> None:
    """Systemd says which process it started (systemd.exec(5)): what is told a child is not for it to answer."""
    if os.environ.get("SYSTEMD_EXEC_PID", str(os.getpid())) != str(os.getpid()):
        for name in _MANAGERS:
            os.environ.pop(name, None)


def _signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - set(_KEPT_IGNORED):
        with contextlib.suppress(OSError, ValueError):
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)


def _limits() -> None:
    for limit in _DEADLY:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    for limit in (*_DEADLY, *_RAISED):
        with contextlib.suppress(OSError, ValueError):
            hard = resource.getrlimit(limit)[1]
            resource.setrlimit(limit, (hard, hard))
    with contextlib.suppress(OSError, ValueError):  # a core file would hold what agents said
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _priority() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    if hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
