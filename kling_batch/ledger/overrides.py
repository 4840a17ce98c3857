"""Manual overrides: extra takes, granted retries, adopted files, resolved submissions.

Each is one transaction. Must not send or pay anything; the next run acts on what is recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from kling_batch.core.jobs import Job, keyed
from kling_batch.core.lifecycle import LIVE_OR_PAID, Event, State, step
from kling_batch.core.outcomes import Charged, Failure, FailureKind
from kling_batch.core.records import Attempt, Facts
from kling_batch.errors import UsageError
from kling_batch.ledger import artifacts as placements
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.database import query
from kling_batch.ledger.ledger import Ledger


def grant_take(ledger: Ledger, batch: str, job_id: str) -> int:
    """Allow one more take of a job than its manifest has; its number.

    A batch has all takes up to the number that was granted, so this is the first one that was never
    tried: those before it have been paid for, or have failed, and the next run pays for this alone.
    """
    with ledger.transaction() as db:
        sql = (
            "select n.take, n.job_key, j.endpoint, j.arguments from names n"
            " join jobs j on j.key = n.job_key"
            " where n.batch = ? and n.job_id = ? and n.retired_at is null order by n.take"
        )
        takes = list(query(ledger.db, ledger.path, sql, [batch, job_id]))
        first, last = takes[0], takes[-1]
        before = ledger.extra_takes(batch).get(job_id)
        most = last["take"]
        if before is not None and before.key in (None, first["job_key"]):
            most = max(most, before.takes)
        take = next(
            n
            for n in count(most + 1)
            if not ledger.attempts_of(keyed(first["endpoint"], first["arguments"], n))
        )
        db.execute(
            "insert into extra_takes (batch, job_id, takes, granted_at, job_key)"
            " values (?, ?, ?, ?, ?) on conflict (batch, job_id) do update set"
            " takes = excluded.takes, granted_at = excluded.granted_at, job_key = excluded.job_key",
            [batch, job_id, take, ledger.stamp(), first["job_key"]],
        )
    return int(take)


def grant_retries(ledger: Ledger, attempt_ids: Sequence[int]) -> None:
    """Allow another attempt after each of these, or after none.

    This gives up a rendered attempt whose files are missing, so only a person may do it.
    """
    message = "paid, and its files given up by you"
    lost = Failure(kind=FailureKind.EXPIRED, message=message, charged=Charged.YES)
    with ledger.transaction():
        for attempt_id in attempt_ids:
            if ledger.attempt(attempt_id).state is State.RENDERED:
                ledger.move(attempt_id, Event.ARTIFACT_LOST, {"failure": lost})
            ledger.move(attempt_id, Event.RETRY_GRANTED, {})


# -- files -----------------------------------------------------------------------------------------


def must_be_adoptable(ledger: Ledger, job: Job) -> Attempt | None:
    """Raise `UsageError` where the job is being paid for; the attempt that was adopted before.

    An adopted file that got lost, or a better one, may be brought again.
    """
    for attempt in ledger.attempts_of(job.key):
        if attempt.state in LIVE_OR_PAID and attempt.origin != "adopted":
            raise UsageError(f"{job.label} has a live or paid attempt; see: show {job.label}")
        if attempt.state is State.SUCCEEDED:
            return attempt
    return None


def adopt(ledger: Ledger, job: Job, placed: Placed) -> int:
    """Record an existing file as the result of a job; nothing was paid.

    Call only after rename and folder sync.
    """
    before = must_be_adoptable(ledger, job)
    facts: Facts = {"path": placed.path, "sha256": placed.fetched.sha256}
    with ledger.transaction() as db:
        at = ledger.stamp()
        if before is not None:
            placements.forget(db, before.id, [placed.index])  # its names belong to other content
            placements.save(db, before.id, [placed], at)
            ledger.move(before.id, Event.FILE_ADOPTED, facts)
            return before.id
        cursor = db.execute(
            "insert into attempts (job_key, batch, run_id, try, state, origin, endpoint,"
            " estimate_micro_usd, intended_at, settled_at, charged)"
            " values (?, ?, ?, 1, ?, 'adopted', ?, 0, ?, ?, 'no')",
            [job.key, job.batch, ledger.run_id, State.SUCCEEDED, job.endpoint, at, at],
        )
        attempt_id = int(cursor.lastrowid or 0)
        placements.save(db, attempt_id, [placed], at)
        after = step(None, Event.FILE_ADOPTED)
        ledger.append(attempt_id, Event.FILE_ADOPTED, None, after, facts, at=at)
        return attempt_id


# -- submissions in doubt -------------------------------------------------------------------------


def id_is_users(ledger: Ledger, attempt: Attempt) -> bool:
    """Whether a person gave the request id, and fal has never confirmed it.

    The source of the first event with an id decides: fal's answer or list, or a person. The
    trigger `request_ids_are_kept` repeats this rule.
    """
    sql = (
        "select json_extract(data, '$.by') as by from events"
        " where attempt_id = ? and event in (?, ?) order by id limit 1"
    )
    events = [Event.SUBMIT_ACCEPTED, Event.RECONCILED_FOUND]
    rows = query(ledger.db, ledger.path, sql, [attempt.id, *events])
    first = next((row["by"] for row in rows), None)
    return first == "person" and not attempt.remote_status


def mark_not_submitted(ledger: Ledger, attempt: Attempt, failure: Failure) -> None:
    """Settle an attempt that fal never got; the job may be sent again."""
    with ledger.transaction():
        _settle_as_absent(ledger, attempt, failure)


def restart_in_doubt(ledger: Ledger, attempt: Attempt, failure: Failure) -> Attempt:
    """Replace an attempt whose request id was wrong by a new one that is in doubt.

    One transaction, because between the two the job could be paid for again.
    """
    with ledger.transaction() as db:
        _settle_as_absent(ledger, attempt, failure)
        cursor = db.execute(
            "insert into attempts (job_key, batch, run_id, try, state, endpoint, payload,"
            " estimate_micro_usd, intended_at) select job_key, batch, run_id, try, ?, endpoint,"
            " payload, estimate_micro_usd, intended_at from attempts where id = ?",
            [State.SUBMITTING, attempt.id],
        )
        attempt_id = int(cursor.lastrowid or 0)
        at, intended = ledger.stamp(), Event.SUBMIT_INTENDED
        ledger.append(attempt_id, intended, None, State.SUBMITTING, {}, at=at)
        reason = f"goes on from attempt {attempt.id}"
        ledger.move(attempt_id, Event.RUN_RECOVERED, {"reason": reason})
    return ledger.attempt(attempt_id)


def _settle_as_absent(ledger: Ledger, attempt: Attempt, failure: Failure) -> None:
    guessed = attempt.handle is not None and id_is_users(ledger, attempt)
    if attempt.state is State.SUBMITTED:
        ledger.move(attempt.id, Event.REMOTE_LOST, {"reason": failure.message})
    ledger.move(attempt.id, Event.RECONCILED_ABSENT, {"failure": failure})
    if guessed:
        # It may be another job's request: only ids from fal are final. The events keep it.
        ledger.db.execute(
            "update attempts set request_id = null, response_url = null, status_url = null,"
            " cancel_url = null where id = ?",
            [attempt.id],
        )
