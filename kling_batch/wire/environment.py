"""Proxies and certificates of the environment, in the meaning that httpx and fal-client give them.

Must not repeat a proxy's password.
"""

from __future__ import annotations

import ipaddress
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from ssl import SSLContext
from typing import NamedTuple
from urllib.request import getproxies

import httpx

from kling_batch.errors import UsageError
from kling_batch.wire.addresses import Address

_SOCKS = ("socks5", "socks5h")
_TRUST_SETTINGS = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class Proxy(NamedTuple):
    """A proxy: its address without credentials, and the headers that carry them."""

    address: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Proxies:
    """Proxies by the scheme of the address asked for, and what goes past them."""

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    exceptions: tuple[httpx.URL, ...] = ()

    @property
    def socks(self) -> bool:
        """Whether one of them is a SOCKS proxy."""
        return any(proxy.address.startswith(_SOCKS) for proxy in self.by_scheme.values())

    def choose(self, url: Address) -> Proxy | None:
        """The proxy for an address; None where it is reached directly."""
        proxy = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if self.exceptions and any(_matches(pattern, url) for pattern in self.exceptions):
            return None
        return proxy


def proxies() -> Proxies:
    """The proxies of the environment.

    Raises:
        UsageError: one of them cannot exist, or `NO_PROXY` could not be understood.
    """
    told = getproxies()
    with _explained():
        by_scheme = {
            scheme: _proxy(scheme, address)
            for scheme in ("http", "https", "all")
            if (address := told.get(scheme))
        }
    names = [name.strip() for name in told.get("no", "").split(",")]
    if "*" in names:
        return Proxies()
    patterns = (_pattern(name) for name in names if name)
    return Proxies(by_scheme, tuple(each for each in patterns if each is not None))


def trusted() -> SSLContext:
    """The certificates that httpx, and so fal-client, trusts: `SSL_CERT_FILE`, `SSL_CERT_DIR`.

    They are read once for a process and setting, which takes 18 ms.

    Raises:
        UsageError: they cannot be read.
    """
    return _trusted(*(os.environ.get(name) for name in _TRUST_SETTINGS))


@lru_cache(maxsize=1)
def _trusted(*told: str | None) -> SSLContext:
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        pairs = zip(_TRUST_SETTINGS, told, strict=True)
        named = [f"{name}={value}" for name, value in pairs if value]  # the first one is used
        reason = error.strerror or str(error)
        raise UsageError(
            f"the certificates of {named[0] if named else 'httpx'}: {reason}"
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


@contextmanager
def usable_no_proxy() -> Iterator[None]:
    """NO_PROXY without what httpx makes an impossible address of, for as long as this lasts.

    fal-client makes httpx clients of its own. IPv6 ranges (`fd00::/8`) are such: fal's hosts are
    names, so nothing is lost.
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


@contextmanager
def _explained() -> Iterator[None]:
    """Explain a proxy of the environment that cannot be used."""
    try:
        yield
    except (ValueError, httpx.InvalidURL) as error:
        # httpx repeats what it takes for the port: with `/` in it, a part of the password.
        known = isinstance(error, ValueError)
        reason = str(error).partition("\n")[0] if known else "it is no address"
        raise UsageError(f"the proxy that the environment names cannot be used: {reason}") from None


def httpx_client(trust: SSLContext, *, direct: bool) -> httpx.AsyncClient:
    """A client of httpx's.

    Args:
        trust: the certificates.
        direct: past the proxies of the environment.

    Raises:
        UsageError: a SOCKS proxy needs a package that is missing.
    """
    limits = httpx.Limits(max_connections=None)
    try:
        return httpx.AsyncClient(verify=trust, trust_env=not direct, limits=limits)
    except ImportError:
        raise UsageError(
            "the proxy that the environment names is a SOCKS proxy, which needs: "
            "pip install 'kling-batch[socks]'"
        ) from None


def _proxy(scheme: str, address: str) -> Proxy:
    """Raises `ValueError` where no proxy can have this address; its password is not repeated."""
    url = httpx.URL(address if "://" in address else f"http://{address}")
    if url.scheme not in ("http", "https", *_SOCKS):
        raise ValueError(f"{scheme}: a proxy cannot be reached by `{url.scheme}`")
    if not url.host:
        raise ValueError(f"{scheme}: there is no host in the address")
    if not 0 < (url.port or 1) < 65536:
        raise ValueError(f"{scheme}: there is no port {url.port}")
    headers = {}
    if url.userinfo:
        credentials = b64encode(f"{url.username}:{url.password}".encode()).decode()
        headers["Proxy-Authorization"] = f"Basic {credentials}"
    return Proxy(str(url.copy_with(username=None, password=None)), headers)


def _pattern(name: str) -> httpx.URL | None:
    """An entry of NO_PROXY as httpx reads it; None where it means nothing.

    `example.com` is that host and those below it, `.example.com` only those below.
    """
    try:
        address = ipaddress.ip_interface(name.strip("[]"))
    except ValueError:
        exact = "://" in name or name.lower() == "localhost"
        text = name if "://" in name else f"all://{'' if exact else '*'}{name}"
    else:
        if address.version == 6 and "/" in name:
            return None
        host = name.partition("/")[0].strip("[]")
        text = f"all://[{host}]" if address.version == 6 else f"all://{host}"
    try:
        return httpx.URL(text)
    except httpx.InvalidURL:
        return None


def _matches(pattern: httpx.URL, url: Address) -> bool:
    if pattern.scheme not in ("all", url.scheme):
        return False
    if pattern.port is not None and pattern.port != (url.port or 443):
        return False
    wanted = pattern.host.lower()
    if wanted.startswith("*"):
        domain = wanted[1:]
        below = domain if domain.startswith(".") else f".{domain}"
        return url.host == domain or url.host.endswith(below)
    return wanted in ("", url.host)
