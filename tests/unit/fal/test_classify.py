"""Every answer that fal can give, as tables: what it means for the money and for the job.

The rows are those of docs/fal-api.md#request-errors and #model-errors, said once more in
other words than `classify.py`'s.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    RemoteFile,
    Rendered,
    Unconfirmed,
    Unread,
    Waiting,
)
from kling_batch.fal.classify import (
    classify_result,
    classify_status,
    classify_submit,
    is_lock,
    trusted,
    unread,
    verdict_of_listed,
    verdict_of_status,
)
from kling_batch.fal.responses import Answer, billable_units, files_in, message_of, retry_after
from kling_batch.planning.retry import Decision, decide

LOCK = "User is locked. Reason: Exhausted balance. Top up your balance at fal.ai/dashboard/billing."
HTML = b"<html><body><center>502 Bad Gateway</center><hr>nginx</body></html>"
VIDEO: dict[str, Any] = {
    "video": {"url": "https://v3b.fal.media/files/b/0a/out.mp4", "file_size": 12}
}

exhaustive = settings(max_examples=200, deadline=None, derandomize=True, database=None)


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {k.replace("_", "-"): v for k, v in headers.items()}, raw)


def rebuilt(request_id: str) -> Handle:
    base = f"https://queue.fal.run/fal-ai/kling-video/requests/{request_id}"
    return Handle(
        request_id=request_id,
        response_url=base,
        status_url=f"{base}/status",
        cancel_url=f"{base}/cancel",
    )


def submit(status: int, body: Any = None, **headers: str) -> Any:
    return classify_submit(answer(status, body, **headers), rebuilt)


# -- the paid POST -----------------------------------------------------------------------------

THROTTLED = {425, 429}
REFUSED = {400, 401, 402, 403, 404, 405, 406, 410, 411, 413, 414, 415, 422, 431}
BODIES = [{"detail": "no"}, [1], None, HTML, b"", b"\xff\xfe{", {"request_id": "r-1"}]


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_without_2xx_a_post_is_doubt_unless_it_was_certainly_not_taken(body: Any) -> None:
    got = {status: type(submit(status, body)) for status in range(300, 600)}

    assert {s for s, outcome in got.items() if outcome is NotSent} == THROTTLED
    assert {s for s, outcome in got.items() if outcome is Refused} == REFUSED
    assert set(got.values()) == {NotSent, Refused, Unconfirmed}


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], [1], {}, "text", 7, HTML, b"", b"{", b"\xff\xfe", b"[" * 100_000),
        {"request_id": None},
        {"request_id": ""},
        {"request_id": 7},
        {"request_id": ["r-1"]},
        {"id": "r-1"},
    ],
    ids=lambda body: repr(body)[:30],
)
@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_without_a_request_id_is_doubt_never_a_failure(status: int, body: Any) -> None:
    assert isinstance(submit(status, body), Unconfirmed)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (201, {"id": "r-1"}, 'HTTP 201 without a request id: {"id": "r-1"}'),
        (502, {"detail": "no"}, "HTTP 502: no"),
        (409, b"busy", "HTTP 409: busy"),
    ],
)
def test_doubt_is_reported_in_fals_words(status: int, body: Any, reason: str) -> None:
    assert submit(status, body) == Unconfirmed(reason)


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_2xx_with_a_request_id_is_accepted_with_fals_own_urls(status: int) -> None:
    urls = {
        "response_url": "https://queue.fal.run/a/b/c/requests/r-1/response",
        "status_url": "https://queue.fal.run/a/b/c/requests/r-1/status",
        "cancel_url": "https://queue.fal.run/a/b/c/requests/r-1/cancel",
    }

    assert submit(status, {"request_id": "r-1", **urls}) == Accepted(
        Handle(request_id="r-1", **urls)
    )


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        ["https://queue.fal.run/x"],
        "",
        "queue.fal.run/x",
        "//queue.fal.run/x",
        "http://queue.fal.run/x",
        "ftp://queue.fal.run/x",
        "https://evil.example/fal.run",
        "https://queue.fal.run.evil.example/x",
        "https://notfal.run/x",
        "https://fal.run.example/x",
        "https://evil.example#.fal.run/x",
        "https://evil.example?.fal.run/x",
        "https://queue.fal.run@evil.example/x",
        "https://evil.example@queue.fal.run/x",
        "https://user:word@queue.fal.run/x",
        "https://[::1]/x",
        "https://[/x",
        "https://127.0.0.1/x",
        "https://169.254.169.254/latest",
        "https://v3b.fal.media/x",
        "https://evil.example\\.fal.run/x",
        "https://queue.fal\n.run/x",
        "https://queue.fal.run/x\r\nHost: evil",
        "https://queue.fal.run/ x",
        "https://ｆal.run/x",
        "https://queue.fal.run/\x00",
        "https://queue.fal.run:port/x",
        "https://queue..fal.run/x",
        "https://.fal.run/x",
        f"https://queue.fal.run/{'x' * 100_000}",
    ],
    ids=lambda url: repr(url)[:60],
)
def test_an_address_that_may_not_see_the_key_is_rebuilt_not_believed(url: Any) -> None:
    assert not trusted(url)

    taken = submit(200, {"request_id": "r-1", "status_url": url, "response_url": url})

    assert taken == Accepted(rebuilt("r-1"))


@pytest.mark.parametrize(
    "url",
    [
        "https://queue.fal.run/x",
        "https://QUEUE.FAL.RUN/x",
        "https://queue.falrun.com/x",
        "https://fal.run/x",
        "https://rest.fal.ai/x?y=1",
        "https://api.fal.ai:443/v1",
    ],
)
def test_fals_own_hosts_are_believed(url: str) -> None:
    assert trusted(url)


def test_an_id_that_cannot_be_rebuilt_is_still_accepted_with_the_urls_it_came_with() -> None:
    """The request id of a paid render must never be lost to our own address making."""
    url = "https://queue.fal.run/x/requests/r-1"

    def broken(_: str) -> Handle:
        raise ValueError("no such endpoint")

    body = {"request_id": "r-1", "response_url": url, "status_url": url, "cancel_url": url}
    taken = classify_submit(answer(200, body), broken)

    assert isinstance(taken, Accepted)
    assert taken.handle.request_id == "r-1"


def test_a_throttled_post_carries_how_long_fal_asked_to_wait() -> None:
    assert submit(429, {"detail": "slow down"}, retry_after="7") == NotSent(
        "HTTP 429: slow down", retry_after=7.0, throttled=True
    )


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"detail": "Invalid key credentials"}, FailureKind.AUTH),
        (403, {"detail": "Cannot access application"}, FailureKind.AUTH),
        (401, HTML, FailureKind.UNROUTED),
        (403, None, FailureKind.UNROUTED),
        (403, HTML, FailureKind.UNROUTED),
        (403, "Your request was blocked: account locked, top up", FailureKind.UNROUTED),
        (403, {"message": "Forbidden"}, FailureKind.UNROUTED),
        (403, {"detail": "This prompt was blocked"}, FailureKind.AUTH),
        (403, {"detail": LOCK}, FailureKind.LOCKED),
        (403, {"detail": "User is locked. Reason: TOP_UP."}, FailureKind.LOCKED),
        (403, {"detail": "USER BUDGET EXCEEDED"}, FailureKind.LOCKED),
        (403, {"error": {"message": "Exhausted balance"}}, FailureKind.LOCKED),
        (402, {"detail": "Payment required"}, FailureKind.LOCKED),
        (402, None, FailureKind.UNROUTED),
        (401, {"detail": LOCK}, FailureKind.AUTH),
        (400, {"detail": "malformed"}, FailureKind.INVALID),
        (404, {"detail": "no such app"}, FailureKind.INVALID),
        (404, None, FailureKind.UNROUTED),
        (404, HTML, FailureKind.UNROUTED),
        (400, None, FailureKind.INVALID),
        (413, HTML, FailureKind.INVALID),
        (422, {"detail": [{"type": "missing", "loc": ["body", "prompt"]}]}, FailureKind.INVALID),
    ],
)
def test_a_refused_post_says_whose_fault_it_is_and_costs_nothing(
    status: int, body: Any, kind: FailureKind
) -> None:
    refused = submit(status, body)

    assert isinstance(refused, Refused)
    assert refused.failure.kind is kind
    assert refused.failure.charged is Charged.NO
    assert refused.failure.status == status
    assert refused.failure.message.startswith(f"HTTP {status}: ")


@pytest.mark.parametrize("body", [{"detail": "malformed"}, {"detail": [{"msg": "no"}]}, None])
def test_a_refused_post_without_a_type_has_none(body: Any) -> None:
    failure = submit(400, body).failure

    assert failure.error_type == ""
    assert failure.loc == ()


def test_a_refused_post_tells_the_place_of_the_first_mistake() -> None:
    detail = {"type": "enum", "loc": ["body", "shots", 2, "duration"], "msg": "not an option"}

    failure = submit(422, {"detail": [detail]}).failure

    assert failure.loc == ("body", "shots", 2, "duration")
    assert failure.error_type == "enum"
    assert "shots.2.duration: not an option" in failure.message


@pytest.mark.parametrize("status", [400, 401, 402, 404, 429, 500])
def test_only_a_403_is_a_lock_whatever_the_text(status: int) -> None:
    assert not is_lock(status, LOCK)


# -- Retry-After -------------------------------------------------------------------------------

SENT = "Wed, 21 Oct 2026 07:27:00 GMT"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("-3", 0.0),
        ("nan", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2026 07:28:00 -0000", 60.0),
        ("Wed, 21 Oct 2026 09:28:00 +0200", 60.0),
        ("Wed, 21 Oct 2026 07:26:00 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("Wed, 21 Oct 2026", None),
        ("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", None),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +999999999999", None),
        (",", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_or_nothing(value: str, seconds: float | None) -> None:
    assert retry_after(answer(429, retry_after=value, date=SENT)) == seconds


def test_a_retry_after_date_counts_on_the_servers_clock_alone() -> None:
    then = "Wed, 21 Oct 2026 07:28:00 GMT"

    assert retry_after(answer(429, retry_after=then)) is None
    assert retry_after(answer(429, retry_after=then, date="yesterday")) is None
    assert retry_after(answer(429)) is None


@exhaustive
@given(st.text(max_size=40), st.text(max_size=40))
def test_no_retry_after_breaks_the_reader(value: str, date: str) -> None:
    seconds = retry_after(answer(429, retry_after=value, date=date))

    assert seconds is None or seconds >= 0


# -- status ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"status": "IN_QUEUE", "queue_position": 3}, Waiting("IN_QUEUE", 3)),
        ({"status": "IN_QUEUE"}, Waiting("IN_QUEUE")),
        ({"status": "IN_QUEUE", "queue_position": "3"}, Waiting("IN_QUEUE")),
        ({"status": "IN_PROGRESS", "logs": None}, Waiting("IN_PROGRESS")),
        ({"status": "COMPLETED"}, Finished()),
        (
            {"status": "COMPLETED", "metrics": {"inference_time": 93.5}},
            Finished(inference_seconds=93.5),
        ),
        ({"status": "COMPLETED", "metrics": None, "error": None}, Finished()),
        ({"status": "COMPLETED", "metrics": {"inference_time": "fast"}}, Finished()),
        ({"status": "COMPLETED", "metrics": {"inference_time": -3}}, Finished()),
        ({"status": "COMPLETED", "metrics": {"inference_time": 0}}, Finished()),
        ({"status": "COMPLETED", "metrics": {"inference_time": 10**400}}, Finished()),
        (
            {"status": "COMPLETED", "error": "bad", "error_type": "internal_error"},
            Finished("bad", "internal_error"),
        ),
        ({"status": "COMPLETED", "error": {"code": 1}, "error_type": 7}, Finished()),
    ],
)
def test_200_and_202_alike_the_body_tells_the_status(status: int, body: Any, outcome: Any) -> None:
    assert classify_status(answer(status, body)) == outcome


@pytest.mark.parametrize(
    "body",
    [
        *(None, [], "COMPLETED", 1, HTML, b"", b"{"),
        {"status": "FAILED"},
        {"status": "completed"},
        {"status": "NOT_FOUND"},
        {"status": None},
        {"status": ["COMPLETED"]},
        {},
    ],
    ids=repr,
)
@pytest.mark.parametrize("status", [200, 202])
def test_a_status_that_nobody_knows_is_no_verdict(status: int, body: Any) -> None:
    assert isinstance(classify_status(answer(status, body)), Unread)


@pytest.mark.parametrize(
    "body", [{"status": "COMPLETED"}, {"detail": "x", "error_type": "internal_error"}, HTML]
)
def test_no_other_http_status_of_a_status_read_is_a_verdict(body: Any) -> None:
    for status in set(range(201, 600)) - {202}:
        outcome = classify_status(answer(status, body))

        assert isinstance(outcome, Unread), status
        assert outcome.not_found == (status == 404)
        # A page of a firewall or proxy is no refusal of fal's.
        fals = isinstance(body, dict) and "detail" in body
        assert outcome.refused == (status in (401, 402, 403) and fals)
        assert not outcome.empty


def test_a_failed_read_keeps_what_fal_asked_for() -> None:
    got = unread(answer(503, {"detail": "busy"}, retry_after="9"))

    assert got == Unread("HTTP 503: busy", retry_after=9.0)


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**64 - 1])
def test_integers_of_64_bits_stay_as_they_are(value: int) -> None:
    body = answer(200, b'{"seed": %d}' % value).json()

    assert body == {"seed": value}


def test_integers_without_end_are_fractions_that_can_be_reckoned_with() -> None:
    body = answer(200, b'{"a": 1%s, "b": -1%s, "c": 1%s}' % (b"0" * 30, b"0" * 30, b"0" * 400))

    assert body.json() == {"a": 1e30, "b": -1e30, "c": None}
    assert isinstance(body.json()["a"], float)


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999"])
def test_numbers_that_json_does_not_have_never_reach_the_ledger(text: bytes) -> None:
    """The ledger's `json_valid` would refuse them, and with them the paid result."""
    status = classify_status(
        answer(200, b'{"status": "COMPLETED", "metrics": {"inference_time": %s}}' % text)
    )
    result = classify_result(
        answer(200, b'{"video": {"url": "https://v"}, "score": %s}' % text), Finished(), media=True
    )

    assert status == Finished()
    assert isinstance(result, Rendered)
    assert json.loads(json.dumps(result.output, allow_nan=False)) == result.output


