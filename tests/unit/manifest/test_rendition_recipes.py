"""What `renditions:` may say, and the sentence for everything else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from kling_batch.core.diagnostics import InvalidValue
from kling_batch.core.recipes import Kind, Media, recipe_of
from kling_batch.errors import ManifestError
from kling_batch.manifest.loader import load
from kling_batch.manifest.recipes import SCHEMA, read_name, read_recipe, read_recipes

COMMAND = {"command": ["ffmpeg", "-i", "{input}", "{output}"], "ext": ".webm"}


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({"format": "jpg", "at": "1s"}, Kind.STILL),
        ({"format": "webp"}, Kind.STILL),
        ({"format": "webp", "loop": True}, Kind.LOOP),
        ({"format": "gif"}, Kind.LOOP),
        ({"format": "png", "frames": 4}, Kind.STRIP),
        ({"format": "webm", "codec": "av1"}, Kind.VIDEO),
        (COMMAND, Kind.COMMAND),
    ],
)
def test_the_kind_follows_from_the_keys(keys: dict[str, Any], kind: Kind) -> None:
    recipe = read_recipe(keys)

    assert recipe.kind is kind
    assert recipe_of(recipe.text) == recipe


def test_equal_recipes_have_one_digest_and_others_another() -> None:
    short, long = {"format": "mp4"}, {"crf": 23, "codec": "h264", "format": "mp4", "width": None}

    assert read_recipe(short).digest == read_recipe(long).digest
    assert read_recipe({"format": "mp4", "start": "1s"}) == read_recipe(
        {"format": "mp4", "start": 1}
    )
    assert read_recipe({"format": "mp4", "crf": 24}).digest != read_recipe(short).digest


def test_the_digest_of_a_recipe_stays() -> None:
    """Another one would make every rendition of every user again."""
    recipe = read_recipe({"format": "jpg", "at": "1s", "width": 640})

    assert recipe.text == '{"at":1.0,"ext":".jpg","format":"jpg","kind":"still","width":640}'
    assert recipe.digest == "r1:0903f5581f89c5cd301bce818a7167be"


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        ({}, (), "needs `format:` or `command:`"),
        ({"format": "jpeg"}, ("format",), "jpg"),
        ({"format": "mp4", "heigth": 9}, ("heigth",), "height"),
        ({"format": "mp4", "at": 1}, ("at",), "means nothing for a video"),
        ({"format": "webm", "codec": "h264"}, ("codec",), "webm cannot hold h264"),
        ({"format": "mp4", "codec": "h266"}, ("codec",), "not one of"),
        ({"format": "mp4", "crf": 52}, ("crf",), "0 to 51"),
        ({"format": "mp4", "width": 0}, ("width",), "whole number"),
        ({"format": "mp4", "width": True}, ("width",), "whole number"),
        ({"format": "mp4", "fps": 500}, ("fps",), "120 at most"),
        ({"format": "jpg", "at": "101%"}, ("at",), "after the end"),
        ({"format": "jpg", "at": "soon"}, ("at",), "soon"),
        ({"format": "jpg", "crop": "16/9"}, ("crop",), "no ratio"),
        ({"format": "jpg", "crop": "0:9"}, ("crop",), "no ratio"),
        ({"format": "jpg", "fit": "cover", "width": 9}, ("fit",), "needs `width` and `height`"),
        ({"format": "png", "quality": 9}, ("quality",), "means nothing for png"),
        (
            {"format": "jpg", "frames": 100, "width": 1000},
            ("width",),
            "`width`: 100 columns of 1,000 are 100,000 pixels: jpg holds at most 65,500 pixels a",
        ),
        ({"format": "webp", "frames": 60, "width": 300}, ("width",), "holds at most 16,383"),
        ({"format": "webp", "width": 16384}, ("width",), "16,384 pixels: webp holds"),
        ({"format": "webp", "loop": True, "height": 16384}, ("height",), "webp holds"),
        ({"format": "png", "frames": 16, "width": 16384}, ("width",), "262,144 pixels: png holds"),
        ({"format": "avif", "frames": 99, "columns": 1, "height": 999}, ("height",), "99 rows of"),
        ({"format": "jpg", "frames": 99, "crop": "1080x400"}, ("crop",), "99 columns of 1,080"),
        ({"format": "jpg", "frames": 9, "crop": "9:1", "height": 999}, ("crop",), "jpg holds"),
        (
            {"format": "png", "frames": 16, "columns": 4, "width": 4000, "crop": "1:1"},
            ("frames",),
            "4 x 4 pictures of 4,000 x 4,000 pixels: a strip has at most 100,000,000 pixels in",
        ),
        (
            {"format": "png", "frames": 16, "columns": 4, "width": 4096, "height": 4096}
            | {"fit": "cover"},
            ("frames",),
            "a strip has at most",
        ),
        (
            {"format": "webp", "frames": 99, "columns": 9, "width": 9999, "height": 9999},
            ("width",),
            "9 columns of 9,999",
        ),
        ({**COMMAND, "command": "ffmpeg"}, ("command",), "a list of words"),
        ({**COMMAND, "command": ["x", "{input}"]}, ("command",), "must name {output}"),
        ({**COMMAND, "command": ["{input}", "{output}"]}, ("command",), "must name {input}"),
        ({**COMMAND, "ext": "webm"}, ("ext",), "`ext:`"),
        ({**COMMAND, "ext": "./../x"}, ("ext",), "`ext:`"),
        ({**COMMAND, "timeout": "never"}, ("timeout",), "never"),
        ({**COMMAND, "width": 9}, ("width",), "means nothing for a command"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(
    keys: dict[str, Any], path: tuple[str, ...], words: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_recipe(keys)

    assert words in str(caught.value)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "keys",
    [
        {"format": "jpg", "frames": 100, "columns": 10, "width": 1000},
        {"format": "jpg", "frames": 65, "height": 1000},
        {"format": "jpg", "frames": 40, "width": 2000, "height": 100},  # 178 wide of 16:9
        {"format": "jpg", "frames": 8, "columns": 99, "width": 8000},
        {"format": "webp", "width": 16383},
        {"format": "mp4", "width": 16384},
        {"format": "png", "crop": "16:9"},
    ],
)
def test_what_can_be_held_or_depends_on_the_file_is_no_mistake(keys: dict[str, Any]) -> None:
    assert read_recipe(keys).settings["format"] == keys["format"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "-x", "x" * 41, 5])
def test_a_name_must_fit_into_a_file_name(name: object) -> None:
    with pytest.raises(InvalidValue, match="cannot be part of a file name"):
        read_name(name)


@pytest.mark.parametrize("value", [["jpg"], "jpg", 5])
def test_renditions_are_a_mapping(value: object) -> None:
    with pytest.raises(InvalidValue, match="mapping of recipes"):
        read_recipes(value)


def test_what_a_recipe_can_be_made_of() -> None:
    still, video = read_recipe({"format": "jpg"}), read_recipe({"format": "mp4"})
    only = read_recipe({"format": "jpg", "for": "image"})

    assert [still.takes(media) for media in Media] == [True, True]
    assert [video.takes(media) for media in Media] == [False, True]
    assert [only.takes(media) for media in Media] == [True, False]


def test_the_schema_knows_every_key() -> None:
    from kling_batch.manifest.recipes import ALL_KEYS

    assert {*SCHEMA["properties"]} == ALL_KEYS


MANIFEST = """\
name: trial
{top}defaults: {{mode: text-to-image{defaults}}}
jobs:
  - {{id: a, prompt: first{job}}}
  - {{id: b, prompt: second}}
