"""Text for people: nothing steers a terminal, and data keep their content."""

from __future__ import annotations

import json
import unicodedata

import pytest

from kling_batch.core.text import clean, escaped

HOSTILE = [
    "\x1b[31mred",
    "\x1b]0;owned\x07",
    "\x9b31m",
    "\u202efox",
    "\u2066x\u2069",
    "a\rb",
    "\x08\x08",
    "a\u2028b",
    "\ufeffx",
    "\U000e0041",
    "\ud83d",
    "\x7f",
    "\u200e",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_that_steers_a_terminal_passes(text: str) -> None:
    for shown in (escaped(text), clean(text)):
        assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize("text", [*HOSTILE, "plain", "\U0001f98a", "a\u200db"], ids=ascii)
def test_escapes_mean_the_same_inside_json(text: str) -> None:
    document = json.dumps({"prompt": text}, ensure_ascii=False)

    assert json.loads(escaped(document)) == {"prompt": text}


@pytest.mark.parametrize(
    "text", ["a\tb\n", "a\r\nb", "\U0001f469\u200d\U0001f680", "\u00e4\u05d0", "…→"]
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert escaped(text) == text
