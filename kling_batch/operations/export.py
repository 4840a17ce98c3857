"""Export of judged takes into a folder: which files, under which names, and a list of them.

Of a draft that is picked or approved, its final is exported. Must not change the ledger.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from kling_batch.core.command_line import Command
from kling_batch.core.diagnostics import InvalidValue
from kling_batch.core.jobs import JSON, JobKey, final_id, is_draft_id, output_suffix, prompt_of
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import usd_number
from kling_batch.core.records import Attempt, File
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.errors import UsageError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import LedgerJob, by_key
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.manifest.paths import PathTemplate, folded
from kling_batch.output.copies import ChangedError, CopyError, copy_out
from kling_batch.output.files import behind_links, same_file
from kling_batch.output.store import OutputStore, sidecar_of
from kling_batch.shown_location import shown

DEFAULT_NAME = "{job}{suffix}{ext}"

#: Columns of the list, in this order.
COLUMNS = (
    *("file", "batch", "job", "take", "verdict", "note", "author", "judged_at", "mode", "tier"),
    *("endpoint", "prompt", "cost_usd", "rendered_at", "request_id", "sha256", "size", "source"),
)


@dataclass(slots=True)
class Exported:
    """What an export did."""

    #: A row for each file that is in the folder now, by `COLUMNS`.
    rows: list[dict[str, JSON]] = field(default_factory=list)
    #: Why others are not there, a sentence each.
    missing: list[str] = field(default_factory=list)
    #: Judged takes that no manifest has any more.
    notes: list[str] = field(default_factory=list)

    def as_csv(self) -> str:
        """The rows under their header."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()


class _Wanted(NamedTuple):
    """A file to be exported, and the name that it gets."""

    job: LedgerJob
    row: VerdictRow
    attempt: Attempt
    #: Its names in the output folder.
    files: list[File]
    target: Path


def export_takes(
    ledger: Path,
    folder: Path,
    *,
    verdicts: Collection[Verdict] = (Verdict.PICKED,),
    name: str = DEFAULT_NAME,
    link: bool = False,
    list_file: Path | None = None,
) -> Exported:
    """Copy the takes with one of these verdicts into a folder; again, it copies what is new.

    Args:
        ledger: is read only.
        folder: made where missing.
        verdicts: which takes.
        name: of each file below the folder, with the fields of a manifest's `path:`.
        link: hard links instead of copies.
        list_file: what the caller writes afterwards; it may be none of the files, nor a sidecar.

    Raises:
        UsageError: the name cannot be used, or two files would get the same one.
        LedgerError: there is no ledger, or it cannot be read.
    """
    try:
        template = PathTemplate(name)
    except InvalidValue as error:
        raise UsageError(f"--name {name}: {error}") from None
    done = Exported()
    with Reader.open(ledger) as reader:
        judged = latest_verdicts(reader)
        jobs = _jobs(reader, judged, verdicts, done)
        wanted = list(_wanted(reader, jobs, template, folder, done))
        _must_differ(wanted)
        if list_file is not None:
            _must_be_no_copy(list_file, wanted)
        store, verify = OutputStore({}, ledger.parent), command_on(ledger, "verify")
        for each in wanted:
            _export(each, store, folder, done, link=link, verify=verify)
    return done


def _wanted(
    reader: Reader,
    jobs: Iterable[tuple[LedgerJob, VerdictRow]],
    template: PathTemplate,
    folder: Path,
    done: Exported,
) -> Iterator[_Wanted]:
    """The files of every judged take that is rendered; of the others it is noted why not."""
    for job, row in jobs:
        paid = [a for a in reader.attempts_of(job.key) if a.state is State.SUCCEEDED]
        if not paid:
            done.missing.append(f"{job.label} is {row.verdict}, and not rendered yet")
            continue
        by_index: dict[int, list[File]] = {}
        for file in reader.files_of(paid[-1].id):
            if not file.superseded:
                by_index.setdefault(file.index, []).append(file)
        if not by_index:
            done.missing.append(f"{job.label}: its file is missing; the next run downloads it")
        for files in by_index.values():
            yield _Wanted(job, row, paid[-1], files, folder / _name(template, job, files[0]))


