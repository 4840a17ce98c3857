"""Whether an emulator answers at an address, asked once before anything is sent there.

Any other server answers a submission with what looks like a lost one: it would be worked with to
the end, and looked for at fal. Must not know what is to be sent.
"""

from __future__ import annotations

import json
from functools import partial

import anyio

from kling_batch.core.urls import without_signatures
from kling_batch.operations.own_loop import in_own_loop
from kling_batch.wire.protocol import Request, Timeouts, WireError, body_of

#: Seconds for the whole answer. An emulator that draws a long clip answers when it has drawn it.
PATIENCE = 10.0
#: No emulator's page is longer.
_MOST = 100_000


def why_no_emulator(address: str) -> str:
    """Ask for the page that every emulator has: what is to be said where there is none, or ""."""
    reason = in_own_loop(partial(_why_not, address.rstrip("/")))
    if not reason:
        return ""
    shown = without_signatures(address)
    return f"{shown}: this is no emulator ({reason}); start one with `kling-batch emulator`"


async def _why_not(base: str) -> str:
    """Why there is no emulator; empty where there is one."""
    # The network's libraries load only where something is sent.
    from kling_batch.wire.routes import network  # noqa: PLC0415

    request = Request("GET", f"{base}/_emulator/", timeouts=Timeouts(PATIENCE, PATIENCE))
    try:
        with anyio.fail_after(PATIENCE):
            async with network(direct=True) as wire, wire.send(request) as reply:
                status, body = reply.status, await body_of(reply, _MOST)
    except TimeoutError:
        return f"no answer within {PATIENCE:g} seconds"
    except WireError as error:
        return error.text or error.name
    if status != 200:
        return f"it answers {status}"
    return "" if _names_itself(body) else "it answers with something else"


def _names_itself(body: bytes) -> bool:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(page, dict) and "emulator" in page
