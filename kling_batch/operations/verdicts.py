"""Verdicts of people, and what they stop in a run that is under way. Sends and pays nothing."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from kling_batch.core.jobs import (
    Batch,
    Job,
    JobKey,
    draft_id,
    final_id,
    is_draft_id,
    job_label,
    parents,
)
from kling_batch.core.lifecycle import State, status_of
from kling_batch.core.text import count
from kling_batch.core.verdicts import Verdict
from kling_batch.errors import UsageError
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.job_list import job_status
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import newest_verdict_id, record_verdict
from kling_batch.operations.consequences import Consequences, Judged
from kling_batch.operations.services import now
from kling_batch.planning.builder import review_of
from kling_batch.planning.prospects import Concerned
from kling_batch.planning.verdicts import Review


class Withdrawals:
    """Jobs whose approval or pick was taken back after the plan was made."""

    def __init__(self, reader: Reader, batches: Sequence[Batch]) -> None:
        """`batches`: of the run, whole."""
        self._reader = reader
        self._batches = batches
        self._newest = -1
        self._review = Review((), {})

    def of(self, job: Job) -> bool:
        """Whether this job may not be paid for any more: its draft, or the take that it needs."""
        if not job.draft and not any(need.picked for need in parents(job.arguments)):
            return False
        newest = newest_verdict_id(self._reader)
        if newest != self._newest:
            self._newest, self._review = newest, review_of(self._reader, self._batches)
        return self._review.held(job) is not None or not self._review.still_picked(job)


# -- judging ---------------------------------------------------------------------------------------


def author_of(given: str | None) -> str:
    """The name under which a verdict is recorded: the given one, else the system's user."""
    if given and given.strip():
        return given.strip()
    try:
        return getpass.getuser().encode("utf-8", "replace").decode()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        return "unknown"


def judge(
    ledger: Path,
    word: str,
    verdict: Verdict,
    *,
    take: int | None = None,
    note: str = "",
    author: str = "",
) -> list[str]:
    """Record a verdict on the takes that `word` names; a message for each.

    Args:
        ledger: also one that a run is writing.
        word: a name as people type it, or a glob. Of a job with `review:` the draft is meant as
            long as its final is not rendered.
        verdict: on each of them.
        take: which take, where `word` does not say it.
        note: kept with the verdict.
        author: empty: the system's user.

    Raises:
        UsageError: no such job, nothing finished to judge, or several takes to pick.
        LedgerError: no ledger, one that another program holds, or no right to write it.
    """
    with Reader.open(ledger) as reader:
        takes = _named_takes(reader, word, take, verdict)
        keys = list(dict.fromkeys(each.key for each in takes))  # one render may have several names
        concerned = Concerned(reader, keys)
        before = concerned.prospects(reader)
    for key in keys:
        record_verdict(ledger, key, verdict, note, author_of(author), at=now())
    spoken = "no verdict" if verdict is Verdict.NONE else verdict
    with Reader.open(ledger) as reader:
        coming = Consequences(reader, before, concerned.prospects(reader))
        told = [f"{each.label}: {spoken}{coming.of(each, verdict)}" for each in takes]
        told += coming.for_others(takes)
    return list(dict.fromkeys(told))


def _named_takes(reader: Reader, word: str, take: int | None, verdict: Verdict) -> list[Judged]:
    if any(sign in word for sign in "*?["):
        takes = _fitting(reader, word, take)
        if verdict is Verdict.PICKED:
            _must_be_one_a_job(takes)
        return takes
    if take is not None and "#" in word:
        raise UsageError(f"{word} names a take already: leave out the `#`, or --take")
    named = find(reader, word if take is None else f"{word}#{take}")
    judged = Judged(named.batch, named.id, named.take, named.key)
    finished = _is_finished(reader, judged.key)
    if not finished and not word.startswith("k1:"):
        names = reader.current_names(named.batch)
        if draft := names.get((draft_id(named.id), named.take)):
            judged = Judged(named.batch, draft_id(named.id), named.take, draft[0])
            finished = _is_finished(reader, judged.key)
    if not finished and verdict is not Verdict.NONE:
        attempts = reader.attempts_of(judged.key)
        status = status_of(attempts[-1].state, attempts[-1].remote_status) if attempts else ""
        said = f" (it is {status or status_of(None)})"
        raise UsageError(f"{judged.label} has no finished render to judge{said}")
    return [judged]


def _is_finished(reader: Reader, key: JobKey) -> bool:
    return any(attempt.state is State.SUCCEEDED for attempt in reader.attempts_of(key))


def _fitting(reader: Reader, glob: str, take: int | None) -> list[Judged]:
    """Every finished take that a glob fits; a final instead of its draft where it is rendered."""
    found: dict[tuple[str, str, int], Judged] = {}
    for row in job_status(reader):
        ids = (row.job_id, final_id(row.job_id))
        names = {name for each in ids for name in (each, job_label(each, row.take))}
        names |= {f"{row.batch}/{name}" for name in names}
        fits = any(fnmatchcase(name, glob) for name in names) and take in (None, row.take)
        if not fits or row.state != State.SUCCEEDED:
            continue
        name = (row.batch, final_id(row.job_id), row.take)
        if name not in found or not is_draft_id(row.job_id):
            found[name] = Judged(row.batch, row.job_id, row.take, JobKey(row.job_key))
    if not found:
        known = command_on(reader.path, "list", "--state", "done")
        raise UsageError(f"no finished take fits {glob}; see: {known}")
    return list(found.values())


def _must_be_one_a_job(takes: Sequence[Judged]) -> None:
    for (_, job_id), number in Counter((each.batch, each.id) for each in takes).items():
        if number > 1:
            what = count(number, "take")
            raise UsageError(f"{what} of {job_id} fit, and one can be picked: say --take N")
