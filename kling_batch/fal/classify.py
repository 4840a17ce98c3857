"""Classification of fal's answers: pure functions from status, headers and body to an outcome.

The tables follow docs/fal-api.md, from #submit to #billing-of-failures. The rule for the paid POST:
unless it is certain that fal did not take it, it is `Unconfirmed`. The rule for reads: only a
completed request's own, structured answer is a verdict. Must not do I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import (
    Accepted,
    Charged,
    Failed,
    Failure,
    FailureKind,
    Finished,
    Handle,
    Listed,
    NotSent,
    Refused,
    Rendered,
    ResultOutcome,
    StatusOutcome,
    SubmitOutcome,
    Unconfirmed,
    Unread,
    Waiting,
)
from kling_batch.fal.responses import (
    Answer,
    billable_units,
    error_of,
    files_in,
    first_detail,
    inference_seconds,
    is_error,
    loc_of,
    message_of,
    queue_position,
    retry_after,
    type_of,
)

# -- the paid POST -----------------------------------------------------------------------------

#: Refusals of this very input: the same input will be refused next time as well.
_DEFINITE = frozenset({400, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431})


def classify_submit(answer: Answer, rebuild: Callable[[str], Handle]) -> SubmitOutcome:
    """What became of the paid POST.

    Args:
        answer: fal's reply to it.
        rebuild: request id → `Handle`, for replies that lack the URLs.
    """
    body = answer.json()
    if 200 <= answer.status < 300:
        return _accepted(body, rebuild) or Unconfirmed(
            f"HTTP {answer.status} without a request id: {answer.text()}"
        )
    if answer.status in (429, 425):
        return NotSent(
            f"HTTP {answer.status}: {message_of(body, answer)}",
            retry_after=retry_after(answer),
            throttled=True,
        )
    if answer.status in (401, 402, 403) or answer.status in _DEFINITE:
        return Refused(_refusal(answer, body))
    # 408, 409, 499, every 5xx and every redirect: a proxy or server received the body and may have
    # passed it on. fal has no idempotency key, so sending it again is not safe.
    return Unconfirmed(f"HTTP {answer.status}: {message_of(body, answer)}")


def _accepted(body: JSON, rebuild: Callable[[str], Handle]) -> Accepted | None:
    if not isinstance(body, dict) or not isinstance(body.get("request_id"), str):
        return None
    request_id = body["request_id"]
    if not request_id:
        return None
    names = ("response_url", "status_url", "cancel_url")
    urls = {name: body[name] for name in names if trusted(body.get(name))}
    if len(urls) < len(names):
        rebuilt = rebuild(request_id)
        urls = {name: getattr(rebuilt, name) for name in names} | urls
    return Accepted(Handle(request_id=request_id, **urls))


#: Hosts that the key may be sent to; URLs of other hosts are replaced by ones built from the id.
_FAL_HOSTS = ("fal.run", "falrun.com", "fal.ai")
_BELOW_FAL_HOSTS = tuple(f".{name}" for name in _FAL_HOSTS)

#: Strict on purpose: what two URL parsers could read as different hosts does not match.
_ADDRESS = re.compile(
    r"https://(?P<host>(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.)+[A-Za-z]+)(?::443)?(?:[/?][!-~]{0,2000})?"
)


def trusted(url: object) -> bool:
    """Whether the key may be sent to this address."""
    found = _ADDRESS.fullmatch(url) if isinstance(url, str) else None
    host = found["host"].lower() if found else ""
    return host in _FAL_HOSTS or host.endswith(_BELOW_FAL_HOSTS)


def _refusal(answer: Answer, body: JSON) -> Failure:
    message = message_of(body, answer)
    if answer.status in (401, 402, 403) and not is_fals(body):
        # A firewall or a proxy refuses this request; that says nothing about key or account.
        kind = FailureKind.UNROUTED
    elif answer.status == 402 or is_lock(answer.status, message):
        kind = FailureKind.LOCKED
    elif answer.status in (401, 403):
        kind = FailureKind.AUTH
    elif answer.status == 404 and body is None:
        kind = FailureKind.UNROUTED
    else:
        kind = FailureKind.INVALID
    detail = first_detail(body)
    return Failure(
        kind=kind,
        message=f"HTTP {answer.status}: {message}",
        error_type=type_of(detail.get("type")),
        status=answer.status,
        loc=loc_of(detail),
    )


def is_lock(status: int, message: str) -> bool:
    """An exhausted or locked account says so in a 403's text (docs/fal-api.md#account-lock)."""
    return status == 403 and _LOCK.search(message) is not None


