"""What is in force for a run: flag > `KLING_BATCH_*` > manifest > default, decided in one place.

Flags and environment arrive merged (the command line does that). Must not open anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kling_batch.core.jobs import Batch
from kling_batch.core.quantities import MicroUSD
from kling_batch.errors import UsageError

DEFAULT_OUTPUT = "outputs"
LEDGER_NAME = "ledger.db"
#: What the limit is called that no batch has for itself.
PER_DAY = "max_cost_per_day"
#: Paid attempts that one permission to try allows, where the manifest says nothing.
DEFAULT_ATTEMPTS = 3

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line and the environment say; None where they say nothing."""

    output: Path | None = None
    ledger: Path | None = None
    concurrency: int | None = None
    #: Submissions per second.
    rate: float | None = None
    max_cost: MicroUSD | None = None
    #: Seconds.
    timeout: float | None = None
    limit: int | None = None
    retry_failed: bool = False
    yes: bool = False
    detach: bool = False
    #: None: fal. Empty: the emulator inside this process. Else the address of one on a port.
    emulator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything decided."""

    roots: dict[str, Path]
    ledger: Path
    service: str
    concurrency: int
    rate: float
    max_cost: MicroUSD | None
    max_cost_per_day: MicroUSD | None
    on_doubt: str
    doubt_wait: float
    attempts: int
    #: Seconds until the run leaves, or None.
    deadline: float | None
    options: Options = field(repr=False)


def resolve(batches: Sequence[Batch], options: Options) -> Settings:
    """Decide for these manifests; where several disagree on a limit, the stricter one holds."""
    limits = [batch.limits for batch in batches]
    roots = {
        batch.name: options.output or Path(batch.output or DEFAULT_OUTPUT) for batch in batches
    }
    folder = next(iter(roots.values()), options.output or Path(DEFAULT_OUTPUT))
    if options.ledger is None and len(set(roots.values())) > 1:
        # The order of the manifests must not decide where it is written what was paid.
        folders = ", ".join(sorted(str(root) for root in set(roots.values())))
        raise UsageError(f"these manifests have several output folders ({folders}); say --ledger")
    deadlines = [d for d in (options.timeout, *(lim.deadline for lim in limits)) if d is not None]
    return Settings(
        roots=roots,
        ledger=options.ledger or folder / LEDGER_NAME,
        service="fal" if options.emulator is None else "emulator",
        concurrency=options.concurrency or _least([lim.concurrency for lim in limits]) or 8,
        rate=options.rate or _least([lim.rate for lim in limits]) or 5.0,
        max_cost=options.max_cost
        if options.max_cost is not None
        else _sum([lim.max_cost for lim in limits]),
        max_cost_per_day=_least([lim.max_cost_per_day for lim in limits]),
        on_doubt="resubmit"
        if limits and all(lim.on_doubt == "resubmit" for lim in limits)
        else "hold",
        doubt_wait=_first(_most([lim.doubt_wait for lim in limits]), 3600.0),
        attempts=_least([lim.retry_attempts for lim in limits]) or DEFAULT_ATTEMPTS,
        deadline=min(deadlines) if deadlines else None,
        options=options,
    )


def _said(values: Sequence[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _least(values: Sequence[T | None]) -> T | None:
    return min(_said(values), default=None)  # type: ignore[type-var]


def _most(values: Sequence[T | None]) -> T | None:
    return max(_said(values), default=None)  # type: ignore[type-var]


def _first(value: T | None, default: T) -> T:
    return default if value is None else value


def _sum(caps: Sequence[MicroUSD | None]) -> MicroUSD | None:
    """One cap for all only where each manifest has one; each keeps its own besides."""
    said = _said(caps)
    return MicroUSD(sum(said)) if said and len(said) == len(caps) else None
