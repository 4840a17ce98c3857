"""The other generations against the facts: fields, limits, doubts, prices, common words."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kling_batch.catalog.pricing import Case, PerSecond
from kling_batch.catalog.registry import (
    by_id,
    endpoints,
    estimate,
    examine,
    find,
    find_exactly,
    fitting,
    models,
    normalise,
    parse_usd,
    tiers_of,
    why_not_found,
)
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.prices import charge_for

URL, CLIP = "https://example.com/a.png", "https://example.com/a.mp4"
MOTION = {"image_url": URL, "video_url": CLIP, "character_orientation": "image"}
PICTURES = {"frontal_image_url": URL, "reference_image_urls": [URL]}


def codes(model, mode, arguments, tier=None):
    return [each.code for each in examine(find(mode, tier, model), arguments)[1].errors]


def warnings(model, mode, arguments, tier=None):
    return [each.code for each in examine(find(mode, tier, model), arguments)[1].warnings]


# --- what there is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "mode", "tiers", "endpoint"),
    [
        ("v4", "text-to-video", "standard pro", "kling/v4/text-to-video"),
        ("v4", "edit", "standard pro", "kling/v4/video-to-video/edit"),
        ("v4-flash", "edit", "standard", "kling/v4/flash/video-to-video"),
        ("v4-flash", "image-to-video", "standard", "kling/v4/flash/image-to-video"),
        ("v3", "image-to-video", "standard pro 4k", "fal-ai/kling-video/v3/pro/image-to-video"),
        ("v3", "motion-control", "standard pro", "fal-ai/kling-video/v3/pro/motion-control"),
        ("v3", "text-to-image", "pro", "fal-ai/kling-image/v3/text-to-image"),
        (
            "v3-turbo",
            "text-to-video",
            "standard pro",
            "fal-ai/kling-video/v3/turbo/pro/text-to-video",
        ),
        ("v2.6", "text-to-video", "pro", "fal-ai/kling-video/v2.6/pro/text-to-video"),
        ("v2.6", "motion-control", "standard pro", "fal-ai/kling-video/v2.6/pro/motion-control"),
        ("o1", "reference-to-video", "standard pro", "fal-ai/kling-video/o1/reference-to-video"),
        ("o1", "remix", "standard pro", "fal-ai/kling-video/o1/video-to-video/reference"),
        ("o1", "image-to-image", "pro", "fal-ai/kling-image/o1"),
    ],
)
def test_a_job_finds_its_endpoint_by_model_mode_and_tier(model, mode, tiers, endpoint):
    assert set(tiers_of(mode, model)) == set(tiers.split())
    assert find(mode, None, model).id == endpoint
    assert by_id(endpoint).model == model


def test_the_standard_tier_of_o1_has_a_segment():
    endpoint = find("image-to-video", "standard", "o1")

    assert endpoint.id == "fal-ai/kling-video/o1/standard/image-to-video"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("text-to-video", None, "v5"), "there is no model `v5`", "one of o3, v4-flash, v4"),
        (("text-to-video", None, "v3turbo"), "there is no model `v3turbo`", "`v3-turbo`?"),
        (("text-to-image", None, "v4"), "v4 has no mode `text-to-image`, only text-", "o3 and v3"),
        (("remix", None, "v4"), "v4 has no mode `remix`", "remix is a mode of o3 and o1"),
        (("edit", "4k", "v4"), "v4 edit has no tier `4k`, only standard and pro", "o3 has it"),
        (("text-to-video", "4k", "v4"), "v4 text-to-video has no tier `4k`", "o3 and v3 have it"),
        (
            ("text-to-video", "standard", "v2.6"),
            "v2.6 text-to-video has no tier",
            "leave `tier` out",
        ),
    ],
)
def test_what_is_not_there_is_reported_with_what_is(words, message, hint):
    problem = why_not_found(*words)

    assert find_exactly(*words) is None
    assert problem.message.startswith(message)
    assert hint in problem.hint


def test_every_endpoint_says_where_it_comes_from():
    for endpoint in endpoints():
        assert endpoint.source.startswith("https://"), endpoint.id
        assert endpoint.price_source.startswith("https://"), endpoint.id
        assert all(
            "2025-12" <= date <= "2026-11" for date in (endpoint.dated, endpoint.price_dated)
        )
        assert endpoint.model in models()


FIELDS = {
    ("v4", "text-to-video"): "prompt multi_prompt duration resolution aspect_ratio",
    ("v4", "image-to-video"): """prompt multi_prompt duration resolution start_image_url
        middle_image_urls end_image_url""",
    ("v4", "reference-to-video"): """prompt multi_prompt duration resolution aspect_ratio
        start_image_url end_image_url image_urls video_urls elements""",
    ("v4", "edit"): "prompt video_url image_urls resolution keep_audio elements",
    ("v3", "text-to-video"): """prompt multi_prompt duration aspect_ratio generate_audio shot_type
        negative_prompt cfg_scale""",
    ("v3", "image-to-video"): """prompt multi_prompt start_image_url end_image_url elements duration
        generate_audio shot_type negative_prompt cfg_scale""",
    ("v3", "motion-control"): """image_url video_url character_orientation keep_original_sound
        prompt elements""",
    ("v3", "text-to-image"): """prompt negative_prompt aspect_ratio elements resolution num_images
        output_format sync_mode""",
    ("v3", "image-to-image"): """prompt image_url aspect_ratio elements resolution num_images
        output_format sync_mode""",
    ("v3-turbo", "text-to-video"): "prompt multi_prompt duration aspect_ratio",
    ("v3-turbo", "image-to-video"): "prompt multi_prompt image_url duration",
    ("v2.6", "text-to-video"): """prompt duration aspect_ratio generate_audio negative_prompt
        cfg_scale""",
    ("v2.6", "image-to-video"): """prompt start_image_url end_image_url duration generate_audio
        voice_ids negative_prompt""",
    (
        "v2.6",
        "motion-control",
    ): "image_url video_url character_orientation keep_original_sound prompt",
    ("o1", "image-to-video"): "prompt start_image_url end_image_url duration",
    ("o1", "reference-to-video"): "prompt image_urls elements duration aspect_ratio",
    ("o1", "edit"): "prompt video_url image_urls elements keep_audio",
    ("o1", "remix"): "prompt video_url image_urls elements keep_audio duration aspect_ratio",
    ("o1", "image-to-image"): """prompt image_urls aspect_ratio elements resolution num_images
        output_format sync_mode""",
}


@pytest.mark.parametrize(("model", "mode"), FIELDS)
def test_fields_of_each_mode(model, mode):
    for tier in tiers_of(mode, model):
        assert set(find(mode, tier, model).by_name) == set(FIELDS[model, mode].split())


# --- one word for each thing --------------------------------------------------------------------


@pytest.mark.parametrize("written", [7, "7", 7.0, " 7 "])
def test_a_length_has_the_type_that_fal_wants(written):
    for model, sent in (("v4", 7), ("v4-flash", 7), ("v3", "7"), ("v3-turbo", "7")):
        arguments = normalise(
            find("text-to-video", None, model), {"prompt": "x", "duration": written}
        )

        assert arguments["duration"] == sent
        assert type(arguments["duration"]) is type(sent)


def test_the_length_of_shots_has_that_type_too():
    shots = [{"prompt": "a", "duration": "3"}, {"prompt": "b", "duration": 4}]
    for model, sent in (("v4", 7), ("v3", "7")):
        assert (
            normalise(find("text-to-video", None, model), {"multi_prompt": shots})["duration"]
            == sent
        )


@pytest.mark.parametrize("model", ["o3", "v4", "v3", "v3-turbo", "v2.6", "v4-flash"])
@pytest.mark.parametrize(
    ("word", "ratio"), [("square", "1:1"), ("landscape", "16:9"), ("portrait", "9:16")]
)
def test_aspect_words_mean_the_same_everywhere(model, word, ratio):
    endpoint = find("text-to-video", None, model)

    assert normalise(endpoint, {"prompt": "x", "aspect_ratio": word})["aspect_ratio"] == ratio


def test_a_clip_is_silent_unless_it_is_said_wherever_there_is_a_choice():
    for endpoint in endpoints():
        if "generate_audio" in endpoint.by_name:
            assert endpoint.defaults["generate_audio"] is False
        if endpoint.by_name.get("keep_audio") and not endpoint.by_name["keep_audio"].doubt:
            assert endpoint.defaults["keep_audio"] is True


@pytest.mark.parametrize(
    ("model", "mode", "written", "sent"),
    [
        ("v3", "image-to-video", "image_url", "start_image_url"),
        ("v4", "image-to-video", "image_url", "start_image_url"),
        ("v2.6", "image-to-video", "image_url", "start_image_url"),
        ("o1", "image-to-video", "image_url", "start_image_url"),
        ("o3", "image-to-video", "start_image_url", "image_url"),
        ("v3-turbo", "image-to-video", "start_image_url", "image_url"),
        ("v3", "image-to-image", "image_urls", "image_url"),
    ],
)
def test_a_first_frame_may_have_the_name_of_another_endpoint(model, mode, written, sent):
    endpoint = find(mode, None, model)
    for value in (URL, [URL]):
        arguments, problems = examine(endpoint, {"prompt": "x", written: value})

        assert problems.errors == []
        assert [each.code for each in problems.warnings] == ["translated"]
        assert f"`{written}` is sent as `{sent}`" in problems.warnings[0].message
        assert arguments == normalise(endpoint, {"prompt": "x", sent: URL})


@pytest.mark.parametrize(
    ("model", "written", "sent"),
    [
        ("o3", "tail_image_url", "end_image_url"),
        ("v3", "tail_image_url", "end_image_url"),
        ("v2.5-turbo", "end_image_url", "tail_image_url"),
        ("v1.0", "end_image_url", "tail_image_url"),
    ],
)
def test_a_last_frame_may_have_the_name_of_another_endpoint(model, written, sent):
    endpoint = find("image-to-video", None, model)
    arguments, problems = examine(endpoint, {"prompt": "x", "image_url": URL, written: URL})

    assert problems.errors == []
    assert f"`{written}` is sent as `{sent}`" in str(problems.warnings)
    assert arguments[sent] == URL


def test_what_was_a_car_race_must_be_said():
    """fal's defaults of both prompts are a car race."""
    problems = examine(find("sound", None, "voices"), {"video_url": CLIP})[1]

    assert [each.message for each in problems.errors] == [
        "voices sound needs `sound_effect_prompt`",
        "voices sound needs `background_music_prompt`",
    ]


