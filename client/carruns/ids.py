"""Ids: UUID version 7, which sort by time (RFC 9562 section 5.7).  Pure: clock and randomness are handed in."""

from __future__ import annotations


def uuid7(milliseconds: int, randomness: bytes) -> str:
    """Return a UUIDv7 for a Unix time in milliseconds and 10 bytes of randomness."""
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(randomness[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
