"""What is told of a run after its report: hooks for its end, and notifications.

Imported only where a manifest or the environment asks for one. Must not change what is reported of
the jobs; a signal meanwhile is the caller's exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import anyio

from kling_batch.core.events import StopReason
from kling_batch.core.jobs import Batch
from kling_batch.core.text import clean
from kling_batch.errors import ExitCode
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.hooks import hooks_of, left_out
from kling_batch.operations.notify import addresses_of, notify
from kling_batch.operations.received_signals import WORDS, code_of, receiver
from kling_batch.report.display.ndjson import report_record
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport

_MEANWHILE = "while hooks and notifications told of the end of the run; its jobs are as reported"


class Ended(NamedTuple):
    """A run that is over."""

    batches: Sequence[Batch]
    report: RunReport
    #: Whether its plan had nothing to do.
    idle: bool
    #: Whether there was work nevertheless, before which was said what is left out.
    driven: bool


async def tell(ended: Ended, handled: Signals) -> StopReason | None:
    """Run the commands for the end, then send the summary; neither after Ctrl-C or SIGTERM.

    A run that had nothing to do and ended well is no message to anybody. The first signal ends the
    telling; it is returned, because whoever sent it wants nothing to follow.
    """
    if ended.report.exit_code in WORDS:
        return None
    stops: list[StopReason] = []
    with receiver(handled) as signals:
        async with anyio.create_task_group() as tasks:
            if signals is not None:
                tasks.start_soon(_listen, signals, stops, tasks.cancel_scope)
            await _tell(ended)
            tasks.cancel_scope.cancel()
    for stop in stops:
        _warn(stop.reason)
        return stop
    return None


async def _listen(
    signals: AsyncIterator[signal.Signals], stops: list[StopReason], telling: anyio.CancelScope
) -> None:
    async for number in signals:
        code = code_of(number)
        stops.append(StopReason(code, f"{WORDS[code]} {_MEANWHILE}"))
        telling.cancel()


async def _tell(ended: Ended) -> None:
    batches, report = ended.batches, ended.report
    if (hooks := hooks_of(batches, _warn, os.environ)) is not None:
        await hooks.finished(report_record(report))
    elif not ended.driven and any(batch.hooks.on_finished for batch in batches):
        for warning in left_out(batches, os.environ):
            _warn(warning)
    addresses = addresses_of(batches, os.environ)
    quiet = ended.idle and report.exit_code is ExitCode.OK
    if addresses and not quiet and (warning := await notify(addresses, report)):
        _warn(warning)


def _warn(message: str) -> None:
    # Not through the display: the report was its last line.
    stream = SafeStream(sys.stderr)
    stream.line(f"warning: {clean(message)}")
    stream.drain(1)
