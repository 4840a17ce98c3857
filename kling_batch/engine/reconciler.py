"""Reconciler: looks up submissions in doubt in fal's request list, and adopts what it finds.

A submission in doubt takes no window place: everything else goes on. One without a trace stays in
doubt until a person decides: silence of a list is no proof. Must not submit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import anyio

from kling_batch.catalog.registry import by_id
from kling_batch.core.events import EventKind
from kling_batch.core.jobs import JSON
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import (
    Listed,
    ListForbidden,
    Listing,
    ListOutcome,
    Unread,
)
from kling_batch.core.quantities import format_time, parse_time
from kling_batch.core.records import Attempt
from kling_batch.engine import pacing
from kling_batch.engine.context import RunContext
from kling_batch.engine.matching import (
    SKEW,
    UnconfirmedSubmission,
    comparable,
    contradicts,
    match,
)
from kling_batch.engine.remote_clock import RemoteClock
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.names import by_key
from kling_batch.planning.plan import PlannedJob

NO_TRACE = "no trace in fal's request list yet"
CUT_OFF = "no trace in the part of fal's request list that could be read"
#: Refusals of the list in a row before it is not asked any more.
REFUSALS = 3
#: Seconds of listings without any payload before fal counts as storing none: single requests may
#: be another program's, which asked fal not to store theirs.
NO_PAYLOAD_SECONDS = 300.0
#: Seconds that a submission waits for a request of its own before one listed as older is taken.
FRESH_SECONDS = 60.0
#: How far back a submission of an earlier run is looked for whose intent lies in the future, or
#: where the clock is wrong now: it was wrong then, by an unknown amount.
LOOK_BACK = timedelta(days=1)


@dataclass(slots=True)
class _Lookup:
    item: PlannedJob
    submission: UnconfirmedSubmission
    #: Its intent, on the loop's clock: setting the wall clock makes no hour pass.
    since: float
    #: Its intent is of an earlier run, so that nothing but this machine's clock tells its age.
    earlier: bool
    #: Its intent lies in the future: this machine's clock was ahead then.
    future: bool
    #: When it was added in this run, on the loop's clock.
    added: float
    #: Why it is still in doubt; shown if the run ends so.
    reason: str = NO_TRACE


class Reconciler:
    """The submissions in doubt of a run, and the task that settles them.

    Args:
        context: of the run.
        adopted: called when a submission was found in the list.
        held: called when one stays in doubt for the rest of the run.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        adopted: Callable[[PlannedJob, int], None],
        held: Callable[[PlannedJob, int], None],
    ) -> None:
        """Nothing is in doubt yet."""
        self._context = context
        self._on_adopted, self._on_held = adopted, held
        self._lookups: dict[int, _Lookup] = {}
        self._held: dict[int, _Lookup] = {}
        self._forbidden = ""
        self._refusals = 0
        self._surplus: set[str] = set()
        #: Requests of ours whose listed input was compared with what was sent.
        self._compared: set[str] = set()
        self._clock = RemoteClock(context)
        #: Since when all finished requests have been listed without payload.
        self._no_payload_since: float | None = None
        self.running = False

    def add(self, attempt_id: int, item: PlannedJob, since: float | None = None) -> bool:
        """Add a submission in doubt; True: `run` must be started for it.

        `since`: its intent on the loop's clock, where that was in this run.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        submission = UnconfirmedSubmission(
            attempt_id, attempt.endpoint, attempt.payload, parse_time(attempt.intended_at)
        )
        age = (self._context.now() - submission.intended_at).total_seconds()
        now = anyio.current_time()
        intent = now - max(0.0, age) if since is None else since
        earlier = since is None
        future = earlier and age < -SKEW.total_seconds()
        lookup = _Lookup(item, submission, intent, earlier, future, added=now)
        if attempt.handle is not None:
            # It was accepted once, and neither queue nor list knows it: left to a person.
            self._hold(lookup, f"fal no longer shows request {attempt.handle.request_id}")
            return False
        if self._forbidden:
            self._hold(lookup, self._forbidden)
            return False
        self._lookups[attempt_id] = lookup
        return not self.running

    def reopened(self, attempt_id: int) -> bool:
        """Whether fal accepted this one and did not know it later, in an earlier run.

        It is polled again: a 404 is a failed read, however long it lasted, and no verdict.
        """
        attempt = self._context.ledger.attempt(attempt_id)
        if attempt.handle is not None:
            self._context.ledger.record(attempt_id, Event.RECONCILED_FOUND, handle=attempt.handle)
        return attempt.handle is not None

    def reason(self, attempt_id: int) -> str:
        """Why the attempt is still in doubt."""
        lookup = self._held.get(attempt_id) or self._lookups.get(attempt_id)
        return lookup.reason if lookup else NO_TRACE

    async def run(self) -> None:
        """Ask until every submission is found or held."""
        self.running = True
        try:
            while self._lookups:
                for endpoint in self._endpoints():
                    await self._look(endpoint)
                self._expire()
                if self._lookups:
                    await anyio.sleep(self._pause())
        finally:
            self.running = False

    def _endpoints(self) -> list[str]:
        return sorted({lookup.submission.endpoint for lookup in self._lookups.values()})

    async def _look(self, endpoint: str) -> None:
        if not self._of(endpoint):  # the look at another endpoint has settled these meanwhile
            return
        listing = await self._listed(endpoint)
        match listing:
            case Listing(items) if self._payloads_hidden(items):
                self._forbid("fal stores no payloads for this key")
            case Listing(items):
                self._refusals = 0
                self._claim(endpoint, items, NO_TRACE if listing.complete else CUT_OFF)
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
        """Whether fal stores no payloads for this key, so lost requests cannot be matched.

        Certain if one of our own finished requests is listed without payload.
        """
        finished = [item for item in items if item.status_code is not None]
        if not finished or any(item.payload is not None for item in finished):
            self._no_payload_since = None
            return False
        now = anyio.current_time()
        if self._no_payload_since is None:
            self._no_payload_since = now
        lasting = now - self._no_payload_since >= NO_PAYLOAD_SECONDS
        ours = self._context.ledger.request_ids()
        return lasting or any(item.request_id in ours for item in finished)

    async def _listed(self, endpoint: str) -> ListOutcome:
        """All requests of the endpoint since the earliest intent, by fal's clock and by ours."""
        since = self._start(endpoint)
        listing = await self._listing(endpoint, since)
        earlier = self._start(endpoint)
        if earlier >= since - SKEW:
            return listing
        # fal's answer shows that this machine's clock is ahead: the list was cut off too late.
        return await self._listing(endpoint, earlier)

    async def _listing(self, endpoint: str, since: datetime) -> ListOutcome:
        ask = partial(self._context.queue.listing, endpoint, since=format_time(since - SKEW))
        listing = await self._context.reads.read(ask)
        if isinstance(listing, Listing) and listing.asked_at is not None:
            self._clock.note(listing.asked_at)
        return listing

    def _start(self, endpoint: str) -> datetime:
        return min(self._sent(lookup) for lookup in self._of(endpoint))

    def _sent(self, lookup: _Lookup) -> datetime:
        """The earliest time at which this may have reached fal, by either clock."""
        by_fal = self._clock.at(lookup.since)
        if lookup.earlier and self._clocks_differ(lookup):
            by_fal -= LOOK_BACK
        return min(lookup.submission.intended_at, by_fal)

    def _clocks_differ(self, lookup: _Lookup) -> bool:
        """Whether the clocks differ, so that the age of a submission is not certain."""
        return lookup.future or self._clock.differs(SKEW)

    def _unread(self, endpoint: str, reason: str) -> None:
        for lookup in self._of(endpoint):
            lookup.reason = f"the request list cannot be read: {reason}"

    def _of(self, endpoint: str) -> list[_Lookup]:
        return [item for item in self._lookups.values() if item.submission.endpoint == endpoint]

    def _claim(self, endpoint: str, items: tuple[Listed, ...], otherwise: str) -> None:
        """Adopt what the list shows; no await between reading the ledger and writing it.

        `otherwise`: what it says about a submission that is not in it.
        """
        ledger = self._context.ledger
        lookups = self._of(endpoint)
        for lookup in lookups:
            lookup.reason = otherwise
            if self._clocks_differ(lookup):
                lookup.reason = (
                    f"{otherwise}; this machine's clock differs, or differed, from fal's"
                )
        claimed = ledger.request_ids()
        self._compare(items, claimed)
        in_flight = {comparable(a.payload) for a in ledger.attempts_in(State.SUBMITTING)}
        matches = match(
            [lookup.submission._replace(intended_at=self._sent(lookup)) for lookup in lookups],
            items,
            claimed=claimed,
            defaults=_defaults(endpoint),
            in_flight=in_flight,
            fresh={n.submission.attempt_id for n in lookups if self._age(n) < FRESH_SECONDS},
        )
        for attempt_id, request_id in matches.open.items():
            self._lookups[attempt_id].reason = f"fal lists a request that may be it: {request_id}"
        for attempt_id, request_id in matches.found.items():
            handle = self._context.queue.handle(endpoint, request_id)
            ledger.record(attempt_id, Event.RECONCILED_FOUND, handle=handle)
            self._on_adopted(self._lookups.pop(attempt_id).item, attempt_id)
        for request_id in set(matches.surplus) - self._surplus:
            self._surplus.add(request_id)
            self._warn(
                f"fal also accepted request {request_id} with the same payload, and no job of this "
                "ledger owns it: another program's, or a charge without a file"
            )

    def _compare(self, items: tuple[Listed, ...], claimed: Collection[str]) -> None:
        """Tell of requests that fal has given to another job than the one that paid for them."""
        for item in items:
            if item.request_id not in claimed or item.request_id in self._compared:
                continue
            owner = self._context.ledger.owner_of(item.request_id)
            if item.payload is None or owner is None:
                continue  # its input may be listed later
            self._compared.add(item.request_id)
            if contradicts(item.payload, owner.payload):
                self._warn_of_swapped(item.request_id, owner, items, claimed)

    def _warn_of_swapped(
        self, request_id: str, owner: Attempt, items: tuple[Listed, ...], claimed: Collection[str]
    ) -> None:
        ledger, sent = self._context.ledger, comparable(owner.payload)
        name = by_key(ledger, owner.job_key).label
        own = (
            f"; request {each.request_id} has its input, was paid for as well, and no job owns it"
            for each in items
            if each.request_id not in claimed and comparable(each.payload) == sent
        )
        self._warn(
            f"fal lists request {request_id} with another input than {name} has sent, which it was "
            f"given to: its file may be another job's render{next(own, '')}; "
            f"see: {command_on(ledger.path, 'show', name)}"
        )

    def _expire(self) -> None:
        """Hold what is older than `doubt_wait`."""
        for attempt_id, lookup in list(self._lookups.items()):
            if self._age(lookup) >= self._context.policy.doubt_wait:
                del self._lookups[attempt_id]
                self._hold(lookup, lookup.reason)

    def _age(self, lookup: _Lookup) -> float:
        # By clocks that differ it may look hours old, and be fresh.
        return anyio.current_time() - (
            lookup.added if self._clocks_differ(lookup) else lookup.since
        )

    def _pause(self) -> float:
        ages = [self._age(lookup) for lookup in self._lookups.values()]
        left = self._context.policy.doubt_wait - max(ages)
        interval = 1.0 if self._refusals else pacing.doubt_interval(min(ages))
        return max(0.05, min(interval, left))

    def _forbid(self, reason: str) -> None:
        """The list cannot be used: leave all submissions in doubt to a person, without waiting."""
        if not self._forbidden:
            resolve = command_on(self._context.ledger.path, "resolve")
            self._warn(f"{reason}; submissions in doubt are left to: {resolve}")
        self._forbidden = reason
        lookups, self._lookups = self._lookups, {}
        for lookup in lookups.values():
            self._hold(lookup, reason)

    def _hold(self, lookup: _Lookup, reason: str) -> None:
        lookup.reason = reason
        self._held[lookup.submission.attempt_id] = lookup
        self._on_held(lookup.item, lookup.submission.attempt_id)

    def _warn(self, message: str) -> None:
        self._context.emit(EventKind.WARNING, None, message)


def _defaults(endpoint: str) -> Mapping[str, JSON]:
    known = by_id(endpoint)
    return known.defaults if known else {}
