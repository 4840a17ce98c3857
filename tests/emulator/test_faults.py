"""The fault plan, and what each fault looks like to a client."""

import json

import anyio
import httpx
import pytest
import trio.testing

from kling_batch.emulator import ConnectionDropped, Fault, FaultPlan, Settings, World, load_plan
from kling_batch.emulator.faults import Call, parse_plan
from kling_batch.emulator.inprocess import InProcessTransport

T2V = "fal-ai/kling-video/o3/pro/text-to-video"
QUEUE = "https://queue.fal.run"
LIST = f"https://api.fal.ai/v1/models/requests/by-endpoint?endpoint_id={T2V}"


def fired(plan, count, **call):
    call = Call(**{"stage": "status", **call})
    return [plan.draw(call) is not None for _ in range(count)]


class TestThePlan:
    def test_without_conditions_a_fault_always_fires(self):
        assert fired(FaultPlan([Fault(stage="status", what="reset")]), 3) == [True] * 3

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            ({"nth": 2}, "_X____"),
            ({"nth": [1, 4]}, "X__X__"),
            ({"every": 3}, "__X__X"),
            ({"times": 2}, "XX____"),
            ({"every": 2, "times": 1}, "_X____"),
            ({"probability": 0.0}, "______"),
            ({"probability": 1.0}, "XXXXXX"),
        ],
    )
    def test_which_calls_are_met(self, conditions, expected):
        plan = FaultPlan([Fault(stage="status", what="reset", **conditions)])

        assert "".join("_X"[each] for each in fired(plan, 6)) == expected

    @pytest.mark.parametrize(
        ("conditions", "call"),
        [
            ({"endpoint": "*/pro/*"}, {"endpoint": T2V}),
            ({"prompt": "fox"}, {"prompt": "a fox runs"}),
            ({"request": 7}, {"request": 7}),
            ({"request": [6, 7]}, {"request": 7}),
        ],
    )
    def test_calls_are_reported_apart(self, conditions, call):
        plan = FaultPlan([Fault(stage="status", what="reset", nth=1, **conditions)])

        assert fired(plan, 2, endpoint="other", prompt="other", request=1) == [False, False]
        assert fired(plan, 2, **call) == [True, False]

    def test_other_stages_are_not_met(self):
        plan = FaultPlan([Fault(stage="result", what="reset")])

        assert fired(plan, 1) == [False]
        assert plan.report()[0]["seen"] == 0

    def test_each_request_can_have_its_own_share(self):
        plan = FaultPlan([Fault(stage="status", what="reset", per_request=1)])

        assert fired(plan, 2, request=1) == [True, False]
        assert fired(plan, 2, request=2) == [True, False]

    def test_the_first_fault_wins_and_the_others_still_count(self):
        plan = FaultPlan(
            [
                Fault(stage="status", what="reset", nth=1),
                Fault(stage="status", what="close", nth=2),
            ]
        )
        drawn = [plan.draw(Call(stage="status")) for _ in range(3)]

        assert [each and each.what for each in drawn] == ["reset", "close", None]
        assert [(each["seen"], each["fired"]) for each in plan.report()] == [(3, 1), (3, 1)]

    def test_chance_is_seeded(self):
        def luck(seed):
            return fired(
                FaultPlan([Fault(stage="status", what="reset", probability=0.5)], seed), 64
            )

        assert luck(1) == luck(1) != luck(2)
        assert 16 < sum(luck(3)) < 48

    @pytest.mark.parametrize(
        ("values", "problem"),
        [
            (
                {"stage": "nowhere", "what": "reset"},
                "stage cannot be 'nowhere'; one of submit.before, ",
            ),
            ({"stage": "status", "what": "explode"}, "what cannot be 'explode'; one of status, "),
            ({"stage": "status", "what": "fail", "error": "internal_error"}, "only a job"),
            ({"stage": "job", "what": "reset"}, "a job can only"),
            ({"stage": "job", "what": "fail", "error": "tuesday"}, "unknown error 'tuesday'"),
            ({"stage": "status", "what": "status"}, "needs a status code"),
            ({"stage": "status", "what": "delay"}, "needs seconds"),
            ({"stage": "result", "what": "units"}, "needs a scale"),
            ({"stage": "status", "what": "units", "scale": 2}, "only a result"),
            ({"stage": "status"}, "a fault needs what"),
            ({"stage": "status", "what": "reset", "nth": "3"}, "nth cannot be '3'"),
            ({"stage": "status", "what": "reset", "nth": [True]}, "nth cannot be"),
            ({"stage": "status", "what": "hang", "seconds": "long"}, "seconds cannot be 'long'"),
            ({"stage": "status", "what": "reset", "nht": 3}, "unknown fault field: nht"),
            ({"stage": "status", "what": "reset", "nth": 0}, "nth cannot be 0; it is at least 1"),
            ({"stage": "status", "what": "reset", "nth": [2, 0]}, "nth cannot be 0"),
            ({"stage": "status", "what": "reset", "every": 0}, "every cannot be 0"),
            ({"stage": "status", "what": "reset", "request": 0}, "request cannot be 0"),
            ({"stage": "status", "what": "reset", "times": -1}, "times cannot be -1"),
            ({"stage": "status", "what": "reset", "probability": 7}, "it is between 0 and 1"),
            ({"stage": "status", "what": "status", "status": 99999}, "status cannot be 99999"),
            ({"stage": "status", "what": "delay", "seconds": -1}, "seconds cannot be -1"),
            ({"stage": "result", "what": "units", "scale": -1}, "scale cannot be -1"),
            ({"stage": "status", "what": "headers", "headers": {"a": "a\nb"}}, "header cannot be"),
            ({"stage": "status", "what": "headers", "headers": {"a b": "c"}}, "header cannot be"),
        ],
    )
    def test_mistakes_are_named(self, values, problem):
        with pytest.raises(ValueError, match=problem):
            Fault.from_mapping(values)

    def test_forever_is_a_word(self):
        values = {"stage": "status", "what": "hang", "seconds": "forever"}

        assert Fault.from_mapping(values).seconds is None

    def test_an_unreadable_plan_is_named(self, tmp_path):
        (tmp_path / "plan.yaml").write_text("faults: [")
        with pytest.raises(ValueError, match=r"plan\.yaml cannot be read"):
            load_plan(tmp_path / "plan.yaml")

    def test_plans_come_from_yaml_and_json(self, tmp_path):
        (tmp_path / "plan.yaml").write_text(
            "seed: 7\nfaults:\n- {stage: status, what: reset, nth: [1, 3]}\n"
        )
        (tmp_path / "plan.json").write_text('[{"stage": "status", "what": "reset", "nth": 2}]')

        assert fired(load_plan(tmp_path / "plan.yaml"), 4) == [True, False, True, False]
        assert fired(load_plan(tmp_path / "plan.json"), 4) == [False, True, False, False]

    @pytest.mark.parametrize("document", ["reset", {"fault": []}, [1], {"faults": {"a": 1}}])
    def test_what_is_no_plan_is_refused(self, document):
        with pytest.raises(ValueError, match="fault plan"):
            parse_plan(document)


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture
def world():
    settings = Settings(profile="instant", start_latency=0.0, media="template")
    return World(settings, clock=lambda: 1_800_000_000.0 + anyio.current_time())


