"""Matching of unconfirmed submissions with entries of fal's request list. Pure.

fal has no idempotency key (docs/fal-api.md#idempotency), but its request list shows what it
accepted, with the payload. An unclaimed entry with equal payload, sent since the intent, is the
lost request, or equivalent to it, since the same money bought the same render. Must not do I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from kling_batch.core.jobs import JSON, canonical_json
from kling_batch.core.outcomes import Listed
from kling_batch.core.quantities import parse_foreign_time

#: How far this machine's clock and fal's may differ.
SKEW = timedelta(minutes=10)
#: How much earlier than its intent a request of a fresh submission may be listed. Earlier ones fit
#: only where the clocks differ, and may as well be another ledger's with the same jobs.
NEAR = timedelta(seconds=5)

_LATE = datetime.max.replace(tzinfo=UTC)


class UnconfirmedSubmission(NamedTuple):
    """An attempt in doubt: whether fal accepted its POST is unknown."""

    attempt_id: int
    endpoint: str
    payload: JSON
    intended_at: datetime


class Matches(NamedTuple):
    """Result of comparing unconfirmed submissions with the list."""

    #: attempt id → request id.
    found: Mapping[int, str]
    #: Further requests with the payload of a found one, claimed by no attempt: possibly lost money.
    surplus: tuple[str, ...]
    #: Attempts without a match → an unclaimed request that may be theirs all the same: one without
    #: payload, one of the same payload while a POST of it is under way, or one whose payload
    #: contains theirs.
    open: Mapping[int, str]


def comparable(payload: JSON) -> str:
    """Canonical text, equal for equivalent payloads: order, nulls and `5.0` for `5` are ignored."""
    return canonical_json(_plain(payload))


def _plain(value: JSON) -> JSON:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def contradicts(listed: JSON, ours: JSON) -> bool:
    """Whether two inputs cannot be of one request, because a value that both have differs.

    Values that fal has filled in or left out, 5 for "5", and what was sent inline say nothing.
    """
    if not isinstance(listed, Mapping) or not isinstance(ours, Mapping):
        return False
    theirs, own = _plain(listed), _plain(ours)
    both = ((_spelled(theirs[name]), _spelled(own[name])) for name in theirs.keys() & own.keys())
    return any(their != our for their, our in both if "data:" not in their + our)


def _spelled(value: JSON) -> str:
    return canonical_json(value).strip('"')


def match(
    submissions: Sequence[UnconfirmedSubmission],
    listed: Iterable[Listed],
    *,
    claimed: Collection[str],
    defaults: Mapping[str, JSON] | None = None,
    in_flight: Collection[str] = (),
    fresh: Collection[int] = (),
) -> Matches:
    """Pair as many submissions as possible with one unclaimed request each.

    Args:
        submissions: of one endpoint.
        listed: the endpoint's requests.
        claimed: request ids that some attempt owns.
        defaults: what the endpoint fills in; a payload is compared without it where equality is not
            found.
        in_flight: `comparable` payloads of POSTs under way; their requests may be listed before
            their answer has come, so submissions with such payloads wait.
        fresh: attempts so young that a request listed before their intent is not theirs yet.
    """
    free: dict[str, list[tuple[datetime, str]]] = {}
    unclaimed: list[tuple[datetime, Listed]] = []
    earliest = min((s.intended_at for s in submissions), default=None)
    for item in listed:
        sent = parse_foreign_time(item.sent_at)
        if item.request_id in claimed or (earliest and sent and sent < earliest - SKEW):
            continue
        when = sent or _LATE  # without a time it fits, but after all others
        unclaimed.append((when, item))
        if item.payload is None:
            continue  # stored without payload, or not yet indexed: cannot be compared
        free.setdefault(comparable(item.payload), []).append((when, item.request_id))
    found: dict[int, str] = {}
    touched: set[str] = set()
    # The youngest first: what fits it fits every older one too, so none is left out needlessly.
    for submission in sorted(
        submissions, key=lambda s: (s.intended_at, s.attempt_id), reverse=True
    ):
        wanted = comparable(submission.payload)
        listed_as = sorted(free.get(wanted, ()))
        tolerance = NEAR if submission.attempt_id in fresh else SKEW
        fitting = [c for c in listed_as if c[0] >= submission.intended_at - tolerance]
        if wanted in in_flight or not fitting:
            continue
        # The nearest after the intent; one a little before it only where the clocks differ.
        best = min(fitting, key=lambda c: (c[0] < submission.intended_at - timedelta(seconds=2), c))
        free[wanted].remove(best)
        found[submission.attempt_id] = best[1]
        touched.add(wanted)
    surplus = tuple(request_id for payload in touched for _, request_id in free[payload])
    missing = [item for item in submissions if item.attempt_id not in found]
    taken = set(found.values())
    rest = [(when, item) for when, item in unclaimed if item.request_id not in taken]
    candidates = ((one, _candidate(one, rest, defaults or {})) for one in missing)
    maybe = {one.attempt_id: request_id for one, request_id in candidates if request_id}
    return Matches(found, surplus, maybe)


def _candidate(
    submission: UnconfirmedSubmission,
    unclaimed: Iterable[tuple[datetime, Listed]],
    defaults: Mapping[str, JSON],
) -> str | None:
    """The id of a request that may be this one, although its payload does not prove it."""
    payload = submission.payload
    if isinstance(payload, Mapping):
        payload = {k: v for k, v in payload.items() if k not in defaults or v != defaults[k]}
    wanted = _plain(payload)
    for when, item in unclaimed:
        early = when < submission.intended_at - SKEW
        if not early and (item.payload is None or _contains(_plain(item.payload), wanted)):
            return item.request_id
    return None


def _contains(listed: JSON, ours: JSON) -> bool:
    """Whether a listed payload has everything that ours has, and perhaps more."""
    if isinstance(ours, Mapping):
        return isinstance(listed, Mapping) and all(
            key in listed and _contains(listed[key], value) for key, value in ours.items()
        )
    if isinstance(ours, list):
        return (
            isinstance(listed, list)
            and len(listed) == len(ours)
            and all(map(_contains, listed, ours))
        )
    return canonical_json(listed) == canonical_json(ours)
