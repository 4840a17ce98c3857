"""Local inputs: found, hashed, and judged by what fal would say of them."""

from __future__ import annotations

import hashlib
import wave
from fractions import Fraction

import av
import pytest
from PIL import Image
from support.manifests import batch, jobs, messages, problems

from kling_batch.catalog.registry import parse_usd
from kling_batch.core.jobs import LocalFile
from kling_batch.manifest.loader import load

I2V = "jobs:\n- {id: a, mode: image-to-video, prompt: x, image_url: FILE}\n"
EDIT = "jobs:\n- {id: a, mode: edit, prompt: x, video_url: FILE}\n"


def picture(path, width=400, height=300, **options):
    Image.new("RGB", (width, height), "red").save(path, **options)
    return path


def clip(path, seconds=4.0, width=1280, height=720, fps=24):
    """A real clip; one frame a second is encoded, the others are its copies in time."""
    rate = Fraction(fps).limit_denominator(1000)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"qscale": "31"}
        frame = av.VideoFrame(width, height, "yuv420p")
        for index in range(round(seconds * fps)):
            frame.pts = index
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def check(folder, text, errors, warnings):
    """Each of these parts is in one message, and there are no others."""
    found = [problem.message for problem in problems(folder, text)]
    told = [] if found else [warning.message for warning in batch(folder, text).warnings]

    assert [len(errors), len(warnings)] == [len(found), len(told)]
    for part, message in zip(errors + warnings, found + told, strict=True):
        assert part in message


