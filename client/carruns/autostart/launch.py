"""Start a program that outlives this one and owes it nothing: own session, bare environment, root directory.

What the agent is subject to (its service manager, secrets, working directory, terminal, descriptors) must not
become everybody's daemon's.  Limits, signal mask and priority pass through an exec; the daemon drops them itself
when it sees that it was started so (``carrunsd/host/inherited.py``).  Where a user manager runs, it does the
starting: the daemon is then not in the agent's control group, and does not go when that goes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

#: What a daemon and its interpreter need to know, no more: the rest may be secrets, or an address for the agent.
_NAMES = (
    "HOME", "USER", "LOGNAME", "PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE",
)  # fmt: skip
#: In the environment of whatever is started: it must not start the next, and knows that no manager waits for it.
NO_MORE = {"CARRUNS_AUTOSTART": "0"}
MARK = {"CARRUNSD_AUTOSTARTED": "1"}


def environment() -> dict[str, str]:
    """Return the environment of what is started."""
    return {name: os.environ[name] for name in _NAMES if name in os.environ} | NO_MORE | MARK


def detached(command: Sequence[str], first: Sequence[str], log: int, held: int) -> None:
    """Run ``first``, and if it fails or is empty the command, as a grandchild that nobody has to reap.

    ``log`` gets what it says; it holds ``held``, a pipe's end, until it ends.  Raises ``OSError``.
    """
    import shlex
    import subprocess

    script = f'{{ {shlex.join(first)} && exit 0; exec "$@"; }} & exit 0' if first else '"$@" & exit 0'
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=environment(),
        start_new_session=True, cwd="/", close_fds=True, pass_fds=(held,), check=False,
    )  # fmt: skip


def by_user_manager(command: Sequence[str], log_path: str) -> list[str]:
    """Return what lets the user manager start the command, ``[]`` where none runs or it cannot be asked."""
    import shutil

    asked = shutil.which("systemd-run") if has_user_manager() else None
    if asked is None:
        return []
    names = {name: value for name, value in environment().items() if name not in MARK}  # this one is waited for
    return [
        asked, "--user", "--quiet", "--collect", "--description=carrunsd, started by a client",
        "--property=Type=notify", "--property=NotifyAccess=main", "--property=UMask=0077", "--property=LimitCORE=0",
        "--property=WorkingDirectory=/", "--property=StandardOutput=null",
        f"--property=StandardError=append:{log_path}",
        *(f"--setenv={name}={value}" for name, value in names.items()), *command,
    ]  # fmt: skip


def has_user_manager() -> bool:
    """Tell whether a user manager seems to run; only asking it shows whether it answers."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), "systemd", "private"))


def open_log(path: str | os.PathLike[str], flags: int) -> int:
    """Open a log, made with mode 0600 where ``flags`` say so.  Raises ``OSError`` where it is no regular file.

    A FIFO in its place would keep the agent waiting for a reader.
    """
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(f"{os.fspath(path)} is no regular file; move it away")
