"""Task of a worker that makes renditions: from the output and to it, twice if need be."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from support.stores import empty_memory

from kling_batch import __version__
from kling_batch.manifest.recipes import read_recipe
from kling_batch.output.files import digest_of
from kling_batch.workers import rendering
from kling_batch.workers.rendering import RenderOrder, Wanted

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="programs of Unix")

COPY = {"command": ["cp", "{input}", "{output}"], "ext": ".bin"}
SECRET = {"command": ["no-such-program", "token", "{input}", "{output}"], "ext": ".bin"}


def never() -> bool:
    return False


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "still.png"
    path.parent.mkdir()
    Image.new("RGB", (8, 8)).save(path)
    return path


def order(source: Path, *recipes: dict[str, Any], targets: str = "") -> RenderOrder:
    found = [read_recipe(each) for each in recipes]
    start = targets or f"{source.parent}/"
    return RenderOrder(
        version=__version__,
        source=str(source),
        sha256=digest_of(source),
        wanted=tuple(
            Wanted(recipe=recipe.text, target=f"{start}still.r{number}{recipe.ext}")
            for number, recipe in enumerate(found)
        ),
        seconds=30,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_each_execution_writes_under_names_of_its_own(source: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    wanted = order(source, COPY, SECRET)

    answers = [rendering.render(wanted, spool=spool, stop=never) for _ in range(2)]

    assert len({answer["rendered"][0]["temporary"] for answer in answers}) == 2
    for answer in answers:
        copied, lacking = answer["rendered"]
        path = Path(copied["temporary"])
        assert path.parent == source.parent
        assert path.read_bytes() == source.read_bytes()
        assert copied["made"]["sha256"] == digest_of(path) == digest_of(source)
        assert lacking == {"lacks": "there is no program `no-such-program` here"}
        assert answer["places"] >= 1
    assert not (source.parent / "still.r0.bin").exists()
    assert names(spool) == set()


def test_a_program_that_fails_is_an_answer(source: Path, tmp_path: Path) -> None:
    wanted = order(source, {"command": ["false", "{input}", "{output}"], "ext": ".bin"})

    answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    assert answer["rendered"] == [{"failed": "false failed (exit 1)"}]
    assert names(source.parent) == {"still.png"}


def test_into_a_store_and_from_it(source: Path, tmp_path: Path) -> None:
    with empty_memory():
        MemoryFileSystem().pipe_file("/assets/still.png", source.read_bytes())
        wanted = order(source, COPY, targets="memory://assets/")
        wanted = replace(wanted, source="memory://assets/still.png")

        answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

        assert answer["rendered"][0]["made"]["size"] == source.stat().st_size
        assert MemoryFileSystem().cat_file("/assets/still.r0.bin") == source.read_bytes()
    assert names(tmp_path / "spool") == set()


def test_nothing_is_made_of_what_has_changed(source: Path, tmp_path: Path) -> None:
    wanted = order(source, COPY)
    source.write_bytes(b"edited")

    answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    assert answer == {"error": "still.png is not what was saved"}
    assert names(source.parent) == {"still.png"}


def test_a_folder_that_is_not_mounted_is_not_made(source: Path, tmp_path: Path) -> None:
    wanted = replace(order(source, COPY), source="/not/mounted/still.png")

    answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    assert answer == {"absent": "/not/mounted"}


def test_another_version_makes_nothing(source: Path, tmp_path: Path) -> None:
    wanted = replace(order(source, COPY), version="0.0.1")

    answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    assert answer == {"refused": f"it has kling-batch {__version__}, and this machine 0.0.1"}


def test_what_takes_too_long_is_given_up_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import time; time.sleep(31.9)", "{input}", "{output}"]
    slow = {"command": words, "ext": ".bin"}
    wanted = replace(order(source, slow), seconds=0.3)

    answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    assert answer == {"error": "it took more than 0 s"}
    assert names(source.parent) == {"still.png"}
    assert names(tmp_path / "spool") == set()
    assert rendering._PLACES.acquire(blocking=False), "its place is not free again"
    rendering._PLACES.release()


def test_words_of_commands_are_not_in_what_a_log_shows(source: Path) -> None:
    assert "token" not in repr(order(source, SECRET))


@pytest.mark.parametrize("where", ["folder", "store"])
def test_what_a_program_has_done_to_the_copy_is_not_in_the_next(
    source: Path, tmp_path: Path, where: str
) -> None:
    content = source.read_bytes()
    keeps_its_time = "cp -p {0} {1}; printf x >> {0}; touch -r {1} {0}"
    spoil = {"command": ["sh", "-c", keeps_its_time.format("$0", "$1"), "{input}", "{output}"]}
    gone = {"command": ["mv", "{input}", "{output}"], "ext": ".bin"}
    with empty_memory():
        wanted = order(source, {**spoil, "ext": ".bin"}, COPY, gone, COPY)
        if where == "store":
            MemoryFileSystem().pipe_file("/assets/still.png", content)
            wanted = replace(wanted, source="memory://assets/still.png")

        answer = rendering.render(wanted, spool=tmp_path / "spool", stop=never)

    spoiled, first, moved, second = answer["rendered"]
    assert spoiled == {"failed": "sh changed {input}", "changed_input": True}
    assert moved == {"failed": "mv changed {input}", "changed_input": True}
    for copied in (first, second):
        assert Path(copied["temporary"]).read_bytes() == content
    assert source.read_bytes() == content
