"""Looking after doubts while the run lasts: ask the platform's list, adopt, wait, or hold.

A doubt holds no place in the window: everything else goes on. Must not submit; whether a doubt
without a trace is tried again is the manifest's word (`on_doubt`), carried out by the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import anyio

from kling_batch.core.events import RunEvent
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Charged,
    Failure,
    FailureKind,
    Listed,
    ListForbidden,
    Listing,
    ListOutcome,
    Unread,
)
from kling_batch.core.quantities import iso, parse_iso
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.matching import SKEW, Doubt, comparable, match
from kling_batch.planning.plan import PlannedJob

NO_TRACE = "no trace in fal's request list yet"
#: How often in a row the list must be refused before nobody is asked any more.
REFUSALS = 3
#: How long a list without any payload is given the chance that only others' are meant by that.
BLIND_SECONDS = 300.0
#: How long a doubt waits for a request of its own before one that is listed as older is taken.
FRESH_SECONDS = 60.0
#: How far back a submission is looked for whose intent lies in the future: the clock was wrong
#: when it was made, and nobody knows by how much.
LOOK_BACK = timedelta(days=1)


@dataclass(slots=True)
class _Case:
    item: PlannedJob
    doubt: Doubt
    #: Its intent, on the loop's clock: a wall clock that is put right makes no hour pass.
    since: float
    #: By this machine's clock it has not been sent yet: that clock was ahead at its intent.
    future: bool
    #: When this run heard of it, on the loop's clock.
    added: float
    #: What the run knows; shown to the person if the doubt outlives it.
    reason: str = NO_TRACE
    #: Whether the list was readable when it was last asked about this.
    asked: bool = False


class Reconciler:
    """Every doubt of a run, and the task that settles them."""

    def __init__(
        self,
        context: RunContext,
        *,
        adopted: Callable[[PlannedJob, int], None],
        absent: Callable[[PlannedJob, int], None],
        held: Callable[[PlannedJob, int], None],
    ) -> None:
        """What becomes of a doubt is told by one of the three calls."""
        self._context = context
        self._adopted, self._absent, self._tell_held = adopted, absent, held
        self._cases: dict[int, _Case] = {}
        self._held: dict[int, _Case] = {}
        self._forbidden = ""
        self._refusals = 0
        self._surplus: set[str] = set()
        #: What fal's clock and the loop's showed when fal last answered.
        self._clocks: tuple[datetime, float] | None = None
        #: Since when the list has shown nothing but requests without payload.
        self._blind_since: float | None = None
        self.running = False

    def add(self, attempt_id: int, item: PlannedJob, since: float | None = None) -> bool:
        """One more doubt; whether `run` must be started for it.

        `since`: its intent on the loop's clock, where that was in this run.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        doubt = Doubt(attempt_id, attempt.endpoint, attempt.payload, parse_iso(attempt.intended_at))
        age = (self._context.now() - doubt.intended_at).total_seconds()
        now = anyio.current_time()
        begun = now - max(0.0, age) if since is None else since
        future = since is None and age < -SKEW.total_seconds()
        case = _Case(item, doubt, begun, future, added=now)
        if attempt.handle is not None:
            # It was accepted once, and queue and list alike deny it: a person's case.
            self._hold(case, f"fal no longer shows request {attempt.handle.request_id}")
            return False
        if self._forbidden:
            self._hold(case, self._forbidden)
            return False
        self._cases[attempt_id] = case
        return not self.running

    def reopened(self, attempt_id: int) -> bool:
        """Whether fal took this one and denied it later, in an earlier run: now it is asked again.

        A denial is a failed read, however long it lasted, and no read is a verdict.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        if attempt.handle is not None:
            self._context.ledger.record(attempt_id, Event.RECONCILED_FOUND, handle=attempt.handle)
        return attempt.handle is not None

    def reason(self, attempt_id: int) -> str:
        """Why this one is still in doubt."""
        case = self._held.get(attempt_id) or self._cases.get(attempt_id)
        return case.reason if case else NO_TRACE

    async def run(self) -> None:
        """Ask until every doubt is found, given up for this run, or may be tried again."""
        self.running = True
        try:
            while self._cases:
                for endpoint in sorted({case.doubt.endpoint for case in self._cases.values()}):
                    await self._look(endpoint)
                self._expire()
                if self._cases:
                    await anyio.sleep(self._pause())
        finally:
            self.running = False

    async def _look(self, endpoint: str) -> None:
        if not self._of(endpoint):  # a look at another endpoint has settled these meanwhile
            return
        listing = await self._listed(endpoint)
        match listing:
            case Listing(items) if self._payloads_hidden(items):
                self._forbid("fal stores no payloads for this key")
            case Listing(items):
                self._refusals = 0
                self._claim(endpoint, items, complete=listing.complete)
            case ListForbidden(reason):
                # Once or twice may be a blip of the gateway (docs/fal-api.md#account-lock), like
                # any refused read.
                self._refusals += 1
                if self._refusals >= REFUSALS:
                    self._forbid(reason)
                self._unread(endpoint, reason)
            case Unread(reason):
                self._unread(endpoint, reason)

    def _payloads_hidden(self, items: tuple[Listed, ...]) -> bool:
        """Whether what has finished is listed without its payload, so nothing can be compared.

        Our own request without payload proves it; others may be another program's, by its wish.
        """
        finished = [item for item in items if item.status_code is not None]
        if not finished or any(item.payload is not None for item in finished):
            self._blind_since = None
            return False
        now = anyio.current_time()
        since = self._blind_since = now if self._blind_since is None else self._blind_since
        ours = self._context.ledger.request_ids()
        return now - since >= BLIND_SECONDS or any(item.request_id in ours for item in finished)

    async def _listed(self, endpoint: str) -> ListOutcome:
        """All that the endpoint was asked since the first doubt, by fal's clock as by ours."""
        since = self._start(endpoint)
        listing = await self._listing(endpoint, since)
        earlier = self._start(endpoint)
        if earlier >= since - SKEW:
            return listing
        # fal's answer has told that this machine's clock is ahead: it was asked since too late.
        return await self._listing(endpoint, earlier)

    async def _listing(self, endpoint: str, since: datetime) -> ListOutcome:
        await self._context.reads.take()
        listing = await self._context.queue.listing(endpoint, since=iso(since - SKEW))
        if isinstance(listing, Listing) and listing.asked_at is not None:
            self._clocks = listing.asked_at, anyio.current_time()
        return listing

    def _start(self, endpoint: str) -> datetime:
        return min(self._sent(case) for case in self._of(endpoint))

    def _sent(self, case: _Case) -> datetime:
        """The earliest moment at which this may have reached fal, by either clock."""
        fals, loops = self._clocks or (self._context.now(), anyio.current_time())
        by_fal = fals - timedelta(seconds=loops - case.since)
        return min(case.doubt.intended_at, by_fal - LOOK_BACK if case.future else by_fal)

    def _askew(self, case: _Case) -> bool:
        """Whether the clocks disagree, so that silence about this one proves nothing."""
        if self._clocks is None:
            return case.future
        fals, loops = self._clocks
        ours = self._context.now() - timedelta(seconds=anyio.current_time() - loops)
        return case.future or abs(ours - fals) > SKEW

    def _unread(self, endpoint: str, reason: str) -> None:
        for case in self._of(endpoint):
            case.asked, case.reason = False, f"the request list cannot be read: {reason}"

    def _of(self, endpoint: str) -> list[_Case]:
        return [case for case in self._cases.values() if case.doubt.endpoint == endpoint]

    def _claim(self, endpoint: str, items: tuple[Listed, ...], *, complete: bool) -> None:
        """Adopt what the list shows; no await between reading the ledger and writing it."""
        ledger = self._context.ledger
        cases = self._of(endpoint)
        for case in cases:
            # Of a list without end nobody can say that something is not in it.
            case.asked, case.reason = complete and not self._askew(case), NO_TRACE
            if self._askew(case):
                case.reason = f"{NO_TRACE}; this machine's clock is or was not fal's"
        in_flight = {comparable(a.payload) for a in ledger.attempts_in(State.SUBMITTING)}
        matches = match(
            [replace(case.doubt, intended_at=self._sent(case)) for case in cases],
            items,
            claimed=ledger.request_ids(),
            in_flight=in_flight,
            fresh={case.doubt.attempt_id for case in cases if self._age(case) < FRESH_SECONDS},
        )
        for attempt_id in matches.open:
            case = self._cases[attempt_id]
            case.asked, case.reason = False, "fal lists a request that may be it, without its input"
        for attempt_id, request_id in matches.found.items():
            handle = self._context.queue.handle(endpoint, request_id)
            ledger.record(attempt_id, Event.RECONCILED_FOUND, handle=handle)
            self._adopted(self._cases.pop(attempt_id).item, attempt_id)
        for request_id in set(matches.surplus) - self._surplus:
            self._surplus.add(request_id)
            self._warn(
                f"fal also accepted request {request_id} with the same payload, and no job of this "
                "ledger owns it: another program's, or a charge without a file"
            )

    def _expire(self) -> None:
        """After `doubt_wait`: hold, or let the engine try again where the manifest says so."""
        for attempt_id, case in list(self._cases.items()):
            if self._age(case) < self._context.policy.doubt_wait:
                continue
            del self._cases[attempt_id]
            if self._context.policy.on_doubt == "resubmit" and case.asked:
                failure = Failure(
                    kind=FailureKind.NO_TRACE,
                    message=f"no trace of it in {self._context.policy.doubt_wait:.0f} s",
                    # A list that is silent proves nothing: it counts against every cap.
                    charged=Charged.UNKNOWN,
                )
                self._context.ledger.record(attempt_id, Event.RECONCILED_ABSENT, failure=failure)
                self._absent(case.item, attempt_id)
            else:
                self._hold(case, case.reason)

    def _age(self, case: _Case) -> float:
        # By clocks that disagree it may look hours old, and be fresh.
        return anyio.current_time() - (case.added if self._askew(case) else case.since)

    def _pause(self) -> float:
        ages = [self._age(case) for case in self._cases.values()]
        left = self._context.policy.doubt_wait - max(ages)
        interval = 1.0 if self._refusals else pacing.doubt_interval(min(ages))
        return max(0.05, min(interval, left))

    def _forbid(self, reason: str) -> None:
        """Nobody can be asked: every doubt is a person's, and waiting would help nobody."""
        if not self._forbidden:
            self._warn(f"{reason}; submissions in doubt are left to: kling-batch resolve")
        self._forbidden = reason
        cases, self._cases = self._cases, {}
        for case in cases.values():
            self._hold(case, reason)

    def _hold(self, case: _Case, reason: str) -> None:
        case.reason = reason
        self._held[case.doubt.attempt_id] = case
        self._tell_held(case.item, case.doubt.attempt_id)

    def _warn(self, message: str) -> None:
        self._context.notify(RunEvent(kind="warning", message=message))
