"""Renditions that workers make: taken over as they are, and what is not made there is made here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support.cli import HERO, OTHER, Workspace

from kling_batch.core.locations import Location
from kling_batch.operations import remake
from kling_batch.renditions.elsewhere import RenditionOrder, Unmade
from kling_batch.renditions.make import Made

MANIFEST = "name: trial\ndefaults: {mode: text-to-image}\n"
RECIPES = "renditions: {poster: {format: jpg, width: 64}, small: {format: png, width: %d}}\n"
DATA = b"made elsewhere"
FAILED = Unmade("tcp://10.0.0.1:4000", "no space")


class Workers:
    """Makes posters, and nothing else."""

    most = 4

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.blamed: list[Unmade] = []
        self.makes = True
        self.unmade = FAILED

    async def make(
        self, source: Location, digest: str, orders: Sequence[RenditionOrder]
    ) -> list[Made | Unmade]:
        assert isinstance(source, Path)
        self.asked.append((source.name, [target.name for _, target in orders]))
        found: list[Made | Unmade] = []
        for _, target in orders:
            if self.makes and target.suffix == ".jpg":
                assert isinstance(target, Path)
                assert digest == sha256(source.read_bytes()).hexdigest()
                target.unlink(missing_ok=True)  # a kept file may be a second name of it
                target.write_bytes(DATA)
                made = sha256(DATA).hexdigest()
                found.append(Made(sha256=made, size=len(DATA), content_type="image/jpeg"))
            else:
                found.append(self.unmade)
        return found

    def made_here(self, unmade: Unmade) -> None:
        self.blamed.append(unmade)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    found = Workers()

    @asynccontextmanager
    async def rendering(scheduler: str | None, *_: Any) -> AsyncIterator[Workers]:
        assert scheduler == "tcp://farm:8786"
        yield found

    monkeypatch.setattr(remake, "rendering", rendering)
    return found


def folder(workspace: Workspace) -> Path:
    return workspace.folder / "outputs/trial/text-to-image"


def saved(workspace: Workspace, width: int = 32) -> None:
    """Saved files whose renditions are still to be made."""
    workspace.put(f"{MANIFEST}jobs:\n{HERO}{OTHER}")
    workspace.run()
    workspace.put(f"{MANIFEST}{RECIPES % width}jobs:\n{HERO}{OTHER}")


WORDS = ("--scheduler", "tcp://farm:8786")


def test_each_file_is_asked_for_once_and_what_is_not_made_is_made_here(
    workspace: Workspace, workers: Workers
) -> None:
    saved(workspace)

    assert "4 renditions made" in workspace.invoke("renditions", workspace.file, *WORDS)

    assert sorted(workers.asked) == [
        ("hero.png", ["hero.poster.jpg", "hero.small.png"]),
        ("other.png", ["other.poster.jpg", "other.small.png"]),
    ]
    assert workers.blamed == [FAILED, FAILED]
    assert (folder(workspace) / "hero.poster.jpg").read_bytes() == DATA
    noted = json.loads((folder(workspace) / "hero.png.json").read_bytes())["renditions"]
    assert noted["poster"]["sha256"] == sha256(DATA).hexdigest()
    small = (folder(workspace) / "hero.small.png").read_bytes()
    assert noted["small"]["sha256"] == sha256(small).hexdigest()
    workspace.invoke("verify")
    assert workspace.invoke("renditions", workspace.file, *WORDS) == "0 renditions made\n"
    assert len(workspace.charges()) == 2


def test_a_changed_recipe_goes_to_workers_and_a_persons_file_is_kept(
    workspace: Workspace, workers: Workers
) -> None:
    saved(workspace)
    workspace.invoke("renditions", workspace.file, *WORDS)
    (folder(workspace) / "hero.poster.jpg").write_bytes(b"a file of a person's own")
    workers.asked.clear()
    workspace.put(f"{MANIFEST}{RECIPES % 16}jobs:\n{HERO}{OTHER}")

    workspace.invoke("renditions", workspace.file, *WORDS)

    assert sorted(workers.asked) == [
        ("hero.png", ["hero.poster.jpg", "hero.small.png"]),
        ("other.png", ["other.small.png"]),
    ]
    kept = list(folder(workspace).glob("hero.poster.*.jpg"))
    assert [path.read_bytes() for path in kept] == [b"a file of a person's own"]
    assert (folder(workspace) / "hero.poster.jpg").read_bytes() == DATA


def test_a_command_that_spoiled_a_copy_is_not_run_on_the_file(
    workspace: Workspace, workers: Workers
) -> None:
    saved(workspace)
    spoils = ["sh", "-c", 'echo >> "$0"; touch started', "{input}", "{output}"]
    recipe = json.dumps({"raw": {"command": spoils, "ext": ".bin"}})
    workspace.put(f"{MANIFEST}renditions: {recipe}\njobs:\n{HERO}{OTHER}")
    hero = (folder(workspace) / "hero.png").read_bytes()
    there = "tcp://10.0.0.1:4000"
    workers.unmade = Unmade(there, "sh failed; it changed {input}", changed_input=True)

    told = workspace.invoke("renditions", workspace.file, *WORDS, code=1)

    assert f"it changed {{input}}, a copy of the saved file on the worker {there}" in told
    assert not (workspace.folder / "started").exists()
    assert (folder(workspace) / "hero.png").read_bytes() == hero
    assert workers.blamed == []
    assert "correct the recipe first" in workspace.invoke("verify", code=1)


def test_what_is_left_of_an_ended_run_is_removed(workspace: Workspace, workers: Workers) -> None:
    saved(workspace)
    workspace.invoke("renditions", workspace.file, *WORDS)
    with closing(sqlite3.connect(workspace.folder / "outputs/ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE renditions SET sha256 = NULL, size = NULL, made_at = NULL")
    left = folder(workspace) / ".hero.poster.01234567.part.jpg"
    left.write_bytes(b"of a worker that went on")

    assert "4 renditions made" in workspace.invoke("renditions", workspace.file, *WORDS)

    assert not left.exists()


def test_of_an_edited_file_nothing_is_made_here_either(
    workspace: Workspace, workers: Workers
) -> None:
    saved(workspace)
    workers.makes = False
    hero = folder(workspace) / "hero.png"
    hero.write_bytes(hero.read_bytes()[:-1] + b"x")

    told = workspace.invoke("renditions", workspace.file, "--only", "hero", *WORDS, code=1)

    assert told.count("hero.png has changed since it was saved") == 2
    assert "0 renditions made, 2 not made" in told
    assert not list(folder(workspace).glob("hero.*.*g"))
    assert workers.blamed == []