@pytest.mark.parametrize("body", [b'{"detail": "cut \\ud83d"}', b'{"detail": "cut \\udc00 too"}'])
def test_half_a_character_never_reaches_the_ledger(body: bytes) -> None:
    """SQLite stores UTF-8, which has no lone surrogates; JavaScript cuts emoji in two."""
    failure = submit(422, body).failure

    failure.message.encode()
    assert "cut" in failure.message


def test_whole_characters_written_as_escapes_stay() -> None:
    assert submit(422, b'{"detail": "\\ud83d\\ude00 ok"}').failure.message.endswith("😀 ok")


# -- result ------------------------------------------------------------------------------------

DETAIL = {"detail": [{"type": "content_policy_violation", "loc": ["body"], "msg": "no"}]}
TEXT = {"detail": "runner gone", "error_type": "runner_disconnected"}
TOLD = Finished("failed", "runner_disconnected")


def result(status: int, body: Any, finished: Finished = Finished(), *, media: bool = True) -> Any:  # noqa: B008
    return classify_result(answer(status, body), finished, media=media)


@pytest.mark.parametrize("finished", [Finished(), TOLD])
def test_200_with_a_file_is_rendered_even_where_the_status_reported_an_error(
    finished: Finished,
) -> None:
    rendered = classify_result(answer(200, VIDEO, x_fal_billable_units="4"), finished, media=True)

    assert rendered == Rendered(
        output=VIDEO,
        files=(RemoteFile(url=VIDEO["video"]["url"], size=12),),
        billable_units=4.0,
    )