def test_what_has_no_published_price_says_so():
    for model, mode in (("v1.5", "text-to-video"), ("v1.0", "text-to-video"), ("voices", "speech")):
        endpoint = find(mode, None, model)
        arguments = normalise(endpoint, {"prompt": "x", "text": "x"})

        assert estimate(endpoint, arguments) == (0, "price unknown")


def test_an_inferred_price_says_so():
    endpoint = find("text-to-video", "standard", "v1.6")
    price = estimate(endpoint, normalise(endpoint, {"prompt": "x"}))

    assert price.micro == parse_usd("0.28")
    assert "inferred" in price.note


def test_one_clip_is_a_list_of_one():
    endpoint = find("reference-to-video", None, "v4")

    assert normalise(endpoint, {"prompt": "x", "video_url": CLIP})["video_urls"] == [CLIP]


@pytest.mark.parametrize(
    ("model", "mode", "written", "sent", "value", "meant"),
    [
        ("o1", "edit", "input_image_urls", "image_urls", [URL], [URL]),
        ("v4", "reference-to-video", "input_image_urls", "image_urls", URL, [URL]),
        ("v1.6", "reference-to-video", "image_urls", "input_image_urls", [URL], [URL]),
        ("o3", "image-to-image", "image_url", "image_urls", URL, [URL]),
        ("v3", "image-to-image", "input_image_urls", "image_url", [URL], URL),
        ("o3", "edit", "video_urls", "video_url", [CLIP], CLIP),
        ("v3", "motion-control", "video_urls", "video_url", CLIP, CLIP),
        ("v3", "motion-control", "start_image_url", "image_url", URL, URL),
        ("v3", "motion-control", "keep_audio", "keep_original_sound", False, False),
        ("o3", "remix", "keep_original_sound", "keep_audio", "no", False),
        ("v2.6", "image-to-video", "voice_id", "voice_ids", "anna", ["anna"]),
    ],
)
def test_one_thing_may_have_any_of_its_names(model, mode, written, sent, value, meant):
    arguments, problems = examine(find(mode, None, model), {written: value})

    assert arguments[sent] == meant
    assert written not in arguments
    assert f"`{written}` is sent as `{sent}`" in str(problems.warnings[0])


