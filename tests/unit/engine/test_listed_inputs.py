"""Inputs of jobs and of listed requests in one form: equal only where fal renders the same."""

from __future__ import annotations

import pytest

from kling_batch.catalog import registry
from kling_batch.core.jobs import JSON, Arguments, Job, LocalFile, job_key
from kling_batch.core.outcomes import Listed
from kling_batch.core.quantities import MicroUSD
from kling_batch.engine.listed_inputs import Pool, url_pairs

CLIP = "fal-ai/kling-video/o3/pro/text-to-video"
SOUND = "fal-ai/kling-video/v3/pro/text-to-video"
PICTURE = "fal-ai/kling-image/o3/text-to-image"
FROM_PICTURE = "fal-ai/kling-video/o3/pro/image-to-video"
O1_EDIT = "fal-ai/kling-video/o1/video-to-video/edit"


def job(endpoint: str, arguments: Arguments, mode: str = "") -> Job:
    return Job(
        key=job_key(endpoint, arguments, 1),
        endpoint=endpoint,
        arguments=arguments,
        take=1,
        id="a",
        batch="b",
        mode=mode,
        tier="",
        path="a{output}{ext}",
        estimate=MicroUSD(0),
    )


def catalogued(endpoint: str, arguments: Arguments) -> Job:
    known = registry.by_id(endpoint)
    assert known is not None
    return job(endpoint, registry.normalise(known, arguments), known.mode)


def finds(wanted: Job, payload: JSON) -> bool:
    listed = Listed(request_id="r", endpoint=wanted.endpoint, sent_at="", payload=payload)
    pool = Pool(wanted.endpoint, [listed])
    arguments = pool.arguments_of(wanted)
    return [listed] == [
        each
        for each in pool.candidates(arguments)
        if url_pairs(arguments, pool.payload_of(each)) is not None
    ]


@pytest.mark.parametrize(
    ("endpoint", "ours", "theirs"),
    [
        (CLIP, {"prompt": "snow", "duration": "5"}, {"prompt": "snow", "duration": "5"}),
        (CLIP, {"prompt": "snow", "duration": 5, "shot_type": None}, {"prompt": "snow"}),
        (CLIP, {"prompt": "snow"}, {"prompt": "snow", "generate_audio": False}),
        (CLIP, {"prompt": "snow", "new": 1}, {"prompt": "snow", "new": 1.0}),
        # What the catalogue refuses is compared as it stands.
        (CLIP, {"prompt": "snow", "duration": "99"}, {"duration": "99", "prompt": "snow"}),
        (PICTURE, {"prompt": "snow"}, {"prompt": "snow", "aspect_ratio": "16:9"}),
        (SOUND, {"prompt": "snow"}, {"prompt": "snow", "generate_audio": True}),
        ("fal-ai/flux/dev", {"prompt": "snow"}, {"prompt": "snow"}),
    ],
)
def test_a_raw_job_fits_what_fal_renders_alike(
    endpoint: str, ours: Arguments, theirs: Arguments
) -> None:
    assert finds(job(endpoint, ours), theirs)
    assert finds(job(endpoint, theirs), ours)


@pytest.mark.parametrize(
    ("endpoint", "ours", "theirs"),
    [
        (CLIP, {"prompt": "snow"}, {"prompt": "snow", "duration": "6"}),
        (CLIP, {"prompt": "snow"}, {"prompt": "snow", "new": 1}),
        (CLIP, {"prompt": "snow"}, {"prompt": "Snow"}),
        (CLIP, {"prompt": "snow", "duration": "99"}, {"prompt": "snow", "duration": "98"}),
        (PICTURE, {"prompt": "snow"}, {"prompt": "snow", "aspect_ratio": "1:1"}),
        (SOUND, {"prompt": "snow"}, {"prompt": "snow", "generate_audio": False}),
        # A name that another endpoint has for a parameter says nothing to this one.
        (
            O1_EDIT,
            {"prompt": "snow", "video_url": "https://v3.fal.media/a.mp4", "keep_audio": True},
            {
                "prompt": "snow",
                "video_url": "https://v3.fal.media/a.mp4",
                "keep_original_sound": True,
            },
        ),
        # Whether fal follows the shots or its default of 5 s is not published.
        (
            CLIP,
            {"multi_prompt": [{"prompt": "a", "duration": "7"}]},
            {"multi_prompt": [{"prompt": "a", "duration": "7"}], "duration": "7"},
        ),
        ("fal-ai/flux/dev", {"prompt": "snow"}, {"prompt": "snow", "seed": 1}),
    ],
)
def test_a_raw_job_never_fits_what_may_be_another_render(
    endpoint: str, ours: Arguments, theirs: Arguments
) -> None:
    assert not finds(job(endpoint, ours), theirs)
    assert not finds(job(endpoint, theirs), ours)


@pytest.mark.parametrize(
    ("endpoint", "theirs", "fits"),
    [
        (CLIP, {"prompt": "snow"}, True),
        (PICTURE, {"prompt": "snow"}, False),
        (PICTURE, {"prompt": "snow", "aspect_ratio": "1:1"}, True),
        (SOUND, {"prompt": "snow"}, False),
        (SOUND, {"prompt": "snow", "generate_audio": False}, True),
    ],
)
def test_a_catalogued_job_fits_only_what_fal_itself_fills_in(
    endpoint: str, theirs: Arguments, *, fits: bool
) -> None:
    assert finds(catalogued(endpoint, {"prompt": "snow"}), theirs) is fits


def test_a_file_of_a_raw_job_stands_for_an_address() -> None:
    file = LocalFile(path="a.png", sha256="0" * 64, size=1, content_type="image/png")
    wanted = job(FROM_PICTURE, {"prompt": "zoom", "image_url": file})
    pool = Pool(
        FROM_PICTURE,
        [
            Listed(
                request_id="r",
                endpoint=FROM_PICTURE,
                sent_at="",
                payload={"image_url": "https://v3.fal.media/a.png", "prompt": "zoom"},
            )
        ],
    )
    (found,) = pool.candidates(pool.arguments_of(wanted))

    pairs = url_pairs(pool.arguments_of(wanted), pool.payload_of(found))

    assert pairs == [(file, "https://v3.fal.media/a.png")]
    pool.take(found)
    assert pool.candidates(pool.arguments_of(wanted)) == ()
