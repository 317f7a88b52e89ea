"""Content that is made to harm a terminal or a page, and the check that it does not."""

from __future__ import annotations

HOSTILE = (
    "\x1b[31mred\x1b[0m\r\x00\x9b2J \u202etxt.exe\u202c \u2066x\u2069 <script>alert(1)</script> \U0001f600 \x07"
)


def assert_harmless(text: str) -> None:
    """Nothing that a terminal obeys is in it, but for newlines and our own colours."""
    for char in text:
        assert char == "\n" or (ord(char) >= 32 and not 0x7F <= ord(char) < 0xA0), ascii(char)
        assert char not in "\u202e\u202c\u2066\u2069\u200e\u200f\u2028", ascii(char)