@pytest.mark.parametrize(
    ("model", "mode", "written", "meant"),
    [
        ("o3", "text-to-video", "sound", "generate_audio"),
        ("o3", "edit", "sound", "keep_audio"),
        ("o3", "image-to-video", "image", "image_url"),
        ("v3", "image-to-video", "picture", "start_image_url"),
        ("o3", "edit", "video", "video_url"),
        ("avatar", "avatar", "audio", "audio_url"),
        ("o3", "text-to-video", "aspect", "aspect_ratio"),
        ("v3", "text-to-video", "seconds", "duration"),
        ("voices", "speech", "prompt", "text"),
    ],
)
def test_a_plain_word_is_reported_as_the_parameter_that_it_means(model, mode, written, meant):
    problems = examine(find(mode, None, model), {written: "x"})[1].errors

    (found,) = [each for each in problems if each.code == "unknown-parameter"]
    assert found.hint == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("4", "v4"), ("4.0", "v4"), ("kling-v3", "v3"), ("2", "v2.0"), ("kling 2.6", "v2.6")],
)
def test_a_bare_number_is_reported_as_the_generation_that_it_means(written, meant):
    problem = why_not_found("text-to-video", None, written)

    assert problem.code == "unknown-model"
    assert problem.hint.endswith(f"did you mean `{meant}`?")


