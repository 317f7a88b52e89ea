"""What every match of an expression must hold is found, and nothing else."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carruns.reading.search.regex_literals import required_literals


def wanted(pattern: str, flags: int = 0) -> list[bytes] | None:
    return required_literals(re.compile(pattern, flags))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("connection refused", [b"connection"]),
        ("Traceback|ENOSPC", [b"Traceback", b"ENOSPC"]),
        ("a+(bcd)?efg", [b"efg"]),
        ("(abc){2}", [b"abc"]),
        ("x?y*", None),
        ("[abc]", None),
        ("(?i:abc)de", [b"de"]),
        ('"rm -rf', [b"-rf"]),
        ("a|", None),
    ],
)
def test_literals(pattern: str, found: list[bytes] | None) -> None:
    assert wanted(pattern) == found


def test_literals_without_case_leave_out_letters_that_have_other_cases() -> None:
    assert wanted("KELVIN error", re.IGNORECASE) == [b"error"]
    assert re.search("kelvin", "\u212aelvin", re.IGNORECASE)  # this is why


_LETTERS = st.text('abK\u212as\u017f\u00e9 "\\/\n\t.1', max_size=8)


@given(
    pattern=st.from_regex(r"[abK1 ]{1,4}(\|[ab]{1,3})?(b\?|a\*|\.)?", fullmatch=True),
    text=_LETTERS,
    low=st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_line_that_matches_holds_a_literal(pattern: str, text: str, low: bool) -> None:
    expression = re.compile(pattern, re.IGNORECASE if low else 0)
    found = required_literals(expression)
    if expression.search(text) and found is not None:
        line = json.dumps(text, ensure_ascii=False).encode()
        assert any(literal in (line.lower() if low else line) for literal in found)
