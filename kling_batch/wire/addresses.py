"""Addresses as they travel, and what of a request cannot be sent at all. Pure."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urljoin

import httpx

from kling_batch.wire.protocol import AddressError, Request, WireError

#: A request's URLs recur: status and result are asked for again and again.
_REMEMBERED = 4096


@lru_cache(_REMEMBERED)
def parsed(url: str) -> httpx.URL:
    """The address, quoted as httpx and so fal-client write it: a signature stays what it is.

    Raises:
        AddressError: there can be no server at this address.
    """
    try:
        address = httpx.URL(url)
        host, port = address.host, address.port
    except (httpx.InvalidURL, UnicodeError, ValueError, TypeError) as error:
        raise AddressError(str(error)) from None
    if address.scheme not in ("http", "https") or not host:
        raise AddressError("no host, or not http")
    if port is not None and not 0 < port < 65536:
        raise AddressError(f"there is no port {port}")
    return address


def redirected(url: str, location: str) -> str:
    """Where a `Location` leads from an address."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise AddressError(str(error)) from None


def check_headers(request: Request) -> None:
    """Refuse header values that would end their line; the value itself is not repeated.

    Raises:
        WireError: nothing was sent.
    """
    for name, value in request.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise WireError("LocalProtocolError", f"the header {name} cannot be sent", began=False)
