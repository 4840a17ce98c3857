"""The state of a ledger at a glance, for `status`: jobs, counts, failures, money, ages.

Must not write, and must not decide what a run would do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

from kling_batch.core.jobs import JSON
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.quantities import duration, format_time, parse_time, usd_number
from kling_batch.core.records import Money, StatusRow
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import Tone, clean, count, full_name
from kling_batch.ledger import job_counts, queries
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.job_counts import FailureGroup, Kind
from kling_batch.ledger.job_list import JobFilter, job_status
from kling_batch.ledger.queries import RunRow
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts
from kling_batch.report.costs import totals
from kling_batch.report.display.page import Cell, Column, Page, fits, table
from kling_batch.report.verdicts import verdicts_line
from kling_batch.settings import EMULATOR

#: What a person has to look at, then what is under way, then the rest.
_ORDER: tuple[tuple[JobStatus, ...], ...] = (
    (JobStatus.IN_DOUBT, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.DOWNLOADING),
    (JobStatus.RENDERING, JobStatus.QUEUED),
    (JobStatus.WAITING,),
    (JobStatus.DONE,),
)
#: Jobs that are named where the text goes to a file or another program.
MOST = 100
#: The same, where so many need a person.
_MOST_LOGGED = 1_000
#: Jobs among which drafts without a verdict are looked for.
_SEARCHED = 20_000
#: Reasons of failures that are named.
_REASONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What `status` tells of a ledger, or of some of its batches."""

    ledger: str
    emulated: bool
    kinds: dict[Kind, dict[JobStatus, int]]
    failures: list[FailureGroup]
    money: Money
    #: When the oldest request was sent that fal may still be working on.
    oldest_open: str | None
    run: RunRow | None

    @property
    def counts(self) -> Counter[JobStatus]:
        """How many jobs have each status."""
        counts = Counter[JobStatus]()
        for known in self.kinds.values():
            counts.update(known)
        return counts

    @property
    def summary(self) -> str:
        """Counts and money in one line."""
        counts = self.counts
        words = ", ".join(f"{counts[word]:,} {word}" for word in JobStatus if counts[word])
        return f"{words or 'no jobs'}; {totals(self.money, emulated=self.emulated)}"


def overview(reader: Reader, batches: Sequence[str] | None) -> Overview:
    """Read it; None: of all batches."""
    return Overview(
        ledger=str(reader.path),
        emulated=queries.service_of(reader) == EMULATOR,
        kinds=job_counts.job_counts(reader, batches),
        failures=job_counts.failure_groups(reader, batches),
        money=reader.money(batches),
        oldest_open=job_counts.oldest_open(reader, batches),
        run=queries.latest_run(reader),
    )


def as_data(found: Overview, rows: Iterator[StatusRow]) -> JSON:
    """The same as JSON values, with a row for each job."""
    money = found.money
    return {
        "schema_version": SCHEMA_VERSION,
        "ledger": found.ledger,
        "emulated": found.emulated,
        "charged_usd": usd_number(money.charged),
        "exposed_usd": usd_number(money.exposed),
        "unknown_usd": usd_number(money.unknown),
        "counts": {word.value: found.counts[word] for word in JobStatus},
        "kinds": [
            {**kind._asdict(), "counts": {word.value: n for word, n in known.items()}}
            for kind, known in found.kinds.items()
        ],
        "failures": [group._asdict() for group in found.failures],
        "oldest_open_at": found.oldest_open,
        "last_run": found.run._asdict() if found.run else None,
        "jobs": [row_data(row) for row in rows],
    }


def row_data(row: StatusRow) -> dict[str, JSON]:
    """A job as JSON values; `state` is the machine's name, `status` the word for people."""
    return {**row._asdict(), "status": row.status.value}


# -- for people --------------------------------------------------------------------------------

_JOBS = (
    Column("state", least=9, piped=11),
    Column("job", least=20, middle=True, piped=1),
    Column("", least=12, spare=1),
)


def lines(
    reader: Reader,
    found: Overview,
    batches: Sequence[str] | None,
    page: Page,
    *,
    now: datetime,
    limit: int | None = None,
) -> Iterator[str]:
    """The text of `status`; its last line is the summary, on one line."""
    yield from page.folded(_title(found, now), Tone.DIM)
    yield from _job_lines(reader, found, batches, page, limit)
    if len(found.kinds) > 1:
        yield ""
        yield from _kind_lines(found, page)
    if found.failures:
        yield ""
        yield from _failure_lines(found, page)
    if found.oldest_open:
        yield ""
        yield from page.folded(f"The oldest open request was sent {_ago(found.oldest_open, now)}.")
    if judged := _verdicts(reader, found, batches):
        yield ""
        yield from page.folded(judged)
    yield ""
    tone = Tone.BAD if any(found.counts[word] for word in _ORDER[0]) else Tone.TITLE
    yield from page.folded(found.summary, tone)


