"""One manifest with a job of every endpoint of fal's: planned, rendered, and paid as planned."""

from __future__ import annotations

import json
import re
from pathlib import Path

import av
import pytest
from PIL import Image
from support.engine import Rig, account
from support.manifests import batch

from kling_batch.catalog.conformance import conformity
from kling_batch.catalog.openapi import input_as_written
from kling_batch.catalog.registry import cost_of, endpoints
from kling_batch.core.jobs import Job
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.schema_api import document
from kling_batch.operations.connections import makes_files

#: Generations without sound.
NEVER_SOUND = re.compile(r"kling-video/(o1|v1|v1\.5|v1\.6|v2|v2\.1|v2\.5-turbo)/")
#: What every endpoint can be fed with: a picture, and a clip of three seconds.
PARENTS = {
    "still": {"mode": "text-to-image", "prompt": "a still"},
    "clip": {"mode": "text-to-video", "tier": "standard", "duration": 3, "prompt": "a clip"},
}
STILL, CLIP = {"job": "still"}, {"job": "clip"}
SOUND = "https://example.com/five-seconds.mp3"
#: What a job says in each mode, whatever the model.
INPUTS = {
    "image-to-video": {"image_url": STILL},
    "reference-to-video": {"image_urls": [STILL]},
    "image-to-image": {"image_urls": [STILL]},
    "edit": {"video_url": CLIP},
    "remix": {"video_url": CLIP, "duration": 3},
    "avatar": {"image_url": STILL, "audio_url": SOUND},
    "lipsync": {"video_url": CLIP, "audio_url": SOUND},
    "dub-text": {"video_url": CLIP, "text": "good morning", "voice_id": "uk_man2"},
    "voice": {"voice_url": SOUND},
    "speech": {"text": "good morning, this is a message of some length"},
    "sound": {"video_url": CLIP, "sound_effect_prompt": "x", "background_music_prompt": "y"},
    "try-on": {"human_image_url": STILL, "garment_image_url": STILL},
    "motion-control": {"image_url": STILL, "video_url": CLIP, "character_orientation": "image"},
}
#: What a person may say where fal publishes no price: here what the emulator charges.
UNPRICED = {
    "fal-ai/kling-video/v1/tts": 0.01,
    "fal-ai/kling-video/v1/standard/text-to-video": 0.28,
    "fal-ai/kling-video/v1/standard/image-to-video": 0.28,
}
#: What the catalogue leaves to `endpoint:`, with the dollars that the emulator charges.
BY_ID = {
    **{
        f"fal-ai/kling-video/{place}/effects": ({"effect_scene": "hug"}, price)
        for place, price in (
            ("v1/standard", 0.28),
            ("v1.5/pro", 0.49),
            ("v1.6/standard", 0.28),
            ("v1.6/pro", 0.49),
        )
    },
    "fal-ai/kling-video/v1/standard/ai-avatar": ({"image_url": STILL, "audio_url": SOUND}, 0.281),
    "fal-ai/kling-video/v1/pro/ai-avatar": ({"image_url": STILL, "audio_url": SOUND}, 0.575),
}


def everything() -> str:
    """A manifest, which is JSON here, of one job an endpoint and tier."""
    jobs = [{"id": name, **values} for name, values in PARENTS.items()]
    for endpoint in endpoints():
        name = f"{endpoint.model}-{endpoint.mode}-{endpoint.tier}"
        words = {"model": endpoint.model, "mode": endpoint.mode, "tier": endpoint.tier}
        job = {"id": name, **words, **INPUTS.get(endpoint.mode, {})}
        if "prompt" in endpoint.by_name:
            job["prompt"] = name
        if endpoint.mode.endswith("-to-video"):
            job["duration"] = 5
        if endpoint.price is None:
            job["price"] = UNPRICED.get(endpoint.id, 0.49)
        jobs.append(job)
    for number, (endpoint_id, (given, price)) in enumerate(BY_ID.items()):
        raw = {"id": f"raw-{number}", "endpoint": endpoint_id, "price": price, "input": given}
        jobs.append(raw)
    return json.dumps({"name": "test", "jobs": jobs})