@pytest.mark.parametrize("body", [{"voice_id": "v"}, [], [1], "text", 0, False, {}])
def test_200_without_files_is_a_result_only_where_none_is_due(body: Any) -> None:
    assert result(200, body, media=False) == Rendered(output=body, files=())
    assert result(200, body) == Unread(f"the result holds no file: {json.dumps(body)}", empty=True)


@pytest.mark.parametrize("body", [b"", b"null", HTML, b"{", b"\xff"])
@pytest.mark.parametrize("media", [True, False])
def test_200_without_json_is_no_verdict(body: bytes, media: bool) -> None:
    assert isinstance(result(200, body, media=media), Unread)


def test_null_is_a_well_formed_answer_without_output() -> None:
    """It is worth a look into the request list, and no hours of asking again."""
    assert result(200, b" null\n").empty


@pytest.mark.parametrize("odd", ["x" * 10**6, {"x": "y" * 10**6}, ["x" * 10**6]], ids=type)
def test_texts_without_end_are_cut(odd: Any) -> None:
    finished = classify_status(
        answer(200, {"status": "COMPLETED", "error": odd, "error_type": odd})
    )
    details = [{"type": odd, "msg": odd}]
    told = [
        finished,
        classify_status(answer(200, {"status": odd})),
        result(422, {"detail": details}),
        result(500, {"detail": odd, "error_type": odd}, TOLD),
        submit(422, {"detail": details}),
    ]

    assert max(map(len, map(repr, told))) < 2000


