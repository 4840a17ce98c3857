"""Which listed request answers which doubt: the pure part of finding lost submissions again.

fal has no idempotency key (docs/fal-api.md#idempotency), but its request list shows what it
accepted, with the payload. Equal payload, sent since the intent, claimed by nobody: that is our
lost request, or one that is as good, since the same money bought the same thing. Must not do I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kling_batch.core.jobs import JSON, canonical_json
from kling_batch.core.outcomes import Listed

#: How far this machine's clock and fal's may be apart.
SKEW = timedelta(minutes=10)
#: How much earlier than its intent a request may be listed without a second thought. Earlier ones
#: fit only where clocks differ, and may as well be those of another ledger with the same jobs.
NEAR = timedelta(seconds=5)

_LATE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A submission whose outcome is unknown."""

    attempt_id: int
    endpoint: str
    payload: JSON
    intended_at: datetime


@dataclass(frozen=True, slots=True)
class Matches:
    """What a look at the list settled."""

    #: attempt id → request id.
    found: Mapping[int, str]
    #: Further requests with the payload of a found one, claimed by nobody: possibly lost money.
    surplus: tuple[str, ...]
    #: Attempts not found which an unclaimed request may be all the same: one without its payload,
    #: or one of the same payload while a POST of it is under way.
    open: frozenset[int]


def comparable(payload: JSON) -> str:
    """Equal for payloads that mean the same: order, explicit nulls and `5.0` do not count."""
    return canonical_json(_plain(payload))


def _plain(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def match(
    doubts: Sequence[Doubt],
    listed: Iterable[Listed],
    *,
    claimed: Collection[str],
    in_flight: Collection[str] = (),
    fresh: Collection[int] = (),
) -> Matches:
    """Pair as many doubts as possible with one unclaimed request each.

    Args:
        doubts: of one endpoint.
        listed: the endpoint's requests.
        claimed: request ids that some attempt owns.
        in_flight: `comparable` payloads of POSTs under way: their requests may be listed before
            their answer is here, so such payloads wait.
        fresh: attempts so young that what was listed before them is not theirs: the list is late.
    """
    free: dict[str, list[tuple[datetime, str]]] = {}
    blank: list[datetime] = []
    earliest = min((d.intended_at for d in doubts), default=None)
    for item in listed:
        sent = _moment(item.sent_at)
        if item.request_id in claimed or (earliest and sent and sent < earliest - SKEW):
            continue
        when = sent or _LATE  # asked for since the intent, so it fits, after all others
        if item.payload is None:
            blank.append(when)  # nothing to compare: stored without payload, or not yet indexed
            continue
        free.setdefault(comparable(item.payload), []).append((when, item.request_id))
    found: dict[int, str] = {}
    touched: set[str] = set()
    # The youngest first: what fits it fits every older one too, so none is left over needlessly.
    for doubt in sorted(doubts, key=lambda d: (d.intended_at, d.attempt_id), reverse=True):
        wanted = comparable(doubt.payload)
        candidates = sorted(free.get(wanted, ()))
        tolerance = NEAR if doubt.attempt_id in fresh else SKEW
        fitting = [c for c in candidates if c[0] >= doubt.intended_at - tolerance]
        if wanted in in_flight or not fitting:
            continue
        # The nearest after the intent; a little before it only where the clocks differ.
        best = min(fitting, key=lambda c: (c[0] < doubt.intended_at - timedelta(seconds=2), c))
        free[wanted].remove(best)
        found[doubt.attempt_id] = best[1]
        touched.add(wanted)
    surplus = tuple(request_id for payload in touched for _, request_id in free[payload])
    missing = [doubt for doubt in doubts if doubt.attempt_id not in found]
    maybe = frozenset(
        doubt.attempt_id
        for doubt in missing
        for when in (*blank, *(when for when, _ in free.get(comparable(doubt.payload), ())))
        if when >= doubt.intended_at - SKEW
    )
    return Matches(found, surplus, maybe)


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
