"""What ``strict`` says of nesting, brackets in strings included: they must not hide what is open."""

from __future__ import annotations

import pytest

from carrunsd.store import strict


def nested(levels: int, filler: bytes) -> bytes:
    return b"[" + (filler + b",[") * (levels - 1) + b"]" * levels


@pytest.mark.parametrize("filler", [b'"]"', b'"}]}]"', b'"[{"', b'"\\"]"', b"1"])
def test_brackets_in_strings_neither_hide_nor_make_depth(filler: bytes) -> None:
    assert not strict.too_deep(nested(127, filler))
    assert strict.too_deep(nested(128, filler))
    assert strict.too_deep(b'{"id":1}\n' + nested(128, filler) + b"\n")
