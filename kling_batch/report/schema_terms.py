"""Terms of JSON Schema that describe printed JSON: texts, amounts, words, objects. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from kling_batch.core.jobs import JSON
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.exit_codes import ExitCode

Schema: TypeAlias = dict[str, JSON]

TEXT: Schema = {"type": "string"}
OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer", "minimum": 0}
OPTIONAL_WHOLE: Schema = {"type": ["integer", "null"], "minimum": 0}
NUMBER: Schema = {"type": "number"}
OPTIONAL_NUMBER: Schema = {"type": ["number", "null"]}
USD: Schema = {"type": "number", "minimum": 0, "description": "US dollars"}
OPTIONAL_USD: Schema = {"type": ["number", "null"], "minimum": 0, "description": "US dollars"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
TIME: Schema = {"type": "string", "description": "UTC, ISO 8601"}
OPTIONAL_TIME: Schema = {"type": ["string", "null"], "description": "UTC, ISO 8601"}
VERSION: Schema = {"const": SCHEMA_VERSION}
EXIT: Schema = {"enum": [code.value for code in ExitCode]}


def words(values: type[StrEnum], *more: JSON) -> Schema:
    """The words of an enumeration, and others."""
    return {"enum": [*(each.value for each in values), *more]}


def counted(values: type[StrEnum]) -> Schema:
    """How many there are of each word that occurs."""
    return {"type": "object", "propertyNames": words(values), "additionalProperties": WHOLE}


def array(item: Schema) -> Schema:
    """An array."""
    return {"type": "array", "items": item}


def ref(name: str) -> Schema:
    """The definition of this name."""
    return {"$ref": f"#/$defs/{name}"}


def object_of(fields: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object that has `fields`, and may have the others."""
    properties: Schema = {**fields, **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(fields)}


#: What options or a cap leave to other runs.
LEFT_OUT = array(object_of({"by": TEXT, "jobs": WHOLE}))
