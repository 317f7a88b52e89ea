"""A disk that fails, call by call: what is answered, what stands in the file, what goes on, what comes back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.inject import Injection
from tests.support import Daemon, Json, Wire, strict_lines, wait_until

_OUTCOME = {"status": "success", "summary": "", "timestamp": "2026-11-22T00:00:00Z"}


@dataclass
class Script:
    """One run recorded request by request, each answered before the next; what was acknowledged is remembered."""

    wire: Wire
    run_id: str
    agent_id: str
    durable: bool = False
    turns: int = 6
    errors: list[Json] = field(default_factory=list)
    acked: int = 0  # turns acknowledged
    started: bool = False
    ended: bool = False

    def try_all(self) -> bool:
        """Go through what was not acknowledged yet, remember errors; return whether the run has ended."""
        if not self.started:
            self.started = self._asked(
                "runs.start", intent="i", agent_id=self.agent_id, idempotency_key=self.run_id
            )
        while self.acked < self.turns:
            if not self._turn(self.acked):
                break
        if self.acked == self.turns and not self.ended:
            self.ended = self._asked("runs.complete", run_id=self.run_id, outcome=_OUTCOME)
        return self.ended

    def _turn(self, number: int) -> bool:
        turns = [{"prompt": f"turn {number} " + "x" * 300}]
        stored = self._asked(
            "runs.record_turns", run_id=self.run_id, writer="w", seq=number, turns=turns, durable=self.durable
        )
        self.acked += stored
        return stored

    def _asked(self, method: str, **params: Any) -> bool:
        answer = self.wire.request(method, **params)
        if "error" in answer:
            self.errors.append(answer["error"])
            return False
        if answer["result"].get("ok") is False:
            self.errors.append({"data": {"kind": answer["result"]["dropped"]}})
            return False
        return True

    @property
    def kinds(self) -> set[str]:
        return {error["data"]["kind"] for error in self.errors}

    @property
    def errnos(self) -> set[str]:
        return {error["data"]["errno"] for error in self.errors if "errno" in error["data"]}


def verify(daemon: Daemon, script: Script, *, unsynced_may_stand: bool) -> None:
    """Whole lines only; each acknowledged turn once, in order; nothing that was refused (unless it was a sync)."""
    path = daemon.file(script.agent_id, script.run_id)
    data = path.read_bytes() if path.exists() else b""
    records = strict_lines(data)
    turns = [record for record in records if record["record"] == "turn"]
    assert [turn["seq"] for turn in turns] == list(range(len(turns))), "not in order, or doubled"
    assert [turn["index"] for turn in turns] == list(range(len(turns)))
    assert len(turns) >= script.acked, f"{script.acked} acknowledged, {len(turns)} stored"
    if not unsynced_may_stand:
        assert len(turns) == script.acked, f"{len(turns)} stored, {script.acked} acknowledged"
    assert sum(record["record"] == "started" for record in records) in ({1} if script.started else {0, 1})
    if script.ended:
        assert records[-1]["record"] == "ended"


@dataclass
class Case:
    """One fault: ``call`` fails from its ``nth`` time on (once, or until the disk is well again)."""

    call: str
    error: str
    nth: int
    persistent: bool

    @property
    def rule(self) -> str:
        return f"{self.call}:error={self.error}:when={self.nth}{'+' if self.persistent else ''}"


def cases(highest: int, *, call: str, errors: tuple[str, ...]) -> list[Case]:
    """Return every N-th call up to ``highest``, once and for good, with each error."""
    return [
        Case(call, error, nth, persistent)
        for error in errors
        for persistent in (False, True)
        for nth in range(1, highest + 1)
    ]


def run_case(
    daemon: Daemon, wire: Wire, bystander: Script, case: Case, name: str, *, always: bool
) -> tuple[int, int]:
    """Let one fault happen; return how many calls were made to fail, and how many turns were checked."""
    script = Script(wire, f"run-{name}", f"agent-{name}", turns=4)
    path = daemon.file(script.agent_id, script.run_id)
    paths = [path] if case.call not in ("openat", "mkdirat", "fsync") else [path, path.parent, path.parent.parent]
    syncs = case.call in ("fdatasync", "fsync")
    fault = Injection(
        daemon.pid, paths, [case.rule], daemon.base / "strace.log", calls="pwrite64,fdatasync" if syncs else ""
    )
    with fault:
        script.try_all()
        script.try_all()
        verify(daemon, script, unsynced_may_stand=syncs)
        before = bystander.acked
        bystander.turns += 1
        bystander.try_all()
        assert bystander.acked == before + 1, f"another run was held up: {bystander.errors}"
    assert script.kinds <= {"storage", "run_not_found", "out_of_order"}, script.errors
    assert script.errnos <= {case.error}, script.errors
    injected = fault.injected
    if injected and case.call == "write" and not case.persistent:
        assert script.errors, "a write failed and nobody was told"
    if case.call == "fdatasync":
        _nothing_trusted(fault.calls)
    # the disk is well again: it goes on by itself
    wait_until(script.try_all, message=f"{case}: does not come back: {script.errors[-1:]}")
    verify(daemon, script, unsynced_may_stand=False)
    return injected, script.acked


def _nothing_trusted(calls: list[tuple[str, str]]) -> None:
    """After a failed sync the next good one has the data written anew before it."""
    failed = rewritten = False
    for call, result in calls:
        if call == "fdatasync" and result == "injected":
            failed, rewritten = True, False
        elif call == "pwrite64" and result == "ok":
            rewritten = True
        elif call == "fdatasync" and result == "ok" and failed:
            assert rewritten, f"a failed sync was tried again and trusted: {calls}"
            failed = False


def injections(base: Path, plan: list[Case], *, fsync: str) -> dict[str, Any]:
    """Go through ``plan`` on one daemon; return figures by system call and error."""
    daemon = Daemon(base, config=f'[carrunsd]\nfsync = "{fsync}"\n[runs]\nmax_per_agent = 10000\n')
    counts: Counter[str] = Counter()
    turns = 0
    try:
        wire = daemon.start().wire()
        bystander = Script(daemon.wire(), "bystander", "bystander", turns=0)
        bystander._asked("runs.start", intent="i", agent_id="bystander", idempotency_key="bystander")
        bystander.started = bystander.ended = True
        for number, case in enumerate(plan):
            injected, checked = run_case(daemon, wire, bystander, case, f"{number}", always=fsync == "always")
            counts[f"{case.call} {case.error}"] += injected
            turns += checked
        bystander.ended = False
        verify(daemon, bystander, unsynced_may_stand=False)
    finally:
        daemon.close()
    return {"fsync": fsync, "cases": len(plan), "injected": dict(counts), "turns_checked": turns}


def all_cases(highest: int = 8) -> dict[str, list[Case]]:
    """Return the plans by fsync policy."""
    writes = cases(highest, call="write", errors=("ENOSPC", "EDQUOT", "EIO"))
    opens = cases(4, call="openat", errors=("ENOSPC", "EMFILE", "EROFS", "EIO"))
    dirs = cases(2, call="mkdirat", errors=("ENOSPC", "EDQUOT", "EROFS"))
    syncs = cases(highest, call="fdatasync", errors=("EIO", "ENOSPC", "EDQUOT"))
    dir_syncs = cases(4, call="fsync", errors=("EIO",))
    return {"everysec": writes + opens + dirs, "always": writes + syncs + dir_syncs}


if __name__ == "__main__":
    import sys
    import tempfile

    for policy, plan_ in all_cases().items():
        with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as directory:
            print(json.dumps(injections(Path(directory), plan_[:: int(sys.argv[1])], fsync=policy)))
