"""The emulated queue: order, slots, deadlines, cancellation, and time that is only asked for."""

import math

import anyio
import httpx
import pytest
import trio.testing

from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.emulator.records import State

T2V = "fal-ai/kling-video/o3/standard/text-to-video"
START = 1_800_000_000.0


def make_world(clock, **settings):
    steady = {"jitter": 0.0, "start_latency": 0.0, "service_times": {"standard": 10.0}}
    return World(Settings(**{**steady, **settings}), clock=clock)


def submit(world, prompt="a fox", **headers):
    endpoint = world.endpoint(T2V)
    return world.accept(endpoint, {"prompt": prompt}, **headers)


def states(world):
    return [request.state for request in world.books.accepted]


def test_slots_are_filled_in_the_order_of_submission(clock):
    world = make_world(clock, concurrency=2)
    requests = [submit(world, str(n)) for n in range(5)]

    clock.now += 25

    started = [world.find(r.request_id).started_at - START for r in requests]
    assert started == [0, 0, 10, 10, 20]
    assert states(world) == [State.COMPLETED] * 4 + [State.IN_PROGRESS]


def test_the_past_is_the_same_however_often_one_looks(clock):
    patient, curious = make_world(clock, jitter=0.5), make_world(clock, jitter=0.5)
    for world in (patient, curious):
        for n in range(20):
            submit(world, str(n))
    for _ in range(100):
        clock.now += 1.7
        curious.catch_up()

    assert [r.finished_at for r in patient.books.accepted] == [
        r.finished_at for r in curious.books.accepted
    ]


def test_position_counts_those_ahead_and_shrinks(clock):
    world = make_world(clock, concurrency=1)
    requests = [submit(world, str(n)) for n in range(4)]
    world.catch_up()

    assert [world.queue.position(r) for r in requests[1:]] == [0, 1, 2]

    clock.now += 10
    world.catch_up()

    assert [world.queue.position(r) for r in requests[2:]] == [0, 1]


def test_nothing_starts_before_the_start_latency(clock):
    world = make_world(clock, start_latency=3.0)
    request = submit(world)
    clock.now += 2.9

    assert world.find(request.request_id).state is State.IN_QUEUE

    clock.now += 0.2

    assert world.find(request.request_id).started_at == START + 3


def test_more_slots_help_those_who_wait_from_now_on(clock):
    world = make_world(clock, concurrency=0)
    request = submit(world)
    clock.now += 50
    world.change_settings({"concurrency": 1})
    clock.now += 1

    assert world.find(request.request_id).started_at == START + 50


def test_time_scale_makes_renders_quicker(clock):
    world = make_world(clock, time_scale=10.0)
    request = submit(world)
    clock.now += 1

    assert world.find(request.request_id).finished_at == START + 1


def test_a_waiting_request_is_cancelled_at_once_and_costs_nothing(clock):
    world = make_world(clock, concurrency=1)
    _first, second, third = (submit(world, str(n)) for n in range(3))
    clock.now += 4

    assert world.cancel(second) is True

    clock.now += 30
    world.catch_up()

    assert second.failure.error_type == "client_cancelled"
    assert (second.started_at, second.charged_micro_usd) == (None, 0)
    assert third.started_at == START + 10
    assert world.books.total_charged_micro_usd == 2 * 420_000
    assert world.cancel(second) is False


def test_a_running_request_may_not_listen_to_its_cancellation(clock):
    world = make_world(clock)
    request = submit(world)
    clock.now += 1

    assert world.cancel(request) is True

    clock.now += 20

    assert world.find(request.request_id).succeeded
    assert world.books.total_charged_micro_usd == 420_000


def test_a_running_request_that_listens_stops_unpaid_and_frees_its_slot(clock):
    world = make_world(clock, concurrency=1, cancel_running="honoured")
    request, other = submit(world), submit(world, "other")
    clock.now += 1
    world.cancel(request)
    clock.now += 1
    world.catch_up()

    assert request.failure.error_type == "client_cancelled"
    assert other.started_at == START + 1
    assert world.books.charges() == {other.payload_hash: 1}


def test_a_request_that_could_not_start_in_time_fails_at_its_deadline(clock):
    world = make_world(clock, concurrency=1)
    submit(world)
    hasty = submit(world, "hasty", start_timeout=5.0)
    patient = submit(world, "patient", start_timeout=60.0)
    clock.now += 7

    assert world.find(hasty.request_id).failure.error_type == "startup_timeout"
    assert hasty.finished_at == START + 5
    assert world.queue.position(patient) == 0

    clock.now += 20

    assert world.find(patient.request_id).succeeded


def test_a_deadline_is_kept_when_nobody_looked_at_the_moment(clock):
    world = make_world(clock, concurrency=1)
    submit(world)
    hasty = submit(world, "hasty", start_timeout=5.0)
    clock.now += 100

    assert world.find(hasty.request_id).finished_at == START + 5
    assert hasty.started_at is None


def test_complete_now_ends_what_would_never_end(clock):
    world = make_world(clock, concurrency=1)
    world.faults.add(Fault(stage="job", what="hang", nth=1))
    stuck, behind = submit(world), submit(world, "behind")
    clock.now += 1_000_000

    assert world.find(stuck.request_id).state is State.IN_PROGRESS
    assert stuck.due_at == math.inf

    assert world.complete_now(stuck.request_id) == 1

    clock.now += 10

    assert stuck.succeeded
    assert world.find(behind.request_id).succeeded


def test_advancing_moves_the_world_without_waiting(clock):
    world = make_world(clock)
    request = submit(world)
    world.advance(10)

    assert world.find(request.request_id).succeeded
    assert world.now() == clock.now + 10


def test_service_times_are_seeded(clock):
    def service(seed):
        world = make_world(clock, seed=seed, jitter=0.3)
        return [submit(world, str(n)).service for n in range(5)]

    assert service(1) == service(1)
    assert service(1) != service(2)
    assert all(7.0 <= each <= 13.0 for each in service(3))


class TestOnVirtualTime:
    @pytest.fixture
    def anyio_backend(self):
        return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}

    @pytest.mark.anyio
    async def test_hours_of_rendering_pass_in_an_instant(self):
        world = World(
            Settings(profile="realistic", media="template", concurrency=4),
            clock=lambda: START + anyio.current_time(),
        )
        began = anyio.current_time()

        async def render(client, number):
            reply = await client.post(f"https://queue.fal.run/{T2V}", json={"prompt": str(number)})
            urls = reply.json()
            state = None
            while state != "COMPLETED":
                await anyio.sleep(5)
                state = (await client.get(urls["status_url"])).json()["status"]
            result = await client.get(urls["response_url"])
            assert result.json()["video"]["file_size"] > 1000

        client = httpx.AsyncClient(
            transport=InProcessTransport(world), headers={"Authorization": "Key k"}
        )
        async with client, anyio.create_task_group() as tasks:
            for number in range(40):
                tasks.start_soon(render, client, number)

        assert 40 * 94 / 4 * 0.8 < anyio.current_time() - began < 40 * 94 / 4 * 1.3
        assert world.books.total_charged_micro_usd == 40 * 420_000
        assert set(world.books.charges().values()) == {1}
