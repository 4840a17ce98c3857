"""Values that jobs answer with in place of a file, such as the id of a voice.

Read from fal's answer, or from the document that was saved of it. Must not ask fal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import JSON


def makes_value(endpoint_id: str) -> str:
    """The field of an endpoint's answer that other jobs take; empty where it makes files."""
    endpoint = by_id(endpoint_id)
    return "" if endpoint is None else endpoint.value


def value_of(endpoint_id: str, answers: Iterable[JSON]) -> str:
    """The value in the first of these answers that has it; empty where none has."""
    name = makes_value(endpoint_id)
    for answer in answers if name else ():
        value = answer.get(name) if isinstance(answer, Mapping) else None
        if isinstance(value, str) and value:
            return value
    return ""


def documents(files: Iterable[tuple[Path, str]]) -> Iterator[JSON]:
    """What is in saved answers: of each file its path and digest; others are left out."""
    for path, digest in files:
        with suppress(OSError, ValueError, RecursionError):
            data = path.read_bytes()
            if sha256(data).hexdigest() == digest:
                yield json.loads(data)
