"""File systems to break: small ones, ones that can be cut off, images of them.  All are unmounted at the end."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: _IOR('X', 125, __u32)
FLUSH_JOURNAL, NO_FLUSH = 1, 2


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr or done.stdout}")


@contextmanager
def mounted(source: str, target: Path, *options: str) -> Iterator[Path]:
    """Mount ``source`` (an image too) on ``target``, and unmount it whatever happens."""
    target.mkdir(parents=True, exist_ok=True)
    _run("mount", *options, source, str(target))
    try:
        yield target
    finally:
        unmount(target)


def unmount(target: Path) -> None:
    """Unmount at once, or as soon as the last user is gone."""
    if subprocess.run(["umount", str(target)], capture_output=True, check=False).returncode:
        _run("umount", "-l", str(target))


def tmpfs(target: Path, options: str) -> AbstractContextManager[Path]:
    """Mount a tmpfs: ``size=1m``, ``nr_inodes=4``."""
    return mounted("tmpfs", target, "-t", "tmpfs", "-o", f"mode=0700,{options}")


def make_ext4(image: Path, megabytes: int, *options: str) -> Path:
    """Make a sparse image with ext4 on it."""
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.ext4", "-qF", *options, str(image))
    return image


def make_xfs(image: Path, megabytes: int = 400) -> Path:
    """Make a sparse image with XFS on it that can share blocks between files."""
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    _run("mkfs.xfs", "-qf", "-m", "reflink=1", str(image))
    return image


def cut_power(mount: Path, how: int = NO_FLUSH) -> None:
    """Let the file system forget what is not on its device yet; everything fails with EIO from here on."""
    fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", how))
    finally:
        os.close(fd)


def copied(image: Path) -> Path:
    """Copy an image that was mounted: the kernel may still hold the old one, in a namespace of someone else's."""
    copy = image.with_suffix(".copy")
    _run("cp", "--sparse=always", str(image), str(copy))
    return copy


def snapshot(image: Path, copy: Path) -> Path:
    """Copy an image on XFS in no time, as its device stands at this instant."""
    _run("cp", "--reflink=always", str(image), str(copy))
    return copy
