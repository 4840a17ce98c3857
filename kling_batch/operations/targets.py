"""Targets of a plan, checked before anything is paid: inside the output folder, and with room.

Must not write anything: `plan` does the same as `run`.
"""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from kling_batch.catalog.parameters import whole_number
from kling_batch.catalog.registry import by_id, ordered_seconds
from kling_batch.core.jobs import Job
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.programs import forbidden_by
from kling_batch.core.text import count
from kling_batch.errors import UsageError
from kling_batch.output.files import SPARE, lies_in
from kling_batch.output.spool import BETWEEN
from kling_batch.planning.builder import store_of
from kling_batch.planning.plan import Action, Plan, is_paid
from kling_batch.settings import FAL, OUTPUT_BELOW_VARIABLE, Settings, typed_path
from kling_batch.shown_location import shown

_MB = 1_000_000
#: Bytes of an output where the ledger has none yet: a picture, and a second of a clip.
_PICTURE, _SECOND, _SECOND_4K = 4 * _MB, 2 * _MB, 8 * _MB

#: Actions after which a file is written.
WRITING = (Action.SUBMIT, Action.RECOVER, Action.PLACE)


def check_folders(plan: Plan, settings: Settings) -> None:
    """Raise `UsageError` where a folder of an output is a file, or leads out of the output folder.

    Nothing is made, so that `plan` says the same as `run`.
    """
    store = store_of(settings)
    seen: set[Location] = set()
    for item in plan.items:
        if item.action not in WRITING:
            continue
        relative = item.job.output_path(0, ".part")
        folder = store.wanted(item.job.batch, relative).parent
        if folder not in seen and store.can_be_named(item.job.batch, relative):
            seen.add(folder)
            if isinstance(folder, ObjectAddress):
                continue
            must_be_folder(folder)
            store.check_inside(item.job.batch, relative)


def check_hold(settings: Settings, environ: Mapping[str, str]) -> None:
    """Raise `UsageError` where manifests cannot be held to what the environment holds them to.

    One would write outside the folder, or nobody can say whether its programs may start. A folder
    that the person names (`--output`, `KLING_BATCH_OUTPUT`) may lie anywhere; a store is reached
    with the person's own credentials.
    """
    forbidden_by(environ)
    below = environ.get(OUTPUT_BELOW_VARIABLE)
    if not below or settings.options.output is not None:
        return
    allowed = typed_path(below).resolve()
    for root in settings.roots.values():
        if isinstance(root, Path) and not lies_in(root, allowed):
            raise UsageError(
                f"the output {root} is not inside {allowed}, as {OUTPUT_BELOW_VARIABLE} wants it; "
                "nothing was sent"
            )


def must_be_folder(folder: Path) -> None:
    """Raise `UsageError` where a file, or a link to nothing, has the name of a folder."""
    whole = folder.absolute()
    there = next((each for each in (whole, *whole.parents) if os.path.lexists(each)), whole)
    if not there.is_dir():
        raise UsageError(
            f"{shown(there)}: is no folder, and outputs go below it; nothing was sent. "
            "Rename it, or give another --output"
        )


def check_room(plan: Plan, settings: Settings, usual: Mapping[str, float]) -> None:
    """Raise `UsageError` where a disk has no room for what the plan buys.

    Args:
        plan: what is to be bought.
        settings: where the files go.
        usual: bytes of an attempt's files by endpoint, as the ledger knows them.
    """
    needed: defaultdict[int, int] = defaultdict(int)
    jobs: defaultdict[int, int] = defaultdict(int)
    folders: dict[int, Path] = {}
    disks: dict[str, int | None] = {}
    for item in plan.items:
        if is_paid(item):
            batch = item.job.batch
            if batch not in disks:
                folder = _existing(_landing(settings, batch))
                disks[batch] = _disk(folder)
                if (number := disks[batch]) is not None:
                    folders[number] = folder
            if (disk := disks[batch]) is None:
                continue
            size = _size(item.job, usual, real=settings.service == FAL)
            if isinstance(settings.roots[batch], Path):
                needed[disk] += size
            else:  # only so many lie here at once
                needed[disk] = max(needed[disk], size * BETWEEN)
            jobs[disk] += 1
    for disk, folder in folders.items():
        files = f"the files of {count(jobs[disk], 'job')} usually take"
        free = shutil.disk_usage(folder).free - SPARE
        if needed[disk] and needed[disk] > free:
            raise UsageError(
                f"{folder}: {max(free, 0) / _MB:,.0f} MB are free, and {files} "
                f"{needed[disk] / _MB:,.0f} MB; make room, give another --output, or buy less at "
                "once with --limit; nothing was sent"
            )


def _landing(settings: Settings, batch: str) -> Path:
    """The folder on this machine that the downloads of a batch come to."""
    root = settings.roots[batch]
    return root if isinstance(root, Path) else settings.ledger.parent


def room_warnings(plan: Plan, settings: Settings, usual: Mapping[str, float]) -> tuple[str, ...]:
    """The message of `check_room`, where a run would be refused."""
    try:
        check_room(plan, settings, usual)
    except UsageError as error:
        return (str(error),)
    return ()


def _size(job: Job, usual: Mapping[str, float], *, real: bool) -> int:
    """Bytes that the files of a job usually take; 0 where nothing is known."""
    if job.endpoint in usual:
        return int(usual[job.endpoint])
    endpoint = by_id(job.endpoint)
    if endpoint is None or not real:
        return 0  # the emulator's files are tiny
    if endpoint.output != "video":
        return _PICTURE * (whole_number(job.arguments.get("num_images")) or 1)
    second = _SECOND_4K if endpoint.tier == "4k" else _SECOND
    return second * (ordered_seconds(job.arguments) or 5)


def _disk(folder: Path) -> int | None:
    """The number of the device that a folder is on; None where it cannot be looked at."""
    try:
        return os.stat(folder).st_dev  # noqa: PTH116 - the device, not the path
    except OSError:
        return None


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists already."""
    whole = folder.absolute()
    return next((each for each in (whole, *whole.parents) if each.exists()), whole)
