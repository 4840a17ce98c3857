"""Buying one render: the only code that spends money.

Order, never changed: inputs ready → rate → intent committed (caps checked in the same
transaction) → POST, once, shielded → its answer committed. Between intent and POST there is no
`await`. Must not poll or download; what follows an attempt that fal took is `retry.py`'s decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import anyio
from anyio import CancelScope

from kling_batch.core.events import RunEvent
from kling_batch.core.jobs import JSON, Job, LocalFile, OutputOf, local_files, parents, substitute
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Accepted,
    Failure,
    FailureKind,
    Handle,
    NotSent,
    Refused,
    SubmitOutcome,
    Unconfirmed,
    UploadError,
)
from kling_batch.core.quantities import parse_iso
from kling_batch.core.records import OverCap
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.pacing import Backoff
from kling_batch.errors import LedgerError
from kling_batch.ledger.ledger import RequestClaimedError
from kling_batch.output.files import digest_of

#: How often in a row a POST that provably was not accepted is made again before the job is left for
#: the next run, and after what pauses: about a minute without connection, some of 429, a few
#: seconds of a locked account (seen answered once in a burst with a healthy balance,
#: docs/fal-api.md#account-lock).
TRIES: dict[FailureKind, tuple[int, Backoff]] = {
    FailureKind.UNREACHABLE: (8, pacing.SUBMIT),
    FailureKind.THROTTLED: (14, pacing.SUBMIT),
    FailureKind.LOCKED: (3, pacing.LOCKED),
}
#: In all, also where fal asks for longer pauses: then the next run goes on.
PATIENCE = 3600.0

#: So many submissions in doubt in a row are an outage: each further one would be one more doubt
#: for a person. They go singly and ever more slowly until fal answers one of them for certain.
BRAKE = 3

#: Tries at one upload: about two minutes.
UPLOAD_TRIES = 10

#: fal keeps files for a week at least (docs/fal-api.md#file-retention); after this an input is
#: brought again.
UPLOAD_LASTS = timedelta(days=3)
#: A parent's output is handed on by its own URL while that is young.
OUTPUT_LASTS = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class NotReady:
    """The inputs could not be prepared; no attempt was made."""

    failure: Failure


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
    #: Why fal did not take it, where it certainly did not.
    failure: Failure | None = None
    #: Seconds that fal asked to wait before the next try.
    hint: float | None = None


class Submission:
    """Turns a job into an attempt."""

    def __init__(self, context: RunContext) -> None:
        """Shares the run's bench."""
        self._context = context
        self._uploading: dict[str, anyio.Lock] = {}
        #: Submissions in a row whose outcome nobody knows.
        self._unsure = 0
        self._probing = anyio.Lock()
        self._begun = context.now(), anyio.current_time()
        self._waits: set[CancelScope] = set()

    def halt(self) -> None:
        """Buying has ended: nobody waits for a turn any more. POSTs in flight are no waits."""
        for wait in self._waits:
            wait.cancel()

    @contextmanager
    def _while_buying(self) -> Iterator[None]:
        """A wait that ends at once when buying does."""
        with CancelScope() as wait:
            if self._context.halted:
                wait.cancel()
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    async def buy(self, job: Job, tries: int) -> Bought | OverCap | NotReady | Halted:
        """Attempts at `job` until fal answers one for certain, or leaves it in doubt.

        One POST is one attempt. What provably was not accepted is settled before the pause, so
        that nothing is in doubt if the program dies in it, and asks the caps anew after it.

        Raises:
            LedgerError: the ledger cannot take a row; nothing was sent unless it says so.
        """
        try:
            payload = substitute(job.arguments, await self._urls(job))
        except UploadError as error:
            return NotReady(error.failure)
        refusals: Counter[FailureKind] = Counter()
        deadline: float | None = None
        while True:
            bought = await self._in_turn(job, tries, payload)
            if not isinstance(bought, Bought) or bought.failure is None:
                return bought
            # From the first refusal on: who has only stood in line has not been refused.
            deadline = deadline or anyio.current_time() + PATIENCE
            pause = self._put_off(job, bought.failure, refusals, bought.hint)
            if pause is None or anyio.current_time() + pause > deadline:
                return bought
            with self._while_buying():
                await anyio.sleep(pause)

    async def _in_turn(self, job: Job, tries: int, payload: JSON) -> Bought | OverCap | Halted:
        """One attempt, when the rate has a place for it and fal answers at all."""
        context = self._context
        with self._while_buying():
            await context.submissions.take()
        if self._unsure < BRAKE:
            return await self._attempt(job, tries, payload)
        async with self._probing:  # one at a time, while fal answers nothing certain
            if self._unsure >= BRAKE and not context.halted:
                pause = pacing.PROBE.delay(self._unsure - BRAKE + 1, context.rng)
                said = (
                    f"{self._unsure} submissions in a row are in doubt; the next in {pause:.0f} s"
                )
                self._say(job, "braking", said)
                with self._while_buying():
                    await anyio.sleep(pause)
            return await self._attempt(job, tries, payload)

    async def _attempt(self, job: Job, tries: int, payload: JSON) -> Bought | OverCap | Halted:
        context = self._context
        if context.halted:
            return Halted()
        # No await from here to the POST: what the caps saw is what is spent.
        intended = context.ledger.intend(
            job,
            payload,
            tries=tries,
            caps=context.policy.caps,
            cost_ratios=context.cost_ratios,
            moment=self._unhurried(),
        )
        if isinstance(intended, OverCap):
            return intended
        since = anyio.current_time()
        # A cancelled POST is a lost answer, and a lost answer is doubt about money: the scope is
        # shielded, and the client's own patience bounds it.
        with CancelScope(shield=True):
            outcome = await context.queue.submit(job.endpoint, payload)
        self._unsure = self._unsure + 1 if isinstance(outcome, Unconfirmed) else 0
        failure, hint = _not_taken(outcome)
        state = self._answered(intended, job, outcome, failure)
        return Bought(intended, state, since, failure, hint)

    def _unhurried(self) -> datetime:
        """Now, but no later than the loop's clock allows: a day's cap looks back from here.

        A wall clock that is set forward in the middle of a run makes no day pass.
        """
        wall, loop = self._begun
        passed = timedelta(seconds=anyio.current_time() - loop)
        return min(self._context.now(), wall + passed)

    def _answered(
        self, attempt_id: int, job: Job, outcome: SubmitOutcome, failure: Failure | None
    ) -> State:
        ledger = self._context.ledger
        match outcome:
            case Accepted(handle):
                return self._accepted(attempt_id, job, handle)
            case Unconfirmed(reason):
                return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
            case Refused() | NotSent():
                return ledger.record(attempt_id, Event.SUBMIT_REFUSED, failure=failure)

    def _accepted(self, attempt_id: int, job: Job, handle: Handle) -> State:
        ledger = self._context.ledger
        try:
            return ledger.record(attempt_id, Event.SUBMIT_ACCEPTED, handle=handle)
        except RequestClaimedError:
            # A doubt of an identical take has claimed this id from the list meanwhile; the take's
            # own request is still unclaimed there, and is ours now.
            reason = f"request {handle.request_id} was claimed by an identical take"
            return ledger.record(attempt_id, Event.SUBMIT_UNCONFIRMED, reason=reason)
        except LedgerError as error:
            # Paid, and the disk cannot say so: the person must get the id.
            raise LedgerError(
                f"{error}\n{job.label} was accepted by fal as request {handle.request_id}; "
                "the next run looks it up, or: kling-batch resolve "
                f"{job.label} --request-id {handle.request_id}"
            ) from error

    def _put_off(
        self, job: Job, failure: Failure, refusals: Counter[FailureKind], hint: float | None
    ) -> float | None:
        """Seconds until the next attempt at what fal did not take; None: not in this run."""
        kind = failure.kind
        if kind not in TRIES:
            return None
        most, growth = TRIES[kind]
        refusals[kind] += 1
        if refusals[kind] >= most:
            return None
        pause = growth.delay(refusals[kind], self._context.rng, hint)
        if kind is not FailureKind.UNREACHABLE:
            # One was told to slow down: everybody does, for as long as fal asked or for a moment.
            # What this one waits beyond that is its own bad luck.
            self._context.submissions.hold(min(pause, hint or growth.first))
        self._say(job, kind.value, f"{failure.message}; again in {pause:.0f} s")
        return pause

    def _say(self, job: Job, kind: str, message: str) -> None:
        self._context.notify(RunEvent(kind=kind, job=job.label, batch=job.batch, message=message))

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
        context = self._context
        async with self._uploading.setdefault(file.sha256, anyio.Lock()):
            known = context.ledger.upload(file.sha256)
            if known and context.now() - known[1] < UPLOAD_LASTS:
                return known[0]
            try:
                same = digest_of(Path(file.path)) == file.sha256
            except OSError as error:
                raise UploadError(f"{file.path}: {error.strerror or error}") from error
            if not same:
                raise UploadError(f"{file.path} has changed since it was read; run again")
            url = await self._upload(Path(file.path), file.content_type)
            context.ledger.remember_upload(file, url)
            return url

    async def _upload(self, path: Path, content_type: str) -> str:
        """Free of charge, so what the line or the server did to it is done again."""
        for n in range(1, UPLOAD_TRIES + 1):
            try:
                return await self._context.uploader.upload(path, content_type)
            except UploadError as error:
                if not error.passing or n == UPLOAD_TRIES or self._context.halted:
                    raise
            with self._while_buying():
                await anyio.sleep(pacing.READ.delay(n, self._context.rng))
        raise AssertionError("the loop returns")

    async def _output_url(self, parent: OutputOf) -> str:
        """Another job's output, by fal's own URL while it is young, else uploaded from here."""
        context = self._context
        attempts = [a for a in context.ledger.attempts_of(parent.key) if a.state is State.SUCCEEDED]
        files = context.ledger.files_of(attempts[-1].id) if attempts else []
        mine = [f for f in files if f.index == parent.index]
        if not mine:
            raise UploadError(f"{parent.job_id} has no output {parent.index + 1}")
        file = mine[0]
        made = attempts[-1].rendered_at
        young = made and context.now() - parse_iso(made) < OUTPUT_LASTS
        if young and file.url and file.url.startswith("https://"):
            return file.url
        for candidate in mine:
            path = context.store.located(candidate.path)
            if path.is_file():
                local = LocalFile(
                    path=str(path),
                    sha256=file.sha256,
                    size=file.size,
                    content_type=file.content_type,
                )
                return await self._uploaded(local)
        raise UploadError(f"the file of {parent.job_id} is no longer on the disk")


def _not_taken(outcome: SubmitOutcome) -> tuple[Failure | None, float | None]:
    """Why fal certainly did not take it, and how long it asked to wait."""
    match outcome:
        case Refused(failure):
            return failure, None
        case NotSent(reason, hint, throttled):
            kind = FailureKind.THROTTLED if throttled else FailureKind.UNREACHABLE
            return Failure(kind=kind, message=reason), hint
        case _:
            return None, None