def length(path: Path) -> tuple[float, bool]:
    """Seconds of a clip, and whether it has sound; every frame is decoded."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate
        return frames / float(stream.average_rate), bool(container.streams.audio)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, account(concurrency=100, profile="instant"), media=makes_files)


def test_a_job_of_every_endpoint_is_planned_with_a_price_and_as_its_schema_says(
    tmp_path: Path,
) -> None:
    jobs = batch(tmp_path, everything()).jobs

    assert len(jobs) == len(endpoints()) + len(BY_ID) + 2
    for job in jobs:
        schema = input_as_written(document(CATALOGUE[job.endpoint]), job.endpoint)
        assert schema is not None
        assert conformity(job.endpoint, schema, job.arguments).errors == [], job.id
        assert job.estimate > 0, job.id


@pytest.mark.acceptance
def test_a_job_of_every_endpoint_is_planned_rendered_and_paid_as_planned(
    rig: Rig, tmp_path: Path
) -> None:
    jobs = batch(tmp_path, everything()).jobs
    made = {job.id: job for job in jobs}

    rig.run(jobs, cost_of=cost_of)

    charged = {(r.endpoint, r.payload.get("prompt")): r for r in rig.world.books.accepted}
    assert len(rig.world.books.accepted) == len(charged)
    assert len(charged) == len(jobs) == len(endpoints()) + len(BY_ID) + 2
    for job in jobs:
        request = charged[job.endpoint, job.arguments.get("prompt")]
        assert request.succeeded, job.id
        if "about" in job.estimate_note:  # as long as its source, to the frame
            assert 0.97 * job.estimate <= request.charged_micro_usd <= job.estimate, job.id
        elif job.mode == "avatar":  # nobody knows how long the sound on another host is
            assert request.charged_micro_usd == job.estimate * 5 / 300, job.id
        else:
            assert request.charged_micro_usd == job.estimate, job.id
        assert_plays(tmp_path, job)
    assert set(rig.charges) == {1}
    assert made["v4-edit-pro"].estimate_note == "as long as its source, about"


def assert_plays(folder: Path, job: Job) -> None:
    """The file is what was ordered, to its last frame."""
    if job.mode == "voice":
        answer = json.loads((folder / job.output_path(0, ".json")).read_text())
        assert answer["voice_id"]
        return
    if not job.mode:
        assert length(folder / job.output_path(0, ".mp4"))[0] == 5
        return
    if job.mode == "sound":
        with av.open(str(folder / job.output_path(1, ".mp3"))) as container:
            assert sum(1 for _ in container.decode(audio=0)) > 40
    if job.mode == "speech":
        with av.open(str(folder / job.output_path(0, ".mp3"))) as container:
            frames = [frame.samples for frame in container.decode(audio=0)]
            assert 2.9 < sum(frames) / 16_000 < 3.6  # the sentence has 47 letters
        return
    if job.mode == "try-on" or "image" in job.mode.rpartition("-to-")[2]:
        with Image.open(folder / job.output_path(0, ".png")) as picture:
            picture.load()
        return
    seconds, sound = length(folder / job.output_path(0, ".mp4"))
    made = 5 if job.mode == "avatar" else 3
    assert seconds == float(job.arguments.get("duration", made)), job.id
    never = NEVER_SOUND.search(job.endpoint) and "keep_audio" not in job.arguments
    silent = job.arguments.get("generate_audio") is False or bool(never)
    assert sound is not silent, job.id


CLIPS = """\
name: test
jobs:
- {id: clip, mode: text-to-video, prompt: a clip, duration: DURATION}
- {id: a, model: v4, mode: reference-to-video, prompt: "@Video1 again", duration: SECONDS, MORE}
"""


@pytest.mark.parametrize(
    ("source", "seconds", "more", "dollars"),
    [
        (5, 10, "tier: standard, video_url: {job: clip}", 1.88),  # twice the output
        (5, 10, "tier: standard, image_urls: [{job: still}]", 1.57),  # no clip, so no input
        (15, 3, "video_urls: [{job: clip}]", 18 * 0.141),  # input and output
        (15, 3, "elements: [{video_url: {job: clip}}], resolution: 720p", 18 * 0.094),
        (15, 5, "video_urls: [{job: clip}, {job: clip}]", 35 * 0.141),
    ],
)
def test_seconds_of_input_are_paid_for_where_fal_counts_them(
    rig: Rig, tmp_path: Path, source: int, seconds: int, more: str, dollars: float
) -> None:
    text = CLIPS.replace("DURATION", str(source)).replace("SECONDS", str(seconds))
    text = text.replace("MORE", more).replace('"@Video1 again"', "again")
    if "still" in more:
        text += "- {id: still, mode: text-to-image, prompt: a still}\n"
    jobs = batch(tmp_path, text).jobs
    (job,) = (job for job in jobs if job.id == "a")

    rig.run(jobs, cost_of=cost_of)

    (request,) = (r for r in rig.world.books.accepted if r.endpoint == job.endpoint)
    assert request.charged_micro_usd == pytest.approx(dollars * 1e6)
    assert request.charged_micro_usd <= job.estimate <= request.charged_micro_usd * 1.02
