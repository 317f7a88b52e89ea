"""The machine, the versions and the load that figures belong to."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import subprocess
from pathlib import Path

_HERE = Path(__file__).parent.resolve()


def facts(home: Path) -> dict[str, str]:
    """Return what to print beside the figures; ``home`` is where the files were."""
    return {
        "processor": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) // 1_000_000} GB",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(home),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *map(_version, ("msgspec", "uvloop", "redis")),
             f"SQLite {sqlite3.sqlite_version}", _redis()]
        ),
        "commit": _output(["git", "-C", str(_HERE), "describe", "--always", "--dirty"]) or "unknown",
        "policy": "carrunsd `fsync = everysec` (its default) unless a row says durable",
    }  # fmt: skip


def load() -> str:
    """Return the load averages, which tell how much else was going on."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def _field(path: str, name: str) -> str:
    try:
        for line in Path(path).read_text().splitlines():
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return "0 unknown"


def _file_system(home: Path) -> str:
    return " ".join(_output(["df", "--output=fstype,source", str(home)]).split("\n")[-1].split()) or "unknown"


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"no {package}"


def _redis() -> str:
    if shutil.which("redis-server") is None:
        return "no Redis"
    words = _output(["redis-server", "--version"]).split()
    return "Redis " + next((word[2:] for word in words if word.startswith("v=")), "?")


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
