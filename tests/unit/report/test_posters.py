"""Posters: made once by digest, small, and none where a file cannot be decoded."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import av
import pytest
from PIL import Image

from kling_batch.emulator.media import Clip, make
from kling_batch.report.posters import (
    LONGEST,
    keep_poster,
    make_posters,
    poster_of,
    poster_path,
)

DIGEST = "ab" * 32


def shape(poster: bytes | None) -> tuple[int, int]:
    assert poster is not None
    with Image.open(BytesIO(poster)) as image:
        assert image.format == "JPEG"
        return image.size


@pytest.mark.parametrize(
    ("size", "small"), [((1280, 720), (640, 360)), ((720, 1280), (360, 640)), ((64, 64), (64, 64))]
)
def test_an_image_is_reduced_and_keeps_its_shape(
    tmp_path: Path, size: tuple[int, int], small: tuple[int, int]
) -> None:
    source = tmp_path / "a.png"
    Image.new("RGBA", size, (255, 0, 0, 0)).save(source)

    poster = poster_of(source, "image")
    assert shape(poster) == small


def test_what_is_transparent_is_dark(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGBA", (64, 64), (255, 255, 255, 0)).save(source)

    poster = poster_of(source, "image")
    assert poster is not None
    with Image.open(BytesIO(poster)) as image:
        assert max(image.getpixel((32, 32))) < 40


def test_a_frame_of_a_video(clip: Path) -> None:
    width, height = shape(poster_of(clip, "video"))

    assert max(width, height) <= LONGEST


def test_a_video_with_one_key_frame_does_not_show_its_black_beginning(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.gop_size = 1000
        for n in range(48):
            picture = Image.new("RGB", (64, 64), (0, 0, 0) if n < 6 else (255, 255, 255))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))

    poster = poster_of(source, "video")

    assert poster is not None
    with Image.open(BytesIO(poster)) as image:
        assert image.convert("L").getpixel((32, 32)) > 200


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nno", b"nonsense" * 100])
def test_a_damaged_file_has_none(tmp_path: Path, kind: str, content: bytes) -> None:
    source = tmp_path / "a"
    source.write_bytes(content)

    assert poster_of(source, kind) is None
    assert make_posters(tmp_path, [(DIGEST, source, kind)]) == set()
    assert not poster_path(tmp_path, DIGEST).exists()


def test_other_kinds_and_missing_files_have_none(tmp_path: Path) -> None:
    assert poster_of(tmp_path / "gone.mp4", "video") is None
    assert poster_of(tmp_path / "a.mp3", "audio") is None


def test_a_poster_is_made_once(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(source)
    told: list[tuple[int, int]] = []

    files = [(DIGEST, source, "image"), (DIGEST, source, "image")]
    assert make_posters(tmp_path, files, lambda *counts: told.append(counts)) == {DIGEST}
    source.unlink()
    assert make_posters(tmp_path, files, lambda *counts: told.append(counts)) == {DIGEST}
    assert told == [(1, 1)]
    assert [path.name for path in poster_path(tmp_path, DIGEST).parent.iterdir()] == [
        f"{DIGEST[:32]}.jpg"
    ]


def test_where_nothing_can_be_kept_it_is_made_all_the_same(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(source)
    (tmp_path / ".posters").write_text("in the way")

    assert shape(keep_poster(tmp_path, DIGEST, source, "image")) == (64, 64)
    assert make_posters(tmp_path, [(DIGEST, source, "image")]) == set()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    path.write_bytes(make(Clip(width=1280, height=720, seconds=1.0)))
    return path
