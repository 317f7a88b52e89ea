"""What the kernel knows of a process (proc(5)): memory, wake-ups, CPU time."""

from __future__ import annotations

from pathlib import Path


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise KeyError(key)


def resident_bytes(pid: int) -> int:
    return _status(pid, "VmRSS") * 1024


def peak_bytes(pid: int) -> int:
    return _status(pid, "VmHWM") * 1024


def reset_peak(pid: int) -> None:
    """Let the peak begin at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def wakeups(pid: int) -> int:
    """Return how often the process's threads have gone to sleep and been woken so far."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                total += int(line.split()[1])
    return total


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of the threads that live, to the nanosecond (``/proc/PID/stat`` has only ticks)."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
