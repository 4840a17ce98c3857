"""The emulator's files are real: they open, play, have the right size and length."""

import base64
import io
import struct

import av
import pytest
from PIL import Image, ImageChops

from kling_batch.emulator import Settings, World
from kling_batch.emulator.catalogue import CATALOGUE
from kling_batch.emulator.media import Clip, Picture, _drawable, make, probe

O3 = "fal-ai/kling-video/o3"
T2V, I2V = f"{O3}/standard/text-to-video", f"{O3}/standard/image-to-video"
EDIT, REMIX = f"{O3}/pro/video-to-video/edit", f"{O3}/pro/video-to-video/reference"
T2I, I2I = "fal-ai/kling-image/o3/text-to-image", "fal-ai/kling-image/o3/image-to-image"


def render(world, endpoint, **payload):
    """The result and the files of a render."""
    request = world.accept(CATALOGUE[endpoint], {"prompt": "a fox in the snow", **payload})
    world.catch_up()
    result = world.output(request)
    described = [result["video"]] if "video" in result else result["images"]
    return described, [world.files.data(world.files.find(d["url"], world.now())) for d in described]


def clip(data):
    """Width, height, decoded frames, seconds, sounds, and where the index lies."""
    with av.open(io.BytesIO(data)) as container:
        video = container.streams.video[0]
        seconds = float(video.duration * video.time_base)
        sounds = len(container.streams.audio)
        frames = sum(1 for _ in container.decode(video))
        return video.width, video.height, frames, seconds, sounds


