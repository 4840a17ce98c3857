"""The platform API: prices with their trap, request lists with their doubts, the account."""

from datetime import UTC, datetime
from functools import partial

import httpx
import pytest

from kling_batch.emulator import Fault, Settings
from kling_batch.emulator.inprocess import InProcessTransport

O3 = "fal-ai/kling-video/o3"
T2V, EDIT = f"{O3}/pro/text-to-video", f"{O3}/standard/video-to-video/edit"
T2I = "fal-ai/kling-image/o3/text-to-image"
API = "https://api.fal.ai/v1"
START = 1_800_000_000.0


@pytest.fixture
def settings():
    return Settings(
        jitter=0.0,
        start_latency=0.0,
        service_times={"pro": 10.0},
        media="template",
        admin_keys=frozenset({"boss"}),
    )


@pytest.fixture
async def api(world):
    transport, headers = InProcessTransport(world), {"Authorization": "Key k"}
    async with httpx.AsyncClient(transport=transport, headers=headers, base_url=API) as client:
        yield client


def accept(world, prompt="a fox", endpoint=T2V, **options):
    return world.accept(world.endpoint(endpoint), {"prompt": prompt}, **options)


def iso(at):
    return datetime.fromtimestamp(at, UTC).isoformat()


async def listed(api, **params):
    answer = await api.get(
        "/models/requests/by-endpoint", params={"endpoint_id": T2V, "limit": 100, **params}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


pytestmark = pytest.mark.anyio


async def test_the_unit_price_of_a_video_is_not_its_price_per_second(api):
    params = {"endpoint_id": [f"{T2V},{EDIT}", T2I]}
    prices = (await api.get("/models/pricing", params=params)).json()["prices"]

    assert [(p["unit_price"], p["unit"]) for p in prices] == [
        (0.14, "second"),
        (0.14, "second"),
        (0.028, "image"),
    ]
    assert {p["currency"] for p in prices} == {"USD"}


@pytest.mark.parametrize(
    ("params", "status", "kind"),
    [
        ({}, 400, "validation_error"),
        ({"endpoint_id": "a/b"}, 404, "not_found"),
        ({"endpoint_id": ",".join([T2V] * 51)}, 400, "validation_error"),
    ],
)
async def test_bad_price_questions(api, params, status, kind):
    answer = await api.get("/models/pricing", params=params)

    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)


async def test_estimates(api, world, clock):
    async def estimate(kind, name, amounts):
        endpoints = {each: {name: amount} for each, amount in amounts.items()}
        body = {"estimate_type": kind, "endpoints": endpoints}
        return await api.post("/models/pricing/estimate", json=body)

    by_unit = await estimate("unit_price", "unit_quantity", {T2V: 4.0, T2I: 2})
    accept(world)
    clock.now += 10
    by_call = await estimate("historical_api_price", "call_quantity", {T2V: 10})

    assert by_unit.json() == {
        "estimate_type": "unit_price",
        "total_cost": 0.616,
        "currency": "USD",
    }
    assert by_call.json()["total_cost"] == 5.6
    assert (await estimate("guess", "unit_quantity", {T2V: 1})).status_code == 400
    assert (await estimate("unit_price", "unit_quantity", {T2V: 0})).status_code == 400


async def test_a_finished_request_is_listed_with_what_was_sent(api, world, clock):
    request = accept(world)
    clock.now += 11
    [item] = await listed(api, expand="payloads")

    assert item["request_id"] == request.request_id
    assert item["json_input"] == {"prompt": "a fox"}
    assert item["json_output"]["video"]["url"] == world.output(request)["video"]["url"]
    assert (item["sent_at"], item["ended_at"]) == (iso(START), iso(START + 10))
    assert (item["status_code"], item["duration"]) == (200, 10.0)

    [bare] = await listed(api)

    assert "json_input" not in bare


async def test_the_list_outlives_the_result(api, world, clock):
    accept(world)
    clock.now += 7200
    [item] = await listed(api, expand="payloads")

    assert item["json_output"]["video"]


async def test_unfinished_requests_are_listed_only_if_the_settings_say_so(api, world, clock):
    world.settings.concurrency = 1
    running, _waiting = accept(world, "one"), accept(world, "two")
    clock.now += 1

    assert await listed(api) == []

    world.settings.list_unfinished = True
    [item] = await listed(api)

    assert item["request_id"] == running.request_id
    assert (item["ended_at"], item["status_code"], item["duration"]) == (None, None, None)


async def test_the_index_may_lag_behind(api, world, clock):
    world.settings.list_delay = 30.0
    accept(world)
    clock.now += 39

    assert await listed(api) == []

    clock.now += 2

    assert len(await listed(api)) == 1


async def test_the_window(api, world, clock):
    accept(world)
    clock.now += 100

    assert len(await listed(api, start=iso(START + 9))) == 1
    assert len(await listed(api, start=iso(START + 11))) == 0
    assert len(await listed(api, end=iso(START + 10))) == 0
    assert len(await listed(api, end=iso(START + 11))) == 1

    world.settings.list_filter = "sent_at"

    assert len(await listed(api, start=iso(START + 9))) == 0
    assert len(await listed(api, end=iso(START + 1))) == 1


async def test_a_request_is_found_by_its_id_for_ninety_days(api, world, clock):
    wanted, _other = accept(world, "one"), accept(world, "two")
    clock.now += 48 * 3600

    assert await listed(api) == []
    assert [i["request_id"] for i in await listed(api, request_id=wanted.request_id)] == [
        wanted.request_id
    ]


