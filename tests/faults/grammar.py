"""What the fuzzer makes: good parts of the wire and of run files, bent, cut, doubled and mixed, by seeded dice."""

from __future__ import annotations

import json
import random
from typing import Any

Json = dict[str, Any]

_METHODS = (
    "server.handshake",
    "server.ping",
    "server.stats",
    "runs.start",
    "runs.record_turns",
    "runs.record_turns",
    "runs.record_turns",
    "runs.record_model_turn",
    "runs.flush",
    "runs.complete",
    "runs.abandon",
    "runs.resume",
    "runs.append",
    "runs.list",
    "runs.agents",
    "runs.get_trace",
    "runs.agent_for_run",
    "runs.subscribe",
    "runs.unsubscribe",
    "runs.watch",
    "runs.unwatch",
    "runs.gc",
    "runs.remove",
    "runs.restore",
    "no.such",
)
KEYS = (
    "run_id",
    "agent_id",
    "agent_name",
    "intent",
    "turns",
    "writer",
    "seq",
    "durable",
    "outcome",
    "records",
    "cursor",
    "limit",
    "status",
    "since",
    "until",
    "reason",
    "idempotency_key",
    "started_at",
    "metadata",
    "dry_run",
    "x_unknown",
    "assistant_text",
    "requested_tool_calls",
    "model_id",
    "token_usage",
    "duration_ms",
    "detached",
    "record",
    "index",
    "prompt",
    "tool",
    "parameters",
    "output",
    "termination",
    "kind",
)
TEXTS = (
    "",
    "a",
    "run-1",
    "run-2",
    "agent",
    "..",
    "/",
    "a/b",
    "x" * 300,
    "\u0000",
    "\u2028",
    "\U0001f600",
    "success",
    "done",
    "2026-11-22T00:00:00Z",
    "9999-12-31T23:59:59-10:00",
    "2026-11-22",
    "in_progress",
    "y" * 70_000,
)
_NUMBERS = (0, 1, -1, 2, 255, 256, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 0.5, 1e308, -0.0)
#: What JSON texts are bent with: things that some reader somewhere takes and another does not.
_ODD = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"\0",
    b"\xef\xbb\xbf",
    b'"a":1,"a":2,',
    b"[" * 200,
    b"{",
    b"}",
    b'"',
    b"\\",
    b"\r",
    b"\t",
    b",",
    b"\xe2\x80\xa8",
    b"9" * 400,
    b"0001",
    b"//",
)


class Maker:
    """Makes cases from a seed."""

    def __init__(self, seed: str) -> None:
        self.dice = random.Random(seed)

    def value(self, depth: int = 0) -> Any:
        dice = self.dice
        kind = dice.randrange(9 if depth < 4 else 6)
        if kind < 2:
            return dice.choice(TEXTS[:-1] if dice.random() < 0.99 else TEXTS)
        if kind < 4:
            return dice.choice(_NUMBERS)
        if kind < 6:
            return dice.choice((None, True, False))
        if kind == 6:
            return [self.value(depth + 1) for _ in range(dice.randrange(4))]
        return {dice.choice(KEYS): self.value(depth + 1) for _ in range(dice.randrange(5))}

    def params(self, method: str) -> Any:
        dice = self.dice
        if dice.random() < 0.05:
            return self.value()
        params: Json = {"run_id": f"run-{dice.randrange(6)}", "agent_id": f"agent-{dice.randrange(3)}"}
        if method == "runs.start":
            params = {"intent": "i", "agent_id": params["agent_id"], "idempotency_key": params["run_id"]}
        elif method == "runs.record_turns":
            params["turns"] = [self.turn() for _ in range(dice.choice((1, 1, 1, 3, 0)))]
            if dice.random() < 0.4:
                params |= {"writer": f"w{dice.randrange(2)}", "seq": dice.randrange(4)}
        elif method == "runs.complete":
            params["outcome"] = {"status": dice.choice(("success", "done", "bad")), "summary": "s"}
        elif method == "runs.append":
            params["records"] = [{"record": "turn", "index": dice.randrange(9), "prompt": "p"}]
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            params[dice.choice(KEYS)] = self.value()
        return params

    def turn(self) -> Any:
        if self.dice.random() < 0.1:
            return self.value()
        keys = ("prompt", "tool", "parameters", "output", "error", "x_unknown", "usage", "index", "started_at")
        return {self.dice.choice(keys): self.value() for _ in range(self.dice.randrange(4))}

    def request(self) -> tuple[Json, bool]:
        """Return a request, and whether an answer is due."""
        method = self.dice.choice(_METHODS)
        message: Json = {"method": method, "params": self.params(method)}
        if self.dice.random() < 0.7:
            message["id"] = self.dice.choice((1, "one", 2**40, 7))
        if self.dice.random() < 0.5:
            message["jsonrpc"] = "2.0"
        return message, "id" in message

    def line(self) -> bytes:
        """Return one line of the wire without its end: good, bent, or a batch."""
        dice = self.dice
        if dice.random() < 0.06:
            whole: Any = [self.request()[0] for _ in range(dice.randrange(4))]
        else:
            whole = self.request()[0]
        text = json.dumps(whole, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
        return self.bent(text) if dice.random() < 0.45 else text

    def bent(self, text: bytes) -> bytes:
        dice = self.dice
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(len(text) + 1)
            how = dice.randrange(6)
            if how == 0:
                text = text[:at] + dice.choice(_ODD) + text[at:]
            elif how == 1:
                text = text[:at] + text[at + dice.randrange(1, 9) :]
            elif how == 2:
                text = text[:at]
            elif how == 3 and text:
                at = min(at, len(text) - 1)
                text = text[:at] + bytes([text[at] ^ (1 << dice.randrange(8))]) + text[at + 1 :]
            elif how == 4:
                other = dice.randrange(len(text) + 1)
                text = text[:at] + text[min(at, other) : max(at, other)] + text[at:]
            else:
                text += dice.choice((b" ", b"{}", b"]", b"\0\0", b"#"))
        return text.replace(b"\n", b" ")
