"""A model's turn as CAR writes it is a turn in every view; tokens count once, under whatever name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from carruns.protocol.records import Record
from carruns.render.document.html import page
from carruns.render.document.markdown import markdown
from carruns.render.event_lines import EventLines
from carruns.render.style import Style
from carruns.render.token_counts import Tokens, tokens_of
from carruns.render.trace import TraceView
from carruns.render.turn_view import turn_of
from tests.render.runs import NOW, ended, turn, whole

CALLS = [{"id": "1", "name": "grep", "arguments": {"pattern": "flaky"}}]
MODEL_TURN = Record(
    record="model_turn", index=1, recorded_at="2026-11-22T00:00:02Z", turn_index=1, assistant_text="let me look",
    requested_tool_calls=CALLS, model_id="qwen/q3", duration_ms=40, another="kept",
    token_usage={"prompt_tokens": 1200, "completion_tokens": 30, "total_tokens": 1230, "context_window": 8192,
                 "cache_read_input_tokens": 900, "cache_creation_input_tokens": 7},
)  # fmt: skip
REQUESTED = Record(
    record="cancellation_requested", idempotency_key="k", reason="wrong\x1b branch", principal="uid:0"
)


def test_a_models_turn_becomes_a_turn() -> None:
    seen = turn_of(MODEL_TURN)
    assert seen is not None
    assert (seen.index, seen.model, seen.duration_ms, seen.another) == (1, "qwen/q3", 40, "kept")
    assert seen.output == {"assistant_text": "let me look", "requested_tool_calls": CALLS}
    assert seen.usage == MODEL_TURN.token_usage
    assert seen.metadata == {"turn_index": 1}
    assert not {"assistant_text", "requested_tool_calls", "model_id", "token_usage", "turn_index"} & set(seen)


def test_other_records_are_no_turns() -> None:
    plain = turn(0, tool="x")
    assert turn_of(plain) is plain
    assert turn_of(REQUESTED) is None
    assert turn_of({}) is None


def test_show_draws_it_and_misses_nothing() -> None:
    run = whole([turn(0, tool="ls"), MODEL_TURN, turn(2, tool="ls")], ended(), REQUESTED)
    text = "\n".join(TraceView(Style(text_width=200), run, None).render(range(run.tally.turns)))
    assert "missing" not in text
    assert "3 turns" in text
    assert "1,200 input tokens, 30 output tokens, 900 cached tokens, 7 tokens written to the cache" in text
    assert "#1" in text
    for shown in ("qwen/q3", "let me look", "flaky", "1,200 in / 30 out / 900 cached"):
        assert shown in text
    assert "cancellation requested: wrong\\e branch (by uid:0)" in text
    assert "unknown" not in text


@pytest.mark.parametrize("form", [markdown, page])
def test_documents_hold_it(form: Any) -> None:
    text = "\n".join(form(whole([turn(0, tool="ls"), MODEL_TURN], ended(), REQUESTED)))
    for shown in ("#1 qwen/q3", "let me look", "1,200 in / 30 out", "cancellation requested"):
        assert shown in text


CONFIRMED = Record(record="cancellation_result", status="cancelled_confirmed")


def end(kind: str, reason: str | None = None, **fields: Any) -> Record:
    return Record(record="ended", termination={"kind": kind, **({"reason": reason} if reason else {})}, **fields)


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (MODEL_TURN, "#1 qwen/q3  40ms  {assistant_text: let me look"),
        (REQUESTED, "cancellation requested: wrong\\e branch (by uid:0)"),
        (CONFIRMED, "cancellation result: cancelled confirmed"),
        (Record(record="cancellation_result", run_id="r", code=3), "cancellation result: {code: 3}"),
        (end("cancelled"), "cancelled"),
        (end("failed", "no disk"), "failed: no disk"),
        (Record(end("incomplete"), reason="cancelled", final=True), "cancelled"),
        (Record(end("incomplete"), reason="disconnected"), "incomplete: disconnected"),
        (end("incomplete"), "incomplete: no outcome"),
    ],
)
def test_tail_has_one_line_for_each(record: Record, shown: str) -> None:
    (line,) = EventLines().lines("a", record, Style(), NOW)
    assert re.search(rf"\s(■ )?{re.escape(shown)}", line), line
    assert record.record != "ended" or line.endswith(shown)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, Tokens()),
        ("many", Tokens()),
        ({"input_tokens": 3, "output_tokens": 4}, Tokens(3, 4)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Tokens(3, 4)),
        ({"input_tokens": 3, "prompt_tokens": 3, "output_tokens": 4, "completion_tokens": 4}, Tokens(3, 4)),
        ({"input_tokens": 0, "prompt_tokens": 3}, Tokens(3)),
        ({"total_tokens": 9}, Tokens(unsplit=9)),
        ({"input_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 8}, Tokens(5, 0, 90, 8)),
        ({"input_tokens": 100, "cached_input_tokens": 90, "cached_in_input": True}, Tokens(10, 0, 90)),
        ({"input_tokens": 50, "cached_input_tokens": 90, "cached_in_input": True}, Tokens(0, 0, 90)),
        ({"cached_input_tokens": 9, "cache_read_input_tokens": 9}, Tokens(read=9)),
        ({"output_tokens": 9, "reasoning_output_tokens": 5}, Tokens(output=9, reasoning=5)),
        ({"input_tokens": -1, "output_tokens": 1.5, "total_tokens": True}, Tokens()),
    ],
)
def test_tokens_count_once_under_all_their_names(usage: Any, tokens: Tokens) -> None:
    assert tokens_of(usage) == tokens
    assert (
        tokens.total + tokens.cached == tokens.fresh + tokens.output + tokens.unsplit + tokens.read + tokens.written
    )
