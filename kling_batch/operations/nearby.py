"""Ledgers nearby that know the jobs which a plan calls new: elsewhere means paid for again.

Looks beside the manifest, in the working folder, and in the folders in them. Reads only; must not
choose another ledger, which is a person's decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

from kling_batch.core.command_line import path_argument, quoted
from kling_batch.core.jobs import Batch, JobKey
from kling_batch.core.lifecycle import State
from kling_batch.core.locations import is_address
from kling_batch.core.text import clean, count
from kling_batch.errors import KlingBatchError
from kling_batch.ledger.queries import service_of
from kling_batch.ledger.reader import Reader
from kling_batch.planning.plan import Action, Plan
from kling_batch.settings import DEFAULT_OUTPUT, EMULATOR, LEDGER_NAME, Settings
from kling_batch.shown_location import shown

#: Folders that are looked into at each place; a working folder may have thousands.
_MOST_FOLDERS = 200

#: States of an attempt that bought nothing.
_UNPAID = (State.FAILED, State.CANCELLED)


def ledgers_nearby(batches: Sequence[Batch], settings: Settings, plan: Plan) -> tuple[str, ...]:
    """A warning for each other ledger with jobs of this plan, where all of them are new here."""
    wanted = {item.job.key for item in plan.items if item.action is Action.SUBMIT}
    if not wanted or any(not _is_new(item.action, item.reason) for item in plan.items):
        return ()
    warnings: list[str] = []
    for path in _others(batches, settings.ledger):
        if found := _paid_there(path, settings.service, wanted):
            output = quoted(path_argument(shown(path.parent)))
            again = _again(settings, _share(found, len(wanted)), "it" if found == 1 else "them")
            warnings.append(
                f"{clean(shown(path))} has {again}. To go on with that ledger: --output {output}"
            )
    return tuple(warnings)


def _again(settings: Settings, share: str, it: str) -> str:
    """What is done a second time: on the emulator, nothing that costs anything."""
    if settings.service == EMULATOR:
        return f"{share} of an earlier trial; this run would render {it} again, for nothing"
    return f"{share} to pay for; this run would pay for {it} again"


def _share(found: int, wanted: int) -> str:
    if wanted == 1:
        return "the job"
    return f"{found:,} of {count(wanted, 'job')}"


def trial_warning(ledger: Path, kept: Path | None = None) -> str:
    """What happens to the ledger of a trial where a real run begins; `kept`: what has happened."""
    where = f"it is kept as {clean(shown(kept))}" if kept else "a run keeps it beside its own"
    return f"{clean(shown(ledger))} is of a trial on the emulator, where nothing was paid; {where}"


def _is_new(action: Action, reason: str) -> bool:
    return action is Action.BLOCKED or (action is Action.SUBMIT and reason == "new")


def _others(batches: Sequence[Batch], own: Path) -> Iterator[Path]:
    """Every other ledger nearby, each once."""
    seen = {own.resolve()}
    places = [Path(), *(Path(batch.source).parent for batch in batches)]
    for place in dict.fromkeys(places):
        named = {batch.output for batch in batches if batch.output and not is_address(batch.output)}
        folders = [place, place / DEFAULT_OUTPUT, *(place / name for name in sorted(named))]
        with suppress(OSError):
            folders += islice(sorted(f for f in place.iterdir() if f.is_dir()), _MOST_FOLDERS)
        for folder in folders:
            path = folder / LEDGER_NAME
            if path.is_file() and path.resolve() not in seen:
                seen.add(path.resolve())
                yield path


def _paid_there(path: Path, service: str, wanted: set[JobKey]) -> int:
    """How many of these jobs that ledger has paid for; none where it cannot be read."""
    with suppress(KlingBatchError, OSError), Reader.open(path) as reader:
        if service_of(reader) == service:
            known = reader.standings(wanted).values()
            return sum(standing.state not in _UNPAID for standing in known)
    return 0
