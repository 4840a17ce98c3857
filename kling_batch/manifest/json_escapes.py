r"""Characters that JSON writes as two escapes, `\ud83e\udd8a`: YAML knows none of either half.

What `json.dump` writes is a manifest, too. Must not know YAML. Pure.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from dataclasses import dataclass

#: A whole character in two halves, or any other escape, so that `\\ud83e` is not taken for half.
_ESCAPE = re.compile(
    r"\\(?:u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: By how much `\U0001f98a` is shorter than its two halves.
_SHORTER = 2


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a manifest as YAML reads it, and where it is shorter than the file."""

    text: str
    #: Where in the text characters stand that were two escapes.
    joined: tuple[int, ...] = ()

    def column(self, index: int, column: int) -> int:
        """The column in the file of what stands at `index`, in this column of its line."""
        if not self.joined:
            return column
        before = bisect_left(self.joined, index) - bisect_left(self.joined, index - column)
        return column + _SHORTER * before


def join(text: str) -> Source | None:
    """The text with both halves of each character as one escape; None where that changes nothing.

    Only a text that is JSON as a whole is changed: in YAML a backslash may be one.
    """
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    pieces: list[str] = []
    joined: list[int] = []
    end = length = 0
    for found in _ESCAPE.finditer(text):
        if found[1] is None:
            continue
        between = text[end : found.start()]
        joined.append(length + len(between))
        character = 0x10000 + ((int(found[1], 16) - 0xD800) << 10) + int(found[2], 16) - 0xDC00
        pieces += [between, f"\\U{character:08x}"]
        end, length = found.end(), joined[-1] + len(pieces[-1])
    return Source("".join([*pieces, text[end:]]), tuple(joined)) if joined else None


def half_at(text: str, index: int) -> tuple[str, str]:
    """The half of a character whose escape begins here, and how the whole is written in YAML.

    Both are empty where there is none, the second one where the other half is missing.
    """
    half = _HALF.match(text, index)
    whole = _ESCAPE.match(text, index)
    if half is None or whole is None:
        return "", ""
    return half[0], "" if whole[1] is None else json.loads(f'"{whole[0]}"')