#: Whole words: "locked" is a part of "blocked".
_LOCK = re.compile(r"\b(?:locked|exhausted balance|top up|budget exceeded)\b", re.IGNORECASE)


def is_fals(body: JSON) -> bool:
    """Whether a refusal is fal's own: JSON with `detail` or `error`, and not a gateway's page."""
    if not isinstance(body, dict):
        return False
    detail = body.get("detail", body.get("error"))
    return bool(detail) and isinstance(detail, str | list | dict)


_ADMIN_LOCK = re.compile(
    r"\badmin(?:istrat\w+)?(?:'s)?[\s_-]+lock|locked by (?:an? )?admin", re.IGNORECASE
)


def is_admin_lock(message: str) -> bool:
    """Whether fal says that an administrator locked the account: paying does not lift that."""
    return _ADMIN_LOCK.search(message) is not None


# -- status ------------------------------------------------------------------------------------


def classify_status(answer: Answer) -> StatusOutcome:
    """Outcome of a status call; 200 and 202 alike, the body decides (docs/fal-api.md#status)."""
    body = answer.json()
    if answer.status not in (200, 202):
        return unread(answer)
    if not isinstance(body, dict):
        return Unread(f"status is not JSON: {answer.text()}")
    match body.get("status"):
        case "IN_QUEUE" | "IN_PROGRESS" as status:
            return Waiting(status, queue_position(body))
        case "COMPLETED":
            return Finished(
                error=error_of(body),
                error_type=type_of(body.get("error_type")),
                inference_seconds=inference_seconds(body.get("metrics")),
            )
        case status:
            return Unread(f"unknown status {str(status)[:40]!r}")


def unread(answer: Answer) -> Unread:
    """A failed read, with what may help the next one."""
    message = message_of(answer.json(), answer)
    return Unread(
        f"HTTP {answer.status}: {message}",
        retry_after=retry_after(answer),
        not_found=answer.status == 404,
        refused=answer.status in (401, 402, 403) and is_fals(answer.json()),
        empty=answer.status == 200 and answer.body.strip() == b"null",
    )


# -- result ------------------------------------------------------------------------------------

#: Statuses of failed reads: never a verdict about the job, whatever their body says.
_NO_VERDICT = frozenset({401, 402, 403, 404, 408, 425, 429})


def classify_result(
    answer: Answer, finished: Finished, *, media: bool, cancelled: bool = False
) -> ResultOutcome:
    """What the result of a COMPLETED request says.

    Args:
        answer: the reply to the result GET.
        finished: what the status said just before; its error makes a structured reply a verdict.
        media: whether this endpoint's output must hold files (every catalogue endpoint's does).
        cancelled: whether fal took our request to cancel it; any refusal is a verdict then.
    """
    body = answer.json()
    units = billable_units(answer)
    if answer.status == 200 and body is not None:
        files = files_in(body)
        if files or not (media or is_error(body)):
            return Rendered(output=body, files=files, billable_units=units)
        if first_detail(body):
            return Failed(_verdict(answer, body, finished, units), units)
        return Unread(f"the result holds no file: {answer.text()}", empty=True)
    if cancelled and _tells_of_cancellation(answer, body):
        return Failed(_cancellation(answer, body, finished, units), units)
    if _is_verdict(answer, body, finished):
        return Failed(_verdict(answer, body, finished, units), units)
    return unread(answer)


