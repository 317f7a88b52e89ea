"""Syncing what an earlier daemon may have written and not synced: it was killed, or the policy was another.

Without this, its last second of turns would be on the device only when the kernel gets to it, half a minute
later.  For a thread: opens its own way.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from carrunsd.store import layout


def sync_recent(root: str, since_ns: int) -> Iterator[OSError | None]:
    """Sync each run file changed since ``since_ns`` (since the epoch), then the directories of those.

    Yields for each file what went wrong, ``None`` if nothing did.
    """
    try:
        root_fd = layout.open_dir(root)
    except OSError as error:
        yield error
        return
    try:
        for name in layout.agent_dirs(root_fd):
            yield from _sync_dir(name, root_fd, since_ns)
        layout.sync_dir(root_fd)
    except OSError as error:
        yield error
    finally:
        os.close(root_fd)


def _sync_dir(name: str, root_fd: int, since_ns: int) -> Iterator[OSError | None]:
    try:
        directory = layout.open_dir(name, root_fd)
    except OSError as error:
        yield error
        return
    found = 0
    try:
        for file in layout.run_files(directory):
            if _changed(file, directory) >= since_ns:
                found += 1
                yield _sync_file(file, directory)
        if found:
            layout.sync_dir(directory)
    except OSError as error:
        yield error
    finally:
        os.close(directory)


def _changed(name: str, directory: int) -> int:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:  # removed meanwhile
        return 0


def _sync_file(name: str, directory: int) -> OSError | None:
    try:
        fd = layout.open_for_rewriting(name, directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    try:
        os.fdatasync(fd)
    except OSError as error:
        return error
    finally:
        os.close(fd)
    return None
