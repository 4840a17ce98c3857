"""Everything that a ledger holds as JSON lines, with the name and version of their shape.

Must not hold more than one record in memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from kling_batch import __version__
from kling_batch.core.jobs import JSON
from kling_batch.ledger.everything import records
from kling_batch.ledger.reader import Reader

#: Fields and kinds are added within a version; what is renamed or removed makes the next one.
SCHEMA_VERSION = 1


def lines(reader: Reader) -> Iterator[str]:
    """A line for each record; the first names the shape, the last counts the records."""
    head: dict[str, JSON] = {
        "record": "export",
        "schema_version": SCHEMA_VERSION,
        "program": f"kling-batch {__version__}",
        "path": str(reader.path),
    }
    yield json.dumps(head, ensure_ascii=False)
    counts: dict[str, int] = {}
    for kind, fields in records(reader):
        counts[kind] = counts.get(kind, 0) + 1
        yield json.dumps({"record": kind, **fields}, ensure_ascii=False)
    yield json.dumps({"record": "end", "counts": counts})
