"""fal's own description of an endpoint: its OpenAPI document, free and without a key.

Must not judge what is in it; `catalog/` does.
"""

from __future__ import annotations

from urllib.parse import urlencode

from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import Unread
from kling_batch.core.text import with_certificate_hint
from kling_batch.fal.classify import unread
from kling_batch.fal.responses import Answer
from kling_batch.wire.protocol import Request, Wire, WireError, body_of

SCHEMA_URL = "https://fal.ai/api/openapi/queue/openapi.json"
#: The document of a Kling endpoint has some ten thousand bytes.
MOST_BYTES = 4 * 1024 * 1024


async def schema_of(wire: Wire, endpoint: str) -> JSON | Unread:
    """The document of an endpoint; `wire` carries no key. The caller limits the time."""
    request = Request("GET", f"{SCHEMA_URL}?{urlencode({'endpoint_id': endpoint})}")
    try:
        async with wire.send(request) as reply:
            body = await body_of(reply, MOST_BYTES)
            answer = Answer(reply.status, reply.headers, body)
    except WireError as error:
        return Unread(with_certificate_hint(str(error)))
    if len(body) > MOST_BYTES:
        return Unread(f"the schema has over {MOST_BYTES:,} bytes")
    document = answer.json()
    if answer.status != 200:
        return unread(answer)
    if not isinstance(document, dict):
        return Unread("the answer is no schema")
    return document
