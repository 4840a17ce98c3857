"""Addresses as they travel, and what of a request cannot be sent at all. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urljoin

import httpx

from kling_batch.wire.protocol import AddressError, Request, WireError

#: A request's URLs recur: status and result are asked for again and again.
_REMEMBERED = 4096

#: What stands in a URL as it is written, with nothing to quote, to decode or to resolve: a name
#: that is no IP address, no port, no query, no segment that begins with a dot.
_PLAIN = re.compile(r"(https?)://([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+)(?:/[\w~-][\w.~-]*)+", re.ASCII)
#: Longer ones, and names in punycode, are for the whole parser.
_PLAIN_LENGTH = 2048


class Address(NamedTuple):
    """What a connection needs of a URL."""

    #: All of it, quoted.
    text: str
    scheme: str
    host: str
    #: None: the one of the scheme.
    port: int | None


@lru_cache(_REMEMBERED)
def address_of(url: str) -> Address:
    """The parts of a URL as `parsed` gives them; fal's own are read without its work.

    Raises:
        AddressError: there can be no server at this address.
    """
    if (plain := _PLAIN.fullmatch(url)) and len(url) <= _PLAIN_LENGTH and "xn--" not in url:
        return Address(url, plain[1], plain[2], None)
    address = parsed(url)
    return Address(str(address), address.scheme, address.host, address.port)


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
    if (text := "".join(request.headers.values())).isascii() and text.isprintable():
        return
    for name, value in request.headers.items():
        if not (value.isascii() and value.isprintable()):
            raise WireError("LocalProtocolError", f"the header {name} cannot be sent", began=False)
