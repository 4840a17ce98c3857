"""Connections to fal: the key, the backup domain, and the emulator's gateway.

Must not know what is asked over them; that is for `client` and `output.download`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import NamedTuple

from fal_client.client import USER_AGENT

from kling_batch.wire.addresses import address_of, parsed
from kling_batch.wire.environment import usable_no_proxy
from kling_batch.wire.forwarded import Forwarded
from kling_batch.wire.headers import Authorized
from kling_batch.wire.logged import Logged
from kling_batch.wire.protocol import Reply, Request, Timeouts, Wire, WireError
from kling_batch.wire.routes import Gateway, for_files, network

#: fal's second domains, and how long its client waits for a connection to either
#: (docs/fal-api.md#fal-client-environment).
BACKUP_DOMAINS = {"fal.run": "falrun.com", "queue.fal.run": "queue.falrun.com"}
BACKUP_CONNECT_TIMEOUT = 5.0

_DOUBLED = frozenset(BACKUP_DOMAINS) | frozenset(BACKUP_DOMAINS.values())


class BackupDomains:
    """Sends what could not connect to one of fal's domains to its other one, as fal-client does."""

    def __init__(self, wire: Wire) -> None:
        """`wire` sends each of the two."""
        self._wire = wire

    def send(self, request: Request) -> AbstractAsyncContextManager[Reply]:
        """See `Wire.send`."""
        host = address_of(request.url).host
        if host in _DOUBLED:
            request = request._replace(timeouts=_sooner(request.timeouts))
        if host not in BACKUP_DOMAINS:
            return self._wire.send(request)
        return _OnEither(self._wire, request, BACKUP_DOMAINS[host])


@cache
def _sooner(timeouts: Timeouts) -> Timeouts:
    """For one of two domains; reads and submissions have one value each."""
    return timeouts._replace(connect=min(timeouts.connect, BACKUP_CONNECT_TIMEOUT))


class _OnEither(Forwarded):
    """A request and its answer, from the backup domain where fal's first does not connect."""

    def __init__(self, wire: Wire, request: Request, backup: str) -> None:
        super().__init__(wire, request)
        self._backup = backup

    async def __aenter__(self) -> Reply:
        try:
            return await self.enter(self.request)
        except WireError as error:
            if error.connected or error.began:
                raise
            url = str(parsed(self.request.url).copy_with(host=self._backup))
            try:
                return await self.enter(self.request._replace(url=url))
            except WireError as second:
                # Of two domains that do not connect, the first is told.
                if second.connected or second.began:
                    raise
                raise error from None


class Lines(NamedTuple):
    """The two ways out of a run."""

    api: Authorized
    #: For output files: without the key, redirected, the bodies as they are stored.
    files: Wire


@asynccontextmanager
async def connections(
    auth: str,
    *,
    gateway: str | None = None,
    wire: Wire | None = None,
    trace: Callable[[str], None] | None = None,
) -> AsyncIterator[Lines]:
    """A wire with the key for fal's API, and one without it for files.

    Args:
        auth: the `Authorization` header.
        gateway: the emulator's address; None for fal.
        wire: takes the place of sockets, for instance to an emulator in process.
        trace: is told of every request that goes over sockets, without secrets.

    Raises:
        UsageError: proxies or certificates of the environment cannot be used.
    """
    # httpx logs every URL at INFO; signed URLs are secrets.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # For the whole run: fal-client makes clients of its own for uploads.
    with usable_no_proxy():
        if wire is not None:
            yield _lines(wire, wire, auth)
            return
        async with network(direct=gateway is not None) as sockets:
            told = sockets if trace is None else Logged(sockets, trace)
            if gateway is None:
                yield _lines(BackupDomains(told), told, auth)
            else:
                emulator = Gateway(told, gateway)
                yield _lines(emulator, emulator, auth)


def _lines(api: Wire, files: Wire, auth: str) -> Lines:
    agent = {"User-Agent": USER_AGENT}
    return Lines(Authorized(api, agent, auth), for_files(files, agent))
