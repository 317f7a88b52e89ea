"""Numbers that a strict reader refuses: whole ones that no double can hold.  Pure.

(JSON has no words for infinity and "not a number"; msgspec writes ``null`` for those.)
"""

from __future__ import annotations

import re
import sys

LARGEST = int(sys.float_info.max)
#: Such a number has so many digits in a row at least.
DIGITS = len(str(LARGEST))

#: Every so manieth byte of a text is enough to look at: nine of them stand in such a number.
STRIDE = DIGITS // 9
#: Finds in ``text[::STRIDE]`` what may be such a number; false is certain, true is not.
find_in_sample = re.compile(rb"[0-9]{9}").search


def may_hold_huge(text: bytes) -> bool:
    """Tell whether JSON ``text`` may hold a whole number beyond a double; false is certain, true is not."""
    return find_in_sample(text[::STRIDE]) is not None


def bent(number: int) -> int | str:
    """Return the number, as text if it is beyond a double: its digits, or hexadecimal where Python gives none."""
    if -LARGEST <= number <= LARGEST:
        return int(number)
    try:
        return str(int(number))
    except ValueError:  # more digits than sys.get_int_max_str_digits()
        return hex(number)
