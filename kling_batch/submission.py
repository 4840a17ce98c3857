"""Buying one render: the only code that spends money.

Order, never changed: inputs ready → rate → intent committed (caps checked in the same
transaction) → POST, once, shielded → its answer committed. Between intent and POST there is no
`await`. Must not poll, download, or decide about retries.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import anyio
from anyio import CancelScope

from kling_batch import backoff
from kling_batch.bench import Bench, UploadError
from kling_batch.errors import LedgerError
from kling_batch.jobs import JSON, Job, LocalFile, OutputOf, local_files, parents, substitute
from kling_batch.ledger import OverCap, RequestClaimedError
from kling_batch.lifecycle import Event, State
from kling_batch.outcome import (
    Accepted,
    Failure,
    FailureKind,
    Happening,
    NotSent,
    Refused,
    SubmitOutcome,
    Unconfirmed,
)
from kling_batch.records import parse_iso
from kling_batch.shelf import digest_of

#: How often a POST that provably was not accepted is repeated before the job is left for the next
#: run: about a minute without connection, about five of 429, a few seconds of a locked account
#: (which tools have seen answered once in a burst with a healthy balance, facts §6.3).
CONNECT_TRIES = 8
THROTTLE_TRIES = 14
LOCK_TRIES = 3

#: So many submissions in doubt in a row are an outage: each further one would be one more doubt
#: for a person. They go singly and ever more slowly until fal answers one of them for certain.
BRAKE = 3

#: fal keeps files for a week at least (facts §7.4); after this an input is brought again.
UPLOAD_LASTS = timedelta(days=3)
#: A parent's output is handed on by its own URL while that is young.
OUTPUT_LASTS = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NotReady:
    """The inputs could not be prepared; no attempt was made."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halted:
    """Buying ended while this job stood in line; no attempt was made."""


@dataclass(frozen=True, slots=True)
class Bought:
    """An attempt was made; `state` is where its POST left it."""

    attempt_id: int
    state: State
    #: When the intent was committed, on the loop's clock.
    since: float


