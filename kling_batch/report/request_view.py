"""Request of a job as people read it before paying: prompt and arguments as they will be sent.

URLs are shown without signatures, files by their paths. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from kling_batch.core.jobs import (
    JSON,
    PICKED,
    Job,
    LocalFile,
    OutputOf,
    canonical_json,
    job_label,
)
from kling_batch.core.text import clean
from kling_batch.core.urls import unsigned


def as_lines(job: Job) -> Iterator[str]:
    """A line for the prompt, one for each other argument."""
    arguments = dict(job.arguments)
    for name in ("prompt", "multi_prompt"):
        if name in arguments:
            yield f"{name}: {_shown(arguments.pop(name))}"
    for name, value in arguments.items():
        yield f"{clean(name)}: {_shown(value)}"


def as_arguments(job: Job) -> JSON:
    """The arguments as ledger and sidecars have them."""
    return json.loads(canonical_json(job.arguments))


def _shown(value: JSON) -> str:
    plain = _plain(value)
    return clean(plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False))


def _plain(value: JSON) -> JSON:
    """The value with files, jobs and URLs as text."""
    match value:
        case LocalFile(path=path):
            return path
        case OutputOf(job_id=job_id, take=take, index=index):
            picked = take == PICKED
            name = f"the picked take of {job_id}" if picked else job_label(job_id, take)
            return f"output {index + 1} of {name}"
        case str():
            return unsigned(value)
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
