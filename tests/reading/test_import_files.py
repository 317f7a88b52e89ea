"""Files that are to be imported: what a typed reader would not take is put right where it can be."""

from __future__ import annotations

import json
from pathlib import Path

from carruns.reading.import_files import bundles_in
from carrunsd.store import reader

START = {"record": "started", "run_id": "r1", "agent_id": "a", "intent": "i", "started_at": "2026-11-20t10:00:00z"}
OUTCOME = {
    "status": "success", "summary": "s", "evidence": [], "metrics": {"duration_ms": 12.7},
    "timestamp": "2026-11-20T10:00:01Z",
}  # fmt: skip
END = {
    "record": "ended", "run_id": "r1", "agent_id": "a", "ended_at": "2026-11-20T10:00:01Z",
    "termination": {"kind": "outcome", "status": "success", "outcome": OUTCOME},
}  # fmt: skip


def test_wrong_types_are_put_right(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    turns = [{"record": "turn", "index": 0.0, "prompt": "p"}, {"record": "turn", "prompt": 5, "parameters": {}}]
    file.write_text("".join(json.dumps(row) + "\n" for row in (START, *turns, END)) + "garbage\n")
    (bundle,) = bundles_in(file)
    assert (bundle.run_id, bundle.agent_id, bundle.mended, bundle.left_out) == ("r1", "a", 4, 1)
    assert all(reader.parse_record(json.dumps(record).encode()) for record in bundle.records)
    assert [record.get("index") for record in bundle.records[1:3]] == [0, 1]
    assert bundle.records[2]["prompt"] == "5"
    assert bundle.records[3]["termination"]["outcome"]["metrics"] == {"duration_ms": 13}
