"""What is told of a run after its report: hooks for its end, and notifications.

Imported only where a manifest or the environment asks for one. Must not change what is reported of
the jobs; a signal meanwhile is the caller's exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence

import anyio

from kling_batch.core.events import StopReason
from kling_batch.core.jobs import Batch
from kling_batch.core.text import clean
from kling_batch.errors import ExitCode
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.hooks import hooks_of
from kling_batch.operations.notify import addresses_of, notify
from kling_batch.operations.received_signals import code_of, receiver
from kling_batch.report.display.ndjson import report_record
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport

#: Ends that somebody has asked for, and waits for; the words of those that come meanwhile.
_ASKED = {ExitCode.INTERRUPTED: "interrupted", ExitCode.TERMINATED: "terminated (SIGTERM)"}

_MEANWHILE = "while hooks and notifications told of the end of the run; its jobs are as reported"


async def tell(
    batches: Sequence[Batch], report: RunReport, *, idle: bool, handled: Signals
) -> StopReason | None:
    """Run the commands for the end, then send the summary; neither after Ctrl-C or SIGTERM.

    A run that had nothing to do and ended well is no message to anybody. The first signal ends the
    telling; it is returned, because whoever sent it wants nothing to follow.
    """
    if report.exit_code in _ASKED:
        return None
    stops: list[StopReason] = []
    with receiver(handled) as signals:
        async with anyio.create_task_group() as tasks:
            if signals is not None:
                tasks.start_soon(_listen, signals, stops, tasks.cancel_scope)
            await _tell(batches, report, idle=idle)
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
        stops.append(StopReason(code, f"{_ASKED[code]} {_MEANWHILE}"))
        telling.cancel()


async def _tell(batches: Sequence[Batch], report: RunReport, *, idle: bool) -> None:
    if (hooks := hooks_of(batches, _warn, os.environ)) is not None:
        await hooks.finished(report_record(report))
    addresses = addresses_of(batches, os.environ)
    quiet = idle and report.exit_code is ExitCode.OK
    if addresses and not quiet and (warning := await notify(addresses, report)):
        _warn(warning)


def _warn(message: str) -> None:
    # Not through the display: the report was its last line.
    stream = SafeStream(sys.stderr)
    stream.line(f"warning: {clean(message)}")
    stream.drain(1)
