"""The runner's complaints, written from docs/fal-api.md and not from the client's rules."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kling_batch.emulator import Settings, World
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.media import Clip, make
from kling_batch.emulator.validation import complaints

O3 = "fal-ai/kling-video/o3"
T2V, I2V = f"{O3}/pro/text-to-video", f"{O3}/standard/image-to-video"
R2V, EDIT = f"{O3}/4k/reference-to-video", f"{O3}/pro/video-to-video/edit"
REMIX = f"{O3}/standard/video-to-video/reference"
T2I, I2I = "fal-ai/kling-image/o3/text-to-image", "fal-ai/kling-image/o3/image-to-image"
IMG, VID = "https://example.com/a.png", "https://example.com/a.mp4"


def problems(endpoint, payload, *, strict=False):
    found = complaints(CATALOGUE[endpoint], payload, strict=strict)
    return [(".".join(map(str, each["loc"][1:])), each["type"]) for each in found]


@pytest.mark.parametrize(
    ("endpoint", "payload"),
    [
        (T2V, {"prompt": "x"}),
        (T2V, {"prompt": "x" * 2500, "duration": "15", "aspect_ratio": "1:1"}),
        (T2V, {"multi_prompt": [{"prompt": "a", "duration": "7"}, {"prompt": "b"}]}),
        (T2V, {"prompt": "x", "generate_audio": True, "shot_type": "intelligent"}),
        (T2V, {"prompt": "x", "multi_prompt": None, "duration": None}),
        (I2V, {"prompt": "x", "image_url": IMG, "end_image_url": "data:image/png;base64,AA"}),
        (R2V, {"prompt": "x", "image_urls": [IMG] * 4, "elements": [{"video_url": VID}] * 3}),
        (EDIT, {"prompt": "x", "video_url": VID, "keep_audio": False, "shot_type": "anything"}),
        (REMIX, {"prompt": "x", "video_url": VID, "aspect_ratio": "auto", "duration": "3"}),
        (T2I, {"prompt": "x", "aspect_ratio": "21:9", "resolution": "4K", "num_images": 9}),
        (T2I, {"prompt": "x", "result_type": "series", "series_amount": 2, "sync_mode": True}),
        (I2I, {"prompt": "x", "image_urls": [IMG] * 10, "aspect_ratio": "auto"}),
        ("fal-ai/kling-video/create-voice", {"voice_url": "https://example.com/a.mp3"}),
    ],
)
def test_good_input_passes(endpoint, payload):
    assert problems(endpoint, payload) == []


@pytest.mark.parametrize(
    ("endpoint", "payload", "expected"),
    [
        (T2V, {}, ("prompt", "missing")),
        (T2V, {"input": {"prompt": "x"}}, ("prompt", "missing")),
        (T2V, {"prompt": 5}, ("prompt", "string_type")),
        (T2V, {"prompt": "x" * 2501}, ("prompt", "string_too_long")),
        (T2V, {"prompt": "x", "duration": 5}, ("duration", "literal_error")),
        (T2V, {"prompt": "x", "duration": "2"}, ("duration", "literal_error")),
        (T2V, {"prompt": "x", "aspect_ratio": "4:3"}, ("aspect_ratio", "literal_error")),
        (T2V, {"prompt": "x", "generate_audio": "loud"}, ("generate_audio", "bool_parsing")),
        (T2V, {"prompt": "x", "multi_prompt": [{"prompt": "y"}]}, ("", "value_error")),
        (T2V, {"multi_prompt": [{"prompt": "y"}] * 4}, ("multi_prompt", "value_error")),
        (T2V, {"multi_prompt": [{}]}, ("multi_prompt.0.prompt", "missing")),
        (
            T2V,
            {"multi_prompt": [{"prompt": "y" * 513}]},
            ("multi_prompt.0.prompt", "string_too_long"),
        ),
        (I2V, {"prompt": "x"}, ("image_url", "missing")),
        (I2V, {"prompt": "x", "start_image_url": IMG}, ("image_url", "missing")),
        (I2V, {"prompt": "x", "image_url": "a.png"}, ("image_url", "url_parsing")),
        (I2V, {"image_url": IMG}, ("prompt", "missing")),
        (R2V, {"prompt": "x", "image_urls": [IMG] * 8}, ("image_urls", "sequence_too_long")),
        (R2V, {"prompt": "x", "image_urls": IMG}, ("image_urls", "list_type")),
        (
            R2V,
            {
                "prompt": "x",
                "elements": [{"frontal_image_url": IMG, "reference_image_urls": [IMG] * 4}],
            },
            ("elements.0.reference_image_urls", "sequence_too_long"),
        ),
        (EDIT, {"prompt": "x"}, ("video_url", "missing")),
        (EDIT, {"video_url": VID}, ("prompt", "missing")),
        (
            EDIT,
            {"prompt": "x", "video_url": VID, "image_urls": [IMG] * 3, "elements": [{}] * 2},
            ("image_urls", "sequence_too_long"),
        ),
        (REMIX, {"prompt": "x", "video_url": VID, "duration": "16"}, ("duration", "literal_error")),
        (T2I, {"prompt": "x", "num_images": 10}, ("num_images", "less_than_equal")),
        (T2I, {"prompt": "x", "num_images": "many"}, ("num_images", "int_parsing")),
        (T2I, {"prompt": "x", "series_amount": 1}, ("series_amount", "greater_than_equal")),
        (T2I, {"prompt": "x", "aspect_ratio": "auto"}, ("aspect_ratio", "literal_error")),
        (T2I, {"prompt": "x", "resolution": "8K"}, ("resolution", "literal_error")),
        (T2I, {"prompt": "x", "output_format": "gif"}, ("output_format", "literal_error")),
        (I2I, {"prompt": "x"}, ("image_urls", "missing")),
        (I2I, {"prompt": "x", "image_urls": [IMG] * 11}, ("image_urls", "sequence_too_long")),
        (I2I, {"prompt": "x", "image_urls": [7]}, ("image_urls.0", "string_type")),
    ],
)
def test_bad_input_is_named_with_its_place_and_type(endpoint, payload, expected):
    assert problems(endpoint, payload) == [expected]


def test_every_complaint_is_made_at_once():
    found = problems(EDIT, {"keep_audio": "x", "image_urls": 3})

    assert found == [
        ("prompt", "missing"),
        ("video_url", "missing"),
        ("image_urls", "list_type"),
        ("keep_audio", "bool_parsing"),
    ]


def test_a_complaint_has_fals_shape():
    [entry] = complaints(CATALOGUE[T2V], {"prompt": "x", "duration": 5}, strict=False)

    assert set(entry) == {"loc", "msg", "type", "url", "ctx", "input"}
    assert entry["input"] == 5
    assert entry["ctx"]["expected"].startswith("'3', '4'")


def test_unknown_fields_are_ignored_unless_reported_otherwise():
    payload = {"prompt": "x", "cfg_scale": 0.5}

    assert problems(T2V, payload) == []
    assert problems(T2V, payload, strict=True) == [("cfg_scale", "extra_forbidden")]


ODD = [
    None,
    True,
    0,
    1,
    5,
    -1.5,
    10**30,
    "",
    "x",
    "5",
    "true",
    "auto",
    "1:1",
    "4K",
    "webp",
    IMG,
    VID,
]
ODD += [float("inf"), 10**400, "nan", "-3", "99:1", "10:0", "16:9", "9:16", "15"]
ODD += [[], {}, [IMG], [7], [{}], {"a": 1}, [{"prompt": "x"}], [{"prompt": "x", "duration": "1"}]]
FIELDS = sorted({name for each in CATALOGUE.values() for name in each.fields})


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([*sorted(CATALOGUE), "fal-ai/some/video", "fal-ai/some/image"]),
    st.dictionaries(st.sampled_from(FIELDS), st.sampled_from(ODD)),
)
def test_no_input_makes_the_runner_crash(endpoint_id, payload):
    world = World(Settings(media="template"))
    endpoint = world.endpoint(endpoint_id)

    request = world.accept(endpoint, payload)
    world.advance(60)

    assert request.finished_at is not None
    assert request.price_micro_usd >= 0
    assert (request.failure is None) == (not complaints(endpoint, payload, strict=False))
    if request.succeeded:
        assert world.output(request)


class TestUploadedInputs:
    @pytest.fixture
    def world(self):
        return World(Settings())

    def planned(self, world, endpoint, **payload):
        request = world.accept(CATALOGUE[endpoint], {"prompt": "x", **payload})
        if request.planned is None:
            return None
        [entry] = request.planned.body["detail"]
        return entry["type"]

    def upload(self, world, data):
        path = world.files.reserve("input")
        return world.files.upload(path, data, "application/octet-stream", world.now(), None).url

    def picture(self, width, height):
        out = io.BytesIO()
        Image.new("RGB", (width, height)).save(out, "png")
        return out.getvalue()

    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((300, 300), None),
            ((299, 400), "image_too_small"),
            ((1000, 390), "image_aspect_ratio_error"),
            ((750, 300), None),
        ],
    )
    def test_images_are_measured(self, world, size, expected):
        url = self.upload(world, self.picture(*size))

        assert self.planned(world, I2V, image_url=url) == expected
        assert self.planned(world, I2I, image_urls=[url]) == expected

    @pytest.mark.parametrize(
        ("seconds", "expected"),
        [(2.0, "video_duration_too_short"), (3.0, None), (16.0, "video_duration_too_long")],
    )
    def test_videos_are_measured(self, world, seconds, expected):
        url = self.upload(world, make(Clip(width=320, height=320, seconds=seconds)))

        assert self.planned(world, EDIT, video_url=url) == expected

    def test_files_of_the_wrong_kind_are_refused(self, world):
        text = self.upload(world, b"not a picture at all")
        clip = self.upload(world, make(Clip(width=320, height=320, seconds=3)))
        image = self.upload(world, self.picture(400, 400))

        assert self.planned(world, I2V, image_url=text) == "image_load_error"
        assert self.planned(world, I2V, image_url=clip) == "image_load_error"
        assert self.planned(world, EDIT, video_url=text) == "unsupported_video_format"
        assert self.planned(world, EDIT, video_url=image) == "unsupported_video_format"

    def test_files_that_are_gone_cannot_be_downloaded(self, world):
        url = self.upload(world, self.picture(400, 400))
        world.files.expire(world.now())

        assert self.planned(world, I2V, image_url=url) == "file_download_error"
        assert self.planned(world, EDIT, video_url=url) == "file_download_error"

    def test_the_check_can_be_switched_off(self, world):
        world.settings.check_inputs = False

        assert self.planned(world, I2V, image_url=self.upload(world, b"no picture")) is None