def test_an_error_as_the_platform_writes_it_is_told() -> None:
    body = {"status": "COMPLETED", "error": {"type": "server_error", "message": "it broke"}}

    assert classify_status(answer(200, body)) == Finished(error="it broke")


def test_200_with_an_error_document_is_a_verdict() -> None:
    assert result(200, DETAIL).failure.kind is FailureKind.POLICY


@pytest.mark.parametrize("finished", [Finished(), TOLD])
@pytest.mark.parametrize("status", [401, 402, 403, 404, 408, 425, 429])
@pytest.mark.parametrize("body", [DETAIL, TEXT, HTML, None, VIDEO])
def test_a_refused_read_is_no_verdict_whatever_it_says(
    status: int, body: Any, finished: Finished
) -> None:
    assert isinstance(result(status, body, finished), Unread)


@pytest.mark.parametrize("body", [HTML, b"", None, [1], "x", {"detail": "text"}, {}, VIDEO])
@pytest.mark.parametrize("status", [202, 302, 400, 409, 410, 422, 499, 500, 502, 503, 504])
@pytest.mark.parametrize("finished", [Finished(), TOLD])
def test_without_fals_structure_no_answer_is_a_verdict(
    status: int, body: Any, finished: Finished
) -> None:
    assert isinstance(result(status, body, finished), Unread)


@pytest.mark.parametrize("body", [DETAIL, TEXT])
@pytest.mark.parametrize("status", [400, 409, 410, 499, 500, 502, 503, 504])
def test_a_structured_error_is_a_verdict_only_once_the_status_reported_one(
    status: int, body: Any
) -> None:
    assert isinstance(result(status, body), Unread)
    assert isinstance(result(status, body, TOLD), Failed)
    assert isinstance(result(status, body, Finished(error="only words")), Failed)


