"""Recovery from sidecars: renders that lie beside the targets of jobs, unknown to the ledger.

A sidecar names the key, the request and the digest of its file, so that a lost or older ledger
buys nothing again. Reads only. Must not ask fal; its request list is read by
`engine/listed_renders.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kling_batch.core.jobs import JSON, Job
from kling_batch.core.locations import Location
from kling_batch.core.quantities import MicroUSD, format_time, micro_usd, parse_foreign_time
from kling_batch.core.recovery import RecoveredFile, Recovery
from kling_batch.core.schema_version import SIDECAR_VERSION
from kling_batch.output.file_store import record_in
from kling_batch.output.sidecar import CHARGED, WOULD_HAVE_COST
from kling_batch.output.store import OutputStore
from kling_batch.output.store_errors import StoreError

#: A sidecar is a few kilobytes; a larger JSON file is somebody's data.
LARGEST = 1024 * 1024
#: No request has more outputs.
OUTPUTS = 9
#: Dollars or billable units; no render has as many.
MOST = 1e9
_SUFFIX = ".json"


class _Sidecar(NamedTuple):
    """A record with the file that it is about, whether that is there or not."""

    record: Mapping[str, Any]
    file: Location

    @property
    def request_id(self) -> str:
        value = self.record.get("request_id")
        return value if isinstance(value, str) else ""


class SidecarIndex:
    """The sidecars in the folders of jobs, by key; each folder is read once, when it is needed.

    Args:
        store: the output folders.
        delivered: whether the ledger has a path as a job's file, whose sidecar is not read then.
        claimed: whether an attempt of the ledger owns a request id.
        service: `fal` or `emulator`; one never takes over what the other rendered.
    """

    def __init__(
        self,
        store: OutputStore,
        delivered: Callable[[str], bool],
        claimed: Callable[[str], bool],
        service: str,
    ) -> None:
        """Nothing is read yet."""
        self._store = store
        self._service = service
        self._delivered, self._claimed = delivered, claimed
        self._by_key: dict[str, list[_Sidecar]] = {}

    def read(self, jobs: Iterable[Job]) -> None:
        """Read the folders of these jobs, so that a file is found under any of their names."""
        folders: dict[tuple[str, str], Location] = {}
        by_folder: dict[Location, list[Job]] = {}
        for job in jobs:
            named = (job.batch, job.output_path(0, ".x").rpartition("/")[0])
            if named not in folders:
                folders[named] = self._store.wanted(*named)
            # Batches may share a folder, which is read once all the same.
            by_folder.setdefault(folders[named], []).append(job)
        for folder, wanted in by_folder.items():
            for found in self._sidecars(folder, wanted):
                self._by_key.setdefault(found.record["key"], []).append(found)

    def find(self, job: Job) -> Recovery | None:
        """The paid render of this job, or None.

        Whole files are taken over; of a request whose files are not all here, the id is enough.
        """
        if job.key not in self._by_key:
            return None
        by_request: dict[str, list[_Sidecar]] = {}
        for found in self._by_key[job.key]:
            if not self._claimed(found.request_id):
                by_request.setdefault(found.request_id, []).append(found)
        candidates = sorted(
            (_recovery(self._store, job, group) for group in by_request.values()),
            key=lambda each: (not each.files, each.since),
        )
        return next((each for each in candidates if each.files or each.paid), None)

    def _sidecars(self, folder: Location, jobs: Sequence[Job]) -> Iterator[_Sidecar]:
        """The sidecars of a folder; those of the ledger's own files only where a job wants it.

        An older ledger may know a file under a name that a later render has taken since.
        """
        names = self._store.names(folder, suffix=_SUFFIX)
        targets = _targets(jobs) if names else frozenset()
        wanted: dict[str, Location] = {}
        for name in names:
            file = folder / name.removesuffix(_SUFFIX)
            if file.stem in targets or not self._delivered(self._store.stored(file)):
                wanted[name] = file
        for name, data in self._store.small_files(folder, wanted, most=LARGEST):
            record = _record(data)
            # Records of earlier versions do not name the service.
            if record is not None and record.get("service", self._service) == self._service:
                yield _Sidecar(record, wanted[name])


def _targets(jobs: Iterable[Job]) -> frozenset[str]:
    """Names of the outputs of these jobs, without what follows the last dot."""
    names = (job.output_path(index, ".x") for job in jobs for index in range(OUTPUTS))
    return frozenset(Path(name).stem for name in names)


def _record(data: bytes) -> Mapping[str, Any] | None:
    """The record in a sidecar; None where the file is something else."""
    record = record_in(data)
    known = record.get("schema_version") == SIDECAR_VERSION and isinstance(record.get("key"), str)
    return record if known else None


def _recovery(store: OutputStore, job: Job, group: list[_Sidecar]) -> Recovery:
    """What the sidecars of one request say, and the files where all of them are whole."""
    record = group[0].record
    cost = _money(record.get("cost_usd"))
    known = record.get("cost_is") in (CHARGED, WOULD_HAVE_COST)
    files = _files(store, job, group)
    return Recovery(
        request_id=group[0].request_id,
        since=_time(record.get("submitted_at")) or "",
        rendered_at=_time(record.get("rendered_at")),
        cost=cost if known else None,
        estimate=cost or MicroUSD(0),
        billable_units=_amount(record.get("billable_units")),
        files=files,
        output=_output(store, files),
    )


def _files(store: OutputStore, job: Job, group: list[_Sidecar]) -> tuple[RecoveredFile, ...]:
    """Every output of the request; empty where one is missing or changed."""
    whole: dict[int, RecoveredFile] = {}
    for found in group:
        index = _index(job, found)
        if index is not None and index not in whole and (file := _whole(store, found, index)):
            whole[index] = file
    outputs = group[0].record.get("outputs")
    if not isinstance(outputs, int):
        outputs = _images(group[0].record)
    if not outputs or set(whole) != set(range(outputs)):
        return ()
    return tuple(whole[index] for index in range(outputs))


def _index(job: Job, found: _Sidecar) -> int | None:
    """Which output the file is; by its name where the record is of an earlier version."""
    index = found.record.get("output")
    if isinstance(index, int):
        return index
    suffix = found.file.suffix
    names = {Path(job.output_path(n, suffix)).name: n for n in range(OUTPUTS)}
    return names.get(found.file.name)


def _images(record: Mapping[str, Any]) -> int:
    """How many outputs a record of an earlier version is one of; 0: it cannot be told."""
    arguments = record.get("arguments")
    if not isinstance(arguments, dict) or "series_amount" in arguments:
        return 0
    number = arguments.get("num_images", 1)
    return number if isinstance(number, int) else 0


def _whole(store: OutputStore, found: _Sidecar, index: int) -> RecoveredFile | None:
    """The file, where it has the digest of its record."""
    record, path = found
    digest, size = record.get("sha256"), record.get("size")
    try:
        if not isinstance(size, int) or not store.intact(path, size, str(digest)):
            return None
    except StoreError:
        raise  # it may be there: a store that cannot be asked is no reason to buy it again
    except OSError:
        return None
    return RecoveredFile(
        index=index,
        path=path,
        sha256=str(digest),
        size=int(str(size)),
        ext=path.suffix,
        content_type=str(record.get("content_type") or ""),
        url=str(record.get("url") or "data:"),
    )


def _output(store: OutputStore, files: tuple[RecoveredFile, ...]) -> JSON:
    """fal's output as far as its files tell it, so that one that is deleted can be had again."""
    if not files:
        return None
    if files[0].content_type == "application/json":
        try:
            return json.loads(store.read(files[0].path))
        except (OSError, ValueError, RecursionError):
            return {}
    shown = [
        {"url": file.url, "content_type": file.content_type, "file_size": file.size}
        for file in files
    ]
    video = files[0].content_type.startswith("video/") and len(files) == 1
    return {"video": shown[0]} if video else {"images": shown}


def _money(value: object) -> MicroUSD | None:
    dollars = _amount(value)
    return None if dollars is None else micro_usd(dollars)


def _amount(value: object) -> float | None:
    """A number that dollars or units of a render can be: the file may be anybody's."""
    return float(value) if isinstance(value, int | float) and 0 <= value < MOST else None


def _time(value: object) -> str | None:
    """A time of a record in the ledger's format, or None."""
    moment = parse_foreign_time(str(value))
    return None if moment is None else format_time(moment)
