"""Connection of one search in fal's request list: the key, the event loop, what is known before.

Imported where something is to be paid for. Must not pay or write anything.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import anyio

from kling_batch.core.jobs import Job
from kling_batch.core.recovery import Recovery
from kling_batch.engine.listed_renders import Known, ListedRenders, Search
from kling_batch.errors import AuthError
from kling_batch.fal.client import Connection, connect
from kling_batch.fal.credentials import DUMMY_AUTHORIZATION, authorization
from kling_batch.ledger.reader import Reader
from kling_batch.operations.own_loop import in_own_loop
from kling_batch.operations.services import emulator_state, now
from kling_batch.output.download import Downloader
from kling_batch.settings import Settings

#: Seconds for the whole search, and for each job that is looked for, since the list may be as long
#: as the manifest; then the run goes on with what was found.
PATIENCE = 300.0
PATIENCE_EACH = 0.02
TOO_LONG = (
    "fal's request list takes too long and was read only in part; "
    "what another ledger has paid for may not have been found"
)


def authorization_for(settings: Settings) -> str | None:
    """The key; None where there is nobody to ask."""
    if settings.options.offline:
        return None
    if settings.service == "emulator":
        # One that is started here knows what an earlier run left, or nothing.
        asked = settings.options.emulator or emulator_state(settings).exists()
        return DUMMY_AUTHORIZATION if asked else None
    try:
        return authorization()
    except AuthError:
        return None  # the run says so if it has to pay


def known(
    reader: Reader | None, wanted: Sequence[Job], found: Sequence[tuple[Job, Recovery]]
) -> Known:
    """What the ledger knows about these jobs, and what lies beside their files."""
    knowledge = Known.of(reader, wanted)
    for job, recovery in found:
        knowledge.add(job, recovery)
    return knowledge


def search(
    wanted: Sequence[Job],
    known: Known,
    reuse: Mapping[str, float],
    *,
    gateway: str | None,
    auth: str,
    trace: Callable[[str], None] | None = None,
) -> Search:
    """Search the list for these jobs; `trace` is told of every request, without secrets.

    Raises:
        KlingBatchError: it cannot be asked.
    """
    connecting = partial(connect, gateway, auth, trace=trace)
    return in_own_loop(partial(_ask, wanted, known, reuse, connecting))


async def _ask(
    wanted: Sequence[Job],
    known: Known,
    reuse: Mapping[str, float],
    connecting: Callable[[], AbstractAsyncContextManager[Connection]],
) -> Search:
    found = Search()
    patience = PATIENCE + PATIENCE_EACH * len(wanted)
    with anyio.move_on_after(patience), tempfile.TemporaryDirectory() as scratch:
        async with connecting() as fal:
            fetcher = Downloader(fal.files)
            renders = ListedRenders(fal.queue, fetcher, known, Path(scratch), now)
            found = renders.search
            return await renders.find(wanted, reuse)
    found.notices.append(TOO_LONG)
    return found
