"""What a client of the emulated queue sees on the wire."""

import json
import re

import httpx
import pytest

from kling_batch.emulator import Fault, Settings
from kling_batch.emulator.inprocess import InProcessTransport

T2V = "fal-ai/kling-video/o3/pro/text-to-video"
T2I = "fal-ai/kling-image/o3/text-to-image"
QUEUE = "https://queue.fal.run"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def settings():
    return Settings(jitter=0.0, start_latency=1.0, service_times={"pro": 10.0}, media="template")


@pytest.fixture
async def fal(world):
    transport, headers = InProcessTransport(world), {"Authorization": "Key k"}
    async with httpx.AsyncClient(transport=transport, headers=headers) as client:
        yield client


async def submit(fal, payload=None, endpoint=T2V, **options):
    return await fal.post(f"{QUEUE}/{endpoint}", json=payload or {"prompt": "a fox"}, **options)


pytestmark = pytest.mark.anyio


async def test_the_life_of_a_request(fal, clock):
    accepted = await submit(fal)
    body = accepted.json()
    base = f"{QUEUE}/fal-ai/kling-video/requests/{body['request_id']}"

    assert accepted.status_code == 200
    assert (body["status"], body["queue_position"]) == ("IN_QUEUE", 0)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab].*", body["request_id"])
    assert [body[f"{name}_url"] for name in ("response", "status", "cancel")] == [
        base,
        f"{base}/status",
        f"{base}/cancel",
    ]

    waiting = await fal.get(body["status_url"])

    assert (waiting.status_code, waiting.json()["queue_position"]) == (202, 0)
    assert waiting.headers["x-fal-request-id"] == body["request_id"]

    clock.now += 2
    running = await fal.get(body["status_url"], params={"logs": True})

    assert (running.status_code, running.json()["status"]) == (202, "IN_PROGRESS")
    assert running.json()["logs"][0]["level"] == "INFO"

    early = await fal.get(body["response_url"])

    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})

    clock.now += 10
    done = await fal.get(body["status_url"])

    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert done.json()["logs"] is None
    assert done.json()["metrics"] == {"inference_time": 10.0}

    result = await fal.get(body["response_url"])

    assert result.status_code == 200
    assert result.headers["x-fal-billable-units"] == "4"
    assert result.json()["video"]["content_type"] == "video/mp4"
    assert result.json()["video"]["url"].startswith("https://v3b.fal.media/files/b/")


async def test_requests_are_found_by_app_or_by_endpoint_and_not_otherwise(fal):
    request_id = (await submit(fal)).json()["request_id"]
    found = [f"{QUEUE}/{app}/requests/{request_id}/status" for app in ("fal-ai/kling-video", T2V)]
    lost = [
        f"{QUEUE}/requests/{request_id}/status",
        f"{QUEUE}/fal-ai/kling-image/requests/{request_id}/status",
        f"{QUEUE}/fal-ai/kling-video/requests/{request_id[:-1]}x/status",
    ]

    assert [(await fal.get(url)).status_code for url in found] == [202, 202]
    for url in lost:
        answer = await fal.get(url)
        assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})


@pytest.mark.parametrize(
    ("form", "app", "suffix"),
    [("app", "fal-ai/kling-video", ""), ("endpoint", T2V, ""), ("response", T2V, "/response")],
)
async def test_every_documented_form_of_the_urls_works(fal, world, clock, form, app, suffix):
    world.settings.url_form = form
    body = (await submit(fal)).json()
    clock.now += 20

    assert body["response_url"] == f"{QUEUE}/{app}/requests/{body['request_id']}{suffix}"
    assert (await fal.get(body["response_url"])).status_code == 200
    assert (await fal.get(body["status_url"])).status_code == 200


async def test_the_switches_of_the_wire(fal, world, clock):
    world.change_settings({"status_http": 200, "early_result_http": 202, "cancel_http": 200})
    body = (await submit(fal)).json()

    assert (await fal.get(body["status_url"])).status_code == 200
    assert (await fal.get(body["response_url"])).status_code == 202
    assert (await fal.put(body["cancel_url"])).json() == {"success": True}
    assert (await fal.put(body["cancel_url"])).json() == {"success": False}


