"""Text that agents wrote, made harmless for a terminal.  Pure.  How wide it is there: ``cells``.

Agents write escape codes, carriage returns, NULs and marks that turn the direction of text; a terminal obeys them.
Whatever is not plain text is shown as the escape a programmer would write for it.  Nothing is dropped silently.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

#: C0 and C1 controls, DEL, marks of direction, what is invisible (but for the joiners that emoji and Indic scripts
#: need), line separators, tags, private "interlinear" marks, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\uffa0\ud800-\udfff\U000e0000-\U000e0fff]"
)
_UNSAFE_BUT_LINES = re.compile(_UNSAFE.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e", "\0": "\\0"}


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    code = ord(char)
    return _NAMES.get(char) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def line(text: object) -> str:
    """Return any text as one harmless line."""
    return _UNSAFE.sub(_escape, str(text))


def lines(text: object) -> list[str]:
    r"""Return any text as harmless lines; tabs become spaces, and ``\r\n`` ends a line as ``\n`` does."""
    plain = str(text).replace("\r\n", "\n").expandtabs(4)
    return _UNSAFE_BUT_LINES.sub(_escape, plain).split("\n")


def json_text(value: Any) -> str:
    r"""Return a value as one line of JSON; what is unsafe in it stands as ``\uXXXX``, so it reads back the same.

    Raises what msgspec raises for what is no JSON.
    """
    text = msgspec.json.encode(value).decode()
    if text.isascii() and "\x7f" not in text:
        return text  # JSON escapes C0 itself
    return _UNSAFE.sub(lambda match: _json_escape(ord(match[0])), text)


def _json_escape(code: int) -> str:
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
