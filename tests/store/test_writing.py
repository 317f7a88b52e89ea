"""What ``RunStore`` writes and what it refuses: conflicts, fields kept, strict readability, modes, links."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from carrunsd.store import NameConflictError, RunStore, StoreError, sanitize
from tests.store.making import append_raw, ended, finished, prompts, started, turn
from tests.support import strict_lines


@pytest.fixture
def store(base: Path) -> RunStore:
    return RunStore(base / "runs")


def lines(store: RunStore, agent: str = "a", run: str = "r") -> list[dict[str, Any]]:
    return strict_lines((store.root / agent / f"{run}.jsonl").read_bytes())


# -- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("plain", "plain"),
        ("a/b\\c\0d", "a_b_c_d"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..hidden..", "hidden"),
        ("....", "_"),
        ("", "_"),
        (".", "_"),
        ("a.b", "a.b"),
        ("grüße/日本", "grüße_日本"),
    ],
)
def test_sanitize_is_the_seeds(given: str, name: str) -> None:
    assert sanitize(given) == name


def test_hostile_names_stay_inside_the_store(base: Path, store: RunStore) -> None:
    store.write_started(started("../../../etc/passwd", "../../evil"))
    inside = [str(path.relative_to(base)) for path in base.rglob("*.jsonl")]
    assert inside == ["runs/_.._evil/_.._.._etc_passwd.jsonl"]
    assert store.agent_for_run("../../../etc/passwd") == "../../evil"


@pytest.mark.parametrize(("agent", "run"), [("a" * 300, "r"), ("a", "r" * 300), ("ü" * 128, "r")])
def test_a_name_the_file_system_cannot_hold_is_a_conflict(store: RunStore, agent: str, run: str) -> None:
    with pytest.raises(NameConflictError, match="choose a shorter one"):
        store.write_started(started(run, agent))
    assert not list(store.root.rglob("*.jsonl"))


def test_the_longest_name_that_fits_is_taken(store: RunStore) -> None:
    run = "r" * (255 - len(".jsonl"))
    store.write_started(started(run, "a" * 255))
    assert [summary.run_id for summary in store.list_runs("a" * 255)] == [run]


def test_a_name_with_a_lone_surrogate_is_refused(store: RunStore) -> None:
    with pytest.raises((NameConflictError, ValueError), match=r"Unicode|surrogate"):
        store.write_started(started("r\udc80", "a"))
    assert not list(store.root.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("first", "second"), [(("a/b", "r"), ("a_b", "r")), (("a", "r/1"), ("a", "r_1")), (("a", ".r"), ("a", "r"))]
)
def test_two_ids_that_meet_on_one_file_conflict(
    store: RunStore, first: tuple[str, str], second: tuple[str, str]
) -> None:
    store.write_started(started(first[1], first[0]))
    before = next(store.root.rglob("*.jsonl")).read_bytes()
    with pytest.raises(NameConflictError, match="choose another id"):
        store.append_turns(*second, [turn(0, "stray")])
    with pytest.raises(NameConflictError):
        store.write_started(started(second[1], second[0]))
    assert next(store.root.rglob("*.jsonl")).read_bytes() == before


def test_reading_by_an_id_never_gives_the_run_of_another(store: RunStore) -> None:
    store.write_started(started("r/1", "a/b"))
    assert store.get_run_trace("r_1") is None
    assert store.get_run_trace_for("a_b", "r/1") is None
    assert store.agent_for_run("r_1") is None
    assert store.list_runs("a_b") == []
    assert len(store.list_runs("a/b")) == 1
    assert store.get_run_trace_for("a/b", "r/1") is not None


def test_a_record_of_another_run_is_refused(store: RunStore) -> None:
    with pytest.raises(NameConflictError):
        store.append_records("a", "r", [started("other", "a")])
    with pytest.raises(NameConflictError):
        store.append_records("a", "r", [started("r", "a"), ended("r", "b")])
    assert store.list_runs("a") == []


# -- what is kept ------------------------------------------------------------------------------------------


OUTCOME = {"status": "done", "summary": "", "timestamp": "2026-01-01T00:00:01Z", "x_own": 1}


def test_unknown_fields_and_kinds_are_kept_as_they_came(store: RunStore) -> None:
    given: list[dict[str, Any]] = [
        {"record": "started", "run_id": "r", "agent_id": "a", "intent": "i", "started_at": "2026-01-01T00:00:00Z",
         "x_new": {"deep": [1, None, {"k": "ü\u2028"}]}},
        {"record": "turn", "index": 7, "verifier_verdict": {"failed": {"why": "x"}}, "x_more": [1.5, True]},
        {"record": "checkpoint", "anything": {"goes": [None]}},
        {"record": "ended", "run_id": "r", "agent_id": "a", "ended_at": "2026-01-01T00:00:01.123456789Z",
         "termination": {"kind": "outcome", "status": "done", "outcome": OUTCOME}, "x": 2},
    ]  # fmt: skip
    store.append_records("a", "r", given)
    assert lines(store) == given
    assert store.get_run_trace("r") == given


def test_nanoseconds_are_kept(store: RunStore) -> None:
    finished(store, "r", "a", begin="2026-01-01T00:00:00.123456789Z", end="2026-01-01T00:00:00.987654321Z")
    summary = store.list_runs("a")[0]
    assert summary.started_at == "2026-01-01T00:00:00.123456789Z"
    assert summary.ended_at == "2026-01-01T00:00:00.987654321Z"


def test_a_mapping_does_as_well_as_a_struct(store: RunStore) -> None:
    store.write_started({"run_id": "r", "agent_id": "a", "intent": "i", "started_at": "2026-01-01T00:00:00Z"})
    store.append_turns("a", "r", [{"record": "turn", "index": 0, "parameters": None}])
    store.write_ended(
        {"run_id": "r", "agent_id": "a", "termination": {"kind": "incomplete"}, "ended_at": "2026-01-01T00:00:00Z"}
    )
    assert [line["record"] for line in lines(store)] == ["started", "turn", "ended"]


def test_nothing_to_append_makes_nothing(store: RunStore) -> None:
    store.append_records("a", "r", [])
    assert not store.root.exists()


# -- what a strict reader would refuse ---------------------------------------------------------------------


def nest(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_nesting_of_127_levels_is_the_most(store: RunStore) -> None:
    store.append_records("a", "r", [{"record": "x", "deep": nest(126)}])
    assert len(lines(store)) == 1
    with pytest.raises(ValueError, match="nests too deep"):
        store.append_records("a", "r", [{"record": "x", "deep": nest(127)}])
    assert len(lines(store)) == 1


def test_brackets_in_strings_are_no_nesting(store: RunStore) -> None:
    store.append_records("a", "r", [{"record": "x", "text": '[{"\\' * 500 + "["}])
    assert len(lines(store)) == 1


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        {"deep": [1, {"x": float("-inf")}]},
        "lone \ud800",
        {"\udfff": 1},
        10**309,
        [-(10**400)],
        {"n": 10**5000},
        nest(200),
        nest(100_000),
    ],
    ids=["nan", "inf", "-inf", "surrogate", "surrogate-key", "1e309", "-1e400", "1e5000", "200", "100000"],
)
def test_the_unreadable_is_refused_whole(store: RunStore, value: Any) -> None:
    with pytest.raises(ValueError):
        store.append_records("a", "r", [{"record": "x"}, {"record": "x", "v": value}])
    assert not list(store.root.rglob("*.jsonl")), "something of a refused batch was written"


@pytest.mark.parametrize("value", [2**64, -(2**70), 10**308, 1.7e308, 5e-324, "9" * 1000])
def test_large_but_finite_is_taken(store: RunStore, value: Any) -> None:
    store.append_records("a", "r", [{"record": "x", "v": value}])
    assert lines(store) == [{"record": "x", "v": value}]


@pytest.mark.parametrize("record", [{}, {"record": 5}, {"record": None}, {"index": 0}])
def test_a_record_without_a_kind_is_refused(store: RunStore, record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="kind"):
        store.append_records("a", "r", [record])


# -- modes, links and what else may stand there ------------------------------------------------------------

_UNDER_UMASK = """
import os, sys
os.umask(int(sys.argv[2], 8))
from carrunsd.store import RunStore
store = RunStore(sys.argv[1])
store.append_records("a", "r", [{"record": "x"}])
"""


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_modes_do_not_depend_on_the_umask(base: Path, umask: str) -> None:
    root = base / "new" / "car" / "runs"
    subprocess.run([sys.executable, "-c", _UNDER_UMASK, str(root), umask], check=True)
    made = [root.parent, root, root / "a", root / "a" / "r.jsonl", root / ".nobackup"]
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in made}
    assert modes == {"car": 0o700, "runs": 0o700, "a": 0o700, "r.jsonl": 0o600, ".nobackup": 0o600}
    assert (base / "new").stat().st_mode & 0o022 == 0, "others may rename the car directory away"


def test_no_window_in_which_anything_is_wider(base: Path) -> None:
    """Under umask 0, look at the modes that the making calls themselves ask the kernel for."""
    record = base / "trace"
    command = ["strace", "-f", "-qq", "-e", "trace=mkdir,mkdirat,openat,open", "-o", str(record), sys.executable]
    subprocess.run([*command, "-B", "-c", _UNDER_UMASK, str(base / "runs"), "000"], check=True)
    made = [
        line
        for line in record.read_text().splitlines()
        if ("mkdir" in line or "O_CREAT" in line) and " = -1 " not in line
    ]
    assert len(made) == 4, made  # runs, .nobackup, the agent's directory, the file
    for line in made:
        mode = int(line.rpartition(")")[0].rpartition(", ")[2], 8)
        assert mode == (0o700 if "mkdir" in line else 0o600), line
        assert "mkdir" in line or ("O_NOFOLLOW" in line and "O_EXCL" in line), line


def test_wider_modes_are_narrowed(store: RunStore) -> None:
    store.append_records("a", "r", [{"record": "x"}])
    os.chmod(store.root, 0o777)
    os.chmod(store.root / "a", 0o755)
    os.chmod(store.root / "a/r.jsonl", 0o666)
    store.append_records("a", "r", [{"record": "x"}])
    assert stat.S_IMODE(store.root.stat().st_mode) == 0o700
    assert stat.S_IMODE((store.root / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((store.root / "a/r.jsonl").stat().st_mode) == 0o600


@pytest.fixture(params=["link", "dangling", "fifo", "directory", "socket"])
def obstacle(request: pytest.FixtureRequest, base: Path) -> Iterator[str]:
    """Put something that is no file where a run file would be."""
    place = base / "runs/a/r.jsonl"
    place.parent.mkdir(parents=True)
    victim = base / "victim"
    match request.param:
        case "link":
            victim.write_bytes(b"precious\n")
            place.symlink_to(victim)
        case "dangling":
            place.symlink_to(victim)
        case "fifo":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
        case "socket":
            os.mknod(place, stat.S_IFSOCK | 0o600)
    yield request.param
    if request.param == "link":
        assert victim.read_bytes() == b"precious\n"
    else:
        assert not victim.exists()


def test_only_regular_files_are_written_and_read(store: RunStore, obstacle: str) -> None:
    with pytest.raises(StoreError, match="no regular file; move it away"):
        store.append_records("a", "r", [{"record": "x"}])
    assert store.get_run_trace("r") is None
    assert store.list_runs("a") == []
    assert store.gc() == 0
    assert store.adopt_orphans() == 0


@pytest.mark.parametrize("level", ["runs", "runs/a"])
def test_a_link_in_place_of_a_directory_is_not_followed(base: Path, store: RunStore, level: str) -> None:
    elsewhere = base / "elsewhere"
    elsewhere.mkdir()
    (base / level).parent.mkdir(exist_ok=True)
    (base / level).symlink_to(elsewhere)
    with pytest.raises(StoreError) as caught:
        store.append_records("a", "r", [{"record": "x"}])
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)
    assert list(elsewhere.iterdir()) == []


# -- tails -------------------------------------------------------------------------------------------------

TURN = b'{"record":"turn","index":1,"prompt":"tail"}'


@pytest.mark.parametrize(
    ("tail", "left"),
    [
        (b'{"record":"turn","index":1,"prom', []),
        (b"\0" * 5000, []),
        (TURN[:-1], []),
        (TURN[:20] + b"\0" * 100, []),
        (TURN, ["tail"]),
        (TURN + b"\0" * 4096, ["tail"]),
        (b"\xff\xfe\xfd", []),
        (b" " * 100_000, []),
    ],
    ids=["half", "nuls", "one-byte-short", "half-and-nuls", "whole", "whole-and-nuls", "garbage", "blanks"],
)
def test_a_torn_tail_is_healed_by_the_next_append(store: RunStore, tail: bytes, left: list[str]) -> None:
    store.append_records("a", "r", [started("r", "a"), turn(0, "first")])
    path = store.root / "a/r.jsonl"
    whole = path.read_bytes()
    append_raw(path, tail)
    assert prompts(store.get_run_trace("r")) == ["first", *left], "before healing"
    assert store.list_runs("a")[0].turn_count == 1 + len(left)
    store.append_turns("a", "r", [turn(2, "next")])
    assert path.read_bytes().startswith(whole)
    assert prompts(store.get_run_trace("r")) == ["first", *left, "next"]
    strict_lines(path.read_bytes())


def test_a_bad_line_in_the_middle_is_never_cut_away(store: RunStore) -> None:
    store.append_records("a", "r", [started("r", "a"), turn(0, "first")])
    path = store.root / "a/r.jsonl"
    bad = [b"\0\0\0\n", b'{"record":"turn","ind\n', b"\xff\xfe\n", b"[1,2]\n", b"\n", b'{"no":"kind"}\n', b'"x"\n']
    append_raw(path, b"".join(bad))
    store.append_turns("a", "r", [turn(1, "second")])
    assert all(line in path.read_bytes() for line in bad)
    assert prompts(store.get_run_trace("r")) == ["first", "second"]
    assert store.list_runs("a")[0].turn_count == 2


def test_a_file_of_nothing_but_a_torn_tail(store: RunStore) -> None:
    (store.root / "a").mkdir(parents=True)
    (store.root / "a/r.jsonl").write_bytes(b'{"record":"start')
    assert store.list_runs("a") == []
    store.write_started(started("r", "a"))
    assert [run.run_id for run in store.list_runs("a")] == ["r"]
    assert len(json.loads((store.root / "a/r.jsonl").read_text())) == 5