def test_what_another_tier_has_is_reported_with_that_tier():
    frames = {"prompt": "x", "image_url": URL, "end_image_url": URL}
    (found,) = examine(find("image-to-video", "standard", "v2.5-turbo"), frames)[1].errors

    assert found.message.endswith("no parameter `end_image_url`; it belongs to the tier pro")


def test_two_names_of_one_thing_are_reported():
    arguments = {"prompt": "x", "image_url": URL, "start_image_url": URL}

    assert codes("v3", "image-to-video", arguments) == ["conflict"]
    assert codes("o3", "image-to-video", arguments) == ["conflict"]


def test_decimals_have_one_spelling():
    endpoint = find("text-to-video", None, "v3")
    for written in (1, "1", "1.0", 1.0, "1,0"):
        assert (
            repr(normalise(endpoint, {"prompt": "x", "cfg_scale": written})["cfg_scale"]) == "1.0"
        )
    assert codes("v3", "text-to-video", {"prompt": "x", "cfg_scale": 1.1}) == ["out-of-range"]
    assert codes("v3", "text-to-video", {"prompt": "x", "cfg_scale": "much"}) == ["wrong-type"]


# --- what is refused, and what is doubted -------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "mode", "arguments", "expected"),
    [
        ("v4", "text-to-video", {"prompt": "x", "generate_audio": False}, ["unknown-parameter"]),
        ("v4", "text-to-video", {"prompt": "x", "cfg_scale": 0.5}, ["unknown-parameter"]),
        ("v4", "text-to-video", {"prompt": "x", "duration": 31}, ["out-of-range"]),
        ("v4", "text-to-video", {"prompt": "x", "duration": 30}, []),
        ("v4", "text-to-video", {"prompt": "x", "resolution": "4k"}, ["wrong-value"]),
        ("v4", "text-to-video", {"multi_prompt": [{"prompt": "a", "duration": 29}]}, []),
        ("v4", "image-to-video", {"prompt": "x"}, ["missing"]),
        ("v4", "reference-to-video", {"prompt": "x", "image_urls": [URL] * 11}, ["wrong-count"]),
        ("v4-flash", "text-to-video", {"prompt": "x", "duration": 0}, ["out-of-range"]),
        ("v3", "text-to-video", {"prompt": "x", "duration": 16}, ["wrong-value"]),
        ("v3", "text-to-video", {"prompt": "x", "elements": [PICTURES]}, ["unknown-parameter"]),
        ("v3", "text-to-video", {"prompt": "x", "multi_prompt": [{"prompt": "y"}]}, ["conflict"]),
        ("v3", "motion-control", {**MOTION, "elements": [PICTURES]}, ["conflict"]),
        (
            "v3",
            "motion-control",
            {**MOTION, "character_orientation": "video", "elements": [PICTURES]},
            [],
        ),
        (
            "v3",
            "motion-control",
            {**MOTION, "character_orientation": "video", "elements": [PICTURES] * 2},
            ["wrong-count"],
        ),
        ("v3", "motion-control", {"image_url": URL, "video_url": CLIP}, ["missing"]),
        ("v3", "text-to-image", {"prompt": "x", "resolution": "4K"}, ["wrong-value"]),
        ("v3", "text-to-image", {"prompt": "x", "result_type": "series"}, ["unknown-parameter"]),
        (
            "v3-turbo",
            "text-to-video",
            {"prompt": "x", "negative_prompt": "y"},
            ["unknown-parameter"],
        ),
        ("v3-turbo", "image-to-video", {"image_url": URL}, []),
        ("v2.6", "text-to-video", {"prompt": "x", "duration": 6}, ["wrong-value"]),
        (
            "v2.6",
            "text-to-video",
            {"multi_prompt": [{"prompt": "x"}]},
            ["missing", "unknown-parameter"],
        ),
        (
            "v2.6",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "voice_ids": ["a", "b", "c"]},
            ["wrong-count"],
        ),
        ("o1", "reference-to-video", {"prompt": "x", "image_urls": [URL] * 8}, ["too-many"]),
        ("o1", "edit", {"prompt": "x", "video_url": CLIP, "image_urls": [URL] * 5}, ["too-many"]),
        (
            "o1",
            "reference-to-video",
            {"prompt": "x", "elements": [{"frontal_image_url": URL}]},
            ["missing"],
        ),
        (
            "o1",
            "image-to-video",
            {"prompt": "@Image1 to @Image2", "start_image_url": URL},
            ["unknown-mention"],
        ),
        (
            "o1",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "duration": 11},
            ["wrong-value"],
        ),
        (
            "o1",
            "edit",
            {"prompt": "x", "video_url": CLIP, "generate_audio": True},
            ["unknown-parameter"],
        ),
        (
            "o1",
            "image-to-image",
            {"prompt": "x", "image_urls": [URL] * 10, "elements": [PICTURES]},
            ["too-many"],
        ),
    ],
)
def test_what_the_facts_forbid(model, mode, arguments, expected):
    assert sorted(codes(model, mode, arguments)) == expected