@pytest.fixture
async def fal(world):
    transport, headers = InProcessTransport(world), {"Authorization": "Key k"}
    async with httpx.AsyncClient(transport=transport, headers=headers, timeout=30) as client:
        yield client


async def submit(fal):
    return await fal.post(f"{QUEUE}/{T2V}", json={"prompt": "a fox"})


async def rendered(fal):
    """The result's and the file's addresses of a finished render."""
    body = (await submit(fal)).json()
    result = (await fal.get(body["response_url"])).json()
    return body, result["video"]


@pytest.mark.anyio
class TestOnTheWire:
    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"what": "reset"}, httpx.ReadError),
            ({"what": "close"}, httpx.RemoteProtocolError),
            ({"what": "hang"}, httpx.ReadTimeout),
            ({"what": "hang", "seconds": 10}, httpx.ReadError),
            ({"what": "delay", "seconds": 40}, httpx.ReadTimeout),
            ({"what": "truncated"}, httpx.RemoteProtocolError),
        ],
    )
    async def test_a_lost_answer_after_acceptance_is_a_charge(self, fal, world, fault, error):
        world.faults.add(Fault(stage="submit.after", nth=1, **fault))
        with pytest.raises(error):
            await submit(fal)

        assert len(world.books.accepted) == 1
        assert sum(world.books.charges().values()) == 1
        [post] = world.books.posts
        assert post.request_id == world.books.accepted[0].request_id

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ({"what": "reset"}, httpx.ReadError),
            ({"what": "close"}, httpx.RemoteProtocolError),
            ({"what": "hang"}, httpx.ReadTimeout),
        ],
    )
    async def test_a_connection_lost_before_acceptance_is_none(self, fal, world, fault, error):
        world.faults.add(Fault(stage="submit.before", nth=1, **fault))
        with pytest.raises(error):
            await submit(fal)

        assert world.books.accepted == []
        assert [(p.status, p.request_id) for p in world.books.posts] == [(None, None)]
        assert (await submit(fal)).status_code == 200

    @pytest.mark.parametrize("status", [401, 403, 404, 408, 409, 429, 500, 502, 503, 504])
    @pytest.mark.parametrize(("stage", "accepted"), [("submit.before", 0), ("submit.after", 1)])
    async def test_submissions_answered_with_a_status(self, fal, world, status, stage, accepted):
        headers = {"Retry-After": "7"}
        world.faults.add(Fault(stage=stage, what="status", status=status, headers=headers))
        answer = await submit(fal)

        assert answer.status_code == status
        assert answer.headers["retry-after"] == "7"
        assert "x-fal-request-id" not in answer.headers
        assert len(world.books.accepted) == accepted
        assert [post.status for post in world.books.posts] == [status]

    async def test_proxy_errors_are_pages_of_nginx(self, fal, world):
        world.faults.add(Fault(stage="submit.before", what="status", status=502))
        answer = await submit(fal)

        assert answer.headers["content-type"].startswith("text/html")
        assert "nginx" in answer.text

    async def test_the_lock_has_fals_words(self, fal, world):
        world.faults.add(Fault(stage="submit.before", what="status", status=403))

        assert (await submit(fal)).json()["detail"].startswith("User is locked. Reason: Exhausted")

    async def test_garbage_is_no_json(self, fal, world):
        world.faults.add(Fault(stage="submit.after", what="garbage"))
        answer = await submit(fal)

        assert answer.status_code == 200
        with pytest.raises(ValueError):
            answer.json()

    async def test_a_body_can_be_given(self, fal, world):
        world.faults.add(
            Fault(stage="submit.after", what="status", status=200, body={"request_id": "x"}),
        )

        assert (await submit(fal)).json() == {"request_id": "x"}

    @pytest.mark.parametrize("name", ["status_url", "response_url", "cancel_url"])
    async def test_reads_fail_without_harm_to_the_render(self, fal, world, name):
        stage = {"status_url": "status", "response_url": "result", "cancel_url": "cancel"}[name]
        body = (await submit(fal)).json()
        call = fal.put if stage == "cancel" else fal.get
        world.faults.add(
            Fault(stage=stage, what="status", status=504, nth=1),
            Fault(stage=stage, what="expired", nth=2),
            Fault(stage=stage, what="expired", status=410, nth=3),
            Fault(stage=stage, what="html", nth=4),
            Fault(stage=stage, what="reset", nth=5),
        )
        seen = [(await call(body[name])).status_code for _ in range(4)]
        with pytest.raises(httpx.ReadError):
            await call(body[name])

        assert seen == [504, 404, 410, 200]
        assert (await fal.get(body["response_url"])).json()["video"]

    async def test_the_platform_fails_in_its_own_shape(self, fal, world):
        world.faults.add(
            Fault(stage="list", what="status", status=429, endpoint="*/pro/*"),
            Fault(stage="pricing", what="status", status=500),
        )
        listed = await fal.get(LIST)
        priced = await fal.get(f"https://api.fal.ai/v1/models/pricing?endpoint_id={T2V}")

        assert (listed.status_code, listed.json()["error"]["type"]) == (429, "rate_limited")
        assert (priced.status_code, priced.json()["error"]["type"]) == (500, "server_error")

    async def test_uploads_fail(self, fal, world):
        world.faults.add(Fault(stage="upload", what="status", status=500))

        assert (await fal.post("https://v3.fal.media/files/upload")).status_code == 500

    async def test_a_file_that_ends_too_early(self, fal, world):
        _, video = await rendered(fal)
        world.faults.add(Fault(stage="download", what="truncated", nth=1))
        got = bytearray()

        async def read(answer):
            async for chunk in answer.aiter_bytes():
                got.extend(chunk)

        async with fal.stream("GET", video["url"]) as answer:
            with pytest.raises(httpx.RemoteProtocolError):
                await read(answer)

        assert int(answer.headers["content-length"]) == video["file_size"]
        assert len(got) == video["file_size"] // 2
        assert len((await fal.get(video["url"])).content) == video["file_size"]

    async def test_a_file_shorter_than_declared(self, fal, world):
        _, video = await rendered(fal)
        world.faults.add(Fault(stage="download", what="short"))
        answer = await fal.get(video["url"])

        assert answer.status_code == 200
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert len(answer.content) == video["file_size"] // 2
        assert answer.headers["content-type"] == "video/mp4"

    async def test_a_page_instead_of_a_file(self, fal, world):
        _, video = await rendered(fal)
        world.faults.add(Fault(stage="download", what="html"))
        answer = await fal.get(video["url"])

        assert (answer.status_code, answer.headers["content-type"][:9]) == (200, "text/html")

    async def test_ranges_can_be_ignored(self, fal, world):
        _, video = await rendered(fal)
        world.faults.add(Fault(stage="download", what="ignore_range"))
        answer = await fal.get(video["url"], headers={"Range": "bytes=10-"})

        assert (answer.status_code, len(answer.content)) == (200, video["file_size"])

    async def test_downloads_are_reported_apart_by_request(self, fal, world):
        videos = [(await rendered(fal))[1] for _ in range(3)]
        world.faults.add(Fault(stage="download", what="expired", request=2))

        assert [(await fal.get(v["url"])).status_code for v in videos] == [200, 404, 200]

    async def test_a_corrupt_file_has_the_right_length(self, fal, world):
        _, video = await rendered(fal)
        world.faults.add(Fault(stage="download", what="garbage", nth=2))
        good, bad = await fal.get(video["url"]), await fal.get(video["url"])

        assert bad.headers["content-type"] == "video/mp4"
        assert len(bad.content) == len(good.content)
        assert good.content[4:8] == b"ftyp" != bad.content[4:8]

    async def test_units_on_another_scale_leave_the_charge_alone(self, fal, world):
        world.faults.add(Fault(stage="result", what="units", scale=0.5))
        body = (await submit(fal)).json()
        await anyio.sleep(60)

        answer = await fal.get(body["response_url"])

        [request] = world.books.accepted
        assert float(answer.headers["x-fal-billable-units"]) == request.charged_units / 2
        assert world.books.total_charged_micro_usd == 560_000

    async def test_headers_can_lie(self, fal, world):
        _, video = await rendered(fal)
        lie = {"Content-Type": "text/plain", "ETag": 5}
        world.faults.add(
            Fault.from_mapping({"stage": "download", "what": "headers", "headers": lie})
        )
        answer = await fal.get(video["url"])

        assert (answer.headers["content-type"], answer.headers["etag"]) == ("text/plain", "5")
        assert len(answer.content) == video["file_size"]

    async def test_a_server_takes_what_it_was_sent_when_its_caller_has_gone(self, fal, world):
        world.faults.add(Fault(stage="submit.before", what="delay", seconds=40))
        with pytest.raises(httpx.ReadTimeout):
            await submit(fal)

        assert len(world.books.accepted) == 1
        [post] = world.books.posts
        assert post.request_id == world.books.accepted[0].request_id

    async def test_a_slow_answer_is_still_an_answer(self, fal, world):
        world.faults.add(Fault(stage="submit.before", what="delay", seconds=20))
        before = anyio.current_time()

        assert (await submit(fal)).status_code == 200
        assert anyio.current_time() - before == 20

    async def test_a_late_status_is_not_an_old_one(self, fal, world):
        world.change_settings({"service_times": {"pro": 10.0}})
        world.faults.add(Fault(stage="status", what="delay", seconds=20))
        body = (await submit(fal)).json()

        assert (await fal.get(body["status_url"])).json()["status"] == "COMPLETED"

    async def test_a_render_can_be_slower(self, fal, world):
        world.faults.add(Fault(stage="job", what="delay", seconds=100))
        body = (await submit(fal)).json()
        await anyio.sleep(99)
        assert (await fal.get(body["status_url"])).json()["status"] == "IN_PROGRESS"
        await anyio.sleep(2)

        assert (await fal.get(body["status_url"])).json()["status"] == "COMPLETED"

    async def test_a_failed_render_can_carry_a_hint(self, fal, world):
        world.faults.add(
            Fault(
                stage="job",
                what="fail",
                error="downstream_service_error",
                http=500,
                headers={"X-Fal-Needs-Retry": "1"},
            )
        )
        body = (await submit(fal)).json()
        result = await fal.get(body["response_url"])

        assert (result.status_code, result.headers["x-fal-needs-retry"]) == (500, "1")

    async def test_without_the_transport_the_drop_is_an_exception(self, world):
        world.faults.add(Fault(stage="submit.after", what="truncated"))
        from kling_batch.emulator import create_app

        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=create_app(world)),
            headers={"Authorization": "Key k"},
        )
        async with client:
            with pytest.raises(ConnectionDropped) as caught:
                await submit(client)

        assert caught.value.status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(caught.value.body)
