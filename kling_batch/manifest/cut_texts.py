"""Texts that YAML ends at ` #`: the warning shows what is sent, as templates and defaults make it.

Found by `yaml_source.py`, which knows no jobs. Must not decide whether a comment was meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from kling_batch.core.jobs import JSON, Job
from kling_batch.core.urls import without_signatures
from kling_batch.errors import ArgumentPath, Place, Problem

#: Code of the warning.
COMMENT = "comment"
#: Letters of a text that are shown: its beginning, and its end, where it was cut.
_SHOWN = 240


def as_sent(
    warnings: Sequence[Problem],
    jobs: Sequence[Job],
    find: Callable[[Job, ArgumentPath], Place],
) -> list[Problem]:
    """The warnings, with the text of the first job that such a value goes to."""
    places = {warning.place for warning in warnings if warning.code == COMMENT}
    if not places:
        return [*warnings]
    sent: dict[Place, str] = {}
    for job in jobs:
        for path, text in _texts(job.arguments, ()):
            if (place := find(job, path)) in places:
                sent.setdefault(place, text)
    return [
        _showing(warning, sent[warning.place])
        if warning.code == COMMENT and warning.place in sent
        else warning
        for warning in warnings
    ]


def _showing(warning: Problem, text: str) -> Problem:
    shown = without_signatures(text)
    if len(shown) > _SHOWN:
        half = _SHOWN // 2
        shown = f"{shown[:half]} … {shown[-half:]}"
    quoted = json.dumps(shown, ensure_ascii=False)
    return replace(
        warning,
        message=f"the text ends before ` #`, the rest is a comment; what is sent: {quoted}",
    )


def _texts(value: JSON, path: ArgumentPath) -> Iterator[tuple[ArgumentPath, str]]:
    """Every text of these arguments, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _texts(each, (*path, name))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _texts(each, (*path, index))
