"""The URLs of a request that is known only by its id. The form is fal-client's (facts §2.2)."""

from __future__ import annotations

from typing import Any

from fal_client.client import AsyncRequestHandle

from kling_batch.outcome import Handle


def handle_of(endpoint: str, request_id: str) -> Handle:
    """Owner and app, without the endpoint's sub-path, as the live service has it."""
    unused: Any = None  # the handle's own client; only its URLs are wanted
    built = AsyncRequestHandle.from_request_id(unused, endpoint, request_id)
    return Handle(
        request_id=request_id,
        response_url=built.response_url,
        status_url=built.status_url,
        cancel_url=built.cancel_url,
    )
