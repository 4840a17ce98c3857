"""The catalogue against the facts: endpoints, limits, prices, one spelling for equal requests."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kling_batch.catalog import registry as catalog
from kling_batch.catalog.registry import (
    cost_of,
    endpoints,
    estimate,
    examine,
    exceeds_estimate,
    far_exceeds_estimate,
    find,
    modes,
    normalise,
    parse_usd,
)
from kling_batch.core.jobs import LocalFile, OutputOf, job_key
from kling_batch.core.quantities import MicroUSD, exact_usd

T2V = find("text-to-video")
I2V = find("image-to-video")
R2V = find("reference-to-video")
EDIT = find("edit")
REMIX = find("remix")
T2I = find("text-to-image")
I2I = find("image-to-image")
URL = "https://example.com/a.png"
CLIP = "https://example.com/a.mp4"
PICTURES = {"frontal_image_url": URL, "reference_image_urls": [URL]}
WITH_CLIP = {"elements": [{"video_url": CLIP}]}


def errors_of(endpoint, arguments):
    return examine(endpoint, arguments)[1].errors


def codes(endpoint, arguments):
    return [problem.code for problem in errors_of(endpoint, arguments)]


def messages(endpoint, arguments):
    return [problem.message for problem in errors_of(endpoint, arguments)]


def warnings(endpoint, arguments):
    return [problem.code for problem in examine(endpoint, arguments)[1].warnings]


# --- what there is ------------------------------------------------------------------------------


def test_all_seventeen_endpoints_are_known():
    ids = {endpoint.id for endpoint in endpoints() if endpoint.model == "o3"}
    video = "fal-ai/kling-video/o3"
    made = ("text-to-video", "image-to-video", "reference-to-video")
    expected = {f"{video}/{tier}/{each}" for tier in ("standard", "pro", "4k") for each in made}
    expected |= {
        f"{video}/{tier}/video-to-video/{each}"
        for tier in ("standard", "pro", "4k")
        for each in ("edit", "reference")
    }
    expected |= {f"fal-ai/kling-image/o3/{each}" for each in ("text-to-image", "image-to-image")}

    assert expected == ids


def test_every_endpoint_is_found_by_its_words_and_its_id():
    for endpoint in endpoints():
        assert find(endpoint.mode, endpoint.tier, endpoint.model) is endpoint
        assert endpoint.source
        assert endpoint.dated >= "2026-08"


@pytest.mark.parametrize(
    ("endpoint", "units", "cost"),
    [
        ("fal-ai/kling-video/o3/4k/text-to-video", 5.0, 2_100_000),
        ("fal-ai/kling-video/o3/4k/video-to-video/edit", 10.0, 4_200_000),
        ("fal-ai/kling-video/o3/pro/text-to-video", 4.0, 560_000),
        ("fal-ai/kling-video/o3/standard/text-to-video", 3.0, 420_000),
        ("fal-ai/kling-image/o3/text-to-image", 3.0, 84_000),
    ],
)
def test_a_units_price_belongs_to_its_endpoint(endpoint: str, units: float, cost: int) -> None:
    assert cost_of(endpoint, units) == cost


def test_tier_is_pro_where_none_is_said():
    assert T2V.id == "fal-ai/kling-video/o3/pro/text-to-video"
    assert all(find(mode).tier == "pro" for mode in modes("o3"))


@pytest.mark.parametrize(
    ("mode", "tier", "message"),
    [
        ("text-2-video", "pro", "there is no mode `text-2-video`"),
        ("image-to-image", "4k", "image-to-image has no tier `4k`, only pro"),
        ("text-to-image", "standard", "text-to-image has no tier `standard`, only pro"),
        ("edit", "prro", "there is no tier `prro`"),
    ],
)
def test_what_is_not_there_is_reported_with_what_is(mode, tier, message):
    problem = catalog.why_not_found(mode, tier)

    assert problem.message == message
    assert problem.hint


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        (
            "text-to-video",
            "prompt multi_prompt duration aspect_ratio generate_audio shot_type",
        ),
        (
            "image-to-video",
            "image_url end_image_url prompt multi_prompt duration generate_audio shot_type",
        ),
        (
            "reference-to-video",
            """prompt multi_prompt duration start_image_url end_image_url image_urls elements
            aspect_ratio generate_audio shot_type""",
        ),
        ("edit", "prompt video_url image_urls elements keep_audio shot_type"),
        (
            "remix",
            "prompt video_url image_urls elements keep_audio shot_type aspect_ratio duration",
        ),
        (
            "text-to-image",
            """prompt aspect_ratio elements resolution result_type num_images series_amount
            output_format sync_mode""",
        ),
        (
            "image-to-image",
            """prompt image_urls aspect_ratio elements resolution result_type num_images
            series_amount output_format sync_mode""",
        ),
    ],
)
def test_parameters_of_each_mode(mode, names):
    for tier in catalog.tiers_of(mode):
        assert set(names.split()) == set(find(mode, tier).by_name)


def test_importing_the_catalogue_is_light():
    script = (
        "import sys; import kling_batch.catalog;"
        "print([m for m in ('pydantic','yaml','jinja2','PIL','av','httpx') if m in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout

    assert output.decode().strip() == "[]"


# --- one spelling -------------------------------------------------------------------------------


def test_defaults_are_spelt_out():
    expected = {
        "prompt": "x",
        "duration": "5",
        "aspect_ratio": "16:9",
        "generate_audio": False,
        "shot_type": "customize",
    }

    assert expected == normalise(T2V, {"prompt": "x"})


def test_remix_duration_has_no_default_to_spell_out():
    assert "duration" not in normalise(REMIX, {"prompt": "x", "video_url": CLIP})


@pytest.mark.parametrize(
    ("written", "name", "sent"),
    [
        ({"duration": 7}, "duration", "7"),
        ({"duration": 7.0}, "duration", "7"),
        ({"duration": " 7 "}, "duration", "7"),
        ({"aspect_ratio": "square"}, "aspect_ratio", "1:1"),
        ({"aspect_ratio": "Landscape"}, "aspect_ratio", "16:9"),
        ({"aspect_ratio": "widescreen"}, "aspect_ratio", "16:9"),
        ({"aspect_ratio": "portrait"}, "aspect_ratio", "9:16"),
        ({"generate_audio": "yes"}, "generate_audio", True),
        ({"generate_audio": 1}, "generate_audio", True),
        ({"generate_audio": "False"}, "generate_audio", False),
        ({"generate_audio": None}, "generate_audio", False),
        ({"prompt": "  x\n"}, "prompt", "x"),
        ({"prompt": 1984}, "prompt", "1984"),
    ],
)
def test_spellings_are_unified(written, name, sent):
    arguments = normalise(T2V, {"prompt": "x", **written})

    assert sent == arguments[name]
    assert type(sent) is type(arguments[name])


@pytest.mark.parametrize(
    ("word", "ratio"),
    [("square", "1:1"), ("landscape", "4:3"), ("portrait", "3:4"), ("widescreen", "16:9")],
)
def test_aspect_words_of_images_are_the_seeds(word, ratio):
    assert normalise(T2I, {"prompt": "x", "aspect_ratio": word})["aspect_ratio"] == ratio


def test_images_are_square_unless_they_say_otherwise():
    assert normalise(T2I, {"prompt": "x"})["aspect_ratio"] == "1:1"
    assert normalise(I2I, {"prompt": "x", "image_urls": [URL]})["aspect_ratio"] == "auto"


def test_shot_defaults_are_spelt_out_and_make_the_length():
    arguments = normalise(T2V, {"multi_prompt": [{"prompt": "a"}, {"prompt": "b", "duration": 4}]})

    assert [shot["duration"] for shot in arguments["multi_prompt"]] == ["5", "4"]
    assert arguments["duration"] == "9"


def test_empty_lists_are_left_out():
    assert "image_urls" not in normalise(R2V, {"prompt": "x", "image_urls": []})


def test_one_thing_is_a_list_of_one():
    single, listed = (normalise(I2I, {"prompt": "x", "image_urls": urls}) for urls in (URL, [URL]))

    assert single == listed == normalise(I2I, {"prompt": "x", "image_urls": f'["{URL}"]'})


@given(
    st.fixed_dictionaries(
        {"prompt": st.text(min_size=1).filter(lambda text: text.strip())},
        optional={
            "duration": st.sampled_from([3, "3", 5, "15", 5.0]),
            "aspect_ratio": st.sampled_from(["16:9", "square", "1:1", "PORTRAIT", None]),
            "generate_audio": st.sampled_from([True, False, "no", None]),
            "shot_type": st.sampled_from(["customize", "intelligent"]),
        },
    )
)
def test_normalising_twice_changes_nothing(arguments):
    once = normalise(T2V, arguments)

    assert once == normalise(T2V, once)
    assert job_key(T2V.id, once) == job_key(T2V.id, dict(reversed(once.items())))


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "arguments", "expected"),
    [
        (T2V, {"promt": "x"}, ["unknown-parameter", "missing"]),
        (T2V, {"prompt": "x", "image_url": URL}, ["unknown-parameter"]),
        (T2V, {"prompt": "x", "seed": 1}, ["unknown-parameter"]),
        (T2V, {"prompt": "x", "duration": 2}, ["wrong-value"]),
        (T2V, {"prompt": "x", "duration": 16}, ["wrong-value"]),
        (T2V, {"prompt": "x", "duration": 5.5}, ["wrong-value"]),
        (T2V, {"prompt": "x", "duration": True}, ["wrong-type"]),
        (T2V, {"prompt": "x", "duration": [5]}, ["wrong-type"]),
        (T2V, {"prompt": "x", "aspect_ratio": "4:3"}, ["wrong-value"]),
        (T2V, {"prompt": "x", "aspect_ratio": "auto"}, ["wrong-value"]),
        (T2V, {"prompt": "x", "generate_audio": "loud"}, ["wrong-type"]),
        (T2V, {"prompt": "x" * 2501}, ["too-long"]),
        (T2V, {"prompt": "  "}, ["empty"]),
        (T2V, {}, ["missing"]),
        (T2V, {"prompt": "x", "multi_prompt": [{"prompt": "y"}]}, ["conflict"]),
        (I2V, {"prompt": "x"}, ["missing"]),
        (I2V, {"prompt": "x", "image_url": URL, "aspect_ratio": "1:1"}, ["unknown-parameter"]),
        (I2V, {"prompt": "x", "last_image_url": URL}, ["unknown-parameter", "missing"]),
        (I2V, {"prompt": "x", "image_url": URL, "start_image_url": URL}, ["conflict"]),
        (EDIT, {"prompt": "x"}, ["missing"]),
        (EDIT, {"video_url": CLIP}, ["missing"]),
        (EDIT, {"prompt": "x", "video_url": CLIP, "duration": 5}, ["unknown-parameter"]),
        (EDIT, {"prompt": "x", "video_url": "s3://bucket/a.mp4"}, ["wrong-value"]),
        (EDIT, {"prompt": "x", "video_url": "data:image/png;base64,AA"}, ["wrong-value"]),
        (EDIT, {"prompt": "x", "video_url": 5}, ["wrong-type"]),
        (REMIX, {"prompt": "x", "video_url": CLIP, "aspect_ratio": "4:3"}, ["wrong-value"]),
        (T2I, {"prompt": "x", "num_images": 10}, ["out-of-range"]),
        (T2I, {"prompt": "x", "num_images": 0}, ["out-of-range"]),
        (T2I, {"prompt": "x", "series_amount": 1, "result_type": "series"}, ["out-of-range"]),
        (T2I, {"prompt": "x", "num_images": 10**30}, ["wrong-type"]),
        (T2I, {"prompt": "x", "resolution": "8K"}, ["wrong-value"]),
        (T2I, {"prompt": "x", "negative_prompt": "y"}, ["unknown-parameter"]),
        (I2I, {"prompt": "x"}, ["missing"]),
        (I2I, {"prompt": "x", "image_urls": [URL] * 11}, ["wrong-count"]),
        (I2I, {"prompt": "x", "image_urls": [None]}, ["wrong-type"]),
    ],
)
def test_what_the_facts_forbid(endpoint, arguments, expected):
    assert expected == codes(endpoint, arguments)


@pytest.mark.parametrize(
    ("shots", "duration", "expected"),
    [
        ([{"prompt": "a", "duration": 3}], None, []),
        ([{"prompt": "a"}, {"prompt": "b"}], None, []),
        ([{"prompt": "a"}, {"prompt": "b"}], 10, []),
        ([{"prompt": "a"}, {"prompt": "b"}], 5, ["wrong-sum"]),
        ([{"prompt": "a", "duration": 2}], None, ["wrong-sum"]),
        ([{"prompt": "a"}] * 4, None, ["wrong-sum"]),
        ([{"prompt": "a", "duration": 1}] * 7, None, ["wrong-count"]),
        ([{"prompt": "a" * 513}], None, ["too-long"]),
        ([{"prompt": "a", "duration": 0}], None, ["wrong-value"]),
        ([{"duration": 3}], None, ["missing"]),
        ([{"prompt": "a", "length": 3}], None, ["unknown-parameter"]),
        (["a"], None, ["wrong-type"]),
    ],
)
def test_rules_of_shots(shots, duration, expected):
    arguments = {"multi_prompt": shots, "duration": duration}

    assert expected == codes(T2V, arguments)


@pytest.mark.parametrize(
    ("prompt", "images", "elements", "expected"),
    [
        ("@Image1 and @Image2", 2, 0, 0),
        ("@Image3", 2, 0, 1),
        ("@Image0", 2, 0, 1),
        ("@Element1", 0, 1, 0),
        ("@Element2", 0, 1, 1),
        ("@Image", 1, 0, 0),
        ("@Image", 2, 0, 1),
        ("@Image1", 0, 0, 1),
        ("@Video1", 1, 0, 1),
        ("me@Image1.com", 0, 0, 0),
        ("@Images1 @image7", 1, 0, 0),
        ("@Image9 @Element9", 1, 1, 2),
    ],
)
def test_a_prompt_names_only_what_is_there(prompt, images, elements, expected):
    element = {"frontal_image_url": URL, "reference_image_urls": [URL]}
    arguments = {"prompt": prompt, "image_urls": [URL] * images, "elements": [element] * elements}

    assert ["unknown-mention"] * expected == codes(R2V, arguments)


def test_mentions_in_shots_are_found_with_their_shot():
    arguments = {"multi_prompt": [{"prompt": "a"}, {"prompt": "@Image1"}]}

    assert [each.path for each in errors_of(R2V, arguments)] == [("multi_prompt", 1, "prompt")]


def test_source_clip_is_video_1():
    assert codes(EDIT, {"prompt": "@Video1", "video_url": CLIP}) == []
    assert codes(EDIT, {"prompt": "@Video2", "video_url": CLIP}) == ["unknown-mention"]


@pytest.mark.parametrize(
    ("endpoint", "images", "plain", "with_video", "expected"),
    [
        (R2V, 6, 1, 0, []),
        (R2V, 7, 1, 0, ["too-many"]),
        (R2V, 3, 0, 1, []),
        (R2V, 4, 0, 1, ["too-many"]),
        (R2V, 0, 0, 2, ["too-many"]),
        (EDIT, 3, 1, 0, []),
        (EDIT, 4, 1, 0, ["too-many"]),
        (REMIX, 5, 0, 0, ["too-many"]),
    ],
)
def test_caps_of_references(endpoint, images, plain, with_video, expected):
    elements = [PICTURES] * plain + [{"video_url": CLIP}] * with_video
    arguments = {"prompt": "x", "image_urls": [URL] * images, "elements": elements}
    if "video_url" in endpoint.by_name:
        arguments["video_url"] = CLIP

    assert expected == codes(endpoint, arguments)


def test_an_element_shows_something():
    assert codes(R2V, {"prompt": "x", "elements": [{}]}) == ["missing"]
    assert codes(R2V, {"prompt": "x", "elements": [{"voice_id": "v"}]}) == ["missing"]
    four = {"frontal_image_url": URL, "reference_image_urls": [URL] * 4}
    assert codes(R2V, {"prompt": "x", "elements": [four]}) == ["wrong-count"]
    assert codes(T2I, {"prompt": "x", "elements": [{"video_url": CLIP}]})[0] == "unknown-parameter"


@pytest.mark.parametrize(
    ("endpoint", "arguments", "expected"),
    [
        (T2V, {"prompt": "x", "shot_type": "wild"}, "undocumented-value"),
        (
            EDIT,
            {"prompt": "x", "video_url": CLIP, "elements": [{"frontal_image_url": URL}]},
            "reported",
        ),
        (T2I, {"prompt": "x", "elements": [{"frontal_image_url": URL}]}, "reported"),
        (I2V, {"prompt": "@Image1 walks", "image_url": URL}, "undocumented"),
        (
            I2V,
            {"multi_prompt": [{"prompt": "x"}], "image_url": URL, "end_image_url": URL},
            "reported",
        ),
        (T2V, {"multi_prompt": [{"prompt": "x"}], "shot_type": "intelligent"}, "reported"),
        (R2V, {"prompt": "x", "elements": [{**PICTURES, "voice_id": "v"}]}, "reported"),
        (R2V, {"prompt": "x", "elements": [{"video_url": CLIP, "voice_id": "v"}]}, "reported"),
        (R2V, {"prompt": "x", "elements": [PICTURES] * 5}, "reported"),
        (R2V, {"prompt": "x", "end_image_url": URL}, "undocumented"),
        (T2I, {"prompt": "x", "result_type": "series", "num_images": 3}, "without-effect"),
        (T2I, {"prompt": "x", "series_amount": 3}, "without-effect"),
        (T2I, {"prompt": "x", "sync_mode": True}, "not-recoverable"),
    ],
)
def test_what_is_doubtful_only_warns(endpoint, arguments, expected):
    assert codes(endpoint, arguments) == []
    assert expected in warnings(endpoint, arguments)


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        ({"frontal_image_url": URL}, ["missing"]),
        ({"reference_image_urls": [URL]}, ["missing"]),
        ({"frontal_image_url": URL, "reference_image_urls": [URL]}, []),
        ({"video_url": CLIP}, []),
        ({"video_url": CLIP, "frontal_image_url": URL}, []),
    ],
)
def test_reference_to_video_wants_two_views_or_a_clip(element, expected):
    """fal says so only after the request was accepted."""
    assert codes(R2V, {"prompt": "x", "elements": [element]}) == expected


def test_a_voice_on_a_clip_that_is_heard_is_in_order():
    element = {"video_url": CLIP, "voice_id": "v"}
    arguments = {"prompt": "x", "elements": [element], "generate_audio": True}

    assert codes(R2V, arguments) == []
    assert warnings(R2V, arguments) == []


def test_other_mentions_in_image_to_video_stay_errors():
    arguments = {"prompt": "@Element1 and @Video1", "image_url": URL}

    assert codes(I2V, arguments) == ["unknown-mention"] * 2


def test_all_problems_come_at_once():
    arguments = {
        "prompt": "@Image3",
        "image_urls": [URL, URL],
        "duration": 20,
        "aspect_ratio": "4:3",
        "sead": 1,
    }

    assert len(errors_of(R2V, arguments)) == 4


def test_hints_name_the_nearest():
    assert "did you mean `prompt`?" in [each.hint for each in errors_of(T2V, {"promt": "x"})]
    hints = [each.hint for each in errors_of(T2V, {"prompt": "x", "aspect_ratio": "potrait"})]
    assert hints == ["did you mean `portrait`?"]
    assert "belongs to image-to-video" in messages(T2V, {"prompt": "x", "image_url": URL})[0]


def test_names_to_pass_through_are_passed_through():
    arguments, problems = examine(T2V, {"prompt": "x", "new": [1]}, through={"new"})

    assert problems.errors == []
    assert arguments["new"] == [1]


def test_names_of_other_modes_that_are_passed_through_are_left_alone():
    arguments, problems = examine(
        T2I, {"prompt": "x", "multi_prompt": [{"duration": "3"}]}, through={"multi_prompt"}
    )

    assert problems.errors == []
    assert "duration" not in arguments


# --- references and files -----------------------------------------------------------------------


def test_a_reference_counts_takes_and_outputs_from_one():
    arguments = normalise(I2V, {"prompt": "x", "image_url": {"job": "a", "take": 2, "output": 3}})

    expected = OutputOf(key="", job_id="a", take=2, index=2)
    assert expected == arguments["image_url"]


@pytest.mark.parametrize(
    "reference",
    [
        {"job": ""},
        {"job": "a", "take": 0},
        {"job": "a", "output": 0},
        {"job": "a", "taek": 1},
        {"job": ["a"]},
        {"take": 1},
        {"job": "a", "take": "two"},
    ],
)
def test_a_broken_reference_is_reported(reference):
    assert errors_of(I2V, {"prompt": "x", "image_url": reference})


def test_every_url_is_visited_with_its_place():
    file = LocalFile(path="a.png", sha256="0", size=1, content_type="image/png")
    arguments = normalise(
        R2V,
        {
            "prompt": "x",
            "start_image_url": file,
            "image_urls": [URL, {"job": "j"}],
            "elements": [{"video_url": CLIP, "reference_image_urls": [file]}],
        },
    )
    seen = {}

    def visit(parameter, value, path):
        seen[path] = parameter.media
        return "visited"

    replaced = catalog.replace_urls(R2V, arguments, visit)

    assert seen == {
        ("start_image_url",): "image",
        ("image_urls", 0): "image",
        ("image_urls", 1): "image",
        ("elements", 0, "video_url"): "video",
        ("elements", 0, "reference_image_urls", 0): "image",
    }
    assert replaced["image_urls"] == ["visited", "visited"]
    assert replaced["prompt"] == "x"


# --- money --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "tier", "arguments", "dollars"),
    [
        ("text-to-video", "standard", {"duration": 5}, "0.42"),
        ("text-to-video", "standard", {"duration": 5, "generate_audio": True}, "0.56"),
        ("text-to-video", "standard", {"duration": 15, "generate_audio": True}, "1.68"),
        ("text-to-video", "pro", {}, "0.56"),
        ("text-to-video", "pro", {"duration": 10, "generate_audio": True}, "1.40"),
        ("text-to-video", "4k", {}, "2.10"),
        ("text-to-video", "4k", {"generate_audio": True}, "2.10"),
        ("image-to-video", "pro", {"image_url": URL, "duration": 3}, "0.336"),
        ("reference-to-video", "standard", {"generate_audio": True}, "0.56"),
        ("reference-to-video", "standard", WITH_CLIP, "0.63"),
        ("reference-to-video", "standard", {**WITH_CLIP, "generate_audio": True}, "0.63"),
        ("reference-to-video", "pro", {**WITH_CLIP, "duration": 10}, "1.68"),
        ("reference-to-video", "4k", WITH_CLIP, "2.10"),
        ("remix", "standard", {"video_url": CLIP, "duration": 4}, "0.504"),
        ("text-to-image", "pro", {}, "0.028"),
        ("text-to-image", "pro", {"num_images": 4, "resolution": "2K"}, "0.112"),
        ("text-to-image", "pro", {"num_images": 2, "resolution": "4K"}, "0.112"),
        ("text-to-image", "pro", {"result_type": "series", "series_amount": 3}, "0.084"),
    ],
)
def test_prices_of_the_published_table(mode, tier, arguments, dollars):
    endpoint = find(mode, tier)
    price = estimate(endpoint, normalise(endpoint, {"prompt": "x", **arguments}))

    assert parse_usd(dollars) == price.micro


def test_an_edit_costs_by_the_length_of_its_source():
    arguments = normalise(EDIT, {"prompt": "x", "video_url": CLIP})

    assert estimate(EDIT, arguments, {("video_url",): 10.0}) == (parse_usd("1.68"), "")
    # Never less than what is charged: fractions of a millionth go up.
    assert estimate(EDIT, arguments, {("video_url",): 5.041667}).micro == 847_001


def test_an_unknown_length_is_the_longest_and_says_so():
    for endpoint in (EDIT, REMIX):
        price = estimate(endpoint, normalise(endpoint, {"prompt": "x", "video_url": CLIP}))
        assert price.micro == parse_usd("2.52")
        assert "up to 15 s" in price.note


def test_an_open_series_is_the_longest_and_says_so():
    price = estimate(T2I, normalise(T2I, {"prompt": "x", "result_type": "series"}))

    assert price.micro == 9 * 28_000
    assert "up to 9" in price.note


@pytest.mark.parametrize(
    ("text", "micro"),
    [("40.00", 40_000_000), ("$0.5", 500_000), (" 0.000001 ", 1), ("0", 0), ("1e2", 100_000_000)],
)
def test_dollars_are_read_exactly(text, micro):
    assert parse_usd(text) == micro


@pytest.mark.parametrize("text", ["", "forty", "-1", "nan", "inf", "0.0000001", "1e9", "1,50"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"is not|has more"):
        parse_usd(text)


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (560_000, "$0.56"),
        (0, "$0.00"),
        (28_000, "$0.028"),
        (1_234_567_890, "$1,234.56789"),
        (-500_000, "-$0.50"),
        (40_000_000, "$40.00"),
    ],
)
def test_dollars_are_shown_without_losing_any(micro, text):
    assert exact_usd(micro) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_shown_dollars_read_back(micro):
    assert parse_usd(exact_usd(micro).replace(",", "")) == micro


@pytest.mark.parametrize(
    ("cost", "estimate", "more", "far_more"),
    [
        (100, 100, False, False),
        (101, 100, False, False),  # a rounding difference
        (102, 100, True, False),
        (299, 100, True, False),
        (300, 100, True, True),
        (50, 100, False, False),
        (500, 0, False, False),  # nobody estimated anything
    ],
)
def test_a_cost_is_compared_with_its_estimate(
    cost: int, estimate: int, more: bool, far_more: bool
) -> None:
    assert exceeds_estimate(MicroUSD(cost), MicroUSD(estimate)) is more
    assert far_exceeds_estimate(MicroUSD(cost), MicroUSD(estimate)) is far_more
