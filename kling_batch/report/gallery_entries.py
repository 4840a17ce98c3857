"""Entries of the gallery: every render of a ledger with its files, cost and verdict, as values.

Works while a run is writing. Must not write, and must not know the page.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kling_batch.core.jobs import JobKey, output_suffix, prompt_of
from kling_batch.core.lifecycle import STATUSES, JobStatus, State, status_of
from kling_batch.core.locations import Location, ObjectAddress, is_address
from kling_batch.core.quantities import parse_time
from kling_batch.core.records import File, NamedRender, RenditionRow
from kling_batch.core.verdicts import VerdictRow
from kling_batch.ledger.job_list import tags_of_jobs
from kling_batch.ledger.queries import named_renders
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.report.gallery_entry import Entry, Media
from kling_batch.report.gallery_waits import with_waits
from kling_batch.report.made_values import value_of


def entries_from(
    reader: Reader, *, tags: Mapping[JobKey, tuple[str, ...]] | None = None
) -> list[Entry]:
    """Every job under its present name, and every render that manifests asked for before.

    Args:
        reader: of a ledger, also while a run writes it.
        tags: those of jobs whose manifests are at hand; of the others the ledger's count.
    """
    held = reader.files()
    made = _renditions(reader)
    base = str(reader.path.parent)
    judged = latest_verdicts(reader)
    tagged, recorded = tags or {}, tags_of_jobs(reader)
    return with_waits(
        [
            _entry(
                row,
                tuple(
                    _media(file, base, made.get(file.path, ()))
                    for file in _chosen(held.get(row.attempt_id or 0, []), row.path)
                ),
                judged.get(row.job_key),
                tagged.get(row.job_key, recorded.get((row.batch, row.job_id), ())),
                value=value_of(reader, row.endpoint, row.attempt_id) or "",
                ledger=reader.path,
            )
            for row in named_renders(reader)
        ]
    )


def _entry(
    row: NamedRender,
    media: tuple[Media, ...],
    verdict: VerdictRow | None,
    tags: tuple[str, ...],
    *,
    value: str,
    ledger: Path,
) -> Entry:
    prompts = ("prompt", "multi_prompt")
    return Entry(
        batch=row.batch,
        job=row.job_id,
        take=row.take,
        key=row.job_key,
        attempt=row.attempt_id,
        state=status_of(row.state, row.remote_status),
        mode=row.mode,
        tier=row.tier,
        endpoint=row.endpoint,
        prompt=prompt_of(row.arguments),
        parameters={name: v for name, v in row.arguments.items() if name not in prompts},
        parents=tuple(dict.fromkeys(_parents(row.arguments))),
        tags=tags,
        message=_message(row),
        charged=row.charged,
        exposed=row.exposed,
        estimate=row.estimate,
        attempts=row.attempts,
        media=media,
        value=value,
        request_id=row.request_id or "",
        at=(row.rendered_at or "")[:16].replace("T", " "),
        seconds=_seconds(row),
        superseded=row.retired,
        verdict=verdict,
        ledger=ledger,
    )


def _seconds(row: NamedRender) -> float | None:
    if row.submitted_at is None or row.rendered_at is None:
        return None
    taken = parse_time(row.rendered_at) - parse_time(row.submitted_at)
    return max(0.0, taken.total_seconds())


def _parents(value: Any) -> Iterator[JobKey]:
    """Keys of the jobs whose output stands in stored arguments."""
    if isinstance(value, dict):
        output = value.get("$output")
        if isinstance(output, list) and output:
            yield JobKey(str(output[0]))
        for each in value.values():
            yield from _parents(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parents(each)


def _message(row: NamedRender) -> str:
    status = status_of(row.state, row.remote_status)
    if row.state is State.SUBMITTING:
        return "sent to fal, no answer yet"
    match status:
        case JobStatus.FAILED if row.failure:
            return row.failure
        case JobStatus.CANCELLED if row.failure:
            return f"cancelled: {row.failure}"
        case JobStatus.IN_DOUBT if row.doubt:
            return row.doubt
        case _:
            return STATUSES[status].note


def _chosen(held: Sequence[File], template: str) -> list[File]:
    """One file for each output: under the manifest's name where there is one, else any other."""
    chosen: dict[int, tuple[tuple[bool, bool], File]] = {}
    for file in held:
        wanted = template.format(output=output_suffix(file.index), ext=file.ext)
        rank = (not f"/{file.path}".endswith(f"/{wanted}"), file.superseded)
        if file.index not in chosen or rank < chosen[file.index][0]:
            chosen[file.index] = (rank, file)
    return [file for _, (_, file) in sorted(chosen.items())]


def _renditions(reader: Reader) -> dict[str, list[RenditionRow]]:
    """What was made of each file, by its stored name."""
    made: dict[str, list[RenditionRow]] = {}
    for _, row in current_renditions(reader):
        if row.sha256 is not None:
            made.setdefault(row.source_path, []).append(row)
    return made


def _media(file: File | RenditionRow, base: str, made: Sequence[RenditionRow] = ()) -> Media:
    path: Location
    size: int | None
    if is_address(file.path):
        # A store is not asked for each: the ledger names what it has, and `verify` compares.
        path, size = ObjectAddress(file.path), file.size
    else:
        path = Path(os.path.normpath(f"{base}/{file.path}"))
        size = _size(path)
    content_type = file.content_type or ""
    kind = content_type.partition("/")[0]
    renditions = (_media(row, base) for row in made)
    return Media(
        path=path,
        sha256=file.sha256 or "",
        kind=kind if kind in ("image", "video", "audio") else "file",
        content_type=content_type,
        size=file.size or 0,
        missing=size is None,
        changed=size not in (None, file.size),
        renditions=tuple(each for each in renditions if not each.missing),
    )


def is_whole(media: Media) -> bool:
    """Whether a file is there as it was saved, as far as its size tells."""
    return not isinstance(media.path, Path) or _size(media.path) == media.size


def _size(path: Path) -> int | None:
    """The size of a file; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