async def test_cancelling(fal, world, clock):
    body = (await submit(fal)).json()
    first = await fal.put(body["cancel_url"])
    second = await fal.put(body["cancel_url"])
    unknown = await fal.put(body["cancel_url"].replace(body["request_id"], "0" * 36))

    assert (first.status_code, first.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert (second.status_code, second.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert (unknown.status_code, unknown.json()) == (404, {"status": "NOT_FOUND"})
    assert [c.answer for c in world.books.cancels] == [
        "CANCELLATION_REQUESTED",
        "ALREADY_COMPLETED",
    ]

    status = (await fal.get(body["status_url"])).json()
    result = await fal.get(body["response_url"])

    assert (status["status"], status["error_type"]) == ("COMPLETED", "client_cancelled")
    assert (result.status_code, result.headers["x-fal-error-type"]) == (499, "client_cancelled")


async def test_invalid_input_is_accepted_and_fails_later(fal, world, clock):
    accepted = await submit(fal, {"input": {"prompt": "a fox"}})

    assert accepted.status_code == 200

    clock.now += 20
    status = (await fal.get(accepted.json()["status_url"])).json()
    result = await fal.get(accepted.json()["response_url"])

    assert (status["status"], status["error_type"]) == ("COMPLETED", "missing")
    assert result.status_code == 422
    assert result.json()["detail"][0]["loc"] == ["body", "prompt"]
    assert result.headers["x-fal-billable-units"] == "0"
    assert world.books.total_charged_micro_usd == 0
    assert world.books.charges() == {}


async def test_a_result_expires_before_its_status_does(fal, world, clock):
    body = (await submit(fal)).json()
    clock.now += 20
    assert (await fal.get(body["response_url"])).status_code == 200
    clock.now += 3600

    assert (await fal.get(body["response_url"])).status_code == 404
    assert (await fal.get(body["status_url"])).status_code == 200

    world.change_settings({"status_ttl": 3600.0})

    assert (await fal.get(body["status_url"])).status_code == 404


async def test_keys(fal, world):
    body = (await submit(fal)).json()
    for headers in ({"Authorization": ""}, {"Authorization": "Key "}, {"Authorization": "k"}):
        answer = await submit(fal, headers=headers)
        assert (answer.status_code, list(answer.json())) == (401, ["detail"])

    world.change_settings({"keys": ["good"]})

    assert (await submit(fal)).status_code == 401
    assert (await fal.get(body["status_url"])).status_code == 401
    assert (await submit(fal, headers={"Authorization": "Key good"})).status_code == 200
    assert [post.status for post in world.books.refused] == [401, 401, 401, 401]


async def test_a_locked_account(fal, world, clock):
    body = (await submit(fal)).json()
    clock.now += 20
    world.change_settings({"locked": "Exhausted balance"})
    answer = await submit(fal)

    assert answer.status_code == 403
    assert answer.json() == {
        "detail": "User is locked. Reason: Exhausted balance. "
        "Top up your balance at fal.ai/dashboard/billing."
    }
    assert (await fal.get(body["response_url"])).status_code == 200

    world.change_settings({"lock_reads": True})

    assert (await fal.get(body["response_url"])).status_code == 403
    assert len(world.books.accepted) == 1


async def test_an_account_locks_itself_when_its_balance_is_spent(fal, world):
    world.change_settings({"balance": 1.00})

    assert [(await submit(fal)).status_code for _ in range(3)] == [200, 200, 403]


async def test_endpoints_that_exist_and_that_do_not(fal, world):
    world.change_settings({"extra_endpoints": ["me/app"], "forbidden": ["fal-ai/kling-image/*"]})

    for endpoint, status in {
        "fal-ai/some-model": 200,
        "me/app": 200,
        "me/other": 404,
        "fal-ai/kling-video/o3/ultra/text-to-video": 404,
        "fal-ai/kling-video/o3/8k/video-to-video/edit": 404,
        "fal-ai/kling-image/o3/text-to-video": 404,
        T2I: 403,
    }.items():
        answer = await submit(fal, endpoint=endpoint)
        assert (endpoint, answer.status_code) == (endpoint, status)


async def test_a_model_outside_the_catalogue_renders_whatever_it_is_sent(fal, clock):
    accepted = await submit(fal, {"anything": 1, "aspect_ratio": "x:y"}, endpoint="fal-ai/flux/dev")
    clock.now += 20
    result = await fal.get(accepted.json()["response_url"])

    assert result.json()["images"][0]["width"] > 0


async def test_too_long_a_queue_is_refused(fal, world):
    world.change_settings({"concurrency": 0})
    await submit(fal)
    await submit(fal)

    assert (await submit(fal, params={"fal_max_queue_length": 2})).status_code == 200
    assert (await submit(fal, params={"fal_max_queue_length": 2})).status_code == 429


async def test_start_deadlines(fal, world, clock):
    world.change_settings({"concurrency": 0})
    broken = await submit(fal, headers={"X-Fal-Request-Timeout": "soon"})
    accepted = await submit(fal, headers={"X-Fal-Request-Timeout": "5"})
    clock.now += 6
    result = await fal.get(accepted.json()["response_url"])

    assert broken.status_code == 400
    assert result.status_code == 504
    assert result.headers["x-fal-request-timeout-type"] == "user"


async def test_the_start_deadline_of_the_newer_name_wins(fal, world, clock):
    world.change_settings({"concurrency": 0})
    newer = {"X-Fal-Request-Start-Timeout": "5", "X-Fal-Request-Timeout": "500"}
    broken = await submit(fal, headers={"X-Fal-Request-Start-Timeout": "0"})
    accepted = await submit(fal, headers=newer)
    clock.now += 6

    assert broken.status_code == 400
    assert "X-Fal-Request-Start-Timeout" in broken.text
    assert (await fal.get(accepted.json()["response_url"])).status_code == 504


async def test_tags_are_kept_and_broken_ones_dropped(fal, world):
    tags = "batch=spring,job=a b,fal.x=1,Upper=1,empty="
    await submit(fal, headers={"X-Fal-Tags": tags})
    world.change_settings({"refuse_tags": True})
    refused = await submit(fal, headers={"X-Fal-Tags": tags})

    assert [request.tags for request in world.books.accepted] == [{"batch": "spring", "job": "a b"}]
    assert refused.status_code == 403


async def test_a_cancelled_request_can_be_answered_as_removed(fal, world):
    world.change_settings({"concurrency": 0, "cancel_removes": True})
    body = (await submit(fal)).json()
    answer = await fal.put(body["cancel_url"])

    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})
    assert world.books.total_committed_micro_usd == 0


