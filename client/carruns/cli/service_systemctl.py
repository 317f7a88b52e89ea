"""Asking and telling the user manager through ``systemctl --user``."""

from __future__ import annotations

import os
import shutil
import subprocess

import click

_PATIENCE = 240.0  # seconds: more than the units' own time limits


def problem() -> str:
    """Return why the user manager cannot be asked, ``""`` if it can."""
    if shutil.which("systemctl") is None:
        return "there is no systemd here (systemctl is not found)"
    asked = run("show", "--property=Version")
    if asked.returncode == 0:
        return ""
    reason = asked.stderr.strip().replace("\n", "; ") or f"exit status {asked.returncode}"
    return f"no systemd user manager answers ({reason})"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``systemctl --user``; where nothing says so (su, cron), its runtime directory is the usual one."""
    usual = f"/run/user/{os.getuid()}"
    place = {"XDG_RUNTIME_DIR": usual} if os.path.isdir(usual) else {}
    command = ["systemctl", "--user", *arguments]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE, env={**place, **os.environ}
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no end within {_PATIENCE:.0f} s")


def tell(*arguments: str) -> None:
    done = run(*arguments)
    if done.returncode != 0:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise click.ClickException(f"systemctl --user {' '.join(arguments)}: {said}")


def show(unit: str, key: str) -> str:
    return run("show", "--value", f"--property={key}", unit).stdout.strip()


def active(unit: str) -> bool:
    return show(unit, "ActiveState") in ("active", "activating", "reloading")
