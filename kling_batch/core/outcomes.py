"""Outcomes of remote calls, as values that the fal client and the engine exchange. Pure.

Data, not exceptions: each outcome that may cost money has a type of its own. Must not do I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from kling_batch.core.jobs import JSON


class FailureKind(StrEnum):
    """Why an attempt settled without files; `planning/retry.py` decides what follows."""

    #: The input breaks fal's rules (422 and other definite refusals): the same input never works.
    INVALID = "invalid"
    #: The provider's content policy refused it.
    POLICY = "policy"
    #: fal or the model broke; unbilled (docs/fal-api.md#request-errors), another attempt may work.
    TRANSIENT = "transient"
    #: The platform will not try this one again (own deadline, client gone).
    ABANDONED = "abandoned"
    #: Never connected: nothing left this machine.
    UNREACHABLE = "unreachable"
    #: A gateway's page came instead of fal's answer: the request did not reach fal.
    UNROUTED = "unrouted"
    #: Answered 429 until the tries ran out.
    THROTTLED = "throttled"
    #: Account locked or out of credits.
    LOCKED = "locked"
    #: Key missing, refused, or without access to the endpoint.
    AUTH = "auth"
    #: Rendered and paid, and its files given up, which only a person does (`retry JOB`).
    EXPIRED = "expired"
    #: An input could not be prepared (upload failed, the parent's file is gone).
    INPUT = "input"
    #: A person declared with `resolve` that it never reached fal.
    NOT_SUBMITTED = "not_submitted"
    #: Given up for want of a trace; in ledgers of earlier versions only (`on_doubt: resubmit`).
    NO_TRACE = "no_trace"


class Charged(StrEnum):
    """Whether a settled attempt costs money."""

    NO = "no"
    YES = "yes"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A verdict: what went wrong, and whether it costs money."""

    kind: FailureKind
    message: str
    charged: Charged = Charged.NO
    #: fal's `error_type` or the `type` of the first detail (docs/fal-api.md#model-errors).
    error_type: str = ""
    #: `X-Fal-Needs-Retry` / `X-Fal-Retryable`, which outrank the table.
    retryable: bool | None = None
    status: int | None = None
    #: Where in the arguments, for a 422: `("body", "duration")`.
    loc: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """fal's id and URLs of a request; the URLs are used verbatim (docs/fal-api.md#request-urls)."""

    request_id: str
    response_url: str
    status_url: str
    cancel_url: str


# -- the paid POST -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """fal accepted the request: from here on it may be billed."""

    handle: Handle


@dataclass(frozen=True, slots=True)
class Refused:
    """fal definitely did not accept it."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class NotSent:
    """It provably was not accepted and may be sent again: no connection, or a 429."""

    reason: str
    #: Seconds that fal asked to wait, or None.
    retry_after: float | None = None
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """It may have been accepted. Never repeated automatically."""

    reason: str


SubmitOutcome: TypeAlias = Accepted | Refused | NotSent | Unconfirmed


# -- reads: none of their failures is a verdict about the job ----------------------------------


@dataclass(frozen=True, slots=True)
class Unread:
    """The read failed; it says nothing about the job."""

    reason: str
    retry_after: float | None = None
    #: fal does not know the id (404). A blip, an expired result, or a lost request.
    not_found: bool = False
    #: The key was refused or the account is locked: another read will hardly help soon.
    refused: bool = False
    #: A well-formed answer without output: another read will hardly change it.
    empty: bool = False


class BillingEvent(NamedTuple):
    """What fal billed for a request; one request may have several."""

    request_id: str
    usd: float
    #: By fal's clock; None where it did not say.
    at: datetime | None


@dataclass(frozen=True, slots=True)
class BillingEvents:
    """Every billing event of the account since a moment."""

    events: tuple[BillingEvent, ...]
    #: fal's own clock when it answered, or None where it did not say.
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """IN_QUEUE or IN_PROGRESS."""

    status: str
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """COMPLETED; whether well or badly is in the result, unless `error` says so already."""

    error: str = ""
    error_type: str = ""
    inference_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file that fal made; all but the URL may be missing (docs/fal-api.md#video-output)."""

    url: str
    content_type: str = ""
    name: str = ""
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """The model's output."""

    output: JSON
    files: tuple[RemoteFile, ...]
    billable_units: float | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """A verdict: the render ended without output."""

    failure: Failure
    billable_units: float | None = None


StatusOutcome: TypeAlias = Waiting | Finished | Unread
ResultOutcome: TypeAlias = Rendered | Failed | Unread


class CancelAnswer(StrEnum):
    """fal's answer to a cancellation (docs/fal-api.md#cancel), which is no promise of a refund."""

    REQUESTED = "CANCELLATION_REQUESTED"
    #: Removed from the queue before it began.
    REMOVED = "OK"
    ALREADY_COMPLETED = "ALREADY_COMPLETED"
    NOT_FOUND = "NOT_FOUND"
    #: fal refuses the key.
    REFUSED = "REFUSED"
    UNREAD = "UNREAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A request in the platform's list (docs/fal-api.md#request-list)."""

    request_id: str
    endpoint: str
    sent_at: str
    payload: JSON
    output: JSON = None
    status_code: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All requests of one endpoint since a moment."""

    items: tuple[Listed, ...]
    #: fal's own time of its answer, or None where it gave none.
    asked_at: datetime | None = None
    #: False where the list was cut off: what is not in it may exist all the same.
    complete: bool = True


@dataclass(frozen=True, slots=True)
class ListForbidden:
    """The key may not read the list, or payloads are not stored: a person must resolve."""

    reason: str


ListOutcome: TypeAlias = Listing | ListForbidden | Unread


# -- files -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A complete, verified file under a temporary name in its final folder."""

    temporary: str
    sha256: str
    size: int
    #: With its dot, from the first bytes.
    ext: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Gone:
    """404 or 410: expired or deleted."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unfetched:
    """The download failed for now; nothing is lost."""

    reason: str
    #: The network or the server failed, not the content.
    outage: bool = False


FetchOutcome: TypeAlias = Fetched | Gone | Unfetched


class UploadError(Exception):
    """An input could not be uploaded; nothing was paid.

    Args:
        message: for a person.
        passing: the network or the server failed, so that another try may work.
        failure: the failure, where it is not about this input alone: the key, the account.
    """

    def __init__(
        self, message: str, *, passing: bool = False, failure: Failure | None = None
    ) -> None:
        super().__init__(message)
        self.passing = passing
        self.failure = failure or Failure(kind=FailureKind.INPUT, message=message)
