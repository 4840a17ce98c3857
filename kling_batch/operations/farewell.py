"""What is told of a run after its report: hooks for its end, and notifications.

Imported only where a manifest or the environment asks for one. Must not change report or exit code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from kling_batch.core.jobs import Batch
from kling_batch.errors import ExitCode
from kling_batch.operations.hooks import hooks_of
from kling_batch.operations.notify import addresses_of, notify
from kling_batch.report.display.ndjson import report_record
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.run_report import RunReport

#: Ends that somebody has asked for, and waits for.
_ASKED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


async def tell(batches: Sequence[Batch], report: RunReport, *, idle: bool) -> None:
    """Run the commands for the end, then send the summary; neither after Ctrl-C or SIGTERM.

    A run that had nothing to do and ended well is no message to anybody.
    """
    if report.exit_code in _ASKED:
        return
    if (hooks := hooks_of(batches, _warn, os.environ)) is not None:
        await hooks.finished(report_record(report))
    addresses = addresses_of(batches, os.environ)
    quiet = idle and report.exit_code is ExitCode.OK
    if addresses and not quiet and (warning := await notify(addresses, report)):
        _warn(warning)


def _warn(message: str) -> None:
    # Not through the display: the report was its last line.
    stream = SafeStream(sys.stderr)
    stream.line(f"warning: {message}")
    stream.drain(1)
