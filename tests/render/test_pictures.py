"""The pictures on the pages: nothing in them is cut off."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_DOCS = Path(__file__).parents[2] / "docs"
_DESCENT = 6.0  # of text of 20 pixels below its base line


@pytest.mark.parametrize("path", sorted(_DOCS.glob("*.svg")), ids=lambda path: path.stem)
def test_the_last_line_is_whole(path: Path) -> None:
    text = path.read_text()
    defined = set(re.findall(r'clipPath id="([^"]+)"', text))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= defined
    (height,) = re.findall(r'clip-terminal">\s*<rect x="0" y="0" width="[\d.]+" height="([\d.]+)"', text)
    lowest = max(map(float, re.findall(r'<text class="[^"]+-r\d+" x="[\d.]+" y="([\d.]+)"', text)))
    assert lowest + _DESCENT <= float(height)
    (_, _, _, whole) = re.findall(r'viewBox="([^"]+)"', text)[0].split()
    assert float(height) + 41 < float(whole)
