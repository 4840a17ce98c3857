"""Whether the environment lets a manifest start programs."""

from __future__ import annotations

import pytest
from click import BOOL

from kling_batch.core.programs import forbidden_by
from kling_batch.errors import UsageError


@pytest.mark.parametrize("word", [word for word in BOOL.bool_states if word])
def test_the_words_are_those_of_the_variables_of_options(word: str) -> None:
    allowed = BOOL.bool_states[word]

    for written in (word, word.upper(), f" {word}"):
        by = forbidden_by({"KLING_BATCH_HOOKS": written})
        assert by == ("" if allowed else f"KLING_BATCH_HOOKS={written.strip()}")


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    assert forbidden_by({"KLING_BATCH_HOOKS": ""}) == forbidden_by({}) == ""


@pytest.mark.parametrize("word", ["nope", "disabled", "2", "00", " ", "'0'"])
def test_what_is_neither_yes_nor_no_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=r"KLING_BATCH_HOOKS=.*neither no nor yes, which are 0, f"):
        forbidden_by({"KLING_BATCH_HOOKS": word})
