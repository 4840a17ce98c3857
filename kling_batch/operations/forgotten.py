"""Renditions that no recipe asks for any more: what is not there either is forgotten.

Files stay where they are, and so do the rows of those that are there. Must not make anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from kling_batch.core.jobs import Batch
from kling_batch.errors import KlingBatchError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.renditions import forget_renditions
from kling_batch.operations.rendition_tasks import Sizes, unwanted
from kling_batch.output.store import OutputStore


def forget_unwanted(ledger: Ledger, batches: Sequence[Batch], store: OutputStore) -> None:
    """Remove the rows of what nobody wants any more, and is not there.

    `batches`: also those without recipes: theirs may have been removed. What ledger or store
    cannot do is left to the next run, as nothing depends on it.
    """
    with suppress(KlingBatchError, OSError):
        paths = [row.path for row in unwanted(ledger, batches)]
        sizes = Sizes(store)
        sizes.read(paths)
        if gone := [path for path in paths if sizes.of(path) is None]:
            forget_renditions(ledger, gone)