class Submission:
    """Turns a job into an attempt."""

    def __init__(self, bench: Bench) -> None:
        """Shares the run's bench."""
        self._bench = bench
        self._uploading: dict[str, anyio.Lock] = {}
        #: Submissions in a row whose outcome nobody knows.
        self._unsure = 0
        self._probing = anyio.Lock()

    async def buy(self, job: Job, tries: int) -> Bought | OverCap | NotReady | Halted:
        """One attempt at `job`: prepared, intended, posted, recorded.

        Raises:
            LedgerError: the ledger cannot take a row; nothing was sent unless it says so.
        """
        bench = self._bench
        try:
            payload = substitute(job.arguments, await self._urls(job))
        except UploadError as error:
            return NotReady(str(error))
        await bench.submissions.take()
        if self._unsure < BRAKE:
            return await self._attempt(job, tries, payload)
        async with self._probing:  # one at a time, while fal answers nothing certain
            if self._unsure >= BRAKE and not bench.halted:
                pause = backoff.PROBE.delay(self._unsure - BRAKE + 1, bench.rng)
                said = (
                    f"{self._unsure} submissions in a row are in doubt; the next in {pause:.0f} s"
                )
                self._say(job, "braking", said)
                await anyio.sleep(pause)
            return await self._attempt(job, tries, payload)

    async def _attempt(self, job: Job, tries: int, payload: JSON) -> Bought | OverCap | Halted:
        bench = self._bench
        if bench.halted:
            return Halted()
        # No await from here to the POST: what the caps saw is what is spent.
        intended = bench.ledger.intend(
            job, payload, tries=tries, caps=bench.policy.caps, dearer=bench.dearer
        )
        if isinstance(intended, OverCap):
            return intended
        since = anyio.current_time()
        return Bought(intended, await self._post(intended, job, payload), since)

    async def _post(self, attempt_id: int, job: Job, payload: JSON) -> State:
        """Send until fal answers for certain; repeat only what provably was not accepted."""
        unsent = throttled = locked = 0
        while True:
            # A cancelled POST is a lost answer, and a lost answer is doubt about money: the scope
            # is shielded, and the client's own patience bounds it.
            with CancelScope(shield=True):
                outcome = await self._bench.queue.submit(job.endpoint, payload)
            self._unsure = self._unsure + 1 if isinstance(outcome, Unconfirmed) else 0
            match outcome:
                case NotSent(throttled=True):
                    throttled += 1
                    if throttled >= THROTTLE_TRIES:
                        return self._refused(attempt_id, _gave_up(outcome))
                    pause = self._pause(throttled, outcome.retry_after)
                    self._bench.submissions.hold(pause)
                    self._say(job, "throttled", f"{outcome.reason}; again in {pause:.0f} s")
                case NotSent():
                    unsent += 1
                    if unsent >= CONNECT_TRIES:
                        return self._refused(attempt_id, _gave_up(outcome))
                    pause = self._pause(unsent)
                    self._say(job, "unreachable", f"{outcome.reason}; again in {pause:.0f} s")
                case Refused(failure=Failure(kind=FailureKind.LOCKED)) if locked < LOCK_TRIES - 1:
                    locked += 1
                    pause = self._pause(locked + 1)
                    self._bench.submissions.hold(pause)
                    self._say(job, "locked", f"{outcome.failure.message}; again in {pause:.0f} s")
                case _:
                    return self._answered(attempt_id, job, outcome)
            await self._wait(attempt_id, pause)
            if self._bench.halted:
                reason = "buying ended before fal accepted it"
                failure = Failure(kind=FailureKind.NOT_SUBMITTED, message=reason)
                return self._refused(attempt_id, failure)

    def _answered(self, attempt_id: int, job: Job, outcome: SubmitOutcome) -> State:
        ledger = self._bench.ledger
        match outcome:
            case Accepted(handle):
                try:
                    return ledger.record(attempt_id, Event.SUBMIT_ACCEPTED, handle=handle)
                except RequestClaimedError:
                    # A doubt of an identical take has claimed this id from the list meanwhile;
                    # the take's own request is still unclaimed there, and is ours now.
                    reason = f"request {handle.request_id} was claimed by an identical take"
                    return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
                except LedgerError as error:
                    # Paid, and the disk cannot say so: the person must get the id.
                    raise LedgerError(
                        f"{error}\n{job.label} was accepted by fal as request {handle.request_id}; "
                        "the next run looks it up, or: kling-batch resolve "
                        f"{job.label} --request-id {handle.request_id}"
                    ) from error
            case Refused(failure):
                return self._refused(attempt_id, failure)
            case Unconfirmed(reason):
                return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
            case NotSent():
                raise AssertionError("handled by the caller")

    def _refused(self, attempt_id: int, failure: Failure) -> State:
        return self._bench.ledger.record(attempt_id, Event.SUBMIT_REFUSED, failure=failure)

    async def _wait(self, attempt_id: int, seconds: float) -> None:
        """Pause between two sendings; leaving here leaves nothing behind, and the row says so."""
        try:
            await anyio.sleep(seconds)
        except BaseException:
            reason = "the run was stopped before fal accepted it"
            self._refused(attempt_id, Failure(kind=FailureKind.NOT_SUBMITTED, message=reason))
            raise

    def _pause(self, n: int, hint: float | None = None) -> float:
        return backoff.SUBMIT.delay(n, self._bench.rng, hint)

    def _say(self, job: Job, kind: str, message: str) -> None:
        self._bench.notify(Happening(kind=kind, job=job.label, batch=job.batch, message=message))

    # -- inputs --------------------------------------------------------------------------------

    async def _urls(self, job: Job) -> dict[object, str]:
        urls: dict[object, str] = {}
        for file in local_files(job.arguments):
            urls[file] = await self._uploaded(file)
        for parent in parents(job.arguments):
            urls[parent] = await self._output_url(parent)
        return urls

    async def _uploaded(self, file: LocalFile) -> str:
        """One upload per content, however many jobs want it at once."""
        bench = self._bench
        async with self._uploading.setdefault(file.sha256, anyio.Lock()):
            known = bench.ledger.upload(file.sha256)
            if known and bench.now() - known[1] < UPLOAD_LASTS:
                return known[0]
            try:
                same = digest_of(Path(file.path)) == file.sha256
            except OSError as error:
                raise UploadError(f"{file.path}: {error.strerror or error}") from error
            if not same:
                raise UploadError(f"{file.path} has changed since it was read; run again")
            url = await bench.uploader.upload(Path(file.path), file.content_type)
            bench.ledger.remember_upload(file, url)
            return url

    async def _output_url(self, parent: OutputOf) -> str:
        """Another job's output, by fal's own URL while it is young, else uploaded from here."""
        bench = self._bench
        attempts = [a for a in bench.ledger.attempts_of(parent.key) if a.state is State.SUCCEEDED]
        files = bench.ledger.files_of(attempts[-1].id) if attempts else []
        mine = [f for f in files if f.index == parent.index]
        if not mine:
            raise UploadError(f"{parent.job_id} has no output {parent.index + 1}")
        file = mine[0]
        made = attempts[-1].rendered_at
        young = made and bench.now() - parse_iso(made) < OUTPUT_LASTS
        if young and file.url and file.url.startswith("https://"):
            return file.url
        for candidate in mine:
            path = bench.shelf.located(candidate.path)
            if path.is_file():
                local = LocalFile(
                    path=str(path),
                    sha256=file.sha256,
                    size=file.size,
                    content_type=file.content_type,
                )
                return await self._uploaded(local)
        raise UploadError(f"the file of {parent.job_id} is no longer on the disk")


def _gave_up(outcome: NotSent) -> Failure:
    kind = FailureKind.THROTTLED if outcome.throttled else FailureKind.UNREACHABLE
    return Failure(kind=kind, message=outcome.reason)
