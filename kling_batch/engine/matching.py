"""Matching of unconfirmed submissions with entries of fal's request list. Pure.

fal has no idempotency key (docs/fal-api.md#idempotency), but its request list shows what it
accepted, with the payload. An unclaimed entry with equal payload, sent since the intent, is the
lost request, or equivalent to it, since the same money bought the same render. Must not do I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from kling_batch.core.jobs import JSON, canonical_json
from kling_batch.core.outcomes import Listed

#: How far this machine's clock and fal's may differ.
SKEW = timedelta(minutes=10)
#: How much earlier than its intent a request of a fresh submission may be listed. Earlier ones fit
#: only where the clocks differ, and may as well be another ledger's with the same jobs.
NEAR = timedelta(seconds=5)

_LATE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class UnconfirmedSubmission:
    """An attempt in doubt: whether fal accepted its POST is unknown."""

    attempt_id: int
    endpoint: str
    payload: JSON
    intended_at: datetime


@dataclass(frozen=True, slots=True)
class Matches:
    """Result of comparing unconfirmed submissions with the list."""

    #: attempt id → request id.
    found: Mapping[int, str]
    #: Further requests with the payload of a found one, claimed by no attempt: possibly lost money.
    surplus: tuple[str, ...]
    #: Attempts without a match that an unclaimed request may belong to all the same: one without
    #: payload, or one of the same payload while a POST of it is under way.
    open: frozenset[int]


def comparable(payload: JSON) -> str:
    """Canonical text, equal for equivalent payloads: order, nulls and `5.0` for `5` are ignored."""
    return canonical_json(_plain(payload))


def _plain(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def match(
    submissions: Sequence[UnconfirmedSubmission],
    listed: Iterable[Listed],
    *,
    claimed: Collection[str],
    in_flight: Collection[str] = (),
    fresh: Collection[int] = (),
) -> Matches:
    """Pair as many submissions as possible with one unclaimed request each.

    Args:
        submissions: of one endpoint.
        listed: the endpoint's requests.
        claimed: request ids that some attempt owns.
        in_flight: `comparable` payloads of POSTs under way; their requests may be listed before
            their answer has come, so submissions with such payloads wait.
        fresh: attempts so young that a request listed before their intent is not theirs yet.
    """
    free: dict[str, list[tuple[datetime, str]]] = {}
    blank: list[datetime] = []
    earliest = min((s.intended_at for s in submissions), default=None)
    for item in listed:
        sent = _parsed(item.sent_at)
        if item.request_id in claimed or (earliest and sent and sent < earliest - SKEW):
            continue
        when = sent or _LATE  # without a time it fits, but after all others
        if item.payload is None:
            blank.append(when)  # stored without payload, or not yet indexed: cannot be compared
            continue
        free.setdefault(comparable(item.payload), []).append((when, item.request_id))
    found: dict[int, str] = {}
    touched: set[str] = set()
    # The youngest first: what fits it fits every older one too, so none is left out needlessly.
    for submission in sorted(
        submissions, key=lambda s: (s.intended_at, s.attempt_id), reverse=True
    ):
        wanted = comparable(submission.payload)
        candidates = sorted(free.get(wanted, ()))
        tolerance = NEAR if submission.attempt_id in fresh else SKEW
        fitting = [c for c in candidates if c[0] >= submission.intended_at - tolerance]
        if wanted in in_flight or not fitting:
            continue
        # The nearest after the intent; one a little before it only where the clocks differ.
        best = min(fitting, key=lambda c: (c[0] < submission.intended_at - timedelta(seconds=2), c))
        free[wanted].remove(best)
        found[submission.attempt_id] = best[1]
        touched.add(wanted)
    surplus = tuple(request_id for payload in touched for _, request_id in free[payload])
    missing = [item for item in submissions if item.attempt_id not in found]
    maybe = frozenset(
        item.attempt_id
        for item in missing
        for when in (*blank, *(when for when, _ in free.get(comparable(item.payload), ())))
        if when >= item.intended_at - SKEW
    )
    return Matches(found, surplus, maybe)


def _parsed(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else None
