"""Checks of what a car directory is made of: itself, its configuration, its spool, its disk.  Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from carruns.cli.checks.finding import finding
from carruns.cli.settings import Settings
from carruns.protocol import paths
from carruns.render import units
from carrunsd import config
from carrunsd.store.doctor.examine import Finding

_LOW_SHARE = 0.02  # of the disk: less than this is free


def check_places(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the configuration, the spool and the disk."""
    yield from _config(settings)
    yield from _spool(settings)
    yield from _disk(settings)


def check_car_dir(settings: Settings) -> Iterator[Finding]:
    """Yield what is wrong with the car directory itself."""
    path = settings.car_dir
    try:
        status = path.stat()
    except FileNotFoundError:
        text = "there is no car directory yet"
        yield finding(
            "info", "no_car_dir", path, text, "nothing: the first daemon or run makes it; or use --car-dir"
        )
        return
    except OSError as error:
        yield finding("error", "unreadable", path, str(error.strerror), "make it readable, or use --car-dir")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield finding("error", "no_directory", path, "the car directory is no directory", "move it away")
    elif status.st_uid != os.geteuid():
        text = f"the car directory belongs to user {status.st_uid}, you are {os.geteuid()}"
        yield finding("error", "wrong_owner", path, text, "set CAR_HOME (or --car-dir) to one of your own")
    elif status.st_mode & 0o022:
        text = f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
        yield finding("error", "too_open", path, text, f"chmod go-w {path}; the daemon does so when it starts")


def _config(settings: Settings) -> Iterator[Finding]:
    path = settings.car_dir / paths.CONFIG_NAME
    for problem in config.load(path).problems:
        yield finding(
            "warning",
            "config",
            path,
            problem.removeprefix(f"{path}:"),
            "correct the file, then `kill -HUP` the daemon or carruns restart",
        )


def _spool(settings: Settings) -> Iterator[Finding]:
    path = settings.car_dir / paths.SPOOL_NAME
    try:
        status = path.lstat()
        names = sorted(os.listdir(path)) if stat.S_ISDIR(status.st_mode) else []
    except FileNotFoundError:
        return
    except OSError as error:
        yield finding("error", "spool", path, str(error.strerror), "make it readable: turns may wait there")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield finding(
            "error", "spool", path, "the spool is no directory (or a link): it is not used", "move it away"
        )
    elif status.st_uid != os.geteuid():
        yield finding("error", "spool", path, f"the spool belongs to user {status.st_uid}", "move it away")
    waiting = [name for name in names if name.endswith(".jsonl")]
    if waiting:
        size = units.size(sum(_size(path / name) for name in waiting))
        text = f"{units.counted(len(waiting), 'file')} ({size}) waiting for a daemon"
        yield finding("info", "spooled", path, text, "carruns restart starts a daemon, which takes them in")
    for name in names:
        if name.endswith(".refused"):
            remedy = "look into the daemon's log, then remove it"
            yield finding("warning", "refused", path / name, "the daemon refused some of its lines", remedy)


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
            yield finding(
                "warning", "disk", settings.car_dir, f"little {what} is left ({free} of {of})", "make room"
            )