def _is_verdict(answer: Answer, body: JSON, finished: Finished) -> bool:
    """Whether a result without output says that the request failed."""
    if answer.status in _NO_VERDICT or not isinstance(body, dict):
        return False
    structured = isinstance(body.get("detail"), list) or bool(
        body.get("error_type") or answer.headers.get("x-fal-error-type")
    )
    status_has_error = bool(finished.error or finished.error_type)
    return structured and (answer.status == 422 or (answer.status >= 400 and status_has_error))


def _tells_of_cancellation(answer: Answer, body: JSON) -> bool:
    """Whether a result says how a request ended that we had cancelled."""
    if answer.status == 499:
        return True
    if not 400 <= answer.status < 500 or answer.status in _NO_VERDICT or first_detail(body):
        return False
    message = message_of(body, answer).lower()
    # Without the id it may be a proxy's answer, which says nothing about the request.
    from_fal = "x-fal-request-id" in answer.headers or "cancel" in message
    return isinstance(body, dict) and from_fal and "in progress" not in message


def _cancellation(answer: Answer, body: JSON, finished: Finished, units: float | None) -> Failure:
    """The verdict about a request that we had cancelled; cancelled only if fal says so."""
    failure = _verdict(answer, body, finished, units)
    if answer.status == 499 or "cancel" in failure.message.lower():
        failure = replace(failure, error_type=CANCELLED)
    return replace(failure, kind=FailureKind.ABANDONED)


def verdict_of_status(finished: Finished) -> Failure:
    """The failure that a COMPLETED status shows, where its result cannot be read for long."""
    return Failure(
        kind=_kind_of(finished.error_type, 422),
        message=finished.error or finished.error_type,
        charged=Charged.UNKNOWN,
        error_type=finished.error_type,
    )


def verdict_of_listed(item: Listed) -> Failure:
    """The failure that the request list shows for a request whose result has expired."""
    answer = Answer(item.status_code or 422, {}, b"")
    if first_detail(item.output):
        return _verdict(answer, item.output, Finished(), None)
    return Failure(
        kind=_kind_of("", answer.status),
        message=f"fal's request list says HTTP {answer.status}",
        charged=Charged.NO if answer.status >= 500 else Charged.UNKNOWN,
        status=answer.status,
    )


#: fal's type of the error of a request that was cancelled.
CANCELLED = "client_cancelled"

#: Of a request that fal removed from its queue before it began.
REMOVED = Failure(
    kind=FailureKind.ABANDONED,
    message="cancelled at fal",
    charged=Charged.NO,
    error_type=CANCELLED,
)

#: Request-level errors (docs/fal-api.md#request-errors).
_ERROR_TYPES: dict[str, FailureKind] = {
    "request_timeout": FailureKind.TRANSIENT,
    "startup_timeout": FailureKind.TRANSIENT,
    "runner_scheduling_failure": FailureKind.TRANSIENT,
    "runner_connection_timeout": FailureKind.TRANSIENT,
    "runner_disconnected": FailureKind.TRANSIENT,
    "runner_connection_refused": FailureKind.TRANSIENT,
    "runner_connection_error": FailureKind.TRANSIENT,
    "runner_incomplete_response": FailureKind.TRANSIENT,
    "runner_server_error": FailureKind.TRANSIENT,
    "internal_error": FailureKind.TRANSIENT,
    "client_disconnected": FailureKind.ABANDONED,
    CANCELLED: FailureKind.ABANDONED,
    "bad_request": FailureKind.INVALID,
}