@pytest.mark.parametrize(
    ("model", "mode", "arguments", "expected"),
    [
        ("v4", "text-to-video", {"prompt": "x", "multi_prompt": [{"prompt": "y"}]}, "undocumented"),
        ("v4", "text-to-video", {"prompt": "x", "aspect_ratio": "4:3"}, "undocumented-value"),
        ("v4", "text-to-video", {"prompt": "x" * 26_001}, "too-long"),
        (
            "v4",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "middle_image_urls": [URL]},
            "undocumented",
        ),
        ("v4", "reference-to-video", {"prompt": "x", "end_image_url": URL}, "undocumented"),
        ("v4", "reference-to-video", {"prompt": "x", "video_urls": [CLIP] * 6}, "wrong-count"),
        ("v4", "reference-to-video", {"prompt": "@Video2", "video_urls": [CLIP]}, "reported"),
        (
            "v4",
            "reference-to-video",
            {"prompt": "x", "image_urls": [URL] * 10, "start_image_url": URL},
            "reported",
        ),
        ("v4-flash", "text-to-video", {"prompt": "x"}, "undocumented"),
        (
            "v4-flash",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "duration": 21},
            "out-of-range",
        ),
        ("v3", "text-to-video", {"prompt": "x" * 2501}, "too-long"),
        (
            "v3",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "elements": [{"frontal_image_url": URL}]},
            "reported",
        ),
        ("v3-turbo", "image-to-video", {"image_url": URL}, "undocumented"),
        (
            "v2.6",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "voice_ids": ["a"]},
            "reported",
        ),
        (
            "v2.6",
            "image-to-video",
            {"prompt": "<<<voice_2>>>", "start_image_url": URL, "voice_ids": ["a"]},
            "reported",
        ),
        (
            "v2.6",
            "image-to-video",
            {"prompt": "x", "start_image_url": URL, "end_image_url": URL, "generate_audio": True},
            "reported",
        ),
    ],
)
def test_what_fal_itself_does_not_state_only_warns(model, mode, arguments, expected):
    assert codes(model, mode, arguments) == []
    assert expected in warnings(model, mode, arguments)


