"""Cutting a byte stream into lines: the same whole, byte by byte, in any pieces, and with more behind it."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from carruns.protocol.framing import LineFramer

LIMIT = 20
LINES = st.lists(st.binary(max_size=2 * LIMIT).map(lambda b: b.replace(b"\n", b"") + b"\n"), max_size=8)
SHORT_TAIL = st.binary(max_size=LIMIT).map(lambda b: b.replace(b"\n", b""))


def expected(lines: list[bytes]) -> tuple[bytes, int]:
    good = [line for line in lines if len(line) <= LIMIT]
    return b"".join(good), len(lines) - len(good)


def feed(pieces: list[bytes]) -> tuple[bytes, int]:
    framer = LineFramer(LIMIT)
    blocks = [framer.feed(piece) for piece in pieces]
    assert all(block == b"" or block.endswith(b"\n") for block in blocks)
    assert framer.held <= LIMIT
    return b"".join(blocks), framer.overlong


@given(LINES, SHORT_TAIL)
@example([b"x" * LIMIT + b"\n"], b"")
@example([b"x" * (LIMIT - 1) + b"\n"], b"")
def test_whole(lines: list[bytes], tail: bytes) -> None:
    assert feed([b"".join(lines) + tail]) == expected(lines)


@given(LINES, SHORT_TAIL)
@example([b"x" * LIMIT + b"\n"], b"")
@example([b"x" * (LIMIT - 1) + b"\n"], b"")
def test_byte_by_byte(lines: list[bytes], tail: bytes) -> None:
    data = b"".join(lines) + tail
    assert feed([data[n : n + 1] for n in range(len(data))]) == expected(lines)


@given(LINES, SHORT_TAIL, st.lists(st.integers(1, 3 * LIMIT), min_size=1))
def test_in_pieces(lines: list[bytes], tail: bytes, sizes: list[int]) -> None:
    data = b"".join(lines) + tail
    pieces = []
    for size in sizes * (len(data) + 1):
        if not data:
            break
        pieces.append(data[:size])
        data = data[size:]
    assert feed(pieces) == expected(lines)


def test_an_endless_line_is_counted_once_and_not_held() -> None:
    framer = LineFramer(LIMIT)
    for _ in range(1000):
        assert framer.feed(b"x" * 100) == b""
        assert framer.held == 0
    assert framer.overlong == 1
    assert framer.feed(b"end\nnext\nha") == b"next\n"
    assert framer.feed(b"lf\n") == b"half\n"
    assert framer.overlong == 1


def test_the_tail_is_held_for_the_next_piece() -> None:
    framer = LineFramer(LIMIT)
    assert framer.feed(b"one\ntwo") == b"one\n"
    assert framer.held == 3
    assert framer.feed(b"") == b""
    assert framer.feed(b"\n") == b"two\n"
    assert framer.held == 0
