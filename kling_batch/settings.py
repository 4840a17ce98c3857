"""Settings of a run: option > `KLING_BATCH_*` > manifest > default, decided in one place.

The spending limits among them are one `Budget`, which displays show and the ledger enforces.
Options and environment arrive merged (the command line does that). Must not open anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.locations import Location, ObjectAddress, address_of, is_address
from kling_batch.core.quantities import MOST_A_SECOND, FailureLimit, MicroUSD
from kling_batch.core.records import AccountBills, Cap
from kling_batch.core.urls import host_of, without_signatures
from kling_batch.errors import UsageError

DEFAULT_OUTPUT = "outputs"
#: Services of a run, a saved plan, a ledger.
FAL, EMULATOR = "fal", "emulator"
#: Folder of `--emulator`, so that a trial never stands in the way of the real run.
EMULATOR_OUTPUT = "outputs-emulator"
LEDGER_NAME = "ledger.db"
#: Where the emulator without an output folder keeps its ledger.
EMULATED_LEDGER = Path(EMULATOR_OUTPUT) / LEDGER_NAME
#: Name of the cap that covers all batches of the last 24 hours.
PER_DAY = "max_cost_per_day"
#: Name of the cap over everything that the account was billed in the last 24 hours.
ACCOUNT_PER_DAY = "account_max_per_day"
#: Name of the limit of failures, as the cap that ended a run.
MAX_FAILURES = "max_failures"
#: Paid attempts of a job without asking again, where the manifest sets none.
DEFAULT_ATTEMPTS = 3
#: Open requests at most.
DEFAULT_CONCURRENCY = 8
#: Submissions a second at most, however few may be open at once.
LEAST_DEFAULT_RATE = 10.0
#: Seconds back in which paid requests are looked for in fal's list, where the manifest sets none.
DEFAULT_REUSE = 7 * 86400.0
#: A folder outside which no manifest may write.
OUTPUT_BELOW_VARIABLE = "KLING_BATCH_OUTPUT_BELOW"

T = TypeVar("T")


class RunOptions(NamedTuple):
    """Options of one run, parsed, from the command line, the environment or Python; None: unset."""

    output: Location | None = None
    ledger: Path | None = None
    concurrency: int | None = None
    #: Submissions per second.
    rate: float | None = None
    max_cost: MicroUSD | None = None
    #: Seconds.
    timeout: float | None = None
    #: Seconds within which fal must begin a request.
    start_timeout: float | None = None
    limit: int | None = None
    max_failures: FailureLimit | None = None
    retry_failed: bool = False
    yes: bool = False
    detach: bool = False
    #: Collect what is open, buy nothing.
    collect: bool = False
    #: None: fal. Empty: the emulator inside this process. Else the address of one on a port.
    emulator: str | None = None
    #: Seconds back in which paid requests are looked for; 0: buy everything anew.
    reuse: float | None = None
    #: Ask nobody: the plan is made of ledger and disk alone.
    offline: bool = False
    #: Hold the inputs of `endpoint:` jobs against fal's schemas.
    schemas: bool = True
    #: Address of the scheduler whose workers move files, make renditions; None: this machine does.
    scheduler: str | None = None

    @property
    def service(self) -> str:
        """Whom the run asks: `fal` or `emulator`."""
        return FAL if self.emulator is None else EMULATOR


class Budget(NamedTuple):
    """Spending limits of one run: made once, shown by displays, enforced by the ledger."""

    #: Every limit in force; a submission must keep within each that covers its job.
    caps: tuple[Cap, ...] = ()
    #: One figure over all batches, as displays show it; None where some batch has no limit.
    total: MicroUSD | None = None
    #: The limit over all hosts of the account. It can be held only with fal's bills: `with_bills`.
    account: Cap | None = None

    @property
    def every_cap(self) -> tuple[Cap, ...]:
        """The caps, and the account's, whose bills are not known yet."""
        return self.caps if self.account is None else (*self.caps, self.account)

    def with_bills(self, bills: AccountBills) -> tuple[Cap, ...]:
        """The caps as the ledger enforces them."""
        account = () if self.account is None else (replace(self.account, bills=bills),)
        return (*self.caps, *account)

    def cap_of(self, job: Job) -> Cap | None:
        """The first cap that covers this job."""
        return next((cap for cap in self.every_cap if cap.covers(job)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a run, decided."""

    #: By batch: a folder here, or in a store.
    roots: dict[str, Location]
    ledger: Path
    service: str
    concurrency: int
    rate: float
    budget: Budget
    doubt_wait: float
    #: Seconds within which fal must begin a request, or None.
    start_timeout: float | None
    attempts: int
    #: After which failures the run buys nothing more, or None.
    max_failures: FailureLimit | None
    #: Seconds until the run leaves, or None.
    deadline: float | None
    #: By batch: seconds back in which paid requests are looked for in fal's list.
    reuse: dict[str, float]
    #: Processes that make renditions, or None.
    workers: int | None
    options: RunOptions = field(repr=False)

    @property
    def sets_aside(self) -> bool:
        """Whether a trial's ledger makes way: for a real run, unless `--ledger` names the file."""
        return self.service != EMULATOR and self.options.ledger is None

    @property
    def in_stores(self) -> bool:
        """Whether outputs of some batch go to an object store."""
        return any(isinstance(root, ObjectAddress) for root in self.roots.values())

    @property
    def max_cost(self) -> MicroUSD | None:
        """The cap over all batches, as displays show it."""
        return self.budget.total


def resolve(batches: Sequence[Batch], options: RunOptions, *, single: bool = False) -> Settings:
    """Decide for these manifests; where several disagree on a limit, the stricter one holds.

    Args:
        batches: the loaded manifests.
        options: what command line, environment or Python set.
        single: a single-shot command, whose cap covers its one job only.
    """
    if options.collect and options.detach:
        raise UsageError("--collect waits for what --detach leaves: say one of them")
    limits = [batch.limits for batch in batches]
    trial = Path(EMULATOR_OUTPUT) if options.emulator == "" else None
    output = options.output or trial
    roots = {
        batch.name: output or typed_location(batch.output or DEFAULT_OUTPUT) for batch in batches
    }
    folders = {
        root if isinstance(root, Path) else trial or Path(DEFAULT_OUTPUT)
        for root in (*roots.values(), *((output,) if output and not roots else ()))
    }
    if options.ledger is None and len(folders) > 1:
        # The order of the manifests must not decide where it is written what was paid.
        several = ", ".join(sorted(str(root) for root in set(roots.values())))
        raise UsageError(f"these manifests have several output folders ({several}); say --ledger")
    concurrency = (
        options.concurrency or _least([lim.concurrency for lim in limits]) or DEFAULT_CONCURRENCY
    )
    deadlines = [d for d in (options.timeout, *(lim.deadline for lim in limits)) if d is not None]
    return Settings(
        roots=roots,
        ledger=options.ledger or next(iter(folders), Path(DEFAULT_OUTPUT)) / LEDGER_NAME,
        service=options.service,
        concurrency=concurrency,
        rate=options.rate or _least([lim.rate for lim in limits]) or default_rate(concurrency),
        budget=_budget(batches, options.max_cost, single=single),
        doubt_wait=_first(_most([lim.doubt_wait for lim in limits]), 3600.0),
        start_timeout=options.start_timeout or _least([lim.start_timeout for lim in limits]),
        attempts=_least([lim.retry_attempts for lim in limits]) or DEFAULT_ATTEMPTS,
        max_failures=options.max_failures or _strictest([lim.max_failures for lim in limits]),
        deadline=min(deadlines) if deadlines else None,
        reuse={
            batch.name: _first(options.reuse, _first(batch.limits.reuse, DEFAULT_REUSE))
            for batch in batches
        },
        workers=_least([lim.workers for lim in limits]),
        options=options,
    )


def ledger_folder(output: Location | None) -> Path:
    """The folder of the ledger of an output: the ledger of a store's output stays here."""
    return output if isinstance(output, Path) else Path(DEFAULT_OUTPUT)


def default_rate(concurrency: int) -> float:
    """Submissions a second where nothing says how many: all that may be open at once, in a second.

    fal documents no limit (docs/fal-api.md#concurrency). A 429 halves the rate for a while, so that
    the default need not guess what an account may do.
    """
    return max(LEAST_DEFAULT_RATE, float(min(concurrency, MOST_A_SECOND)))


def _budget(batches: Sequence[Batch], max_cost: MicroUSD | None, *, single: bool) -> Budget:
    """The option's cap, else each manifest's own; and the smallest one per day."""
    if max_cost is not None:
        key = batches[0].jobs[0].key if single else None
        names = None if single else tuple(batch.name for batch in batches)
        keys = frozenset[JobKey]() if single else _keys(*batches)
        caps = [Cap(limit=max_cost, batches=names, keys=keys, key=key, name="--max-cost")]
    else:
        caps = [
            Cap(
                limit=batch.limits.max_cost,
                batches=(batch.name,),
                keys=_keys(batch),
                name="max_cost",
            )
            for batch in batches
            if batch.limits.max_cost is not None
        ]
    every_batch_has_one = bool(caps) and (max_cost is not None or len(caps) == len(batches))
    total = MicroUSD(sum(cap.limit for cap in caps)) if every_batch_has_one else None
    per_day = _least([batch.limits.max_cost_per_day for batch in batches])
    if per_day is not None:
        caps.append(Cap(limit=per_day, window=timedelta(days=1), name=PER_DAY))
    of_account = _least([batch.limits.account_max_per_day for batch in batches])
    account = (
        None
        if of_account is None
        else Cap(limit=of_account, window=timedelta(days=1), name=ACCOUNT_PER_DAY)
    )
    return Budget(caps=tuple(caps), total=total, account=account)


def _keys(*batches: Batch) -> frozenset[JobKey]:
    """Every job of the batches: what was paid for them counts, whatever the batch was called."""
    return frozenset(job.key for batch in batches for job in batch.jobs)


def _strictest(limits: Sequence[FailureLimit | None]) -> FailureLimit | None:
    given = _set(limits)
    if not given:
        return None
    return FailureLimit(
        in_a_row=_least([limit.in_a_row for limit in given]),
        share=_least([limit.share for limit in given]),
    )


def _set(values: Sequence[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _least(values: Sequence[T | None]) -> T | None:
    return min(_set(values), default=None)  # type: ignore[type-var]


def _most(values: Sequence[T | None]) -> T | None:
    return max(_set(values), default=None)  # type: ignore[type-var]


def _first(value: T | None, default: T) -> T:
    return default if value is None else value


def scheduler_address(written: str) -> str:
    """The address of a Dask scheduler, or `local`. Raises `ValueError` for anything else."""
    if written == "local" or re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", written):
        return written
    shown = without_signatures(written)
    raise ValueError(f"`{shown}` is neither `local` nor an address as tcp://host:8786")


def emulator_address(written: str) -> str:
    """The address of an emulator on a port. Raises `ValueError` for anything else."""
    try:
        parts = urlsplit(written)
        usable = parts.scheme in ("http", "https") and host_of(written) and parts.port != 0
    except ValueError:  # a port that is no number, or none that can be
        usable = False
    if usable and not re.search(r"\s", written):
        return written
    shown = without_signatures(written)
    raise ValueError(f"`{shown}` is not the address of an emulator, as http://127.0.0.1:8765")


class SupportsPath(Protocol):
    """What `os.PathLike` is."""

    def __fspath__(self) -> str: ...


def typed_path(written: str | SupportsPath) -> Path:
    """The path that a person meant, a leading `~` or `~user` being a home folder.

    A file whose own name begins with `~` is written `./~name`. Text is looked at before it becomes
    a `Path`, since `Path("./~x")` and `Path("~x")` are equal.

    Raises:
        UsageError: there is no such home folder.
    """
    text = written if isinstance(written, str) else written.__fspath__()
    if not text.startswith("~"):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        user = Path(text).parts[0]
        raise UsageError(
            f"{text}: cannot be read: `{user}` is no home folder here; "
            f"a file of this name is written ./{text}"
        ) from None


def typed_location(written: str | SupportsPath) -> Location:
    """The folder that a person meant: a path as in `typed_path`, or an address in a store.

    Raises:
        UsageError: there is no such home folder, or the address cannot be used.
    """
    if not isinstance(written, str) or not is_address(written):
        return typed_path(written)
    try:
        return address_of(written)
    except ValueError as error:
        raise UsageError(f"output: {error}") from None