def _verdicts(reader: Reader, found: Overview, batches: Sequence[str] | None) -> str:
    """The verdicts in one line; a large ledger is searched only where there are some."""
    verdicts = latest_verdicts(reader)
    if not verdicts and sum(found.counts.values()) > _SEARCHED:
        return ""
    rows = job_status(reader, JobFilter(batches=batches))
    return verdicts_line(rows, verdicts, judge=command_on(reader.path, "review"))


def _title(found: Overview, now: datetime) -> str:
    what = ", the emulator's" if found.emulated else ""
    title = f"{found.ledger}{what}, at {format_time(now)[:19]}Z"
    run = found.run
    if run is None:
        return title
    if run.ended_at is None:
        return f"{title}; run {run.id} began {_ago(run.started_at, now)} and has not ended"
    return f"{title}; run {run.id} ended {_ago(run.ended_at, now)} with exit code {run.exit_code}"


def _ago(time: str, now: datetime) -> str:
    """`48 s ago`, `3 days ago`."""
    seconds = (now - parse_time(time)).total_seconds()
    days = int(seconds // 86400)
    return f"{days:,} days ago" if days > 1 else f"{duration(seconds)} ago"


def _job_lines(
    reader: Reader, found: Overview, batches: Sequence[str] | None, page: Page, limit: int | None
) -> Iterator[str]:
    """A line for each job, those first that a person has to look at."""
    total = sum(found.counts.values())
    if limit is None:
        limit = MOST if page.width is None else max(5, page.height - 14 - len(found.kinds))
        if page.width is None:  # a log names every job that needs a person
            limit = max(limit, min(_MOST_LOGGED, sum(found.counts[word] for word in _ORDER[0])))
    if not total or not limit:
        return
    several = batches is None and len(queries.batch_names(reader)) > 1
    several = several or len(batches or ()) > 1
    wanted = (words for words in _ORDER if any(found.counts[word] for word in words))
    rows = islice(
        chain.from_iterable(
            job_status(reader, JobFilter(batches=batches, states=words, limit=limit))
            for words in wanted
        ),
        limit,
    )
    yield ""
    whole = page.width is None
    yield from table(page, _JOBS, (_job_cells(row, several=several, whole=whole) for row in rows))
    if total > limit:
        yield from page.folded(
            f"and {total - limit:,} more; see: {command_on(reader.path, 'list')}", Tone.DIM
        )


def _job_cells(row: StatusRow, *, several: bool, whole: bool) -> tuple[Cell, ...]:
    ended = row.status in (JobStatus.FAILED, JobStatus.CANCELLED)
    files = row.files or ""  # a terminal has room for the end of a path only
    details = (row.failure or "") if ended else files if whole else files.rpartition("/")[2]
    return (
        Cell(row.status.value, row.status.tone),
        Cell(full_name(row.batch, row.label, several=several)),
        Cell(clean(details), Tone.BAD if ended else Tone.DIM),
    )


def _words(found: Overview) -> list[JobStatus]:
    return [word for word in JobStatus if found.counts[word]]


def _kind_lines(found: Overview, page: Page) -> Iterator[str]:
    """Counts by mode and tier: a table, or a line for each where the table has no room."""
    words = _words(found)
    columns = [
        Column("mode and tier", piped=24),
        *(Column(word.value, right=True, piped=len(word.value) + 2) for word in words),
    ]
    rows = [
        [
            Cell(clean(f"{kind.mode} {kind.tier}")),
            *(Cell(f"{known[w]:,}" if w in known else "", w.tone) for w in words),
        ]
        for kind, known in found.kinds.items()
    ]
    if page.width is None:  # the titles, which a table on a pipe does not have
        rows.insert(0, [Cell("mode and tier"), *(Cell(word.value) for word in words)])
    if fits(page, columns, rows):
        yield from table(page, columns, rows)
        return
    for kind, known in found.kinds.items():
        numbers = ", ".join(f"{known[word]:,} {word}" for word in words if word in known)
        yield from page.folded(f"{kind.mode} {kind.tier}: {numbers}")


def _failure_lines(found: Overview, page: Page) -> Iterator[str]:
    for group in found.failures[:_REASONS]:
        text = f"{count(group.jobs, 'job')} ({group.kind}), such as {group.example}: "
        yield from page.folded(text + clean(group.message or "no reason given"), Tone.BAD)
    if more := found.failures[_REASONS:]:
        report = command_on(Path(found.ledger), "report", "--by", "reason")
        yield from page.folded(f"and {count(len(more), 'more reason')}; see: {report}", Tone.DIM)
