"""The emulated platform's prices and its account book."""

import pytest

from kling_batch.emulator import Fault, Settings, World, payload_hash
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.prices import charge_for, unit_price

O3 = "fal-ai/kling-video/o3"
T2V = f"{O3}/pro/text-to-video"
T2I = "fal-ai/kling-image/o3/text-to-image"


@pytest.mark.parametrize(
    ("endpoint", "payload", "seconds", "micro_usd", "units"),
    [
        # The worked totals of fal's pages.
        (f"{O3}/standard/text-to-video", {}, 5, 420_000, 3.0),
        (f"{O3}/standard/text-to-video", {"generate_audio": True}, 5, 560_000, 4.0),
        (f"{O3}/standard/image-to-video", {"generate_audio": True}, 15, 1_680_000, 12.0),
        (T2V, {"generate_audio": True}, 10, 1_400_000, 10.0),
        (T2V, {"generate_audio": False}, 5, 560_000, 4.0),
        (f"{O3}/4k/text-to-video", {}, 5, 2_100_000, 5.0),
        (f"{O3}/pro/reference-to-video", {"elements": [{"video_url": "u"}]}, 5, 840_000, 6.0),
        (f"{O3}/4k/reference-to-video", {"generate_audio": True}, 5, 2_100_000, 5.0),
        (f"{O3}/pro/video-to-video/edit", {}, 10, 1_680_000, 12.0),
        (f"{O3}/standard/video-to-video/reference", {}, 5.041667, 635_250, 4.5375),
    ],
)
def test_videos_cost_what_the_pages_say(endpoint, payload, seconds, micro_usd, units):
    charge = charge_for(CATALOGUE[endpoint], payload, seconds=seconds, images=0)

    assert (micro_usd, units) == (charge.micro_usd, charge.units)


@pytest.mark.parametrize(
    ("payload", "micro_usd", "units"),
    [({}, 28_000, 1.0), ({"resolution": "2K"}, 28_000, 1.0), ({"resolution": "4K"}, 56_000, 2.0)],
)
def test_images_cost_by_the_piece(payload, micro_usd, units):
    one = charge_for(CATALOGUE[T2I], payload, seconds=0, images=1)
    nine = charge_for(CATALOGUE[T2I], payload, seconds=0, images=9)

    assert (micro_usd, units) == (one.micro_usd, one.units)
    assert (9 * micro_usd, 9 * units) == (nine.micro_usd, nine.units)


def test_units_times_unit_price_is_the_charge():
    for endpoint in CATALOGUE.values():
        charge = charge_for(endpoint, {"generate_audio": True}, seconds=7, images=3)

        assert round(charge.units * unit_price(endpoint).micro_usd) == charge.micro_usd


def accept(world, payload, endpoint=T2V):
    return world.accept(CATALOGUE[endpoint], payload)


@pytest.mark.parametrize(
    ("payload", "micro_usd"),
    [
        ({"prompt": "x"}, 560_000),
        ({"prompt": "x", "duration": "10"}, 1_120_000),
        ({"prompt": "x", "duration": "10", "generate_audio": "true"}, 1_400_000),
        ({"multi_prompt": [{"prompt": "a"}, {"prompt": "b", "duration": "3"}]}, 896_000),
    ],
)
def test_the_input_decides_how_many_seconds_are_paid(world, payload, micro_usd):
    assert accept(world, payload).price_micro_usd == micro_usd


def test_a_series_is_paid_by_the_image(world):
    request = accept(
        world, {"prompt": "x", "result_type": "series", "series_amount": 4, "num_images": 9}, T2I
    )

    assert request.price_micro_usd == 4 * 28_000


def test_an_edit_is_paid_by_the_length_of_its_source(world):
    source = accept(world, {"prompt": "x", "duration": "12"})
    world.catch_up()
    url = world.output(source)["video"]["url"]
    known = accept(world, {"prompt": "y", "video_url": url}, f"{O3}/pro/video-to-video/edit")
    elsewhere = accept(
        world,
        {"prompt": "y", "video_url": "https://example.com/a.mp4"},
        f"{O3}/pro/video-to-video/edit",
    )

    assert known.price_micro_usd == 12 * 168_000
    assert elsewhere.price_micro_usd == 5 * 168_000


def test_only_success_is_charged(world, clock):
    world.faults.add(
        Fault(stage="job", what="fail", error="runner_disconnected", prompt="crash"),
        Fault(stage="job", what="fail", error="no_media_generated", prompt="nothing"),
    )
    for prompt in ("good", "crash", "nothing", "x" * 2501):
        accept(world, {"prompt": prompt})
    clock.now += 60

    assert [r.charged_micro_usd for r in world.books.accepted] == [560_000, 0, 0, 0]
    assert world.books.total_charged_micro_usd == 560_000
    assert len(world.books.charges()) == 1
    assert len(world.books.acceptances()) == 4


def test_a_charge_to_come_is_already_counted(clock):
    world = World(Settings(), clock=clock)
    twice = [accept(world, {"prompt": "x"}) for _ in range(2)]

    assert world.books.charges() == {twice[0].payload_hash: 2}
    assert world.books.total_charged_micro_usd == 0
    assert world.books.total_committed_micro_usd == 2 * 560_000

    world.cancel(twice[1])

    assert world.books.charges() == {twice[0].payload_hash: 1}


def test_the_hash_sees_what_is_asked_for_and_nothing_else():
    first = payload_hash(T2V, {"prompt": "x", "duration": "5"})

    assert payload_hash(T2V, {"duration": "5", "prompt": "x"}) == first
    assert payload_hash(T2V, {"duration": "6", "prompt": "x"}) != first
    assert payload_hash(T2I, {"duration": "5", "prompt": "x"}) != first


def test_the_same_file_uploaded_twice_is_the_same_payload(world):
    def upload(data):
        path = world.files.reserve("a.png")
        return world.files.upload(path, data, "image/png", world.now(), None).url

    first, again, other = upload(b"one"), upload(b"one"), upload(b"two")

    def digest(url):
        return world.hash_of(T2V, {"prompt": "x", "elements": [{"frontal_image_url": url}]})

    assert first != again
    assert digest(first) == digest(again) != digest(other)
