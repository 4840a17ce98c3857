"""`model:` in jobs, defaults, matrix, tables and single shots; tiers and defaults of models."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest
from jsonschema import Draft202012Validator
from support.manifests import batch, jobs, messages, problems

from kling_batch.catalog import registry as catalog
from kling_batch.core.diagnostics import Collector
from kling_batch.core.jobs import LocalFile
from kling_batch.core.quantities import parse_usd
from kling_batch.errors import ManifestError
from kling_batch.manifest.inputs import Files
from kling_batch.manifest.loader import single
from kling_batch.manifest.media import check_media, seconds_of
from kling_batch.manifest.schema import schema

V4, V3 = "kling/v4", "fal-ai/kling-video/v3"


def endpoints(folder, text, **more):
    return {name: job.endpoint for name, job in jobs(folder, text, **more).items()}


# --- where it may stand -------------------------------------------------------------------------


def test_a_job_may_name_its_model_and_a_default_may_for_all(tmp_path):
    text = """\
    defaults: {model: V4, mode: text-to-video, prompt: x}
    jobs: [{id: a}, {id: b, model: v3}, {id: c, model: null}]
    """

    assert endpoints(tmp_path, text) == {
        "a": f"{V4}/text-to-video",
        "b": f"{V3}/pro/text-to-video",
        "c": "fal-ai/kling-video/o3/pro/text-to-video",
    }


def test_a_matrix_over_models_is_the_same_prompt_on_each(tmp_path):
    text = """\
    jobs:
    - {id: "a-{{ model }}", mode: text-to-video, prompt: x, matrix: {model: [o3, v4, v2.6]}}
    """

    assert [job.estimate for job in jobs(tmp_path, text).values()] == [
        parse_usd("0.56"),
        parse_usd("1.175"),
        parse_usd("0.35"),
    ]


def test_a_column_may_name_it_and_a_blank_cell_leaves_it_open(tmp_path):
    table = "id,model,mode,prompt\na,v4,text-to-video,x\nb,,text-to-video,x\n"

    assert endpoints(tmp_path, table, name="t.csv") == {
        "a": f"{V4}/text-to-video",
        "b": "fal-ai/kling-video/o3/pro/text-to-video",
    }


def test_a_column_of_something_else_is_reported_with_what_there_is(tmp_path):
    table = "id,model,mode,prompt\na,Air Max,text-to-video,x\n"
    (line,) = messages(tmp_path, table, name="t.csv")

    assert line.startswith("t.csv:2: column model: there is no model `air max` (one of o3, ")


def test_a_single_shot_may_name_it():
    made = single("text-to-video", None, {"prompt": "x"}, model="v4", batch="video", id="a")

    assert made.jobs[0].endpoint == f"{V4}/text-to-video"
    with pytest.raises(ManifestError, match=r"--model: there is no model `v9`"):
        single("text-to-video", None, {"prompt": "x"}, model="v9", batch="video", id="a")


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("model: v5", "batch.yaml:2:18: there is no model `v5` (one of o3, v4-flash"),
        ("model: 4", "`model` must be a word, not 4"),
        ("model: v4, tier: 4k", "v4 text-to-video has no tier `4k`, only standard and pro"),
        ("model: o1", "o1 has no mode `text-to-video`, only image-to-video, reference-to-video"),
        ("model: v4, generate_audio: true", "it always has sound"),
        ("model: v4, negative_prompt: x", "it belongs to v3, v2.6"),
        ("model: v4, middle_image_url: x", "has no key `middle_image_url` (did you mean"),
        ("model: v3, promt: y", "did you mean `prompt`?"),
    ],
)
def test_what_a_model_lacks_is_reported(tmp_path, job, expected):
    lines = messages(tmp_path, f"jobs:\n- {{id: a, {job}, mode: text-to-video, prompt: x}}\n")

    assert expected in lines[0]


def test_the_model_of_an_endpoint_job_is_an_error(tmp_path):
    (line,) = messages(
        tmp_path, "jobs:\n- {id: a, endpoint: a/b, model: v4, price: 1, input: {}}\n"
    )

    assert "`model` does not go with `endpoint` (leave it out)" in line


def test_the_catalogue_knows_raw_endpoints_of_other_models(tmp_path):
    made = batch(
        tmp_path, "jobs:\n- {id: a, endpoint: kling/v4/text-to-video, input: {prompt: x}}\n"
    )

    assert made.jobs[0].estimate == parse_usd("1.175")
    assert "`model: v4`, `mode: text-to-video`" in made.warnings[0].message


# --- tiers ---------------------------------------------------------------------------------------

TIERED = "jobs:\n- {id: a, model: v4, mode: text-to-video, prompt: x, MORE}\n"


@pytest.mark.parametrize(
    ("more", "tier", "size"),
    [
        ("duration: 5", "pro", "1080p"),
        ("tier: standard", "standard", "720p"),
        ("resolution: 720p", "standard", "720p"),
        ("resolution: 720p, tier: standard", "standard", "720p"),
        ("resolution: 1080P", "pro", "1080p"),
    ],
)
def test_a_tier_may_be_a_preset_of_arguments(tmp_path, more, tier, size):
    (job,) = batch(tmp_path, TIERED.replace("MORE", more)).jobs

    assert (job.tier, job.arguments["resolution"]) == (tier, size)
    assert job.estimate == parse_usd("0.785" if size == "720p" else "1.175")


def test_both_ways_to_the_same_render_have_one_key(tmp_path):
    keys = {
        batch(tmp_path, TIERED.replace("MORE", more)).jobs[0].key
        for more in ("tier: standard", "resolution: 720p")
    }

    assert len(keys) == 1


def test_a_tier_and_a_resolution_that_disagree_are_reported(tmp_path):
    (line,) = messages(tmp_path, TIERED.replace("MORE", "tier: pro, resolution: 720p"))

    assert "`tier: pro` means `resolution: 1080p`" in line
    assert "`tier: standard` means 720p" in line


@pytest.mark.parametrize(
    ("defaults", "more", "size"),
    [("tier: pro", "resolution: 720p", "720p"), ("resolution: 720p", "tier: pro", "1080p")],
)
def test_the_job_wins_over_a_default_that_says_the_same_in_other_words(
    tmp_path, defaults, more, size
):
    text = f"defaults: {{{defaults}}}\n{TIERED.replace('MORE', more)}"

    assert batch(tmp_path, text).jobs[0].arguments["resolution"] == size


@pytest.mark.parametrize(
    "top",
    [
        "defaults: {tier: standrad}",
        "review: {draft: {tier: standrad}, final: {tier: pro}}",
    ],
)
def test_a_tier_that_no_generation_has_is_no_default_to_leave_out(tmp_path, top):
    text = f"{top}\njobs:\n- {{id: a, mode: text-to-video, prompt: x}}\n"

    assert "there is no tier `standrad` (did you mean `standard`?)" in messages(tmp_path, text)[0]


def test_a_price_below_the_published_one_makes_no_room_under_a_cap(tmp_path):
    text = """\
    jobs:
    - {id: a, endpoint: fal-ai/kling-video/o3/pro/text-to-video, price: PRICE, input: {prompt: x}}
    """
    published = batch(tmp_path, text.replace("price: PRICE, ", "")).jobs[0].estimate

    for price, expected in (("0.01", published), ("9", parse_usd("9"))):
        made = batch(tmp_path, text.replace("PRICE", price))
        assert made.jobs[0].estimate == expected > 0
        assert len(made.warnings) == (expected == published)


def test_a_long_number_is_text_with_all_its_digits(tmp_path):
    one, two = (f"{10**39 + n}" for n in range(2))
    text = f"jobs:\n- {{id: {one}, mode: text-to-image, prompt: {two}}}\n"

    (job,) = batch(tmp_path, text).jobs

    assert (job.id, job.arguments["prompt"]) == (one, two)


def test_a_default_tier_that_a_mode_lacks_is_left_out(tmp_path):
    text = """\
    defaults: {tier: 4k, mode: text-to-video, prompt: x}
    jobs: [{id: a, model: v4}, {id: b, model: v4-flash}, {id: c, model: v3}]
    """

    assert [job.tier for job in batch(tmp_path, text).jobs] == ["pro", "standard", "4k"]


# --- defaults -----------------------------------------------------------------------------------


def test_a_default_that_a_model_lacks_is_left_out_and_a_refused_one_is_reported(tmp_path):
    made = batch(
        tmp_path,
        """\
        defaults: {mode: text-to-video, prompt: x, negative_prompt: y, generate_audio: false}
        jobs: [{id: a, model: v4}, {id: b, model: v3}]
        """,
    )

    a, b = made.jobs
    assert "negative_prompt" not in a.arguments
    assert b.arguments["negative_prompt"] == "y"
    assert [each.message for each in made.warnings] == [
        "`generate_audio` is left out: it always has sound, and no other price without"
    ]


def test_a_default_under_another_name_yields_to_the_job(tmp_path):
    text = """\
    defaults: {mode: image-to-video, prompt: x, image_url: "https://a.example/1.png"}
    jobs:
    - {id: a, model: v3}
    - {id: b, model: v3, start_image_url: "https://a.example/2.png"}
    """

    assert [job.arguments["start_image_url"][-5:] for job in batch(tmp_path, text).jobs] == [
        "1.png",
        "2.png",
    ]


def test_a_default_never_becomes_a_frame_that_nobody_asked_for(tmp_path):
    text = """\
    defaults: {prompt: x, image_url: "https://a.example/1.png"}
    jobs:
    - {id: a, mode: reference-to-video}
    - {id: b, mode: reference-to-video, model: v4}
    """

    assert all("start_image_url" not in job.arguments for job in batch(tmp_path, text).jobs)


def test_a_translated_name_is_reported_where_it_stands(tmp_path):
    text = 'jobs:\n- {id: a, model: v3, mode: image-to-video, prompt: x, image_url: "VALUE"}\n'
    made = batch(tmp_path, text.replace("VALUE", "https://a.example/1.png"))

    assert [(each.message, each.place.column) for each in made.warnings] == [
        ("`image_url` is sent as `start_image_url`, as v3 image-to-video names it", 66)
    ]
    (line,) = messages(tmp_path, text.replace("VALUE", "no.png"))
    assert line.startswith("batch.yaml:2:66: there is no file `no.png`")


# --- files --------------------------------------------------------------------------------------


def clip(path: Path, seconds: float = 4.0, width: int = 1280, height: int = 720) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        for _ in range(round(seconds * 24)):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def tone(path: Path, seconds: float) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mp3" if path.suffix == ".mp3" else "pcm_s16le", rate=16_000)
        layout = "mono" if path.suffix == ".mp3" else "stereo"
        stream.layout = layout
        form = "s16p" if path.suffix == ".mp3" else "s16"
        for start in range(0, round(seconds * 16_000), 800):
            frame = av.AudioFrame(format=form, layout=layout, samples=800)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


FIGURE, TURNED = 'image_url: "https://a.example/1.png"', "character_orientation"


@pytest.mark.parametrize(
    ("job", "options", "expected"),
    [
        ("model: v4, mode: edit, video_url: a.mp4", {"seconds": 20}, ""),
        ("model: o3, mode: edit, video_url: a.mp4", {"seconds": 20}, "allowed are 3 to 15 s"),
        ("model: o1, mode: edit, video_url: a.mp4", {"seconds": 12}, "allowed are 3 to 10 s"),
        ("model: v4, mode: edit, video_url: a.mp4", {"height": 690}, "700 to 4553 pixels"),
        (
            f"model: v3, mode: motion-control, video_url: a.mp4, {FIGURE}, {TURNED}: image",
            {"seconds": 12},
            "allowed are at most 10 s",
        ),
        (
            f"model: v3, mode: motion-control, video_url: a.mp4, {FIGURE}, {TURNED}: video",
            {"seconds": 12},
            "",
        ),
    ],
)
def test_each_endpoint_has_its_own_limits_of_clips(tmp_path, job, options, expected):
    clip(tmp_path / "a.mp4", **options)
    lines = messages(tmp_path, f"jobs:\n- {{id: a, {job}, prompt: x}}\n")

    assert bool(lines) is bool(expected)
    assert expected in "".join(lines)


def test_clips_are_long_together_and_each_is_paid_for(tmp_path):
    clip(tmp_path / "a.mp4", 18.0, 704, 704)
    clip(tmp_path / "b.mp4", 14.0, 720, 704)
    text = """\
    jobs:
    - {id: a, model: v4, mode: reference-to-video, prompt: x, video_urls: [a.mp4, b.mp4]}
    """
    made = batch(tmp_path, text)

    assert "the clips are 32.00 s together" in made.warnings[0].message
    assert made.jobs[0].estimate == parse_usd("5.217")  # (5 + 32) × 0.141


def test_a_clip_of_a_doubtful_length_only_warns(tmp_path):
    clip(tmp_path / "a.mp4", 2.0)
    text = "jobs:\n- {id: a, model: v4, mode: reference-to-video, prompt: x, video_url: a.mp4}\n"

    assert problems(tmp_path, text) == []
    found = [each.message for each in batch(tmp_path, text).warnings]
    assert any("other hosts say 3 to 30 s" in each for each in found)


def test_a_sound_that_is_spoken_makes_the_length_and_the_price(tmp_path):
    tone(tmp_path / "a.wav", 12.5)
    text = f"jobs:\n- {{id: a, mode: avatar, tier: standard, {FIGURE}, audio_url: a.wav}}\n"
    (job,) = batch(tmp_path, text).jobs

    assert (job.estimate, job.estimate_note) == (parse_usd("0.7025"), "")
    assert job.endpoint == "fal-ai/kling-video/ai-avatar/v2/standard"
    (line,) = messages(tmp_path, text.replace("a.wav}", '"data:image/png;base64,AA"}'))
    assert "wants audio data" in line


@pytest.mark.parametrize(("seconds", "dollars"), [(4.0, "0.07"), (5.0, "0.07"), (6.0, "0.14")])
def test_lipsync_counts_the_source_in_started_blocks(tmp_path, seconds, dollars):
    clip(tmp_path / "a.mp4", seconds, 1280, 720)
    tone(tmp_path / "a.mp3", 3.0)
    text = "jobs:\n- {id: a, mode: lipsync, video_url: a.mp4, audio_url: a.mp3}\n"
    (job,) = batch(tmp_path, text).jobs

    assert (job.estimate, job.estimate_note) == (parse_usd(dollars), "")


def test_what_cannot_be_spoken_is_reported_before_it_is_paid(tmp_path):
    tone(tmp_path / "long.mp3", 61.0)
    clip(tmp_path / "wide.mp4", 11.0, 1280, 720)
    text = """\
    jobs:
    - {id: a, mode: lipsync, video_url: wide.mp4, audio_url: long.mp3}
    - {id: b, mode: dub-text, video_url: wide.mp4, text: TEXT, voice_id: uk_mann, voice_speed: 3}
    """
    lines = messages(tmp_path, text.replace("TEXT", "x" * 121))

    assert [line.partition(": ")[2] for line in lines] == [
        "`wide.mp4` (1280×720, 11.00 s): allowed are 2 to 10 s (cut it)",
        lines[1].partition(": ")[2],
        "`text` has 121 characters; at most 120",
        lines[3].partition(": ")[2],
        "`voice_speed` is 3.0; allowed: 0.8 to 2",
    ]
    assert "allowed are 2 to 60 s" in lines[1]
    assert "did you mean `uk_man2`?" in lines[3]


@pytest.mark.parametrize("name", ["a.mp3", "a.wav"])
def test_the_length_of_a_sound_is_known(tmp_path, name):
    tone(tmp_path / name, 2.0)
    file = Files(tmp_path).get(name)
    found = Collector()
    check_media(file, "audio", None, ("audio_url",), found)

    assert seconds_of(file) == pytest.approx(2.0, abs=0.1)
    assert not found


def test_a_clip_is_a_sound_where_either_will_do(tmp_path):
    clip(tmp_path / "a.mp4")
    file: LocalFile = Files(tmp_path).get("a.mp4")
    found = Collector()
    check_media(file, "audio or video", None, ("voice_url",), found)

    assert not found
    (tmp_path / "b.mp3").write_bytes(b"ID3" + bytes(600))
    check_media(Files(tmp_path).get("b.mp3"), "audio", None, ("audio_url",), found)
    assert "is no sound that can be read" in found.errors[0].message


# --- the campaign -------------------------------------------------------------------------------

CAMPAIGN = Path(__file__).parents[3] / "manifests" / "campaign.yaml"


@pytest.mark.parametrize("model", ["v4", "v4-flash", "v3", "v3-turbo", "v2.6", "o1"])
def test_the_campaign_on_another_model_is_valid_or_reported_exactly(tmp_path, model):
    (tmp_path / "assets").symlink_to(CAMPAIGN.parent / "assets")
    for name in ("products.csv", "moods.jsonl"):
        (tmp_path / name).symlink_to(CAMPAIGN.parent / name)
    default = "\n  mode: text-to-video\n"
    text = CAMPAIGN.read_text().replace(default, f"\n  model: {model}{default}", 1)
    found = problems(tmp_path, text)

    codes = {"unknown-mode", "unknown-tier", "unknown-parameter", "wrong-value", "missing"}
    assert found
    assert {each.code for each in found} <= codes
    assert all(model in each.message or "allowed:" in each.message for each in found)
    assert all(each.hint or "allowed:" in each.message for each in found)
    assert all(each.place.line for each in found)


# --- the schema ---------------------------------------------------------------------------------

URL, CLIP_URL = "https://a.example/1.png", "https://a.example/1.mp4"
#: A value of each parameter that both take, where the endpoint has it.
VALUES = {
    "voice_url": "https://a.example/voice.mp3",
    "aspect_ratio": "16:9",
    "audio_url": "https://a.example/1.mp3",
    "cfg_scale": 0.3,
    "character_orientation": "video",
    "duration": 5,
    "elements": [{"frontal_image_url": URL, "reference_image_urls": [URL]}],
    "end_image_url": URL,
    "generate_audio": True,
    "image_url": URL,
    "image_urls": [URL],
    "keep_audio": True,
    "keep_original_sound": False,
    "middle_image_urls": [URL],
    "negative_prompt": "x",
    "num_images": 2,
    "output_format": "webp",
    "result_type": "single",
    "series_amount": 2,
    "shot_type": "customize",
    "start_image_url": URL,
    "sync_mode": False,
    "text": "good morning",
    "video_url": CLIP_URL,
    "video_urls": [CLIP_URL],
    "voice_id": "uk_man2",
    "voice_ids": ["v"],
    "voice_language": "en",
    "voice_speed": 1.5,
    "advanced_camera_control": {"movement_type": "zoom", "movement_value": 2.5},
    "asmr_mode": True,
    "background_music_prompt": "x",
    "camera_control": "down_back",
    "dynamic_masks": [{"mask_url": URL, "trajectories": [{"x": 1, "y": 2.5}]}],
    "garment_image_url": URL,
    "human_image_url": URL,
    "input_image_urls": [URL],
    "sound_effect_prompt": "x",
    "static_mask_url": URL,
    "tail_image_url": URL,
}
VALIDATOR = Draft202012Validator(schema())
MODES = sorted({(each.model, each.mode) for each in catalog.endpoints()})


@pytest.mark.parametrize(("model", "mode"), MODES)
def test_the_schema_and_the_loader_agree_on_every_parameter_of_every_model(tmp_path, model, mode):
    endpoint = catalog.find(mode, None, model)
    needed = {name: VALUES[name] for name in endpoint.required if name != "prompt"}
    prompt = {"prompt": "x"} if "prompt" in endpoint.by_name else {}
    known = {name: each.name for name, each in endpoint.by_any_name.items()}
    foreign = VALUES.keys() - known.keys()
    further = {name for name in VALUES.keys() - foreign if known[name] not in needed}

    def documents(name):
        job = {"id": name, "mode": mode, **prompt, **needed, name: VALUES[name]}
        yield {"jobs": [{**job, "model": model}]}
        yield {"defaults": {"model": model}, "jobs": [job]}

    def refused(names):
        jobs = [job for name in sorted(names) for job in next(documents(name))["jobs"]]
        lines = messages(tmp_path, json.dumps({"jobs": jobs})) if jobs else []
        return {line.partition("has no parameter `")[2].partition("`")[0] for line in lines}

    assert refused(further) == set()
    assert refused(foreign) == foreign
    for name in foreign | further:
        assert {VALIDATOR.is_valid(each) for each in documents(name)} == {name in further}, name


def test_the_schema_knows_which_model_a_mode_belongs_to():
    def valid(job, **more):
        return VALIDATOR.is_valid({**more, "jobs": [{"id": "a", "prompt": "x", **job}]})

    assert valid({"mode": "text-to-image"})
    assert not valid({"mode": "text-to-image", "model": "v4"})
    assert not valid({"mode": "text-to-image"}, defaults={"model": "v4"})
    assert valid({"mode": "text-to-image", "model": "v3"}, defaults={"model": "v4"})
    assert not valid({"mode": "text-to-video", "duration": 20})
    assert valid({"mode": "text-to-video", "duration": 20}, defaults={"model": "v4"})
    assert not valid({"mode": "text-to-video", "model": "v5"})