def _jobs(
    reader: Reader,
    judged: Mapping[JobKey, VerdictRow],
    verdicts: Collection[Verdict],
    done: Exported,
) -> Iterator[tuple[LedgerJob, VerdictRow]]:
    """Each judged take once; of a draft, its final, unless that one is judged otherwise."""
    seen: set[JobKey] = set()
    rows = sorted(judged.values(), key=lambda row: row.id)
    for row in (row for row in rows if row.verdict in verdicts):
        job = by_key(reader, row.job_key)
        if job.gone:
            done.notes.append(f"{job.label} is in no manifest any more, and is left out")
            continue
        if is_draft_id(job.id):
            name = (final_id(job.id), job.take)
            if final := reader.current_names(job.batch).get(name):
                job = by_key(reader, final[0])
                own = judged.get(job.key)
                if own is not None and own.verdict is Verdict.REJECTED:
                    done.notes.append(f"{job.label} is rejected itself, and is left out")
                    continue
        if job.key not in seen:
            seen.add(job.key)
            yield job, row


def _name(template: PathTemplate, job: LedgerJob, file: File) -> str:
    try:
        path = template.fill(
            batch=job.batch, mode=job.mode, tier=job.tier, job=job.id, take=job.take
        )
    except InvalidValue as error:
        raise UsageError(f"{job.label}: {error}") from None
    return path.format(output=output_suffix(file.index), ext=file.ext)


def _must_differ(wanted: list[_Wanted]) -> None:
    """No two files may get one name, on any file system."""
    known: dict[str, _Wanted] = {}
    for each in wanted:
        first = known.setdefault(folded(str(each.target)), each)
        if first is not each:
            raise UsageError(
                f"{each.job.batch}/{each.job.label} and {first.job.batch}/{first.job.label} would "
                f"both be {each.target}; say --name, as in {{batch}}/{DEFAULT_NAME}"
            )


def _must_be_no_copy(list_file: Path, wanted: Iterable[_Wanted]) -> None:
    """The list may not take the place of a file of this export, whether it is there yet or not."""
    for each in wanted:
        for kept in (each.target, sidecar_of(each.target)):
            if same_file(list_file, kept) or _is_named_as(list_file, kept):
                raise UsageError(
                    f"--csv {shown(list_file)}: is {shown(kept)}, where this command puts "
                    f"{each.job.label}; nothing was written. Name another file"
                )


def _is_named_as(one: Path, other: Path) -> bool:
    """Whether some file system takes both names for one."""
    return folded(str(behind_links(one))) == folded(str(behind_links(other)))


def _export(
    each: _Wanted, store: OutputStore, folder: Path, done: Exported, *, link: bool, verify: Command
) -> None:
    located = [store.located(file.path) for file in each.files]
    source = next((at for at in located if store.size(at) is not None), located[0])
    file = each.files[0]
    try:
        copy_out(source, each.target, file.sha256, link=link)
    except CopyError as error:
        see = f"; see: {verify}" if isinstance(error, ChangedError) else ""
        done.missing.append(f"{each.job.label}: {error}{see}")
        return
    cost = each.attempt.cost if each.attempt.cost is not None else each.attempt.estimate
    arguments = json.loads(each.job.arguments)
    handle = each.attempt.handle
    values = (
        *(each.target.relative_to(folder).as_posix(), each.job.batch, each.job.id, each.job.take),
        *(each.row.verdict.value, each.row.note, each.row.author, each.row.at),
        *(each.job.mode, each.job.tier, each.job.endpoint, prompt_of(arguments)),
        *(usd_number(cost), each.attempt.rendered_at, handle.request_id if handle else None),
        *(file.sha256, file.size, str(source)),
    )
    done.rows.append(dict(zip(COLUMNS, values, strict=True)))
