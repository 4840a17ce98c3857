"""Every row of a ledger as plain values, one after another, for `export --jsonl`.

Reads with a cursor, so that memory does not grow with the ledger. The shape is described in
docs/export.md and has a version: fields are added, never renamed. Must not write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from kling_batch.ledger.reader import Reader
from kling_batch.ledger.row_values import query_as

#: Kind of record → the rows that it is made of, in the order in which they are written: what a
#: record refers to comes before it.
_SELECTS: dict[str, str] = {
    "ledger": "select uuid, service, created_at from ledger",
    "run": (
        "select id, command, batches, pid, host, version, cap_micro_usd, started_at, ended_at,"
        " exit_code from runs order by id"
    ),
    "job": (
        "select key, endpoint, mode, tier, take, arguments, first_seen_at from jobs order by rowid"
    ),
    "name": (
        "select n.batch, n.job_id, n.take, n.job_key, n.path, n.estimate_micro_usd, n.place,"
        " n.named_at, n.retired_at{tags} from names n order by n.rowid"
    ),
    "attempt": (
        "select a.*, m.charged_micro_usd, m.exposed_micro_usd from attempts a"
        " join attempt_money m on m.attempt_id = a.id order by a.id"
    ),
    "event": (
        "select id, attempt_id, run_id, at, event, from_state, to_state, data from events"
        " order by id"
    ),
    "file": (
        "select f.path, x.attempt_id, x.output_index, x.sha256, x.size, x.content_type, x.ext,"
        " x.saved_at, f.placed_at, f.superseded_at"
        " from files f join artifacts x on x.id = f.artifact_id order by x.id, f.path"
    ),
    "rendition": (
        "select path, source_path, source_sha256, name, recipe, recipe_digest, begun_at, sha256,"
        " size, content_type, made_at, failure as reason from renditions order by path"
    ),
    "verdict": "select * from verdicts order by id",
}
#: Kinds that ledgers of older versions do not have, and their tables.
_LATER = {"rendition": "renditions", "verdict": "verdicts"}

_TAGS = (
    ", (select json_group_array(tag) from tags t where t.batch = n.batch and t.job_id = n.job_id)"
    " as tags"
)

#: Columns that hold JSON.
_JSON = {"batches", "arguments", "tags", "payload", "output", "failure", "data", "recipe"}
_MICRO = "_micro_usd"


def records(reader: Reader) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and fields of every record; a kind that the ledger does not have yet is left out."""
    tables = set(reader.db.table_names())
    for kind, sql in _SELECTS.items():
        if _LATER.get(kind, "jobs") not in tables:
            continue
        select = sql.replace("{tags}", _TAGS if "tags" in tables else "")
        for fields in query_as(reader.db, reader.path, _fields, select):
            yield kind, fields


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {_field(name): _value(name, value) for name, value in row.items()}


def _field(column: str) -> str:
    return f"{column.removesuffix(_MICRO)}_usd" if column.endswith(_MICRO) else column


def _value(column: str, value: Any) -> Any:
    if value is None:
        return None
    if column.endswith(_MICRO):
        return value / 1_000_000
    return json.loads(value) if column in _JSON else value
