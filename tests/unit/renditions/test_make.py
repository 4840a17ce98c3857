"""Renditions of real clips and pictures, read back by the libraries that show them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from kling_batch.core.recipes import Recipe
from kling_batch.emulator.media import Clip, Picture, make
from kling_batch.manifest.recipes import read_recipe
from kling_batch.output.files import digest_of
from kling_batch.renditions.geometry import ChangedInputError, RenditionError
from kling_batch.renditions.make import make_rendition, remove_leftovers


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "hero.mp4"
    path.write_bytes(make(Clip(width=160, height=90, seconds=2, audio=True)))
    return path


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "still.png"
    path.write_bytes(make(Picture(width=200, height=100)))
    return path


def recipe(**keys: Any) -> dict[str, Any]:
    return plain(read_recipe(keys))


def plain(read: Recipe) -> dict[str, Any]:
    return {"kind": read.kind.value, "ext": read.ext, **read.settings}


def made(source: Path, folder: Path, **keys: Any) -> Path:
    wanted = recipe(**keys)
    target = folder / f"hero.web{wanted['ext']}"
    told = make_rendition(source, wanted, target, threads=1)
    assert told["sha256"] == digest_of(target)
    assert told["size"] == target.stat().st_size > 0
    assert names(folder) == {target.name}, "something is left beside it"
    return target


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def streams(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {stream.type: stream.codec_context.name for stream in container.streams}


def frames(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [(f.width, f.height, round(float(f.time), 3)) for f in container.decode(video=0)]


# -- videos ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "video", "audio"),
    [
        ({"format": "mp4"}, "h264", "aac"),
        ({"format": "mp4", "codec": "h265"}, "hevc", "aac"),
        ({"format": "mp4", "codec": "av1"}, "av1", "aac"),
        ({"format": "mov"}, "h264", "aac"),
        ({"format": "webm"}, "vp9", "opus"),
        ({"format": "webm", "codec": "av1"}, "av1", "opus"),
    ],
)
def test_a_video_in_each_codec(
    clip: Path, tmp_path: Path, keys: dict[str, Any], video: str, audio: str
) -> None:
    path = made(clip, tmp_path, **keys, height=48)

    found = streams(path)
    assert found["audio"] == audio
    assert video in found["video"] or found["video"] == "libdav1d"
    shown = frames(path)
    assert {size[:2] for size in shown} == {(86, 48)}
    assert len(shown) == len(frames(clip))
    assert shown[-1][2] == pytest.approx(frames(clip)[-1][2], abs=0.02)


def test_a_part_of_a_video_without_sound(clip: Path, tmp_path: Path) -> None:
    path = made(clip, tmp_path, format="mp4", start="500ms", length="1s", mute=True, fps=5)

    assert streams(path).keys() == {"video"}
    assert [at for *_, at in frames(path)] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_a_video_that_is_cut_out(clip: Path, tmp_path: Path) -> None:
    path = made(clip, tmp_path, format="mp4", crop="1:1", width=64)

    assert {size[:2] for size in frames(path)} == {(64, 64)}


def test_a_start_after_the_end_is_a_message(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(RenditionError, match="nothing of the video is after 9 s"):
        made(clip, tmp_path, format="mp4", start="9s")

    assert names(tmp_path) == set()


# -- loops, stills, strips ---------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"format": "gif"}, {"format": "webp", "loop": True}])
def test_a_loop_moves(clip: Path, tmp_path: Path, keys: dict[str, Any]) -> None:
    path = made(clip, tmp_path, **keys, width=64, fps=5, length="1s")

    with Image.open(path) as shown:
        assert (shown.size, shown.n_frames, shown.info["loop"]) == ((64, 36), 5, 0)


def test_a_poster_is_the_frame_of_its_moment(clip: Path, tmp_path: Path) -> None:
    path = made(clip, tmp_path, format="png", at="1s")

    with av.open(str(clip)) as container:
        (wanted,) = (f for f in container.decode(video=0) if f.time == 1.0)
        with Image.open(path) as poster:
            assert poster.tobytes() == wanted.to_image().tobytes()


@pytest.mark.parametrize("at", ["100%", "60s"])
def test_a_moment_after_the_end_is_the_last_frame(clip: Path, tmp_path: Path, at: str) -> None:
    path = made(clip, tmp_path, format="png", at=at)

    with av.open(str(clip)) as container:
        *_, last = container.decode(video=0)
        with Image.open(path) as poster:
            assert poster.tobytes() == last.to_image().tobytes()


@pytest.mark.parametrize("name", ["jpg", "png", "webp", "avif"])
def test_a_picture_in_each_format(picture: Path, tmp_path: Path, name: str) -> None:
    path = made(picture, tmp_path, format=name, width=50)

    with Image.open(path) as shown:
        assert shown.size == (50, 25)
        assert shown.format == {"jpg": "JPEG"}.get(name, name.upper())


def test_transparency_is_white_where_there_is_none(tmp_path: Path) -> None:
    source = tmp_path / "in" / "clear.png"
    source.parent.mkdir()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(source)
    (tmp_path / "out").mkdir()

    with Image.open(made(source, tmp_path / "out", format="jpg")) as shown:
        assert shown.getpixel((1, 1)) == (255, 255, 255)


def test_a_strip_has_rows(clip: Path, tmp_path: Path) -> None:
    path = made(clip, tmp_path, format="jpg", frames=5, columns=3, width=32)

    with Image.open(path) as shown:
        assert shown.size == (96, 36)
        corners = [shown.getpixel((x, 4)) for x in (4, 36, 68)]
    assert (0, 0, 0) not in corners


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (
            {"format": "jpg", "frames": 100, "height": 500},  # 889 wide
            "it would be 88,900 x 500 pixels: jpg holds at most 65,500 pixels a side",
        ),
        (
            {"format": "png", "frames": 16, "columns": 3, "width": 16384},
            "it would be 49,152 x 55,296 pixels: a strip has at most 100,000,000 pixels in all",
        ),
        ({"format": "webp", "loop": True, "height": 9999}, "17,776 x 9,999 pixels: webp holds at"),
        ({"format": "webp", "height": 9999}, "17,776 x 9,999 pixels: webp holds at most"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_before_it_takes_memory(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], why: str
) -> None:
    new = Image.new

    def small(mode: str, size: tuple[int, int], *more: Any) -> Image.Image:
        assert size == (160, 90), "memory is taken for more than a frame"
        return new(mode, size, *more)

    monkeypatch.setattr(Image, "new", small)
    monkeypatch.setattr(Image.Image, "resize", None)

    with pytest.raises(RenditionError, match=why):
        made(clip, tmp_path, **keys)

    assert names(tmp_path) == set()


def test_what_is_no_media_is_a_message(tmp_path: Path) -> None:
    for name, keys in (("a.png", {"format": "jpg"}), ("a.mp4", {"format": "mp4"})):
        source = tmp_path / name
        source.write_bytes(b"no media at all")
        with pytest.raises(RenditionError, match=name):
            make_rendition(source, recipe(**keys), tmp_path / f"t{keys['format']}")
    with pytest.raises(RenditionError, match=r"b\.mp4 is not here"):
        make_rendition(tmp_path / "b.mp4", recipe(format="mp4"), tmp_path / "t.mp4")


def test_what_has_the_name_stays_until_the_new_file_is_whole(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "hero.web.mp4"
    target.write_bytes(b"before")
    with pytest.raises(RenditionError):
        make_rendition(clip, recipe(format="mp4", crop="999x9"), target)
    assert target.read_bytes() == b"before"

    make_rendition(clip, recipe(format="mp4", height=48), target)
    assert streams(target)["video"] == "h264"


def test_leftovers_of_a_target_go_and_nothing_else(tmp_path: Path) -> None:
    kept = {".hero.web.part.mp4", ".hero.webb.12345678.part.mp4", ".other.12345678.part.mp4"}
    for name in (*kept, ".hero.web.12345678.part.mp4"):
        (tmp_path / name).touch()

    remove_leftovers(tmp_path / "hero.web.mp4")

    assert names(tmp_path) == kept


# -- commands --------------------------------------------------------------------------------------


def python(code: str, **keys: Any) -> dict[str, Any]:
    words = [sys.executable, "-c", code, "{input}", "{output}"]
    return {"command": words, "ext": ".bin", **keys}


COPY = "import sys, shutil; shutil.copy(*sys.argv[1:])"
SPOILS = "import sys, time; open(sys.argv[1], 'ab').write(b'x'); "


def test_what_a_command_writes_is_the_rendition(clip: Path, tmp_path: Path) -> None:
    assert made(clip, tmp_path, **python(COPY)).read_bytes() == clip.read_bytes()


def test_a_command_has_no_key_and_no_shell(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAL_KEY", "secret")
    monkeypatch.setenv("FAL_KEY_SECRET", "secret")
    code = "import os, sys; open(sys.argv[3], 'w').write(f'{sys.argv[1]}|{sorted(os.environ)}')"
    words = [sys.executable, "-c", code, "$HOME; *", "{input}", "{output}"]

    said = made(clip, tmp_path, command=words, ext=".txt").read_text()

    assert said.startswith("$HOME; *|")
    assert "PATH" in said
    assert "FAL_KEY" not in said


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (python("import sys; sys.exit('no such codec')"), r"\(exit 1\): no such codec"),
        (python("pass"), r"wrote nothing to \{output\}"),
        (python("import sys; open(sys.argv[2], 'w')"), r"wrote nothing to \{output\}"),
        (python("import time; time.sleep(60)", timeout="200ms"), "took more than 0.2 s"),
        ({"command": ["no-such-program", "{input}", "{output}"], "ext": ".x"}, "cannot be started"),
    ],
)
def test_a_command_that_fails_is_a_message(
    clip: Path, tmp_path: Path, keys: dict[str, Any], why: str
) -> None:
    with pytest.raises(RenditionError, match=why):
        made(clip, tmp_path, **keys)

    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (python(SPOILS), r"^\S+ changed \{input\}$"),
        (python(f"{SPOILS} sys.exit('no room')"), r"exit 1\): no room; it changed \{input\}$"),
        (
            python(f"{SPOILS} sys.stdout.close(); time.sleep(60)", timeout="500ms"),
            r"took more than 0.5 s and was ended; it changed \{input\}$",
        ),
    ],
)
def test_what_a_command_has_changed_is_told_whatever_became_of_it(
    clip: Path, tmp_path: Path, keys: dict[str, Any], why: str
) -> None:
    source = tmp_path / "hero.mp4"
    source.write_bytes(clip.read_bytes())

    with pytest.raises(ChangedInputError, match=why):
        make_rendition(source, recipe(**keys), tmp_path / "hero.raw.bin")

    assert names(tmp_path) == {"hero.mp4"}


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_what_a_command_says_fills_no_disk_and_holds_up_nothing(clip: Path, tmp_path: Path) -> None:
    # No file of more than 50 kB can be written; a child that stays holds what is written to.
    code = (
        "import os, subprocess, sys; from resource import *; setrlimit(RLIMIT_FSIZE, (50000,) * 2);"
        "subprocess.Popen(['sleep', '4']); [os.write(2, b'x' * 65536) for _ in range(100)];"
        "os.write(1, b'\\nno room\\n'); sys.exit(3)"
    )

    began = time.monotonic()
    with pytest.raises(RenditionError, match=r"failed \(exit 3\): no room$"):
        made(clip, tmp_path, **python(code))
    assert time.monotonic() - began < 3.5