def test_a_clean_job_of_another_generation_has_no_warning():
    assert warnings("v3", "text-to-video", {"prompt": "x"}) == []
    assert warnings("v4", "image-to-video", {"prompt": "x", "start_image_url": URL}) == []
    voices = {"prompt": "<<<voice_1>>>", "start_image_url": URL, "voice_ids": ["a"]}
    assert warnings("v2.6", "image-to-video", voices) == []


def test_a_refusal_says_why_and_a_foreign_name_where_it_is_at_home():
    def message(model, name):
        found = examine(find("text-to-video", None, model), {"prompt": "x", name: 1})[1].errors
        return found[0].message

    assert "it always has sound" in message("v4", "generate_audio")
    assert message("v3-turbo", "cfg_scale").endswith(
        "it belongs to v3, v2.6, v2.5-turbo, v2.1, v2.0, v1.6, v1.5, v1.0"
    )
    assert message("v3", "image_url").endswith(
        "it belongs to image-to-video, motion-control, image-to-image"
    )


# --- money --------------------------------------------------------------------------------------

STILL = {"start_image_url": URL}


@pytest.mark.parametrize(
    ("model", "mode", "tier", "arguments", "dollars"),
    [
        ("v4", "text-to-video", "pro", {"duration": 10}, "2.35"),
        ("v4", "text-to-video", "standard", {}, "0.785"),
        ("v4", "reference-to-video", "standard", {"duration": 10}, "1.57"),
        ("v4-flash", "text-to-video", None, {"duration": 10}, "0.94"),
        ("v3", "text-to-video", "standard", {}, "0.42"),
        ("v3", "text-to-video", "standard", {"generate_audio": True}, "0.63"),
        ("v3", "text-to-video", "pro", {"generate_audio": True}, "0.84"),
        ("v3", "text-to-video", "4k", {"generate_audio": True}, "2.10"),
        (
            "v3",
            "image-to-video",
            "standard",
            {**STILL, "elements": [{"video_url": CLIP, "voice_id": "v"}]},
            "0.77",
        ),
        (
            "v3",
            "image-to-video",
            "pro",
            {**STILL, "elements": [{"video_url": CLIP, "voice_id": "v"}]},
            "0.98",
        ),
        ("v3", "text-to-image", "pro", {"num_images": 2, "resolution": "2K"}, "0.056"),
        ("v3-turbo", "text-to-video", "standard", {}, "0.56"),
        ("v3-turbo", "text-to-video", "pro", {"duration": 10}, "1.40"),
        ("v2.6", "text-to-video", "pro", {"duration": 10}, "0.70"),
        ("v2.6", "text-to-video", "pro", {"duration": 10, "generate_audio": True}, "1.40"),
        ("v2.6", "image-to-video", "pro", {**STILL, "voice_ids": ["v"], "duration": 10}, "1.68"),
        ("o1", "image-to-video", "standard", STILL, "0.42"),
        ("o1", "reference-to-video", "pro", {}, "0.56"),
        ("o1", "remix", "pro", {"video_url": CLIP, "duration": 4}, "0.672"),
        ("o1", "image-to-image", None, {"image_urls": [URL]}, "0.028"),
    ],
)
def test_prices_of_the_facts(model, mode, tier, arguments, dollars):
    endpoint = find(mode, tier, model)

    assert estimate(endpoint, normalise(endpoint, {"prompt": "x", **arguments})).micro == parse_usd(
        dollars
    )