@pytest.mark.parametrize("finished", [Finished(), TOLD])
def test_a_422_with_details_is_a_verdict_by_itself(finished: Finished) -> None:
    failed = result(422, DETAIL, finished)

    assert isinstance(failed, Failed)
    assert failed.failure.kind is FailureKind.POLICY
    assert failed.failure.error_type == "content_policy_violation"


@pytest.mark.parametrize(
    ("status", "body", "error_type"),
    [
        (499, {"detail": "Request was cancelled"}, "client_cancelled"),
        (499, HTML, "client_cancelled"),
        (400, {"detail": "The request was cancelled"}, "client_cancelled"),
        (410, {"detail": "gone"}, ""),
    ],
)
def test_a_refused_result_of_what_we_cancelled_is_a_verdict(
    status: int, body: Any, error_type: str
) -> None:
    reply = answer(status, body, x_fal_request_id="r-1")
    outcome = classify_result(reply, Finished(), media=True, cancelled=True)

    assert isinstance(outcome, Failed)
    failure = outcome.failure
    assert (failure.kind, failure.error_type) == (FailureKind.ABANDONED, error_type)
    assert failure.message == message_of(reply.json(), reply)
    assert failure.charged is Charged.UNKNOWN


@pytest.mark.parametrize("detail", ["The request was CANCELLED", "cancelled"])
def test_a_refusal_that_tells_of_a_cancellation_needs_no_request_id(detail: str) -> None:
    reply = answer(400, {"detail": detail})

    outcome = classify_result(reply, Finished(), media=True, cancelled=True)

    assert isinstance(outcome, Failed)
    assert outcome.failure.kind is FailureKind.ABANDONED


def test_what_is_still_in_progress_is_not_over_although_we_cancelled_it() -> None:
    reply = answer(400, {"detail": "Request is still In Progress"}, x_fal_request_id="r-1")

    outcome = classify_result(reply, Finished(), media=True, cancelled=True)

    assert outcome == Unread("HTTP 400: Request is still In Progress")


def test_a_structured_verdict_about_what_we_cancelled_is_the_models() -> None:
    reply = answer(422, DETAIL, x_fal_request_id="r-1")

    outcome = classify_result(reply, Finished(), media=True, cancelled=True)

    assert isinstance(outcome, Failed)
    assert outcome.failure.kind is FailureKind.POLICY


def test_fals_units_tell_what_a_cancelled_request_has_cost() -> None:
    reply = answer(499, {"detail": "Request was cancelled"}, x_fal_billable_units="5")

    outcome = classify_result(reply, Finished(), media=True, cancelled=True)

    assert isinstance(outcome, Failed)
    assert (outcome.failure.charged, outcome.billable_units) == (Charged.YES, 5.0)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"detail": "Request is still in progress"}),
        (400, {"message": "Bad request"}),
        (400, {"detail": "Bad request", "path": "/requests/r-1/cancel"}),
        (400, HTML),
        (403, {"detail": "User is locked."}),
        (404, {"detail": "Not Found"}),
        (429, {"detail": "slow down"}),
        (502, HTML),
        *((status, {"detail": "Request was cancelled"}) for status in (302, 404, 408, 500, 503)),
    ],
)
def test_a_blind_read_of_what_we_cancelled_is_no_verdict(status: int, body: Any) -> None:
    outcome = classify_result(answer(status, body), Finished(), media=True, cancelled=True)

    assert isinstance(outcome, Unread)


# -- every error fal documents -----------------------------------------------------------------

T, A, V, P = (
    FailureKind.TRANSIENT,
    FailureKind.ABANDONED,
    FailureKind.INVALID,
    FailureKind.POLICY,
)
NO, UNKNOWN = Charged.NO, Charged.UNKNOWN
RETRY, GIVE_UP = Decision.RETRY, Decision.GIVE_UP

#: (error_type, HTTP, kind, who pays, what follows the first try): docs/fal-api.md#request-errors.
REQUEST_LEVEL = [
    ("request_timeout", 504, T, NO, RETRY),
    ("startup_timeout", 504, T, NO, RETRY),
    ("runner_scheduling_failure", 503, T, NO, RETRY),
    ("runner_connection_timeout", 503, T, NO, RETRY),
    ("runner_disconnected", 503, T, NO, RETRY),
    ("runner_connection_refused", 503, T, NO, RETRY),
    ("runner_connection_error", 503, T, NO, RETRY),
    ("runner_incomplete_response", 502, T, NO, RETRY),
    ("runner_server_error", 500, T, NO, RETRY),
    ("internal_error", 500, T, NO, RETRY),
    ("client_disconnected", 499, A, UNKNOWN, GIVE_UP),
    ("client_cancelled", 499, A, UNKNOWN, GIVE_UP),
    ("bad_request", 400, V, UNKNOWN, GIVE_UP),
    ("some_future_type", 500, T, NO, RETRY),
    ("some_future_type", 400, V, UNKNOWN, GIVE_UP),
    ("some_future_type", 418, V, UNKNOWN, GIVE_UP),
]


