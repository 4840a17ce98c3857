"""Addresses of fal's queue, in the form that fal-client gives them. Pure.

fal-client loads where an address is made: it is heavy, and most commands send nothing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from kling_batch.core.outcomes import Handle


def queue_url(endpoint: str) -> str:
    """Where requests to an endpoint are submitted."""
    from fal_client.client import QUEUE_URL_FORMAT  # noqa: PLC0415

    return f"{QUEUE_URL_FORMAT}{endpoint}"


def handle_of(endpoint: str, request_id: str) -> Handle:
    """Owner and app, without the endpoint's sub-path, as the live service has it.

    Never fails: the request it names may have been paid for, and its id must not be lost.
    """
    from fal_client.client import AsyncRequestHandle  # noqa: PLC0415

    name = quote(request_id, safe="")
    unused: Any = None  # the handle's own client; only its URLs are wanted
    try:
        base = AsyncRequestHandle.from_request_id(unused, endpoint, name).response_url
    except (ValueError, IndexError):  # no owner and app in it, for instance `workflows/one`
        base = f"{queue_url(endpoint)}/requests/{name}"
    return Handle(
        request_id=request_id,
        response_url=base,
        status_url=f"{base}/status",
        cancel_url=f"{base}/cancel",
    )
