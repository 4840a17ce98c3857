"""Routes of fal.ai: the OpenAPI document of an endpoint, made from its fields. Needs no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response

from .endpoints import Endpoint, Field
from .faults import Call
from .http import Incoming, refused
from .misbehaviour import guarded

_PATH = ("api", "openapi", "queue", "openapi.json")
_URL = {"type": "string"}


async def handle(incoming: Incoming) -> Response:
    """Answer a request for a schema."""
    endpoint_id = incoming.query("endpoint_id") or ""

    async def answer() -> Response:
        if incoming.path != _PATH or incoming.method != "GET":
            raise refused(404, "Not Found")
        endpoint = incoming.world.endpoint(endpoint_id)
        if endpoint is None or not endpoint.known:
            raise refused(404, f"App {endpoint_id} not found")
        return JSONResponse(document(endpoint))

    return await guarded(incoming, Call(stage="schema", endpoint=endpoint_id), answer)


def document(endpoint: Endpoint) -> dict[str, Any]:
    """The document, in the form of fal's: the input is a component that the path refers to."""
    required = [name for name, field in endpoint.fields.items() if field.required]
    properties = {name: _property(field) for name, field in endpoint.fields.items()}
    body = {"schema": {"$ref": "#/components/schemas/Input"}}
    return {
        "openapi": "3.0.4",
        "info": {"title": f"Queue OpenAPI for {endpoint.id}", "version": "1.0.0"},
        "components": {
            "schemas": {
                "Input": {"type": "object", "properties": properties, "required": required},
            }
        },
        "paths": {
            f"/{endpoint.id}/requests/{{request_id}}": {"get": {}},
            f"/{endpoint.id}": {
                "post": {"requestBody": {"required": True, "content": {"application/json": body}}}
            },
        },
    }


def _property(field: Field) -> dict[str, Any]:
    schema = dict(_KINDS[field.kind])
    low, high = _LIMITS.get(field.kind, ("", ""))
    if low and field.low is not None:
        schema[low] = field.low
    if high and field.high is not None:
        schema[high] = field.high
    if field.kind == "enum":
        schema["enum"] = list(field.allowed)
    if field.required:
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


_KINDS: Mapping[str, Mapping[str, Any]] = {
    "text": {"type": "string"},
    "texts": {"type": "array", "items": {"type": "string"}},
    "url": _URL,
    "urls": {"type": "array", "items": _URL},
    "enum": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "shots": {"type": "array", "items": {"type": "object"}},
    "elements": {"type": "array", "items": {"type": "object"}},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
}
_LIMITS: Mapping[str, tuple[str, str]] = {
    "text": ("", "maxLength"),
    "texts": ("", "maxItems"),
    "urls": ("", "maxItems"),
    "shots": ("", "maxItems"),
    "elements": ("", "maxItems"),
    "int": ("minimum", "maximum"),
    "float": ("minimum", "maximum"),
}