@pytest.mark.parametrize(("error_type", "status", "kind", "charged", "decision"), REQUEST_LEVEL)
@pytest.mark.parametrize("where", ["body", "header", "status"])
def test_request_level_errors(
    error_type: str,
    status: int,
    kind: FailureKind,
    charged: Charged,
    decision: Decision,
    where: str,
) -> None:
    body = {"detail": "words", "error_type": error_type} if where == "body" else {"detail": "words"}
    headers = {"x_fal_error_type": error_type} if where != "body" else {}
    told = Finished("words", error_type if where == "status" else "")

    failed = classify_result(answer(status, body, **headers), told, media=True)

    assert isinstance(failed, Failed)
    failure = failed.failure
    assert (failure.error_type, failure.kind, failure.charged) == (error_type, kind, charged)
    assert failure.message == "words"
    assert decide(failure, 1, 3) is decision
    assert decide(failure, 3, 3) is GIVE_UP


#: docs/fal-api.md#model-errors; the last word of each row: may the runner's work be billed?
NEVER_AGAIN = """
    no_media_generated:422:unknown image_too_small:422:no image_too_large:422:no
    image_aspect_ratio_error:422:no image_load_error:422:no file_download_error:422:no
    face_detection_error:422:unknown file_too_large:422:no greater_than:422:no
    greater_than_equal:422:no less_than:422:no less_than_equal:422:no multiple_of:422:no
    sequence_too_short:422:no sequence_too_long:422:no one_of:422:no
    feature_not_supported:422:no invalid_archive:422:no
    archive_file_count_below_minimum:422:no archive_file_count_exceeds_maximum:422:no
    audio_duration_too_long:422:no audio_duration_too_short:422:no
    video_duration_too_long:422:no video_duration_too_short:422:no
    unsupported_audio_format:422:no unsupported_image_format:422:no
    unsupported_video_format:422:no missing:422:no string_too_long:422:no
    string_too_short:422:no enum:422:no literal_error:422:no int_parsing:422:no
    url_parsing:422:no partner_validation_failed:422:unknown never_seen_before:422:unknown
"""

MODEL_LEVEL = [
    ("internal_server_error", 500, T, NO, RETRY),
    ("generation_timeout", 504, T, NO, RETRY),
    ("downstream_service_error", 500, T, NO, RETRY),
    ("downstream_service_error", 504, T, NO, RETRY),
    # As a 400 it may have been billed, and what may have been billed is not bought again.
    ("downstream_service_error", 400, T, UNKNOWN, GIVE_UP),
    ("downstream_service_unavailable", 500, T, NO, RETRY),
    ("content_policy_violation", 422, P, UNKNOWN, GIVE_UP),
    ("never_seen_before", 500, T, NO, RETRY),
    *(
        (name, int(status), V, Charged(charged), GIVE_UP)
        for name, status, charged in (row.split(":") for row in NEVER_AGAIN.split())
    ),
]


@pytest.mark.parametrize(("error_type", "status", "kind", "charged", "decision"), MODEL_LEVEL)
def test_model_level_errors(
    error_type: str, status: int, kind: FailureKind, charged: Charged, decision: Decision
) -> None:
    detail = {"type": error_type, "loc": ["body", "prompt"], "msg": "why", "input": "x" * 9999}

    failed = result(status, {"detail": [detail]}, Finished(error="Invalid status code"))

    failure = failed.failure
    assert (failure.error_type, failure.kind, failure.charged) == (error_type, kind, charged)
    assert failure.message == "prompt: why"
    assert decide(failure, 1, 3) is decision


@pytest.mark.parametrize("name", ["x-fal-needs-retry", "x-fal-retryable"])
@pytest.mark.parametrize(
    ("value", "retryable"),
    [("1", True), ("true", True), (" YES ", True), ("0", False), ("False", False), ("no", False)],
)
def test_fals_own_word_on_retrying_outranks_the_table(
    name: str, value: str, retryable: bool
) -> None:
    headers = {name: value}
    broken = {"detail": [{"type": "image_load_error", "loc": [], "msg": "m"}]}
    fault = {"detail": "x", "error_type": "internal_error"}

    invalid = classify_result(Answer(422, headers, json.dumps(broken).encode()), TOLD, media=True)
    transient = classify_result(Answer(500, headers, json.dumps(fault).encode()), TOLD, media=True)

    for failed in (invalid, transient):
        assert isinstance(failed, Failed)
        assert failed.failure.retryable is retryable
        assert decide(failed.failure, 1, 3) is (RETRY if retryable else GIVE_UP)