def boxes(data):
    """The names of an MP4's top boxes, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        names.append(name.decode())
        at += size
    return names


@pytest.mark.parametrize("ratio", ["16:9", "9:16", "1:1"])
@pytest.mark.parametrize(("duration", "seconds"), [(None, 5), ("3", 3), ("15", 15)])
def test_clips_have_the_ordered_shape_and_length(world, ratio, duration, seconds):
    [described], [data] = render(world, T2V, aspect_ratio=ratio, duration=duration)
    width, height, frames, length, sounds = clip(data)
    x, y = map(int, ratio.split(":"))

    assert abs(width / height - x / y) < 0.01
    assert min(width, height) == 720
    assert abs(length - seconds) <= 0.1
    assert frames == round(10 * seconds)
    assert sounds == 0
    assert described["file_size"] == len(data)


def test_the_index_comes_first_so_that_browsers_start_at_once(world):
    _, [data] = render(world, T2V)
    names = boxes(data)

    assert names[0] == "ftyp"
    assert names.index("moov") < names.index("mdat")


def test_sound_is_there_when_ordered(world):
    _, [data] = render(world, T2V, generate_audio=True)
    *_, length, sounds = clip(data)

    assert (sounds, length) == (1, 5.0)
    with av.open(io.BytesIO(data)) as container:
        samples = sum(f.samples for f in container.decode(audio=0))
        assert samples / container.streams.audio[0].rate == pytest.approx(5.0, abs=0.2)


@pytest.mark.parametrize(("tier", "side"), [("standard", 720), ("pro", 800), ("4k", 900)])
def test_dearer_tiers_are_larger(world, tier, side):
    _, [data] = render(world, f"{O3}/{tier}/text-to-video", duration="3")

    assert probe(data).height == side


def test_something_moves(world):
    _, [data] = render(world, T2V, duration="3")
    with av.open(io.BytesIO(data)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]

    def yellow(picture):
        red, _, blue = picture.split()
        bright = red.point(lambda v: 255 if v > 180 else 0)
        left, _, right, _ = ImageChops.darker(
            bright, blue.point(lambda v: 255 if v < 90 else 0)
        ).getbbox()
        return (left + right) / 2

    assert yellow(pictures[-1]) - yellow(pictures[0]) > 400


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_images_have_the_ordered_format(world, kind):
    [described], [data] = render(world, T2I, output_format=kind, aspect_ratio="3:4")
    with Image.open(io.BytesIO(data)) as image:
        image.load()

        assert image.format == kind.upper()
        assert image.size == (described["width"], described["height"])
        assert image.width / image.height == pytest.approx(3 / 4, abs=0.01)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 50
    assert described["content_type"] == f"image/{kind}"


def test_as_many_images_as_ordered_and_no_two_alike(world):
    _, single = render(world, T2I, num_images=3)
    _, series = render(world, T2I, result_type="series", series_amount=4, num_images=2)

    assert len(set(single)) == 3
    assert len(set(series)) == 4


@pytest.mark.parametrize("media", ["full", "template"])
@pytest.mark.parametrize("endpoint", [T2V, T2I])
def test_prompts_can_be_reported_apart_and_bytes_repeat(media, endpoint):
    def once(prompt):
        world = World(Settings(profile="instant", start_latency=0.0, media=media), clock=lambda: 9)
        return render(world, endpoint, prompt=prompt)[1][0]

    assert once("a fox") == once("a fox")
    assert once("a fox") != once("a wolf")


def test_the_prompt_can_be_seen():
    plain = Picture(width=400, height=400, text="")
    worded = Picture(width=400, height=400, text="MMMM MMMM")

    def white(recipe):
        with Image.open(io.BytesIO(make(recipe))) as image:
            return sum(image.convert("L").histogram()[240:])

    assert white(worded) > white(plain) + 100


@pytest.mark.parametrize(
    ("prompt", "drawn"),
    [("Läufer, große Straße", "Laufer, grosse Strasse"), ("雪の中の侍", ""), ("a 👟", "a")],
)
def test_letters_that_the_font_lacks_draw_no_boxes(prompt, drawn):
    assert _drawable(prompt) == drawn
    assert make(Picture(width=64, height=64, text=prompt)) != make(Picture(width=64, height=64))


def test_a_clip_has_the_shape_of_its_first_frame(world):
    [image], _ = render(world, T2I, aspect_ratio="1:1")
    _, [data] = render(world, I2V, image_url=image["url"], duration="3")
    shape = probe(data)

    assert shape.width == shape.height


def test_an_edit_is_as_long_and_as_wide_as_its_source(world):
    [source], _ = render(world, T2V, duration="7", aspect_ratio="9:16")
    for endpoint in (EDIT, REMIX):
        _, [data] = render(world, endpoint, video_url=source["url"])
        width, height, _, length, sounds = clip(data)

        assert (width < height, length, sounds) == (True, 7.0, 1)

    _, [data] = render(world, REMIX, video_url=source["url"], duration="4", keep_audio=False)

    assert clip(data)[3:] == (4.0, 0)


def test_an_edit_of_an_unknown_source_lasts_five_seconds(world):
    _, [data] = render(world, EDIT, video_url="https://example.com/a.mp4")

    assert clip(data)[3] == 5.0


def test_a_fractional_source_is_followed_within_a_frame(world):
    path = world.files.reserve("in.mp4")
    data = make(Clip(width=320, height=320, seconds=5.3, audio=True))
    source = world.files.upload(path, data, "video/mp4", world.now(), None)
    _, [edited] = render(world, EDIT, video_url=source.url)

    assert clip(edited)[3] == pytest.approx(5.3, abs=0.1)


def test_images_follow_their_first_reference(world):
    [wide], _ = render(world, T2I, aspect_ratio="21:9")
    [described], _ = render(world, I2I, image_urls=[wide["url"]])

    assert described["width"] / described["height"] == pytest.approx(21 / 9, abs=0.02)


def test_inline_images_are_the_files(world):
    request = world.accept(CATALOGUE[T2I], {"prompt": "x", "sync_mode": True})
    world.catch_up()
    [described] = world.output(request)["images"]
    kind, encoded = described["url"].split(",", 1)

    assert kind == "data:image/png;base64"
    assert probe(base64.b64decode(encoded)).width == described["width"]


@pytest.mark.parametrize(
    "recipe",
    [
        Clip(width=320, height=320, seconds=3, text="ü" * 900, tag="a"),
        *(
            Picture(width=320, height=320, format=f, text="ü" * 900, tag="a")
            for f in ("png", "jpeg", "webp")
        ),
    ],
)
def test_copies_of_a_template_are_still_whole_files(recipe):
    data = make(recipe, template=True)

    assert recipe.text.encode() in data
    if isinstance(recipe, Clip):
        assert clip(data)[2] == 30
    else:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.size == (320, 320)
    assert probe(data) == probe(make(recipe))


def test_sizes_can_be_left_out(world):
    world.settings.declare_sizes = False
    [described], _ = render(world, T2V)

    assert described["file_size"] is None


def test_what_is_no_medium_has_no_shape():
    assert probe(b"hello") is None
