"""The daemon's hold on the runs directory: descriptors of its directories, files opened and checked by path.

Opening, creating and checking only; what stands in the files is not looked at here but for the tail.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections import OrderedDict

from carrunsd.store import layout
from carrunsd.store.runfile import RunFile

_MAX_DIRS = 256

ROOT = ""  # no agent's directory is called that

Path = tuple[str, str]  # the agent's directory, the run's file


class Tree:
    """The runs directory at ``root``, made if it is missing.  Raises ``OSError`` as :mod:`layout` does."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._root_fd = layout.ensure_root(root)
        self._above = os.stat(os.path.dirname(root))
        self._dirs: OrderedDict[str, int] = OrderedDict()

    def close(self) -> None:
        """Close all directory descriptors."""
        for fd in (*self._dirs.values(), self._root_fd):
            os.close(fd)
        self._dirs.clear()
        self._root_fd = -1

    def directory(self, name: str, *, create: bool = False) -> int:
        """Return the descriptor of an agent's directory.  It stays the tree's own: do not close it."""
        fd = self._dirs.get(name)
        if fd is not None:
            if self._leads_to(name, fd):
                self._dirs.move_to_end(name)
                return fd
            self.forget(name)
        self._check_root(create=create)
        if create:
            fd, _ = layout.ensure_dir(self._root_fd, name)
        else:
            fd = layout.open_dir(name, self._root_fd)
        self._dirs[name] = fd
        if len(self._dirs) > _MAX_DIRS:
            os.close(self._dirs.popitem(last=False)[1])
        return fd

    def _leads_to(self, name: str, fd: int) -> bool:
        """Tell whether the path of an agent's directory still leads to ``fd``: it may be removed or replaced."""
        try:
            here = os.stat(f"{self.root}/{name}", follow_symlinks=False)
        except OSError:
            return False
        held = os.fstat(fd)
        return (here.st_dev, here.st_ino) == (held.st_dev, held.st_ino)

    def forget(self, name: str) -> None:
        """Drop the descriptor of an agent's directory."""
        fd = self._dirs.pop(name, None)
        if fd is not None:
            os.close(fd)

    def _check_root(self, *, create: bool) -> None:
        """Someone may have removed or replaced the whole directory; then it is opened or made anew."""
        with contextlib.suppress(OSError):
            here, held = os.stat(self.root, follow_symlinks=False), os.fstat(self._root_fd)
            if (here.st_dev, here.st_ino) == (held.st_dev, held.st_ino):
                return
        self._check_above()
        fd = layout.ensure_root(self.root) if create else layout.open_dir(self.root)
        for name in list(self._dirs):
            self.forget(name)
        os.close(self._root_fd)
        self._root_fd = fd

    def _check_above(self) -> None:
        """Where all that is around it was moved or replaced, nothing is made anew: another daemon may be there."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(os.path.dirname(self.root)), self._above):
                return
        message = f"{os.path.dirname(self.root)} was removed, moved or replaced under the daemon"
        raise layout.StoreError(errno.ESTALE, f"{message}; send it again to the next one")

    def open(self, path: Path, *, create: bool) -> RunFile:
        """Open a run file for appending, its tail healed.

        With ``create`` the file must not hold anything yet: raises ``NameConflictError`` if it does.
        """
        directory = self.directory(path[0], create=create)
        try:
            fd, created = layout.open_for_append(path[1], directory, create=create)
        except FileNotFoundError:
            if not create:
                raise
            self.forget(path[0])  # the directory was removed under us
            fd, created = layout.open_for_append(path[1], self.directory(path[0], create=True), create=True)
        file = RunFile(fd, created=created)
        try:
            if create and file.size:
                raise layout.NameConflictError(f"{path[1]!r} stands in the store already; choose another run id")
            file.heal()
        except BaseException:
            file.close()
            raise
        return file

    def check(self, path: Path, file: RunFile) -> None:
        """Raise ``OSError`` if ``path`` no longer leads to ``file``, or something else has written to it."""
        here = os.stat(f"{self.root}/{path[0]}/{path[1]}", follow_symlinks=False)  # one walk, directories included
        held = os.fstat(file.fd)
        if (here.st_dev, here.st_ino) != (held.st_dev, held.st_ino):
            raise layout.StoreError(errno.ESTALE, f"{path[1]!r} was replaced by another file under the daemon")
        if here.st_size != file.size and not file.broken:
            raise layout.StoreError(errno.ESTALE, f"{path[1]!r} was changed by someone else under the daemon")

    def open_again(self, name: str) -> int:
        """Return a descriptor (the caller's to close) of an agent's directory, or of ``ROOT``, for syncing.

        Opened anew, not duplicated: an error is told once for each opening, and must not be told to another.
        """
        return layout.open_dir(".", self._root_fd if name == ROOT else self.directory(name))

    def read(self, path: Path) -> int:
        """Return a descriptor (the caller's to close) of a run file, for reading."""
        return layout.open_for_reading(path[1], self.directory(path[0]))

    def open_for_rewriting(self, path: Path, file: RunFile | None) -> int:
        """Return a new descriptor (the caller's to close) for writing at offsets; it knows no earlier error.

        Raises ``StoreError`` if ``path`` does not lead to ``file``, the one that is open, if any.
        """
        fd = layout.open_for_rewriting(path[1], self.directory(path[0]))
        if file is not None and not os.path.samestat(os.fstat(fd), os.fstat(file.fd)):
            os.close(fd)
            raise layout.StoreError(errno.ESTALE, f"{path[1]!r} was replaced by another file under the daemon")
        return fd

    def remove(self, path: Path) -> None:
        """Unlink a run file."""
        os.unlink(path[1], dir_fd=self.directory(path[0]))

    def remove_dir(self, name: str) -> None:
        """Remove an agent's directory, which must be empty."""
        self.forget(name)
        os.rmdir(name, dir_fd=self._root_fd)

    def agent_dirs(self) -> dict[str, int]:
        """Return the names of the agents' directories, and when each was changed last (ns since the epoch)."""
        self._check_root(create=True)
        return dict(layout.agent_dirs_changed(self._root_fd))