@pytest.mark.parametrize(
    ("mode", "tier", "arguments", "seconds", "dollars"),
    [
        ("edit", "pro", {"video_url": CLIP}, {("video_url",): 10.0}, "2.82"),
        (
            "reference-to-video",
            "standard",
            {"duration": 10, "video_urls": [CLIP]},
            {("video_urls", 0): 5.0},
            "1.88",
        ),
        (
            "reference-to-video",
            "pro",
            {"duration": 3, "video_urls": [CLIP]},
            {("video_urls", 0): 30.0},
            "4.653",
        ),
    ],
)
def test_input_seconds_are_counted_and_twice_the_output_at_least(
    mode, tier, arguments, seconds, dollars
):
    endpoint = find(mode, tier, "v4")
    price = estimate(endpoint, normalise(endpoint, {"prompt": "x", **arguments}), seconds)

    assert price == (parse_usd(dollars), "")


def test_input_clips_of_unknown_length_are_as_long_as_all_may_be():
    endpoint = find("reference-to-video", "pro", "v4")
    arguments = normalise(endpoint, {"prompt": "x", "duration": 5, "video_urls": [CLIP] * 3})
    price = estimate(endpoint, arguments, {("video_urls", 0): 4.0})

    assert price.micro == parse_usd("4.935")  # 5 + 30 seconds
    assert "up to 30 s" in price.note


@pytest.mark.parametrize(("orientation", "dollars"), [("image", "1.68"), ("video", "5.04")])
def test_an_unknown_movement_is_as_long_as_its_orientation_allows(orientation, dollars):
    endpoint = find("motion-control", "pro", "v3")
    arguments = normalise(endpoint, {**MOTION, "character_orientation": orientation})

    assert estimate(endpoint, arguments).micro == parse_usd(dollars)


ODD = st.sampled_from(
    [
        *(None, "", 0, -1, 5, "5", True, [], {}, ["x"], [{}], object(), b"x", 10**30, 1e400),
        *([{"prompt": "a"}], [{"prompt": "a", "duration": "x"}], [{"video_url": URL}]),
        *([{"voice_id": 5, "video_url": {"job": "x"}}], "@Image1 @Video2 <<<voice_1>>>", "x"),
        *({"job": "a"}, [{"job": "a"}], [URL] * 3, URL, "720p", "1080p", "image", "video"),
    ]
)


@settings(max_examples=400)
@given(st.sampled_from(endpoints()), st.data())
def test_whatever_is_written_is_read_once_and_has_a_price_or_an_error(endpoint, data):
    names = st.sampled_from([*endpoint.by_any_name, "unheard-of"])
    needed = {name: data.draw(ODD) for name in endpoint.required}
    written = {**needed, **data.draw(st.dictionaries(names, ODD, max_size=4))}
    fitting(endpoint, written)
    arguments, problems = examine(endpoint, written)

    if not problems.errors:
        assert (estimate(endpoint, arguments).micro > 0) is (endpoint.price is not None)
        again, more = examine(endpoint, arguments)
        assert (again, more.errors) == (arguments, [])


