"""Values that jobs answer with in place of a file, such as the id of a voice.

Read from fal's answer, or from the document that was saved of it. Must not ask fal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import JSON
from kling_batch.core.locations import Location
from kling_batch.output.store import store_for


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


def documents(files: Iterable[tuple[Location, str]]) -> Iterator[JSON]:
    """What is in saved answers: of each file its location and digest; others are left out."""
    for at, digest in files:
        with suppress(OSError, ValueError, RecursionError):
            data = store_for(at).read(at)
            if sha256(data).hexdigest() == digest:
                yield json.loads(data)
