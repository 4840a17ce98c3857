"""Looking before planning: what the ledger knows and what lies on the disk, brought to the plan.

Reads only, so that `plan` and `run` see the same. Must not decide anything itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kling_batch.jobs import Batch, Job, JobKey, canonical_json
from kling_batch.plan import OnDisk, Plan, make_plan, selected
from kling_batch.records import File, Reader
from kling_batch.settings import Settings
from kling_batch.shelf import Shelf
from kling_batch.takes import with_extra_takes


def shelf_of(settings: Settings) -> Shelf:
    """The output folders, with the ledger's folder as the root of stored names."""
    return Shelf(settings.roots, settings.ledger.parent)


def wanted(reader: Reader | None, batches: Sequence[Batch]) -> tuple[Batch, ...]:
    """The batches with the takes that a person asked for beyond the manifests."""
    if reader is None:
        return tuple(batches)
    return tuple(with_extra_takes(batch, reader.extra_takes(batch.name)) for batch in batches)


def survey(
    reader: Reader | None,
    batches: Sequence[Batch],
    settings: Settings,
    *,
    retry: Callable[[Job], bool] | None = None,
) -> Plan:
    """The plan for these manifests as the ledger and the disk stand; no ledger, no history."""
    jobs = [job for batch in batches for job in batch.jobs]
    if retry is None:
        retry = lambda _: settings.options.retry_failed  # noqa: E731
    if reader is None:
        plan = make_plan(jobs, {}, on_disk=lambda _: OnDisk.MISSING, attempts=settings.attempts)
    else:
        plan = make_plan(
            jobs,
            reader.standings(),
            on_disk=Disk(shelf_of(settings), reader.files()).where,
            changed=Changes(reader, batches).of,
            retry=retry,
            attempts=settings.attempts,
        )
    return selected(plan, settings.options.limit)


class Disk:
    """Which of the ledger's files are where they should be; lists each folder once."""

    def __init__(self, shelf: Shelf, files: Mapping[JobKey, list[File]]) -> None:
        """`files` is the ledger's word; the disk has the last one."""
        self._shelf = shelf
        self._files = files
        self._folders: dict[str, frozenset[str]] = {}

    def where(self, job: Job) -> OnDisk:
        """Whether every output of a succeeded job lies under the name the manifest wants."""
        by_index: dict[int, list[File]] = {}
        for file in self._files.get(job.key, ()):
            by_index.setdefault(file.index, []).append(file)
        verdict = OnDisk.HERE if by_index else OnDisk.MISSING
        for index, files in by_index.items():
            wanted = self._shelf.wanted(job.batch, job.output_path(index, files[0].ext))
            stored = self._shelf.stored(wanted)
            if any(file.path == stored for file in files) and self._exists(wanted):
                continue
            if not any(self._exists(self._shelf.located(file.path)) for file in files):
                return OnDisk.MISSING
            verdict = OnDisk.ELSEWHERE
        return verdict

    def _exists(self, path: Path) -> bool:
        folder, name = os.path.split(path)
        names = self._folders.get(folder)
        if names is None:
            try:
                names = frozenset(os.listdir(folder or "."))  # noqa: PTH208 - no Path per file
            except OSError:
                names = frozenset()
            self._folders[folder] = names
        return name in names


class Changes:
    """What differs between a job and the one that had its name before."""

    def __init__(self, reader: Reader, batches: Sequence[Batch]) -> None:
        """Reads the registered names of each batch once."""
        self._reader = reader
        self._before = {
            batch.name: {
                **reader.earlier_names(batch.name),
                **{name: key for name, (key, _) in reader.current_names(batch.name).items()},
            }
            for batch in batches
        }
        self._earlier = {batch.name: reader.earlier_names(batch.name) for batch in batches}

    def of(self, job: Job) -> str:
        """The names of the parameters that differ, or nothing where the name is new."""
        name = (job.id, job.take)
        known = self._before.get(job.batch, {}).get(name)
        if known == job.key:  # registered by a run that did not come to pay for it
            known = self._earlier.get(job.batch, {}).get(name)
        if known is None or known == job.key:
            return ""
        sql = "select endpoint, arguments from jobs where key = ?"
        for row in self._reader.rows(sql, [known]):
            before = json.loads(row["arguments"])
            now = json.loads(canonical_json(job.arguments))
            names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
            if row["endpoint"] != job.endpoint:
                names.insert(0, "endpoint")
            return ", ".join(names) or "take"
        return ""