async def test_a_body_that_is_no_object_is_refused(fal):
    garbled = await fal.post(f"{QUEUE}/{T2V}", content=b"{nonsense")
    listed = await fal.post(f"{QUEUE}/{T2V}", json=["prompt"])

    assert [garbled.status_code, listed.status_code] == [400, 400]


async def test_the_stream_tells_each_change_once(fal, world, clock):
    body = (await submit(fal)).json()
    world.settings.stream_interval = 0.0

    def later():
        clock.now += 0.1
        return clock.now

    world._clock = later
    answer = await fal.get(f"{body['status_url']}/stream", params={"logs": 1})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert [e["status"] for e in events] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]


async def test_a_loopback_port_names_the_host_in_its_path(world):
    transport, headers = InProcessTransport(world), {"Authorization": "Key k"}
    async with httpx.AsyncClient(
        transport=transport, headers=headers, base_url="http://127.0.0.1:8765"
    ) as port:
        accepted = await port.post(f"/queue.fal.run/{T2V}", json={"prompt": "a fox"})
        lost = await port.get("/")

    assert accepted.json()["status_url"].startswith("https://queue.fal.run/fal-ai/kling-video/")
    assert lost.status_code == 404
    assert "emulator" in lost.json()["detail"]


async def test_the_backup_domain_is_the_same_queue(fal):
    body = (await submit(fal)).json()
    url = body["status_url"].replace("queue.fal.run", "queue.falrun.com")

    assert (await fal.get(url)).json()["request_id"] == body["request_id"]


@pytest.mark.parametrize(
    ("error", "http", "structured"),
    [
        ("runner_disconnected", 503, False),
        ("internal_error", 500, False),
        ("request_timeout", 504, False),
        ("content_policy_violation", 422, True),
        ("generation_timeout", 504, True),
        ("file_too_large", 422, True),
    ],
)
async def test_renders_fail_in_fals_words(fal, world, clock, error, http, structured):
    world.faults.add(Fault(stage="job", what="fail", error=error))
    accepted = (await submit(fal)).json()
    clock.now += 20
    status = await fal.get(accepted["status_url"])
    result = await fal.get(accepted["response_url"])

    assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
    assert status.json()["error_type"] == error
    assert result.status_code == http
    if structured:
        assert result.json()["detail"][0]["type"] == error
    else:
        assert result.json()["error_type"] == result.headers["x-fal-error-type"] == error
    assert world.books.total_charged_micro_usd == 0


async def test_a_blocked_render_is_billed_only_where_the_settings_say_so(fal, world, clock):
    world.change_settings({"bill_content_policy": True})
    world.faults.add(
        Fault(stage="job", what="fail", error="content_policy_violation", nth=1),
        Fault(stage="job", what="fail", error="no_media_generated", nth=2),
        Fault(stage="job", what="fail", error="internal_error", billed=True, nth=3),
    )
    for _ in range(3):
        await submit(fal)
    clock.now += 60

    assert [r.charged_micro_usd for r in world.books.accepted] == [560_000, 0, 560_000]


async def test_a_render_may_succeed_without_media(fal, world, clock):
    world.faults.add(
        Fault(stage="job", what="garbage", nth=1),
        Fault(stage="job", what="garbage", nth=2, body={"error": "oops"}),
    )
    urls = [(await submit(fal)).json()["response_url"] for _ in range(2)]
    clock.now += 60
    results = [await fal.get(url) for url in urls]

    assert [(r.status_code, r.json()) for r in results] == [(200, {}), (200, {"error": "oops"})]
    assert world.books.total_charged_micro_usd == 2 * 560_000
