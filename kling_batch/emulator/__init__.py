"""Emulator of fal.ai: a server with fal's protocol, so that a batch can be tried without paying.

Emulated: the queue (submit, status, status stream, result, cancel, start deadlines) for all
Kling O3 endpoints, with the runner's input validation; one account with concurrency slots,
balance, lock and keys; uploads in the four ways fal's clients use; CDN files that are real
pictures and clips, with Range, ETag and expiry; the platform API's pricing, estimates, request
lists, billing events, models and balance; faults at every stage; its own record of charges.

Not emulated: webhooks, direct calls on fal.run, realtime, workflows, queue priorities and
automatic retries of the platform, access rules of files, usage and analytics reports, payload
deletion. Inputs on other hosts are assumed to be valid and never fetched.

It is written from docs/fal-api.md and must not share code with the client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from .books import Books, payload_hash
from .errors import EmulatorError
from .faults import ConnectionDropped, Fault, FaultPlan, load_plan
from .settings import Settings
from .world import World

__all__ = [
    "Books",
    "ConnectionDropped",
    "EmulatorError",
    "Fault",
    "FaultPlan",
    "Settings",
    "World",
    "create_app",
    "load_plan",
    "payload_hash",
]

_Message = MutableMapping[str, Any]
ASGIApp = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]


def create_app(world: World) -> ASGIApp:
    """ASGI application for `world`; the web framework is imported only here."""
    from .app import App  # noqa: PLC0415

    return App(world)