async def test_verdicts(api, world, clock):
    world.faults.add(
        Fault(stage="job", what="fail", error="internal_error", prompt="crash"),
        Fault(stage="job", what="fail", error="content_policy_violation", prompt="rude"),
    )
    for prompt in ("crash", "rude", "good"):
        accept(world, prompt)
    clock.now += 60

    async def prompts(status):
        items = await listed(api, status=status, expand="payloads")
        return [item["json_input"]["prompt"] for item in items]

    assert await prompts("success") == ["good"]
    assert await prompts("error") == ["crash"]
    assert await prompts("user_error") == ["rude"]
    [rude] = await listed(api, status="user_error", expand="payloads")
    assert rude["status_code"] == 422
    assert rude["json_output"]["detail"][0]["type"] == "content_policy_violation"


async def test_what_was_not_to_be_stored_is_not_shown(api, world, clock):
    accept(world, store_io=False)
    clock.now += 20
    [item] = await listed(api, expand="payloads")

    assert (item["json_input"], item["json_output"]) == (None, None)


async def test_inlined_media_are_not_kept(api, world, clock):
    world.accept(world.endpoint(T2I), {"prompt": "x", "sync_mode": True})
    clock.now += 20
    [item] = await listed(api, endpoint_id=T2I, expand="payloads")

    assert (item["json_input"]["prompt"], item["json_output"]) == ("x", None)


async def test_pages(api, world, clock):
    ids = [accept(world, str(n)).request_id for n in range(7)]
    clock.now += 100
    seen, cursor = [], None
    for _ in range(3):
        params = {"endpoint_id": T2V, "limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/models/requests/by-endpoint", params=params)).json()
        seen.append([item["request_id"] for item in page["items"]])
        cursor = page["next_cursor"]

    assert [len(each) for each in seen] == [3, 3, 1]
    assert sorted(each for page in seen for each in page) == sorted(ids)
    assert (cursor, page["has_more"]) == (None, False)
    assert ids[-1] in seen[0]


@pytest.mark.parametrize(
    "params",
    [
        {"endpoint_id": ""},
        {"limit": 101},
        {"limit": 0},
        {"status": "fine"},
        {"sort_by": "colour"},
        {"start": "yesterday"},
        {"cursor": "!"},
        {"cursor": "LTE="},  # -1
    ],
)
async def test_bad_list_questions(api, params):
    answer = await api.get("/models/requests/by-endpoint", params={"endpoint_id": T2V, **params})

    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "validation_error")


async def test_the_list_can_be_forbidden(api, world):
    world.settings.list_allowed = False
    answer = await api.get("/models/requests/by-endpoint", params={"endpoint_id": T2V})

    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "authorization_error")


async def test_browsing_shows_the_newest_first(api, world, clock):
    ids = []
    for n in range(3):
        ids.append(accept(world, str(n)).request_id)
        clock.now += 20
    results = (await api.get("/models/requests/search")).json()["results"]

    assert [r["request_id"] for r in results] == ids[::-1]
    assert results[0]["similarity"] is None


async def test_billing_events_are_for_administrators(api, world, clock):
    world.faults.add(Fault(stage="job", what="fail", error="internal_error", nth=2))
    paid, _failed = accept(world, "one"), accept(world, "two")
    clock.now += 60
    refused = await api.get("/models/billing-events")
    answer = await api.get("/models/billing-events", headers={"Authorization": "Key boss"})

    assert refused.status_code == 403
    [event] = answer.json()["billing_events"]
    assert event["request_id"] == paid.request_id
    assert (event["cost_total"], event["output_units"], event["unit_price"]) == (0.56, 4.0, 0.14)
    assert event["cost_estimate_nano_usd"] == 560_000_000


async def test_billing_events_reach_back_for_a_day_or_as_far_as_asked(api, world, clock):
    accept(world)
    clock.now += 3 * 86_400
    ask = partial(api.get, "/models/billing-events", headers={"Authorization": "Key boss"})

    def days_ago(days):
        return {"start": datetime.fromtimestamp(clock.now - days * 86_400, UTC).isoformat()}

    assert (await ask()).json()["billing_events"] == []
    assert len((await ask(params=days_ago(4))).json()["billing_events"]) == 1
    assert (await ask(params=days_ago(89))).status_code == 200
    assert (await ask(params=days_ago(91))).status_code == 400
    assert (await ask(params={"request_id": ",".join(["x"] * 51)})).status_code == 400


async def test_the_balance(api, world, clock):
    world.settings.balance = 10.0
    accept(world)
    headers = {"Authorization": "Key boss"}
    bare = await api.get("/account/billing", headers=headers)
    full = await api.get("/account/billing?expand=credits", headers=headers)

    assert "credits" not in bare.json()
    assert full.json()["credits"] == {"current_balance": 9.44, "currency": "USD"}
    assert (await api.get("/account/billing")).status_code == 403


async def test_the_catalogue(api):
    everything = (await api.get("/models", params={"limit": 100})).json()["models"]
    some = (await api.get("/models", params={"endpoint_id": [T2V, T2I]})).json()["models"]

    assert len(everything) == 85
    assert [m["endpoint_id"] for m in some] == [T2V, T2I]


async def test_keys_are_asked_for(api, world):
    for path in ("/models/pricing", "/models/requests/by-endpoint", "/account/billing"):
        answer = await api.get(path, headers={"Authorization": ""})
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authorization_error")


async def test_what_is_not_emulated_says_so(api):
    answer = await api.get("/models/usage")

    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