"""
TOP = "renditions: {poster: {format: jpg}, small: {format: webp}}\n"


@pytest.mark.parametrize(
    ("defaults", "job", "names"),
    [
        ("", "", [None, None]),
        ("", ", renditions: [small]", [("small",), None]),
        ("", ", renditions: small", [("small",), None]),
        ("", ", renditions: null", [(), None]),
        ("", ", renditions: []", [(), None]),
        (", renditions: [poster]", "", [("poster",), ("poster",)]),
        (", renditions: [poster]", ", renditions: null", [(), ("poster",)]),
        (", renditions: null", ", renditions: [small]", [("small",), ()]),
    ],
)
def test_renditions_are_no_part_of_what_is_paid_for(
    tmp_path: Path, defaults: str, job: str, names: list[Any]
) -> None:
    plain, made = tmp_path / "plain.yaml", tmp_path / "made.yaml"
    plain.write_text(MANIFEST.format(top="", defaults="", job=""))
    made.write_text(MANIFEST.format(top=TOP, defaults=defaults, job=job))

    batch = load(made)

    assert [job.renditions for job in batch.jobs] == names
    assert [job.key for job in batch.jobs] == [job.key for job in load(plain).jobs]
    assert batch.renditions.keys() == {"poster", "small"}


def test_problems_of_recipes_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "renditions:\n  a: {format: webm, codec: h264}\n  b: {format: jpg, heigth: 9}\n"
        "limits: {workers: 0}\n"
        "jobs:\n  - {id: x, mode: text-to-image, prompt: y}\n"
    )

    with pytest.raises(ManifestError) as caught:
        load(path)

    found = [(p.place.line, p.place.column, p.message) for p in caught.value.problems]
    assert [line for line, *_ in found] == [2, 3, 4]
    assert found[0] == (
        2,
        28,
        "the rendition `a`: `codec`: webm cannot hold h264 here; it holds vp9, av1",
    )


@pytest.mark.parametrize(
    ("renditions", "job", "words"),
    [
        ("{a/b: {format: jpg}}", "{id: x, prompt: y}", "part of a file name"),
        ("{a: {format: jpg}, A: {format: gif}}", "{id: x, prompt: y}", "the same file names"),
        ("[jpg]", "{id: x, prompt: y}", "must be a mapping, not a list"),
        (
            "{poster: {format: jpg}}",
            "{id: x, prompt: y, renditions: [postr]}",
            "no rendition `postr`",
        ),
        ("{poster: {format: jpg}}", "{id: x, prompt: y, renditions: {a: b}}", "renditions"),
        ("{web: {format: mp4}}", "{id: x, prompt: y, renditions: [web]}", "made of the image"),
        (
            "{poster: {format: jpg}}",
            "{id: x, prompt: y}\n  - {id: x.poster, prompt: z}",
            "would have the name of the file of `x.poster`",
        ),
    ],
)
def test_what_a_manifest_cannot_mean_is_reported(
    tmp_path: Path, renditions: str, job: str, words: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        f"renditions: {renditions}\ndefaults: {{mode: text-to-image}}\njobs:\n  - {job}\n"
    )

    with pytest.raises(ManifestError, match=re.escape(words)):
        load(path)
