"""Files that options name to be written, checked before the command does anything else.

Must not decide what may be written: that is for `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kling_batch import operations
from kling_batch.cli.options import came_from
from kling_batch.core.jobs import Batch
from kling_batch.settings import RunOptions, resolve


def check_named_files(
    files: Mapping[str, Path | None],
    batches: Sequence[Batch],
    options: RunOptions,
    *,
    read: Path | None = None,
    single: bool = False,
) -> Callable[[Path], str]:
    """Refuse files that must stay, by the option that names each; returns what asks again.

    Args:
        files: by the option that names each.
        batches: the loaded manifests.
        options: which ledger it is about.
        read: one more file that the command reads.
        single: a single-shot command.

    Raises:
        UsageError: one of them would replace what is needed.
    """
    if not any(files.values()):
        return lambda _: ""
    ledger = resolve(batches, options, single=single).ledger
    named = operations.NamedFiles(ledger, batches, [read] if read else [])
    named.check({flag + came_from(flag): file for flag, file in files.items()})
    return named.refusal