def test_a_file_counts_by_its_content_wherever_it_stands(tmp_path):
    (tmp_path / "deep").mkdir()
    picture(tmp_path / "one.png")
    (tmp_path / "deep" / "two.png").write_bytes((tmp_path / "one.png").read_bytes())
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: image-to-video, prompt: x}
        jobs:
          - {id: a, image_url: one.png}
          - {id: b, image_url: ./deep/../one.png}
          - {id: c, image_url: deep/two.png}
        """,
    )

    assert len({job.key for job in made.values()}) == 1
    file = made["a"].arguments["image_url"]
    data = (tmp_path / "one.png").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert file == LocalFile(
        path=str(tmp_path / "one.png"), sha256=digest, size=len(data), content_type="image/png"
    )


def test_files_stand_in_lists_elements_and_raw_inputs(tmp_path):
    picture(tmp_path / "one.png")
    made = jobs(
        tmp_path,
        """\
        jobs:
          - id: a
            mode: reference-to-video
            prompt: x
            image_urls: [one.png, "https://a.example/two.png"]
            elements: [{frontal_image_url: one.png, reference_image_urls: [one.png]}]
          - id: b
            endpoint: a/b
            input: {image_url: one.png, deep: [{mask_urls: [one.png]}], name: one.png}
        """,
    )
    arguments = made["a"].arguments

    assert arguments["elements"][0]["reference_image_urls"] == [arguments["image_urls"][0]]
    assert isinstance(arguments["image_urls"][0], LocalFile)
    raw = made["b"].arguments
    assert raw["image_url"] == raw["deep"][0]["mask_urls"][0] == arguments["image_urls"][0]
    assert raw["name"] == "one.png"


def test_what_is_passed_on_is_a_file_only_where_it_looks_like_one(tmp_path):
    text = "jobs:\n- {id: a, endpoint: a/b, input: {x_url: VALUE}}\n"
    for value in ("asset-7", "asset://seven/a.png", "''"):
        (job,) = batch(tmp_path, text.replace("VALUE", value)).jobs
        assert isinstance(job.arguments["x_url"], str)

    assert (
        "there is no file `seven.png`" in messages(tmp_path, text.replace("VALUE", "seven.png"))[0]
    )


def test_a_file_is_read_once_for_a_hundred_jobs(tmp_path, monkeypatch):
    picture(tmp_path / "one.png")
    reads = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: reads.append(1) or digest(*a))
    rows = "".join(f"a{n},image-to-video,x {n},one.png\n" for n in range(100))
    batch(tmp_path, f"id,mode,prompt,image_url\n{rows}", name="t.csv")

    assert reads == [1]


def test_a_path_starts_at_the_manifest_and_the_mistake_is_reported(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    (tmp_path / "batches").mkdir()
    picture(tmp_path / "work" / "here.png")
    monkeypatch.chdir(tmp_path / "work")

    (line,) = messages(tmp_path / "batches", I2V.replace("FILE", "here.png"))
    assert "there is no file `here.png`" in line
    assert "it is in the working folder, but paths start at" in line
    (line,) = messages(tmp_path / "batches", I2V.replace("FILE", "nowhere.png"))
    assert "where the manifest is" in line
    (line,) = messages(tmp_path / "work", I2V.replace("FILE", "nowhere.png"))
    assert line.endswith("there is no file `nowhere.png` (paths start at )")  # its folder is cut


def test_a_manifest_of_the_working_folder_needs_no_long_paths(tmp_path, monkeypatch):
    picture(tmp_path / "one.png")
    (tmp_path / "b.yaml").write_text(I2V.replace("FILE", "one.png"))
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    assert load(Path("b.yaml")).jobs[0].arguments["image_url"].path == "one.png"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder", "is a folder"),
        ("empty.png", "is empty (0 bytes)"),
        ("text.png", "is no image that can be read"),
        ("cut.png", "is no image that can be read"),
        ("~nobody-of-this-name/a.png", "cannot be read"),
        ('"a\\0b.png"', 'there is no file "a\\u0000b.png"'),
        ("x" * 300, "cannot be read: File name too long"),
    ],
)
def test_what_is_no_file_is_reported(tmp_path, name, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    picture(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:20])
    (line,) = messages(tmp_path, I2V.replace("FILE", name))

    assert line.startswith("batch.yaml:2:55: ")
    assert expected in line


@pytest.mark.parametrize(
    ("width", "height", "format_", "errors", "warnings"),
    [
        (300, 300, "PNG", [], []),
        (750, 300, "JPEG", [], []),
        (299, 400, "PNG", ["each side needs at least 300"], []),
        (300, 800, "PNG", ["0.38; allowed: 0.40 to 2.50"], []),
        (800, 300, "PNG", ["2.67; allowed"], []),
        (400, 300, "BMP", ["does not take this format"], []),
        (400, 300, "WEBP", [], ["JPEG and PNG only"]),
        (400, 300, "GIF", [], ["JPEG and PNG only"]),
    ],
)
def test_pictures(tmp_path, width, height, format_, errors, warnings):
    picture(tmp_path / "p", width, height, format=format_)
    text = I2V.replace("FILE", "p")
    check(tmp_path, text, errors, warnings)


@pytest.mark.parametrize(
    ("size", "error", "warning"),
    [(9_000_000, False, False), (11_000_000, False, True), (51_000_000, True, False)],
)
def test_sizes_of_pictures(tmp_path, size, error, warning):
    path = picture(tmp_path / "p.png")
    with path.open("ab") as file:
        file.truncate(size)
    text = I2V.replace("FILE", "p.png")

    assert bool(problems(tmp_path, text)) is error
    if not error:
        assert [each.code for each in batch(tmp_path, text).warnings] == ["dated-limit"] * warning


def test_a_picture_of_a_million_pixels_a_side_is_reported_not_decoded(tmp_path):
    # A PNG's header alone: Pillow would warn of a bomb, and warnings are errors here.
    import struct
    import zlib

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    (tmp_path / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)

    assert isinstance(problems(tmp_path, I2V.replace("FILE", "p.png")), list)


@pytest.mark.parametrize(
    ("name", "options", "errors", "warnings"),
    [
        ("a.mp4", {}, [], []),
        ("a.mov", {"seconds": 3}, [], []),
        ("a.mp4", {"seconds": 2}, ["allowed are 3 to 15 s"], []),
        ("a.mp4", {"seconds": 16}, ["allowed are 3 to 15 s"], []),
        ("a.mp4", {"seconds": 12}, [], ["at most 10 s"]),
        ("a.mp4", {"width": 640, "height": 480}, ["720 to 3840 pixels"], []),
        ("a.mp4", {"width": 2400, "height": 720, "seconds": 3}, [], ["at most 2160"]),
        ("a.mp4", {"fps": 10}, [], ["10.00 frames a second"]),
        ("a.avi", {}, [".mp4 and .mov only"], []),
    ],
)
def test_clips(tmp_path, name, options, errors, warnings):
    clip(tmp_path / name, **options)
    text = EDIT.replace("FILE", name)
    check(tmp_path, text, errors, warnings)


def test_what_is_no_clip_is_reported(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"hello" * 100)
    picture(tmp_path / "p.png")

    assert "is no video that can be read" in messages(tmp_path, EDIT.replace("FILE", "a.mp4"))[0]
    assert messages(tmp_path, EDIT.replace("FILE", "p.png"))


def test_a_giant_clip_is_reported_before_it_is_hashed_twice(tmp_path):
    path = clip(tmp_path / "a.mp4")
    with path.open("ab") as file:
        file.truncate(201_000_000)

    assert "201 MB; at most 200 MB" in messages(tmp_path, EDIT.replace("FILE", "a.mp4"))[0]


def test_an_edit_of_a_local_clip_has_its_price(tmp_path):
    clip(tmp_path / "a.mp4", seconds=4.0)
    (job,) = batch(tmp_path, EDIT.replace("FILE", "a.mp4")).jobs

    assert (job.estimate, job.estimate_note) == (parse_usd("0.672"), "")


def test_a_changed_file_is_looked_at_again(tmp_path):
    picture(tmp_path / "p.png", 400, 300)
    text = I2V.replace("FILE", "p.png")
    before = batch(tmp_path, text).jobs[0].key
    picture(tmp_path / "p.png", 200, 200)
    assert problems(tmp_path, text)
    picture(tmp_path / "p.png", 500, 500)

    assert batch(tmp_path, text).jobs[0].key != before


# -- judged by content ---------------------------------------------------------------------------


def noise(path, **options):
    """A picture of many bytes, as photos are."""
    import random

    Image.frombytes("RGB", (400, 300), random.Random(1).randbytes(360_000)).save(path, **options)
    return path


def half(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("raw", [False, True])
def test_half_a_picture_is_refused(tmp_path, format_, raw):
    text = (
        I2V if not raw else "jobs:\n- {id: a, endpoint: a/b, input: {image_url: FILE}, price: 1}\n"
    )
    noise(tmp_path / "t.jpg", format=format_)
    assert problems(tmp_path, text.replace("FILE", "t.jpg")) == []

    half(tmp_path / "t.jpg")

    (line,) = messages(tmp_path, text.replace("FILE", "t.jpg"))
    assert "`t.jpg` is cut short: the picture is not complete" in line


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_a_whole_picture_with_bytes_behind_it_is_whole(tmp_path, format_):
    """Telephones put depth maps and clips there."""
    path = noise(tmp_path / "p", format=format_)
    path.write_bytes(path.read_bytes() + b"more" * 100)

    check(tmp_path, I2V.replace("FILE", "p"), [], [])


def test_a_clip_that_was_cut_is_refused_and_one_with_bytes_behind_it_is_not(tmp_path):
    path = clip(tmp_path / "a.mp4")
    whole = path.read_bytes()
    path.write_bytes(whole + b"appended by somebody")
    assert problems(tmp_path, EDIT.replace("FILE", "a.mp4")) == []

    path.write_bytes(whole[: len(whole) // 2])

    (line,) = messages(tmp_path, EDIT.replace("FILE", "a.mp4"))
    assert "`a.mp4` is cut short: the clip is not complete" in line


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 600
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (POINTER, "is a Git LFS pointer, not the file itself (fetch the files: git lfs pull)"),
        (b"/annex/objects/SHA256E-s1--a.jpg\n", "is a git-annex pointer, not the file itself"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the file itself"),
        (HEIC, "by its content it is image/heic (give a JPEG or a PNG)"),
        (b"%PDF-1.7" + b"\0" * 99, "by its content it is application/pdf"),
    ],
)
def test_what_stands_in_the_place_of_a_picture_is_named(tmp_path, data, expected):
    (tmp_path / "p.jpg").write_bytes(data)

    (line,) = messages(tmp_path, I2V.replace("FILE", "p.jpg"))

    assert expected in line


def test_a_picture_under_a_wrong_suffix_is_named_and_has_its_real_type(tmp_path):
    picture(tmp_path / "p.jpg", format="PNG")
    text = I2V.replace("FILE", "p.jpg")

    check(tmp_path, text, [], ["is image/png by its content, and uploaded as that"])
    (job,) = batch(tmp_path, text).jobs
    assert job.arguments["image_url"].content_type == "image/png"


def test_a_picture_without_a_suffix_has_its_real_type_too(tmp_path):
    picture(tmp_path / "p", format="JPEG")

    (job,) = batch(tmp_path, I2V.replace("FILE", "p")).jobs

    assert job.arguments["image_url"].content_type == "image/jpeg"


def test_an_avif_whose_brand_is_general_is_one(tmp_path):
    from kling_batch.manifest.content import recognise

    assert recognise(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf").content_type == "image/avif"
    assert recognise(b"\0\0\0\x18ftypqt  \0\0\0\0qt  ").content_type == "video/quicktime"
    assert recognise(b"\0\0\0\x18ftypisom\0\0\0\0isommp41").content_type == "video/mp4"


def sound(path, *, kept=1.0, length=None):
    """A WAV file of 6 s; `kept` of its bytes, and perhaps another length in its header."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"\0\1" * 8000 * 6)
    data = path.read_bytes()
    if length is not None:
        data = data[:4] + length.to_bytes(4, "little") + data[8:]
    path.write_bytes(data[: round(len(data) * kept)])
    return path


