"""Addresses of fal's queue, in the form that fal-client gives them. Pure.

fal-client loads where an address is made: it is heavy, and most commands send nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from kling_batch.core.diagnostics import show
from kling_batch.core.outcomes import Handle
from kling_batch.core.urls import host_of
from kling_batch.errors import UsageError

#: What fal-client takes for hosts, when it is imported.
_HOSTS = ("FAL_RUN_HOST", "FAL_QUEUE_RUN_HOST")


def check_hosts(environ: Mapping[str, str]) -> None:
    """Raise `UsageError` where the environment names a host that can be none.

    Each request would fail by it, and each job with its request.
    """
    for name in _HOSTS:
        host = environ.get(name)
        if host is not None and not _is_host(host):
            raise UsageError(f"{name} is no host: {show(host)}; nothing was sent; unset it")


def _is_host(host: str) -> bool:
    try:
        parts = urlsplit(f"https://{host}")
        port = parts.port
    except ValueError:
        return False
    alone = host.isprintable() and not set(host) & set("/?#@ \\")
    return alone and port != 0 and bool(host_of(f"https://{host}"))


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
    if name in (".", ".."):  # would lead out of the endpoint's path; fal has no such id
        name = name.replace(".", "%252E")
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
