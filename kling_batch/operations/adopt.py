"""Adoption of an existing file as a job's result; nothing is rendered or paid.

For renders that were bought elsewhere, or before this ledger. Must not touch the network.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import Job
from kling_batch.core.locations import Location
from kling_batch.core.outcomes import Fetched
from kling_batch.errors import UsageError
from kling_batch.ledger import overrides
from kling_batch.ledger.ledger import Ledger, Placed
from kling_batch.ledger.names import all_named, find, job_of
from kling_batch.output.files import digest_of
from kling_batch.output.filetype import FileBytes, Kind, sniff, whole
from kling_batch.output.spool import spool_of
from kling_batch.output.store import OutputStore


def adopt_file(ledger: Ledger, name: str, file: Path, output: Location | None) -> str:
    """Copy `file` to where the job's output belongs and record it; its stored path.

    Raises:
        UsageError: no such job or file, no media file, a file of another kind than the job makes,
            or the job has a live or paid attempt.
    """
    named = find(ledger, name)
    if named.gone:
        raise UsageError(f"{named.label} is in no manifest any more: another job may have its path")
    kind = _kind(file)
    job = job_of(named)
    _must_be_made_by(job, file, kind)
    overrides.must_be_adoptable(ledger, job)
    root = output or _root_of(ledger, job.batch)
    store = OutputStore({job.batch: root}, ledger.path.parent, spool_of(ledger.path))
    final = store.prepare(job.batch, job.output_path(0, kind.ext))
    item = Fetched(
        temporary="",
        sha256=digest_of(file),
        size=file.stat().st_size,
        ext=kind.ext,
        content_type=kind.content_type,
    )
    placed = Placed(index=0, path=store.stored(final), fetched=item, url="")
    # The file first, then its row: a crash in between leaves an extra file, never a missing one.
    if not isinstance(final, Path) or not final.exists() or not final.samefile(file):
        temporary = store.temporary(final, "adopted", 0)
        shutil.copyfile(file, temporary)
        with temporary.open("rb+") as copy:
            os.fsync(copy.fileno())
        spooled = replace(item, temporary=str(temporary))
        store.publish(
            temporary,
            final,
            sha256=item.sha256,
            record=None,
            superseded=lambda path, kept_as, _digest: ledger.supersede(path, kept_as),
        )
        store.recorded(placed.path, spooled)
    overrides.adopt(ledger, job, placed)
    return placed.path


def _root_of(ledger: Ledger, batch: str) -> Location:
    """The output folder that the batch's latest file lies in; without one, that of the ledger."""
    store, standings = OutputStore({}, ledger.path.parent), ledger.standings()
    tried = [
        (standings[job.key].attempt_id, job)
        for job in all_named(ledger)
        if job.batch == batch and job.key in standings
    ]
    for attempt_id, named in sorted(tried, key=lambda each: each[0], reverse=True):
        for file in ledger.files_of(attempt_id):
            root, belongs, rest = file.path.rpartition(
                job_of(named).output_path(file.index, file.ext)
            )
            if belongs and not rest and (not root or root.endswith("/")):
                return store.located(root.removesuffix("/") or ".")
    return ledger.path.parent


def _must_be_made_by(job: Job, file: Path, kind: Kind) -> None:
    """Raise where the catalogue knows that the job makes something else: others would get it."""
    endpoint = by_id(job.endpoint)
    if endpoint is None:
        return
    given = kind.content_type.partition("/")[0]
    # A sound in MPEG-4 looks like a clip unless its writer says M4A.
    if given == endpoint.output or (kind.content_type, endpoint.output) == ("video/mp4", "audio"):
        return
    if endpoint.output not in ("image", "video", "audio"):
        raise UsageError(f"{job.label} makes no file: its result is a {endpoint.output}")
    made, found = (_NOUNS.get(each, "another file") for each in (endpoint.output, given))
    raise UsageError(f"{file} is {found}, but {job.label} makes {made}; nothing was adopted")


_NOUNS = {"image": "a picture", "video": "a clip", "audio": "a sound"}


def _kind(file: Path) -> Kind:
    try:
        with file.open("rb") as opened:
            content = FileBytes(opened)
            kind = sniff(content.head)
            if kind is not None and whole(content, kind):
                return kind
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    raise UsageError(f"{file}: not a complete image or video file")