def test_every_case_has_a_rate():
    for endpoint in endpoints():
        if isinstance(endpoint.price, PerSecond):
            sizes = (
                endpoint.by_name["resolution"].choices
                if "resolution" in endpoint.by_name
                else ("",)
            )
            clips = [endpoint.mode == "edit"] if len(endpoint.price.rates) < 3 else [False, True]
            for sound, voice, clip, size in product([False, True], [False, True], clips, sizes):
                case = Case(sound=sound, voice=voice, clip=clip, resolution=size)

                assert any(rate.applies(case) for rate in endpoint.price.rates), endpoint.id


@pytest.mark.parametrize(
    ("seconds", "found"),
    [(21, []), (2000, []), (2001, ["out-of-range"]), (10**17, ["out-of-range"])],
)
def test_a_doubtful_limit_is_not_doubted_without_end(seconds, found):
    assert codes("v4-flash", "text-to-video", {"prompt": "x", "duration": seconds}) == found


# --- what is passed on unchecked ----------------------------------------------------------------


def price_with(params, model, mode, **arguments):
    """The estimate where these stand in `params:`."""
    endpoint = find(mode, None, model)
    made, problems = examine(endpoint, {"prompt": "x", **arguments, **params}, params.keys())
    assert not problems.errors
    return estimate(endpoint, made)


@pytest.mark.parametrize(
    ("model", "tier", "dollars"),
    [
        ("v3", "standard", "0.77"),
        ("v3", "pro", "0.98"),
        ("v3", "4k", "2.10"),
        ("v2.6", "pro", "0.84"),
    ],
)
@pytest.mark.parametrize(
    "voice", [{"voice_ids": ["v"]}, {"elements": [{"video_url": CLIP, "voice_id": "v"}]}]
)
@pytest.mark.parametrize("sound", [False, True])
def test_a_voice_that_is_passed_on_is_priced(model, tier, dollars, voice, sound):
    """The emulator's books are the other side of it: what is billed is no more than that."""
    endpoint = find("text-to-video", tier, model)
    given = {"prompt": "x", "duration": 5, "generate_audio": sound, **voice}
    made, problems = examine(endpoint, given, voice.keys())
    assert not problems.errors

    priced = estimate(endpoint, made)

    assert priced.micro == parse_usd(dollars)
    assert ("with a voice" in priced.note) == (tier != "4k")
    billed = charge_for(CATALOGUE[endpoint.id], made, seconds=5, images=0)
    assert billed.micro_usd == priced.micro


@pytest.mark.parametrize("amount", [1, 0, -5, "3", None, 10**17])
def test_no_number_that_is_passed_on_makes_pictures_cheaper(amount):
    params = {"result_type": "series", "series_amount": amount}
    price = price_with(params, "v3", "text-to-image", num_images=4)

    assert price.micro == 9 * parse_usd("0.028")
    assert "`result_type` is passed on unchecked" in price.note


@pytest.mark.parametrize(
    ("params", "usd"),
    [
        ({"duration": "3"}, "2.52"),
        ({"duration": 20}, "3.36"),
        ({"duration": 10**17}, "2.52"),
        ({"multi_prompt": [{"prompt": "x", "duration": 3}]}, "2.52"),
    ],
)
def test_no_length_that_is_passed_on_makes_an_edit_cheaper_than_its_source(params, usd):
    assert price_with(params, "o3", "edit", video_url=CLIP).micro == parse_usd(usd)


def test_shots_that_are_passed_on_count_where_they_are_longer():
    shots = {"multi_prompt": [{"prompt": "x", "duration": 30}]}
    assert price_with(shots, "v2.6", "text-to-video").micro == parse_usd("2.10")
