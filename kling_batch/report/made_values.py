"""Values that jobs made in place of a file, such as the id of a voice, for whatever shows jobs.

Read from fal's answer as the ledger has it. Must not open files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import JSON
from kling_batch.core.records import StatusRow
from kling_batch.ledger.reader import Reader


def value_name(endpoint_id: str) -> str:
    """The field of an endpoint's answer that is its product; empty where it makes files."""
    endpoint = by_id(endpoint_id)
    return endpoint.value if endpoint else ""


def value_in(endpoint_id: str, output: JSON) -> str | None:
    """The value that this answer of an endpoint has, or None."""
    name = value_name(endpoint_id)
    value = output.get(name) if name and isinstance(output, dict) else None
    return value if isinstance(value, str) else None


def value_of(reader: Reader, endpoint_id: str, attempt_id: int | None) -> str | None:
    """The value that an attempt made, or None; the ledger is asked only where there may be one."""
    if attempt_id is None or not value_name(endpoint_id):
        return None
    return value_in(endpoint_id, reader.attempt(attempt_id).output)


def with_values(reader: Reader, rows: Iterable[StatusRow]) -> Iterator[StatusRow]:
    """The same rows, each with the value that its job made."""
    for row in rows:
        value = value_of(reader, row.endpoint, row.attempt_id)
        yield row if value is None else row._replace(value=value)