@pytest.mark.parametrize("value", ["", "maybe", "2"])
def test_a_retry_hint_that_says_nothing_changes_nothing(value: str) -> None:
    failed = classify_result(
        answer(422, {"detail": [{"type": "enum"}]}, x_fal_needs_retry=value), TOLD, media=True
    )

    assert isinstance(failed, Failed)
    assert failed.failure.retryable is None
    assert decide(failed.failure, 1, 3) is GIVE_UP


def test_a_policy_verdict_is_not_bought_again_even_at_fals_word() -> None:
    failed = classify_result(answer(422, DETAIL, x_fal_needs_retry="1"), TOLD, media=True)

    assert isinstance(failed, Failed)
    assert decide(failed.failure, 1, 3) is GIVE_UP


def test_our_own_start_deadline_is_never_retried() -> None:
    failed = classify_result(
        answer(
            504,
            {"detail": "x", "error_type": "startup_timeout"},
            x_fal_request_timeout_type="user",
        ),
        TOLD,
        media=True,
    )

    assert isinstance(failed, Failed)
    assert failed.failure.kind is FailureKind.ABANDONED
    assert decide(failed.failure, 1, 3) is GIVE_UP


@pytest.mark.parametrize(
    ("units", "charged"),
    [("4", Charged.YES), ("0.6", Charged.YES), ("0", Charged.NO), ("0.0", Charged.NO)],
)
@pytest.mark.parametrize("status", [400, 422, 500])
def test_fals_units_tell_who_pays_for_a_failure(status: int, units: str, charged: Charged) -> None:
    failed = classify_result(answer(status, DETAIL, x_fal_billable_units=units), TOLD, media=True)

    assert isinstance(failed, Failed)
    assert failed.failure.charged is charged
    assert failed.billable_units == float(units)
    if charged is Charged.YES:
        assert decide(failed.failure, 1, 3) is GIVE_UP


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("4", 4.0),
        ("0.6", 0.6),
        ("0", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e12", None),
        ("", None),
        ("four", None),
    ],
)
def test_billable_units_are_a_sane_number_or_nothing(text: str, units: float | None) -> None:
    assert billable_units(answer(200, {}, x_fal_billable_units=text)) == units
    assert billable_units(answer(200, {})) is None


@pytest.mark.parametrize(
    ("finished", "kind", "message"),
    [
        (Finished("gone", "runner_disconnected"), FailureKind.TRANSIENT, "gone"),
        (Finished("", "internal_error"), FailureKind.TRANSIENT, "internal_error"),
        (Finished("no", "content_policy_violation"), FailureKind.POLICY, "no"),
        (Finished("stop", "client_cancelled"), FailureKind.ABANDONED, "stop"),
        (Finished("what"), FailureKind.INVALID, "what"),
    ],
)
def test_a_verdict_from_the_status_alone_counts_as_money_perhaps_owed(
    finished: Finished, kind: FailureKind, message: str
) -> None:
    failure = verdict_of_status(finished)

    assert failure == Failure(
        kind=kind, message=message, charged=Charged.UNKNOWN, error_type=finished.error_type
    )
    assert decide(failure, 1, 3) is GIVE_UP


# -- words and files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "text"}, "text"),
        ({"error": "text"}, "text"),
        ({"error": {"type": "rate_limited", "message": "slow"}}, "slow"),
        ({"detail": [{"msg": "a", "loc": ["body", "x"]}, {"msg": "b"}]}, "x: a; b"),
        ({"detail": [{"type": "enum"}]}, "enum"),
        ({"detail": [{}]}, "invalid"),
        ({"detail": [{"msg": "a", "loc": "x"}, 7, None]}, "a"),
        ({"detail": "x" * 9999}, "x" * 500),
    ],
)
def test_fals_words_are_found_wherever_they_stand(body: Any, words: str) -> None:
    assert message_of(body, answer(500, body)) == words


@pytest.mark.parametrize("body", [{"detail": ""}, {"detail": []}, {"detail": 7}, {}, [], "x", None])
def test_without_words_the_start_of_the_body_stands_for_them(body: Any) -> None:
    assert message_of(body, answer(500, body)) == json.dumps(body)


def test_a_message_is_one_short_line() -> None:
    page = Answer(502, {}, b"<html>\n\n  line\tend" + b"x" * 10**6)

    words = message_of(page.json(), page)

    assert words.startswith("<html> line end")
    assert len(words) <= 200
    assert message_of(None, Answer(500, {}, b"")) == "no text"


def test_the_echoed_input_of_a_detail_is_never_repeated() -> None:
    detail = {
        "type": "enum",
        "loc": ["body"],
        "msg": "bad",
        "input": "data:SECRET",
        "ctx": {"a": 1},
    }

    assert "SECRET" not in result(422, {"detail": [detail]}).failure.message


