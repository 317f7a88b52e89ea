"""Whatever an agent records becomes a line that a strict reader takes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import pathlib
from collections import OrderedDict, UserDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carruns import encoding
from carruns.protocol.cut import MARKER
from tests.support import nested, strict


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


class Colour(enum.Enum):
    RED = object()


@dataclasses.dataclass
class Point:
    x: Any = 1


def turned(value: Any) -> Any:
    return strict(encoding.encode_any({"v": value}))["v"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\U0001f600"),
        (b"bytes", "Ynl0ZXM="),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (float("nan"), None),
        (float("inf"), None),
        (2**70, 2**70),
        (Text("sub"), "sub"),
        (Whole(7), 7),
        (pathlib.Path("/x/y"), "/x/y"),
        (pathlib.Path("/x/\udcff"), "/x/\\xff"),
        (decimal.Decimal("1.20"), "1.20"),
        (dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "2024-01-02T00:00:00Z"),
        (Point(), {"x": 1}),
        (Point(x="\udc00"), {"x": "\ufffd"}),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=1), {"a": 1}),
        ({1: "a", 2.5: "b"}, {"1": "a", "2.5": "b"}),
        ({(1, 2): "a", None: "b", "\ud800": "c"}, {"(1, 2)": "a", "None": "b", "\ufffd": "c"}),
        (range(3), "range(0, 3)"),
        (ValueError("no"), "ValueError('no')"),
        ([Broken()], ["<Broken, whose repr raised RuntimeError>"]),
        ([Text("\ud800")], ["\ufffd"]),
    ],
)
def test_what_becomes_of_it(value: Any, expected: Any) -> None:
    assert turned(value) == expected


def test_a_cycle() -> None:
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    assert turned(cycle) == [1, {"again": encoding.CYCLE}]


def test_the_same_object_twice_is_no_cycle() -> None:
    twice = ["\ud800"]
    assert turned([twice, twice]) == [["\ufffd"], ["\ufffd"]]


@pytest.mark.parametrize("levels", [90, 127, 200, 5000, 100_000])
def test_depth(levels: int) -> None:
    deep: Any = []
    for _ in range(levels):
        deep = [deep]
    turned(deep)


def test_wide_is_not_deep() -> None:
    assert turned([[] for _ in range(1000)]) == [[]] * 1000


def _lists(levels: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(levels - 1):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    ("value", "shallow"),
    [
        ({}, True),
        ({"a": "[" * 1000, "b": [1, 2.5, None, True, {"c": ("d",)}]}, True),
        ({"a": _lists(11)}, True),
        ({"a": _lists(12)}, False),
        ({"a": object()}, False),
        ({"a": {1}}, False),
        ({"a": pathlib.Path("x")}, False),
    ],
)
def test_what_is_surely_shallow(value: Any, shallow: bool) -> None:
    assert encoding.surely_shallow(value) is shallow


def test_one_bad_turn_among_good_ones_is_bent_alone() -> None:
    good = {"prompt": "[" * 300, "output": [1]}
    for bad in ({"a": _lists(200)}, {"a": "\ud800"}):
        first, second, third = encoding.encode_each([good, bad, good])
        assert first == third == encoding.encode(good)
        strict(second)
        assert second == encoding.encode_any(bad)
    assert encoding.encode_each([]) == []


def test_a_string_of_brackets_is_not_deep() -> None:
    assert turned(nested(500)) == nested(500)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(st.characters())
        | st.binary()
        | st.dates(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers() | st.none(), inner)
        ),
        max_leaves=20,
    )
)
def test_anything_at_all(value: Any) -> None:
    turned(value)


def test_a_turn_over_the_limit_is_cut_and_says_by_how_much() -> None:
    turn = encoding.encode({"tool": "t", "output": "é" * 300_000, "parameters": ["x" * 10]})
    cut = strict(encoding.fit(turn, 100_000))
    assert cut["parameters"] == ["x" * 10]
    assert cut["output"].startswith("é")
    found = MARKER.search(cut["output"])
    assert found is not None
    kept = cut["output"][: found.start()]
    assert cut["output"] == f"{kept}... [truncated: {600_000 - len(kept.encode())} bytes missing]"


def test_a_turn_of_too_many_small_things_loses_its_largest_field() -> None:
    turn = encoding.encode({"tool": "t", "output": list(range(100_000)), "parameters": [1]})
    cut = strict(encoding.fit(turn, 50_000))
    assert (cut["tool"], cut["parameters"]) == ("t", [1])
    assert cut["output"] == f"[truncated: {len(encoding.encode(list(range(100_000))))} bytes missing]"


def test_a_turn_that_fits_is_left_alone() -> None:
    turn = b'{"tool":"t"}'
    assert encoding.fit(turn, 1000) is turn


def test_mending_gives_known_fields_their_types() -> None:
    turn = encoding.encode({"tool": 1, "prompt": None, "duration_ms": "x", "usage": [1], "verifier_verdict": 3})
    mended = encoding.mend(turn)
    assert mended is not None
    assert strict(mended) == {
        "tool": "1",
        "prompt": None,
        "metadata": {"duration_ms": "x", "metadata": None},
        "usage": {"value": [1]},
        "verifier_verdict": {"value": 3},
    }
    assert encoding.mend(mended) is None