VOICE = "jobs:\n- {id: a, mode: voice, voice_url: FILE}\n"
AVATAR = "jobs:\n- {id: a, mode: avatar, image_url: 'https://x.org/p.png', audio_url: FILE}\n"


@pytest.mark.parametrize("text", [VOICE, AVATAR])
def test_half_a_sound_is_refused(tmp_path, text):
    sound(tmp_path / "s.wav", kept=0.9)

    check(tmp_path, text.replace("FILE", "s.wav"), ["is cut short: the sound is not complete"], [])


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0])
def test_a_sound_whose_header_was_written_before_its_end_is_whole(tmp_path, length):
    sound(tmp_path / "s.wav", length=length)

    check(tmp_path, VOICE.replace("FILE", "s.wav"), [], [])


def test_a_sound_under_a_wrong_suffix_has_its_real_type(tmp_path):
    sound(tmp_path / "s.mp3")
    text = VOICE.replace("FILE", "s.mp3")

    check(tmp_path, text, [], ["is audio/wav by its content, and uploaded as that"])
    (job,) = batch(tmp_path, text).jobs
    assert job.arguments["voice_url"].content_type == "audio/wav"


@pytest.mark.parametrize(
    ("text", "name", "make", "expected"),
    [
        (EDIT, "x.mp4", lambda path: picture(path, format="PNG"), "image/png by its content, and"),
        (EDIT, "x.mp4", sound, "is audio/wav by its content, and no video"),
        (AVATAR, "x.mp3", lambda path: clip(path.with_suffix(".mp4")).rename(path), "no sound"),
        (VOICE, "x.wav", lambda path: picture(path, format="PNG"), "no sound"),
        (I2V, "x.png", sound, "is audio/wav by its content, and no picture"),
    ],
)
def test_a_file_of_another_medium_is_reported_in_one_sentence(tmp_path, text, name, make, expected):
    make(tmp_path / name)

    check(tmp_path, text.replace("FILE", name), [expected], [])


def test_a_sound_in_a_format_that_not_every_endpoint_names_is_a_doubt(tmp_path):
    with av.open(str(tmp_path / "s.flac"), "w") as container:
        stream = container.add_stream("flac", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=8000 * 6)
        frame.sample_rate = 8000
        for packet in (*stream.encode(frame), *stream.encode()):
            container.mux(packet)

    check(
        tmp_path,
        VOICE.replace("FILE", "./s.flac"),
        [],
        ["(6.00 s) is flac: documented for certain are mp3 and wav only"],
    )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("ftp://me:secret@h/x.png", 'fetch "ftp://h/x.png": ftp:// is not http(s)://'),
        ("s3://me:se@cret@h/x.png", 'fetch "s3://h/x.png": s3:// is not http(s)://'),
        ("https:///x.png", 'fetch "https:///x.png": it names no host'),
    ],
)
def test_an_address_of_no_use_is_one_problem_without_its_password(tmp_path, address, why):
    (line,) = messages(tmp_path, I2V.replace("FILE", f'"{address}"'))

    assert why in line
    assert "cret" not in line