#: Model-level errors (docs/fal-api.md#model-errors) that are worth another attempt, or are about
#: policy.
_DETAIL_TYPES: dict[str, FailureKind] = {
    "internal_server_error": FailureKind.TRANSIENT,
    "generation_timeout": FailureKind.TRANSIENT,
    "downstream_service_error": FailureKind.TRANSIENT,
    "downstream_service_unavailable": FailureKind.TRANSIENT,
    "content_policy_violation": FailureKind.POLICY,
}

#: Types of a 422 by which a request's validation refuses the input: units are set to 0 then
#: (docs/fal-api.md#billing-of-failures). Any other type may have cost a run of the model.
_FREE_TYPES = """
    image_too_small image_too_large image_aspect_ratio_error image_load_error file_too_large
    file_download_error audio_duration_too_long audio_duration_too_short video_duration_too_long
    video_duration_too_short unsupported_audio_format unsupported_image_format
    unsupported_video_format invalid_archive archive_file_count_below_minimum
    archive_file_count_exceeds_maximum feature_not_supported one_of sequence_too_short
    sequence_too_long greater_than greater_than_equal less_than less_than_equal multiple_of
    finite_number missing extra_forbidden enum literal_error value_error assertion_error
    too_long too_short string_type string_too_long string_too_short string_pattern_mismatch
    int_type int_parsing int_parsing_size int_from_float float_type float_parsing bool_type
    bool_parsing list_type dict_type model_type model_attributes_type json_type json_invalid
    none_required union_tag_invalid union_tag_not_found url_type url_parsing url_scheme
    url_too_long url_syntax_violation
"""
_KNOWN_FREE = frozenset(_FREE_TYPES.split())
#: The same as older versions of pydantic name them: `value_error.missing`.
_FREE_FAMILIES = ("value_error.", "type_error.")


def _kind_of(error_type: str, status: int) -> FailureKind:
    kind = _ERROR_TYPES.get(error_type) or _DETAIL_TYPES.get(error_type)
    if kind is not None:
        return kind
    if status == 499:
        return FailureKind.ABANDONED
    return FailureKind.TRANSIENT if status >= 500 else FailureKind.INVALID


def _verdict(answer: Answer, body: JSON, finished: Finished, units: float | None) -> Failure:
    detail = first_detail(body)
    error_type = (
        type_of(detail.get("type"))
        or type_of(body.get("error_type") if isinstance(body, dict) else None)
        or type_of(answer.headers.get("x-fal-error-type"))
        or finished.error_type
    )
    kind = _kind_of(error_type, answer.status)
    if answer.headers.get("x-fal-request-timeout-type"):
        # Our own deadline: nobody may retry it (docs/fal-api.md#request-errors).
        kind = FailureKind.ABANDONED
    hint = _retry_hint(answer)
    if hint and kind is FailureKind.INVALID:
        # fal's own hint outranks the table (docs/fal-api.md#model-errors).
        kind = FailureKind.TRANSIENT
    return Failure(
        kind=kind,
        message=message_of(body, answer),
        charged=_charged(answer.status, error_type, units),
        error_type=error_type,
        retryable=hint,
        status=answer.status,
        loc=loc_of(detail),
    )


def _charged(status: int, error_type: str, units: float | None) -> Charged:
    """Who pays for a failure: fal's units where it gives them, else what is known to be free.

    Source: docs/fal-api.md#billing-of-failures.
    """
    if units is not None:
        return Charged.YES if units > 0 else Charged.NO
    if status >= 500:
        return Charged.NO
    free = error_type in _KNOWN_FREE or error_type.startswith(_FREE_FAMILIES)
    return Charged.NO if status == 404 or (status in (400, 422) and free) else Charged.UNKNOWN


def _retry_hint(answer: Answer) -> bool | None:
    for name in ("x-fal-needs-retry", "x-fal-retryable"):
        value = answer.headers.get(name, "").strip().lower()
        if value in ("1", "true", "yes"):
            return True
        if value in ("0", "false", "no"):
            return False
    return None
