"""Sizes of renditions in a store: asked for as seldom as possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from kling_batch.core.locations import Location
from kling_batch.core.recipes import Kind, Recipe
from kling_batch.core.records import RenditionRow
from kling_batch.operations.rendition_tasks import Sizes, Task
from kling_batch.output.store import OutputStore

FOLDER = "s3://assets/spring"


class Bucket(OutputStore):
    """A store that counts what it is asked."""

    def __init__(self, objects: dict[str, int]) -> None:
        super().__init__({}, Path("/nowhere"))
        self.objects = objects
        self.asked: list[str] = []

    def size(self, at: Location) -> int | None:
        self.asked.append(str(at))
        return self.objects.get(at.name)

    def sizes(self, folder: Location) -> dict[str, int | None]:
        self.asked.append(str(folder))
        return {**self.objects}


VIDEO = Recipe(kind=Kind.VIDEO, ext=".mp4", settings={})


def task(number: int, *, made: int | None = None, recipe: str = "r") -> Task:
    source = f"{FOLDER}/j{number}.mp4"
    wanted = RenditionRow(f"{FOLDER}/j{number}.web.mp4", source, "s", "web", "{}", "r")
    known = wanted._replace(sha256="w", size=made, recipe_digest=recipe)
    return Task("b", f"j{number}", VIDEO, wanted, None if made is None else known, 9)


def test_of_one_new_file_the_file_alone_is_asked_for_once() -> None:
    bucket = Bucket({"j1.mp4": 9})
    two = [task(1), task(1)]

    assert Sizes(bucket).missing(two) == two
    assert bucket.asked == [f"{FOLDER}/j1.mp4"]


def test_of_many_the_folder_is_listed_once() -> None:
    there = {f"j{n}.mp4": 9 for n in range(40)} | {f"j{n}.web.mp4": 5 for n in range(40)}
    bucket = Bucket(there)
    sizes = Sizes(bucket)
    tasks = [task(n, made=5) for n in range(40)]

    assert sizes.missing(tasks) == []
    assert sizes.missing(tasks) == []
    assert bucket.asked == [FOLDER]


@pytest.mark.parametrize(
    ("there", "recipe", "lacks"),
    [
        ({"j1.mp4": 9, "j1.web.mp4": 5}, "r", False),
        ({"j1.mp4": 9, "j1.web.mp4": 5}, "another", True),
        ({"j1.mp4": 9, "j1.web.mp4": 4}, "r", True),
        ({"j1.mp4": 9}, "r", True),
        ({"j1.mp4": 8}, "r", False),  # the source has changed: verify says so
        ({}, "r", False),
    ],
)
def test_what_is_missing_is_reported_by_recipe_and_size(
    there: dict[str, int], recipe: str, lacks: bool
) -> None:
    one = task(1, made=5, recipe=recipe)

    assert Sizes(Bucket(there)).missing([one]) == ([one] if lacks else [])


def test_a_name_on_this_machine_is_looked_at_when_it_is_asked_for(tmp_path: Path) -> None:
    sizes = Sizes(OutputStore({}, tmp_path))
    sizes.read(["a.mp4"])
    (tmp_path / "a.mp4").write_bytes(b"four")

    assert sizes.of("a.mp4") == 4