@pytest.mark.parametrize(
    ("output", "urls"),
    [
        (VIDEO, [VIDEO["video"]["url"]]),
        ({"images": [{"url": "https://a"}, {"url": "https://b"}]}, ["https://a", "https://b"]),
        ({"image": {"url": "data:image/png;base64,AA=="}}, ["data:image/png;base64,AA=="]),
        ({"deep": {"er": [{"file": {"url": "https://a"}}]}}, ["https://a"]),
        ({"url": "https://a"}, ["https://a"]),
        ({"video": {"url": None}}, []),
        ({"video": {"url": ["data:x"]}}, []),
        ({"video": {"url": "ftp://a"}}, []),
        ({"video": None, "images": []}, []),
        ({"error": {"message": "not ready", "url": "https://docs.fal.ai/errors"}}, []),
        ({"detail": [{"url": "https://a"}], "video": {"url": "https://b"}}, ["https://b"]),
        ("https://a", []),
        (None, []),
    ],
)
def test_every_file_of_an_output_is_found_in_order(output: Any, urls: list[str]) -> None:
    assert [file.url for file in files_in(output)] == urls


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "not ready", "url": "https://docs.fal.ai/errors"}},
        {"error": "not ready", "request_id": "r-1"},
        {"detail": "not ready"},
    ],
)
@pytest.mark.parametrize("media", [True, False])
def test_an_error_alone_is_no_output(body: Any, *, media: bool) -> None:
    outcome = result(200, body, media=media)

    assert isinstance(outcome, Unread)
    assert outcome.empty


@pytest.mark.parametrize("body", [{"error": None}, {"error": "", "text": "a"}, {"text": "detail"}])
def test_an_output_that_names_no_error_is_one(body: Any) -> None:
    assert result(200, body, media=False) == Rendered(output=body, files=())


@pytest.mark.parametrize(
    ("size", "known"), [(12, 12), (0, None), (-1, None), ("12", None), (None, None), (1.5, None)]
)
def test_a_declared_size_counts_only_where_it_is_one(size: Any, known: int | None) -> None:
    (file,) = files_in({"video": {"url": "https://a", "file_size": size, "content_type": 7}})

    assert (file.size, file.content_type, file.name) == (known, "", "")


def test_an_output_without_a_bottom_is_given_up_in_time() -> None:
    deep: Any = {"url": "https://a"}
    for _ in range(500):
        deep = [deep]

    assert files_in(deep) == ()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "status",
                    "detail",
                    "error",
                    "error_type",
                    "request_id",
                    "url",
                    "type",
                    "loc",
                    "msg",
                    "video",
                    "status_url",
                    "metrics",
                    "inference_time",
                    "file_size",
                    "message",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@exhaustive
@given(
    st.integers(100, 599),
    json_values | st.binary(max_size=40),
    st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "date",
                "x-fal-billable-units",
                "x-fal-needs-retry",
                "x-fal-error-type",
                "x-fal-request-timeout-type",
            ]
        ),
        st.text(max_size=30),
    ),
    st.booleans(),
)
def test_no_answer_breaks_the_reader(
    status: int, body: Any, headers: dict[str, str], media: bool
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    got = Answer(status, headers, raw)

    for outcome in (
        classify_submit(got, rebuilt),
        classify_status(got),
        classify_result(got, Finished(), media=media),
        classify_result(got, TOLD, media=media),
    ):
        # Whatever it was, the ledger can keep it.
        json.dumps(repr(outcome), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("status", "kind", "charged"),
    [
        (500, FailureKind.TRANSIENT, Charged.NO),
        (503, FailureKind.TRANSIENT, Charged.NO),
        (422, FailureKind.INVALID, Charged.UNKNOWN),
    ],
)
def test_a_listed_failure_without_details_is_free_only_at_500_and_above(
    status: int, kind: FailureKind, charged: Charged
) -> None:
    item = Listed(request_id="r", endpoint="e", sent_at="", payload=None, status_code=status)

    failure = verdict_of_listed(item)

    words = f"fal's request list says HTTP {status}"
    assert failure == Failure(kind=kind, message=words, charged=charged, status=status)


@pytest.mark.parametrize(
    ("status", "told", "kind", "charged"),
    [
        (None, 422, FailureKind.INVALID, Charged.UNKNOWN),
        (404, 404, FailureKind.INVALID, Charged.NO),
        (405, 405, FailureKind.INVALID, Charged.UNKNOWN),
        (500, 500, FailureKind.TRANSIENT, Charged.NO),
    ],
)
def test_a_listed_failure_with_details_is_reported_by_them(
    status: int | None, told: int, kind: FailureKind, charged: Charged
) -> None:
    item = Listed(
        request_id="r",
        endpoint="e",
        sent_at="",
        payload=None,
        status_code=status,
        output={"detail": [{"loc": ["body", "prompt"], "msg": "odd"}]},
    )

    assert verdict_of_listed(item) == Failure(
        kind=kind, message="prompt: odd", charged=charged, status=told, loc=("body", "prompt")
    )
