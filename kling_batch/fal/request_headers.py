"""Headers of the paid POST beyond the key: tags for fal's billing pages, and a deadline to start.

Source: docs/fal-api.md#request-headers. Tags are for reporting only and prevent no duplicate. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from unicodedata import combining, normalize

TAGS = "X-Fal-Tags"
START_TIMEOUT = "X-Fal-Request-Start-Timeout"

#: fal drops pairs that break these rules without a word.
_LONGEST_KEY, _LONGEST_VALUE, _MOST_PAIRS, _LONGEST = 64, 256, 10, 1024
_NOT_IN_KEYS = re.compile(r"[^a-z0-9._-]+")
_NOT_IN_VALUES = re.compile(r"[^\x20-\x2b\x2d-\x7e]+")

_REFUSED = re.compile(r"x-fal-tags|\brequest[ _-]tags?\b|\btags? (?:are|is) not\b", re.IGNORECASE)


def tags_header(tags: Mapping[str, str]) -> str:
    """The tags as fal takes them; what cannot be written is replaced, and empty pairs go."""
    pairs: list[str] = []
    for key, value in tags.items():
        name = _NOT_IN_KEYS.sub("_", key.lower())[:_LONGEST_KEY]
        text = _NOT_IN_VALUES.sub("_", _plain(value)).strip()[:_LONGEST_VALUE]
        if name and text and not name.startswith("fal."):
            pairs.append(f"{name}={text}")
    while len(",".join(pairs)) > _LONGEST or len(pairs) > _MOST_PAIRS:
        pairs.pop()
    return ",".join(pairs)


def _plain(text: str) -> str:
    """The text without accents."""
    if text.isascii():
        return text
    return "".join(each for each in normalize("NFKD", text) if not combining(each))


def refuses_tags(message: str) -> bool:
    """Whether fal's message about a refused submission is about its tags."""
    return _REFUSED.search(message) is not None


__all__ = ["START_TIMEOUT", "TAGS", "refuses_tags", "tags_header"]
