"""Stores as they may be found: good records, and records bent in every way a file gets bent, by seeded dice."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta, timezone
from typing import Any

Json = dict[str, Any]

#: JSON texts that stand where something else should.
ODD = (
    "null", "true", "0", "-0", "-0.0", "1", "-1", "1.0", "1e0", "1.5", "12", "1e5", "1E400", "1e-400",
    "9007199254740993",
    "18446744073709551615", "18446744073709551616", "9223372036854775808", "1" + "0" * 308, "1" + "0" * 309,
    "9" * 400, "1" + "0" * 299 + "e9", '""', '"x"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\\/"', "[]",
    "{}",
    "[1,[2]]", '{"a":1,"a":2}', '{"index":5}', '{"prompt":"p","tool":"t","record":"turn"}', "NaN", "1.", "01", "+1",
    '"success"', '"incomplete"', '{"kind":"incomplete"}', '{"kind":"outcome"}', "[" * 60 + "]" * 60,
    "[" * 126 + "]" * 126, "[" * 127 + "]" * 127,
)  # fmt: skip
TIMES = (
    "2026-01-01T00:00:00Z", "2026-01-01t00:00:00Z", "2026-01-01T00:00:00z", "2026-01-01 00:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:61Z", "2016-12-31T23:59:60.5Z", "2026-01-01T24:00:00Z", "2026-02-30T00:00:00Z",
    "2024-02-29T00:00:00Z",
    "2026-01-01T00:00:00+05:30", "2026-01-01T00:00:00-00:00", "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+23:59",
    "2026-01-01T00:00:00+0530", "2026-01-01T00:00:00+05", "2026-01-01T00:00:00", "2026-01-01", "2026-1-1T1:1:1Z",
    "2026-01-01T00:00:00.123456789123Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z", "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59", "+12026-01-01T00:00:00Z", "12026-01-01T00:00:00Z",
    "-0005-01-01T00:00:00Z", "2026-01-01T00:00:00 UTC", "2026-01-01T00:00:00uTc", " 2026-01-01T00:00:00Z ",
    "2026 - 01 - 01T00 : 00 : 00 +05 : 30", "2026-01-01T00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T00:60:00Z",
    "2026-01-01T00:00:00Z\u00a0", "2026-01-01T00:00:00+05:60", "2026-01-01T00:00:00GMT", "now", "",
)  # fmt: skip
_FIELDS = (
    "record", "run_id", "agent_id", "intent", "outcome_description", "started_at", "index", "prompt", "tool",
    "parameters",
    "output", "cli_outcome", "verifier_verdict", "policy_rejected", "termination", "ended_at", "recorded_at",
    "writer",
    "seq", "usage", "unknown", "kind", "status", "outcome", "summary", "evidence", "metrics", "timestamp", "turns",
    "tool_calls", "duration_ms", "retries", "actions_succeeded", "actions_failed",
)  # fmt: skip
STATUSES = ("success", "partial_success", "done", "give_up", "timeout", "failure")
_JUNK = (
    "", " ", "\r", "null", "[]", "5", '"x"', "{}", "\0\0\0", "}", "{", '["turn"', "\u00a0", "\ufeff",
    '{"record":5}',
    '{"record":"turn"}{"record":"turn"}', '{"record":"note","index":-1}', '{"record":"Turn","index":0}',
)  # fmt: skip


class Maker:
    """Makes files from a seed.  An object is kept as pairs, so that a key can stand in it twice."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(seed)

    def time(self, most_days: float = 80) -> str:
        """Return a time before now, seldom two the same."""
        at = datetime.now(timezone.utc) - timedelta(days=self.dice.uniform(0.01, most_days))
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.dice.randrange(10**9):09}Z"

    def started(self, agent: str, run: str) -> list[tuple[str, str]]:
        """Return a ``started``, its values as JSON texts."""
        pairs = [
            ("record", '"started"'),
            ("run_id", json.dumps(run)),
            ("agent_id", json.dumps(agent)),
            ("intent", '"i"'),
        ]
        if self.dice.random() < 0.3:
            pairs.append(("outcome_description", '"what"'))
        return [*pairs, ("started_at", json.dumps(self.time()))]

    def turn(self, index: int) -> list[tuple[str, str]]:
        """Return a turn."""
        dice = self.dice
        pairs = [("record", '"turn"'), ("index", str(index))]
        for name, texts in (
            ("prompt", ('"p"', "null", '"\u00fc\u2028 \\" prompt"')), ("tool", ('"t"',)),
            ("parameters", ("null", '{"prompt":"x","index":1}', "[1.5,2]")), ("output", ('{"exit_code":0}',
            "null")),
            ("cli_outcome", ("{}",)), ("verifier_verdict", ('"not_run"', '{"passed":{}}')),
            ("recorded_at", ('"2026-11-25T10:00:00Z"',)), ("writer", ('"w"',)), ("seq", ("0",)),
        ):  # fmt: skip
            if dice.random() < 0.5:
                pairs.append((name, dice.choice(texts)))
        return pairs

    def ended(self, agent: str, run: str, outcomes: float = 0.6) -> list[tuple[str, str]]:
        """Return an ``ended`` with an outcome (how often is ``outcomes``), or incomplete."""
        at = json.dumps(self.time())
        termination = [("kind", '"incomplete"')]
        if self.dice.random() < outcomes:
            status = json.dumps(self.dice.choice(STATUSES))
            metrics = [(name, str(self.dice.randrange(5))) for name in _FIELDS[-6:] if self.dice.random() < 0.5]
            outcome = [("status", status), ("summary", '"s"'), ("evidence", "[]"), ("metrics", self.text(metrics))]
            outcome = [("timestamp", at), *outcome]
            termination = [("kind", '"outcome"'), ("status", status), ("outcome", self.text(outcome))]
        ids = [("run_id", json.dumps(run)), ("agent_id", json.dumps(agent))]
        return [("record", '"ended"'), *ids, ("termination", self.text(termination)), ("ended_at", at)]

    def text(self, pairs: list[tuple[str, str]]) -> str:
        """Return an object, now and then with one of its pairs bent."""
        if pairs and self.dice.random() < 0.15:
            pairs = self._bent(pairs)
        if self.dice.random() < 0.1:
            return "{ " + " , ".join(f'"{name}" : {value}' for name, value in pairs) + " }"
        return "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"

    def _bent(self, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        dice = self.dice
        pairs = list(pairs)
        at = dice.randrange(len(pairs))
        name, value = pairs[at]
        how = dice.randrange(6)
        if how == 0:
            del pairs[at]
        elif how == 1:
            pairs.insert(dice.randrange(len(pairs) + 1), (name, dice.choice((value, dice.choice(ODD)))))
        elif (how == 2 and name.endswith("_at")) or name == "timestamp":
            pairs[at] = name, json.dumps(dice.choice(TIMES))
        elif how == 3:
            pairs.append((dice.choice(_FIELDS), dice.choice(ODD)))
        elif how == 4:
            pairs.append((f"\\u{ord(name[0]):04x}{name[1:]}", value))
        else:
            pairs[at] = name, dice.choice(ODD)
        return pairs

    def line(self, text: str) -> bytes:
        """Return a line, now and then damaged; it stays UTF-8, since the seed reads no further where it is not."""
        dice = self.dice
        if dice.random() < 0.06:
            at, other = sorted(dice.randrange(len(text) + 1) for _ in range(2))
            part = text[at:other]
            text = dice.choice(
                (text[:at] + text[other:], text[:other] + part + text[other:], part, text[:at] + "x" + text[at:])
            )
        elif dice.random() < 0.04:
            text = dice.choice((" ", "\t", "")) + text + dice.choice((" ", "\r", "\0", "}", " {}"))
        return text.encode("utf-8", "replace").replace(b"\n", b" ")

    def file(self, agent: str, run: str) -> bytes:
        """Return what stands in a run's file."""
        dice = self.dice
        lines = [self.line(self.text(self.started(agent, run)))] if dice.random() < 0.95 else []
        for index in range(dice.choice((0, 1, 2, 5, 9))):
            lines.append(self.line(self.text(self.turn(index if dice.random() < 0.9 else dice.randrange(3)))))
            if dice.random() < 0.1:
                lines.append(dice.choice(_JUNK).encode())
            if dice.random() < 0.05:
                lines.append(self.line(self.text(self.started(agent, run))))
            if dice.random() < 0.05:  # an outcome is final for us, whatever follows: not for the seed
                lines.append(self.line(self.text(self.ended(agent, run, 0))))
        if dice.random() < 0.7:
            lines.append(self.line(self.text(self.ended(agent, run))))
        data = b"".join(line + b"\n" for line in lines if not is_beyond(line))
        if dice.random() < 0.15 and data:
            cut = data[: -dice.randrange(1, 40)]
            data = (
                cut
                if cut.isascii() and not cut.endswith(b"\0") and not is_beyond(cut[cut.rfind(b"\n") + 1 :])
                else data
            )
        return data


def is_beyond(line: bytes) -> bool:
    """Tell whether a line is one that is read on purpose where the seed does not."""
    try:
        value = json.loads(line.removeprefix(b"\xef\xbb\xbf").decode())
    except ValueError:
        return False
    except RecursionError:
        return False
    if not isinstance(value, dict):
        return False
    if line.startswith(b"\xef\xbb\xbf") or value.get("record") == "model_turn":
        return True
    if value.get("record") != "ended":
        return False
    termination = value.get("termination")
    if not isinstance(termination, dict) or {"content", "data", "value", "c"} & termination.keys():
        return True
    return termination.get("kind") not in ("outcome", "incomplete")
