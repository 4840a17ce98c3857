"""Prices of `endpoint:` jobs: never below what is charged where fal fills in its own defaults."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.manifests import batch, jobs, messages

from kling_batch.catalog.registry import parse_usd
from kling_batch.emulator import World
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.endpoints import Endpoint, Field
from kling_batch.emulator.outputs import recipes_for
from kling_batch.emulator.prices import charge_for
from kling_batch.emulator.validation import complaints
from kling_batch.manifest.inputs import Files
from kling_batch.manifest.request import Requests

URL = "https://a.example/1"
_VALUES: dict[str, tuple[Any, ...]] = {
    "text": ("x",),
    "url": (URL,),
    "urls": ([URL], [URL, URL]),
    "texts": (["v"],),
    "bool": (True, False, "true", 1, 0, None),
    "elements": (
        [{"frontal_image_url": URL, "reference_image_urls": [URL]}],
        [{"video_url": URL}],
        [{"video_url": URL, "voice_id": "v"}],
    ),
    "shots": (
        [{"prompt": "x", "duration": "15"}],
        [{"prompt": "x", "duration": 3}, {"prompt": "y"}],
        [{"prompt": "x", "duration": None}],
    ),
}


def some_value(field: Field, rng: random.Random) -> Any:
    if field.kind == "enum":
        return rng.choice((*field.allowed, None))
    if field.kind in ("int", "float"):
        most = int(field.high or 9)
        return rng.choice((field.low or 1, most, str(most), None))
    return rng.choice(_VALUES.get(field.kind, (None,)))


def some_input(endpoint: Endpoint, rng: random.Random) -> dict[str, Any]:
    given = {
        name: some_value(field, rng)
        for name, field in endpoint.fields.items()
        if field.required or rng.random() < 0.4
    }
    if "prompt" in endpoint.fields and "multi_prompt" not in given:
        given["prompt"] = "x"
    return given


def charged(world: World, endpoint: Endpoint, given: dict[str, Any]) -> int:
    made = recipes_for(endpoint, given, world.files, "t", 0.0)
    seconds = getattr(made[0], "seconds", 0.0)
    return charge_for(endpoint, given, seconds=seconds, images=len(made)).micro_usd


def test_no_input_is_estimated_below_its_charge(tmp_path: Path) -> None:
    rng, world, compared = random.Random(3), World(), 0
    requests = Requests(Files(tmp_path))
    known = [each for each in CATALOGUE.values() if each.media in ("image", "video")]
    for _ in range(3000):
        endpoint = rng.choice(known)
        given = some_input(endpoint, rng)
        counts_input = endpoint.tariff.block or (
            endpoint.tariff.resolutions and URL in json.dumps(given)
        )
        if counts_input or complaints(endpoint, given, strict=True):
            continue
        request, _ = requests.build({"endpoint": endpoint.id, "input": given}, frozenset())
        assert request is not None
        if request.estimate.note == "price unknown":
            continue
        assert request.estimate.micro >= charged(world, endpoint, given), (endpoint.id, given)
        compared += 1
    assert compared > 1000


@pytest.mark.parametrize(
    ("endpoint", "more", "price"),
    [
        ("fal-ai/kling-video/v3/pro/text-to-video", "", "0.84"),
        ("fal-ai/kling-video/v3/pro/text-to-video", "generate_audio: null", "0.84"),
        ("fal-ai/kling-video/v3/pro/text-to-video", "generate_audio: false", "0.56"),
        ("fal-ai/kling-video/v3/standard/text-to-video", "", "0.63"),
        ("fal-ai/kling-video/v3/standard/image-to-video", f"start_image_url: '{URL}'", "0.63"),
        ("fal-ai/kling-video/v2.6/pro/text-to-video", "", "0.70"),
        ("fal-ai/kling-video/v2.6/pro/image-to-video", f"start_image_url: '{URL}'", "0.70"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "", "0.56"),
        ("kling/v4/text-to-video", "", "1.175"),
        ("kling/v4/text-to-video", "resolution: 720p", "0.785"),
        # Of these nobody knows the default: the longest that there is.
        ("kling/v4/flash/image-to-video", f"start_image_url: '{URL}'", "1.88"),
        ("kling/v4/text-to-video", "multi_prompt: [{prompt: y}]", "7.05"),
    ],
)
def test_what_is_left_open_costs_what_fal_makes_of_it(
    tmp_path: Path, endpoint: str, more: str, price: str
) -> None:
    made = jobs(tmp_path, f"jobs: [{{id: a, endpoint: {endpoint}, input: {{prompt: x, {more}}}}}]")

    assert made["a"].estimate == parse_usd(price)


def test_a_price_below_fals_own_default_makes_no_room(tmp_path: Path) -> None:
    text = """\
    jobs:
      - id: a
        endpoint: fal-ai/kling-video/v3/pro/text-to-video
        price: {}
        input: {{prompt: x}}
    """

    assert jobs(tmp_path, text.format("0.60"))["a"].estimate == parse_usd("0.84")
    assert jobs(tmp_path, text.format("0.90"))["a"].estimate == parse_usd("0.90")


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [
        ("fal-ai/kling-image/o3/text-to-image", "num_images: 12"),
        ("fal-ai/kling-image/o3/text-to-image", "resolution: 8K"),
        ("fal-ai/kling-image/o3/text-to-image", "result_type: serial"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "duration: '20'"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "duration: {job: b}"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "generate_audio: maybe"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "multi_prompt: [{prompt: y, duration: '20'}]"),
        ("fal-ai/kling-video/o3/pro/text-to-video", "resolution: 2160p"),
        ("fal-ai/kling-video/o3/pro/reference-to-video", "elements: [{video_url: 5}]"),
        ("fal-ai/kling-video/v3/turbo/pro/text-to-video", "generate_audio: true"),
    ],
)
def test_what_the_catalogue_cannot_read_has_no_price(
    tmp_path: Path, endpoint: str, given: str
) -> None:
    text = f"""\
    jobs:
      - {{id: b, mode: text-to-image, prompt: y}}
      - {{id: a, endpoint: {endpoint}, input: {{prompt: x, {given}}}}}
    """
    made = batch(tmp_path, text)
    job = made.jobs[-1]

    assert (job.estimate, job.estimate_note) == (0, "price unknown")
    (warning,) = made.warnings
    assert warning.place.line == 3
    assert "the price of this input is unknown: " in warning.message
    assert "`price:`" in warning.hint

    made = batch(tmp_path, text.replace("{id: a", "{id: a, price: 2.50"))
    assert (made.jobs[-1].estimate, made.warnings) == (parse_usd("2.50"), ())


@pytest.mark.parametrize(
    "given",
    ["elements: [{frontal_image_url: 5}]", "aspect_ratio: '7:5'", "zz: 1", "prompt: ''"],
)
def test_what_the_price_does_not_depend_on_may_be_anything(tmp_path: Path, given: str) -> None:
    endpoint = "fal-ai/kling-video/o3/pro/reference-to-video"
    made = jobs(tmp_path, f"jobs: [{{id: a, endpoint: {endpoint}, input: {{{given}}}}}]")

    assert made["a"].estimate == parse_usd("0.56")


@pytest.mark.parametrize(
    ("shots", "duration", "price"),
    [
        ("[{prompt: x, duration: '15'}]", "'3'", "1.68"),
        ("[{prompt: x, duration: '3'}]", "'10'", "1.12"),
        ("[{prompt: x}, {prompt: y, duration: 7}]", "null", "1.344"),
    ],
)
def test_the_longer_of_duration_and_shots_is_priced(
    tmp_path: Path, shots: str, duration: str, price: str
) -> None:
    made = jobs(
        tmp_path,
        f"""\
        jobs:
          - id: a
            endpoint: fal-ai/kling-video/o3/pro/text-to-video
            input: {{multi_prompt: {shots}, duration: {duration}}}
        """,
    )

    assert made["a"].estimate == parse_usd(price)


def test_a_mode_that_only_doubts_the_sum_of_its_shots_prices_the_longer(tmp_path: Path) -> None:
    made = jobs(
        tmp_path,
        """\
        jobs:
          - id: a
            model: v4-flash
            mode: text-to-video
            duration: 3
            multi_prompt: [{prompt: x, duration: 15}]
        """,
    )

    assert made["a"].estimate == parse_usd("1.41")


@pytest.mark.parametrize(
    "written",
    ["{job: c}", "{job: c, output: 2}", "{job: null}", "{job: c, take: picked}"],
)
@pytest.mark.parametrize("more", ["", "tier: pro, "])
def test_a_reference_is_no_whole_input(tmp_path: Path, written: str, more: str) -> None:
    text = f"jobs:\n- {{id: a, {more}price: 0.1, endpoint: fal-ai/flux/dev, input: {written}}}"

    told = messages(tmp_path, text)

    assert any("`input` must be a mapping of parameters" in line for line in told)
    assert any("name the parameter that takes it" in line for line in told)


def test_an_input_may_have_a_parameter_of_that_name(tmp_path: Path) -> None:
    made = jobs(tmp_path, "jobs: [{id: a, endpoint: a/b, input: {job: cook, prompt: x}}]")

    assert made["a"].arguments == {"job": "cook", "prompt": "x"}
