"""How many tokens a turn took, whatever its provider calls them; cached ones apart, none counted twice.  Pure.

Anthropic reports what came from the cache beside ``input_tokens``; OpenAI and Codex within it, which
``cached_in_input`` says of a usage.  Reasoning is within the output of all of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from carruns.render import units

_INPUT = ("input_tokens", "prompt_tokens")
_OUTPUT = ("output_tokens", "completion_tokens")
_READ = ("cache_read_input_tokens", "cached_input_tokens")
_WRITTEN = ("cache_creation_input_tokens",)
_REASONING = ("reasoning_output_tokens",)


class Tokens(NamedTuple):
    """``fresh`` came from no cache, ``read`` did, ``written`` went to it; ``reasoning`` is a part of ``output``.

    ``unsplit`` is the total of a usage that says nothing else.
    """

    fresh: int = 0
    output: int = 0
    read: int = 0
    written: int = 0
    reasoning: int = 0
    unsplit: int = 0

    @property
    def cached(self) -> int:
        """What the cache gave or took."""
        return self.read + self.written

    @property
    def total(self) -> int:
        """All but the cached ones."""
        return self.fresh + self.output + self.unsplit

    def plus(self, other: Tokens) -> Tokens:
        """Return the sum of both."""
        return Tokens(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def words(self) -> str:
        """Return them for people: ``1,200 in / 300 out / 8,000 cached``; ``""`` where there are none."""
        named = (
            (self.fresh, "in"), (self.output, "out"), (self.unsplit, "tokens"), (self.read, "cached"),
            (self.written, "written to the cache"),
        )  # fmt: skip
        return " / ".join(f"{units.count(number)} {name}" for number, name in named if number)


def tokens_of(usage: Any) -> Tokens:
    """Return what a ``usage`` (``token_usage`` in CAR's records) counts; what is no whole number counts nothing."""
    if not isinstance(usage, dict):
        return Tokens()
    given, output = _first(usage, _INPUT), _first(usage, _OUTPUT)
    read, written = _first(usage, _READ), _first(usage, _WRITTEN)
    within = read + written if usage.get("cached_in_input") is True else 0
    unsplit = 0 if given or output else _first(usage, ("total_tokens",))
    return Tokens(max(0, given - within), output, read, written, _first(usage, _REASONING), unsplit)


def _first(usage: dict[str, Any], names: tuple[str, ...]) -> int:
    """Return the count under the first of the names that has one: the others are the same by another name."""
    return next((usage[name] for name in names if type(usage.get(name)) is int and usage[name] > 0), 0)
