"""Connections to fal: proxies, certificates, the emulator's gateway, and whether a POST has left.

Must not know what is asked over them; that is for `client` and `output.download`.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.request import getproxies

import httpx
from fal_client.client import USER_AGENT, AsyncBackupDomainTransport

from kling_batch.errors import UsageError

READ_TIMEOUT = httpx.Timeout(30.0, connect=15.0, pool=60.0)

#: No bound: the run's own window and rate are that. httpcore never gives back the place of a
#: tunnel whose handshake failed, so that a hundred such would end every connection for good.
LIMITS = httpx.Limits(max_connections=None)


class SendTracker:
    """Whether a request began to leave this machine, from httpcore's trace.

    A tunnel that a proxy drops looks like a lost answer, but the request was never sent.
    """

    def __init__(self, request: httpx.Request) -> None:
        """Listens from now on; `request` must not have been sent."""
        self._method = request.method.encode()
        self._heard = self._left = False
        request.extensions["trace"] = self._trace

    async def _trace(self, name: str, info: Mapping[str, Any]) -> None:
        self._heard = True
        if name.endswith(".send_request_headers.started"):
            # Before it, the proxy is asked for a tunnel, with a request of another method.
            self._left |= getattr(info.get("request"), "method", self._method) == self._method

    @property
    def never_began(self) -> bool:
        """True only if that is certain; False for a transport without trace events."""
        return self._heard and not self._left


class GatewayTransport(httpx.AsyncBaseTransport):
    """Sends every host's requests to one address, the host as first path segment.

    The emulator on a port is reached so; URLs in the ledger keep fal's own names.
    """

    def __init__(self, base: str) -> None:
        """`base` is the emulator's address, for example `http://127.0.0.1:8765`."""
        self._base = base.rstrip("/")
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=200))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass on under the emulator's address."""
        url = httpx.URL(f"{self._base}/{request.url.host}{request.url.raw_path.decode('ascii')}")
        headers = [(k, v) for k, v in request.headers.raw if k.lower() != b"host"]
        headers.append((b"Host", url.netloc))
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=headers,
                stream=request.stream,
                extensions=request.extensions,
            )
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._inner.aclose()


@asynccontextmanager
async def connections(
    auth: str, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """An authorised client for fal's API, and one without the key for files.

    `SSL_CERT_FILE` and proxy variables are honoured as httpx and fal-client do.
    """
    # httpx logs every URL at INFO; signed URLs are secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    agent = {"User-Agent": USER_AGENT}
    # For the whole run: fal-client makes clients of its own for uploads.
    with _usable_no_proxy():
        with _environment_errors():
            if transport is None:
                _check_proxies()
            api = httpx.AsyncClient(
                transport=transport
                or AsyncBackupDomainTransport(transport=_EnvironmentTransport()),
                headers=agent | {"Authorization": auth},
                timeout=READ_TIMEOUT,
            )
            files = httpx.AsyncClient(
                transport=transport,
                headers=agent | {"Accept-Encoding": "identity"},
                timeout=READ_TIMEOUT,
                limits=LIMITS,
                follow_redirects=True,
                max_redirects=5,
                event_hooks={"request": [_encrypted]},
            )
        async with api, files:
            yield api, files


class _EnvironmentTransport(httpx.AsyncBaseTransport):
    """The proxies and certificates of the environment, as httpx finds them, for a transport."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(limits=LIMITS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True)

    async def aclose(self) -> None:
        await self._client.aclose()


@contextmanager
def _environment_errors() -> Iterator[None]:
    """Explain proxies and certificates of the environment that cannot be used."""
    try:
        yield
    except OSError as error:
        names = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        reason = error.strerror or str(error)
        raise UsageError(
            f"the certificates of {names[0] if names else 'httpx'}: {reason}"
        ) from None
    except ImportError:
        raise UsageError(
            "the proxy that the environment names is a SOCKS proxy, which needs: "
            "pip install 'kling-batch[socks]'"
        ) from None
    except (ValueError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"the proxy that the environment names cannot be used: {reason}") from None


def _check_proxies() -> None:
    """Raise `ValueError` for a proxy whose address cannot exist; its password is not repeated."""
    for scheme, address in getproxies().items():
        if scheme not in ("http", "https", "all") or not address:
            continue
        url = httpx.URL(address if "://" in address else f"http://{address}")
        if url.scheme not in ("http", "https", "socks5", "socks5h"):
            raise ValueError(f"{scheme}: a proxy cannot be reached by `{url.scheme}`")
        if not url.host:
            raise ValueError(f"{scheme}: there is no host in the address")
        if not 0 < (url.port or 1) < 65536:
            raise ValueError(f"{scheme}: there is no port {url.port}")


@contextmanager
def _usable_no_proxy() -> Iterator[None]:
    """NO_PROXY without what httpx makes an impossible address of, for as long as this lasts.

    IPv6 ranges (`fd00::/8`) are such: fal's hosts are names, so nothing is lost.
    """
    before = {name: os.environ[name] for name in ("NO_PROXY", "no_proxy") if name in os.environ}
    for name, value in before.items():
        hosts = (host.strip() for host in value.split(","))
        os.environ[name] = ",".join(host for host in hosts if _is_usable(host))
    try:
        yield
    finally:
        os.environ.update(before)


def _is_usable(host: str) -> bool:
    """Whether httpx can use an entry of NO_PROXY."""
    if not host or host == "*":
        return True
    try:
        address = ipaddress.ip_interface(host)
    except ValueError:
        try:
            httpx.URL(host if "://" in host else f"all://*{host}")
        except httpx.InvalidURL:
            return False
        return True
    return address.version == 4 or "/" not in host


async def _encrypted(request: httpx.Request) -> None:
    """A redirect may lead anywhere; without TLS it is not followed, not even to look."""
    if request.url.scheme != "https":
        raise httpx.UnsupportedProtocol("the address is not https", request=request)
