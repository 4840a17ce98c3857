"""A folder with a manifest, a running emulator, and somebody who types commands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running
from kling_batch.ledger.reader import Reader
from support.process import run

HEAD = "version: 1\nname: trial\ndefaults: {mode: text-to-image}\njobs:\n"
HERO, OTHER = "  - {id: hero, prompt: first}\n", "  - {id: other, prompt: second}\n"

#: What lies on a desk before anybody has done anything.
MANIFEST = """\
version: 1
defaults: {mode: text-to-image}
jobs:
  - {id: one, prompt: the first}
  - {id: two, prompt: the second}
"""


def still_open(text: str) -> int:
    """How many jobs a summary counts as queued or rendering."""
    (jobs,) = re.findall(r"  jobs   (.*?)  cost   ", text, re.DOTALL)
    return sum(int(number) for number in re.findall(r"(\d+) (?:queued|rendering)\b", jobs))


class Studio:
    """`m.yaml` is what somebody edits."""

    manifest = "m.yaml"

    def __init__(self, folder: Path, world: World, url: str) -> None:
        self.folder, self.world, self.url = folder, world, url

    def write(self, *jobs: str) -> None:
        self.put(HEAD + "".join(jobs))

    def put(self, text: str) -> None:
        (self.folder / self.manifest).write_text(text)

    def run(self, *more: str, code: int = 0) -> str:
        return self.say("run", self.manifest, "--emulator-url", self.url, *more, code=code)

    def say(self, *words: str, code: int = 0) -> str:
        done = run(*words, cwd=self.folder)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def pictures(self) -> list[str]:
        return sorted(p.name for p in (self.folder / "outputs").rglob("*.png"))

    def open_key(self) -> str:
        with Reader.open(self.folder / "outputs/ledger.db") as reader:
            states = (State.SUBMITTING, State.IN_DOUBT, State.SUBMITTED)
            ((_, key, _, _),) = reader.open_attempts(*states)
        return key

    def charged_once(self, count: int) -> None:
        assert sorted(self.world.books.charges().values()) == [1] * count


class Desk(Studio):
    """Two jobs, ready to run."""

    manifest = "desk.yaml"

    def __init__(self, folder: Path, world: World, url: str) -> None:
        super().__init__(folder, world, url)
        self.put(MANIFEST)


@contextmanager
def at_work(folder: Path, kind: type[Studio]) -> Iterator[Studio]:
    world = World(Settings(profile="instant", media="template", concurrency=8))
    with running(world) as url:
        yield kind(folder, world, url)
