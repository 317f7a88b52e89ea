"""Logging that journald and a terminal both read well: to standard error, with levels, no turn contents.

Under journald each line starts with ``<priority>`` (sd-daemon(3)); elsewhere with time and level.
"""

from __future__ import annotations

import logging
import os
import sys
import time

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Journal(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # journald makes an entry of every line: each wants the priority, or `journalctl -p err` loses tracebacks.
        priority = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return priority + super().format(record).replace("\n", f"\n{priority} ")


def under_journald() -> bool:
    """Tell whether standard error goes to journald (``$JOURNAL_STREAM``, systemd.exec(5))."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def set_up(level: str) -> None:
    """Send the log of ``level`` and above to standard error."""
    handler = logging.StreamHandler()
    if under_journald():
        handler.setFormatter(_Journal("%(message)s"))
    else:
        formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger("carrunsd")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
