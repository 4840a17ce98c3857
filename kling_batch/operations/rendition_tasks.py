"""Renditions that are missing or out of date: compared by digest, recipe and size, never made here.

Reads ledger and disk: a `stat` for each file, or a listing of each folder in a store. Must not
write, and must not open a file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from kling_batch.core.jobs import Batch, Job, JobKey
from kling_batch.core.locations import ObjectAddress, is_address
from kling_batch.core.recipes import Recipe, media_of, recipe_of
from kling_batch.core.records import RenditionRow, SourceFile
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import (
    current_renditions,
    has_renditions,
    renditions_of,
    source_files,
    source_of,
)
from kling_batch.output.store import OutputStore
from kling_batch.renditions.ability import left_out

#: Jobs that are looked at together.
_TOGETHER = 500
#: Objects of one folder that are asked for one by one; of more, the folder is listed.
_ONE_BY_ONE = 16


class Task(NamedTuple):
    """One rendition to be made."""

    batch: str
    #: The job's label; empty where no manifest says.
    job: str
    recipe: Recipe
    #: What is recorded before it is made.
    wanted: RenditionRow
    #: What the ledger has under this name.
    known: RenditionRow | None
    #: Bytes that its source had when it was saved.
    source_size: int


class Sizes:
    """Sizes of files by their stored names, as `read` has found them in stores."""

    def __init__(self, store: OutputStore) -> None:
        """Nothing is asked yet."""
        self._store = store
        self._found: dict[str, int | None] = {}

    def missing(self, asked: Iterable[Task]) -> list[Task]:
        """Those that are not there as wanted, though their sources are.

        Blocks where there is a store: its answers come over a network. Raises `OSError`.
        """
        tasks = [*asked]
        self.read(names_of(tasks))
        return [task for task in tasks if self._lacks(task)]

    def unread(self, names: Iterable[str]) -> list[str]:
        """Those that lie in a store which was not asked for them yet."""
        wanted = dict.fromkeys(name for name in names if is_address(name))
        return [name for name in wanted if name not in self._found]

    def read(self, names: Iterable[str]) -> None:
        """Ask stores for the sizes of these; what lies on this machine is looked at by `of`."""
        folders: dict[str, list[str]] = {}
        for name in self.unread(names):
            folders.setdefault(name.rpartition("/")[0], []).append(name)
        for folder, wanted in folders.items():
            if len(wanted) > _ONE_BY_ONE:
                listed = self._store.sizes(ObjectAddress(folder))
                found = {name: listed.get(name.rpartition("/")[2]) for name in wanted}
            else:
                found = {name: self._store.size(ObjectAddress(name)) for name in wanted}
            self._found |= found

    def of(self, name: str) -> int | None:
        """Bytes of a file; None where there is none."""
        at = self._store.located(name)
        return self._found.get(name) if isinstance(at, ObjectAddress) else size_of(at)

    def _lacks(self, task: Task) -> bool:
        row = _current(task)
        if row is not None and self.of(row.path) == row.size:
            return False
        return self.of(task.wanted.source_path) == task.source_size


def _current(task: Task) -> RenditionRow | None:
    """What was made of this content by this recipe, and is to be there."""
    wanted, row = task.wanted, task.known
    if row is None or row.sha256 is None:
        return None
    same = row.source_sha256 == wanted.source_sha256 and row.recipe_digest == wanted.recipe_digest
    return row if same else None


def names_of(tasks: Iterable[Task]) -> Iterator[str]:
    """The stored names whose sizes tell whether renditions are there."""
    for task in tasks:
        yield task.wanted.source_path
        if _current(task) is not None:
            yield task.wanted.path


def tasks_of(
    reader: Reader, batches: Sequence[Batch], store: OutputStore, jobs: Iterable[Job] | None = None
) -> Iterator[Task]:
    """What is missing of the saved files of these batches, or of these jobs of theirs.

    Raises:
        OSError: a store cannot be asked, which is not that its objects are missing.
    """
    sizes = Sizes(store)
    asked = asked_of(reader, batches, jobs)
    while some := list(islice(asked, _TOGETHER)):
        yield from sizes.missing(some)


def asked_of(
    reader: Reader, batches: Sequence[Batch], jobs: Iterable[Job] | None = None
) -> Iterator[Task]:
    """Everything that is to be there of the saved files of these batches, or of these jobs.

    Commands are left out where the environment forbids what a manifest names.
    """
    recipes = {
        batch.name: {
            name: _Known(recipe)
            for name, recipe in batch.renditions.items()
            if not left_out(recipe)
        }
        for batch in batches
        if batch.renditions
    }
    if jobs is None:
        jobs = (job for batch in batches for job in batch.jobs)
    wanting = (job for job in jobs if job.batch in recipes and job.renditions != ())
    while some := list(islice(wanting, _TOGETHER)):
        yield from _tasks(reader, recipes, some)


class _Known:
    """A recipe whose text and digest are made once, for all files."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.text, self.digest = recipe, recipe.text, recipe.digest


def known_tasks(reader: Reader, store: OutputStore, again: Collection[str] = ()) -> list[Task]:
    """What the ledger says was made or begun, and is not there, or is to be made `again`."""
    known: list[Task] = []
    for _, row in current_renditions(reader):
        wanted = row._replace(sha256=None, size=None, content_type=None, made_at=None, failure=None)
        source = source_of(reader, row.source_path)
        if source is not None:
            known.append(Task("", "", recipe_of(row.recipe), wanted, row, source.size))
    asked = [task for task in known if task.wanted.path in again]
    return asked + Sizes(store).missing(t for t in known if t.wanted.path not in again)


def _tasks(
    reader: Reader,
    recipes: Mapping[str, Mapping[str, _Known]],
    jobs: Sequence[Job],
) -> Iterator[Task]:
    by_key: dict[JobKey, list[SourceFile]] = {}
    for source in source_files(reader, {job.key for job in jobs}):
        by_key.setdefault(source.job_key, []).append(source)
    paths = (source.path for sources in by_key.values() for source in sources)
    known = renditions_of(reader, paths)
    seen: set[str] = set()
    for job in jobs:
        for source in by_key.get(job.key, ()):
            if not _is_of(source, job):
                continue
            for name, recipe in _recipes_for(job, recipes[job.batch], source).items():
                wanted = _row(source, name, recipe)
                row = known.get(wanted.path)
                if wanted.path not in seen:
                    seen.add(wanted.path)
                    yield Task(job.batch, job.label, recipe.recipe, wanted, row, source.size)


def _is_of(source: SourceFile, job: Job) -> bool:
    """Whether a file has the name that this job's output is to have, in whatever folder."""
    relative = job.output_path(source.output_index, source.ext)
    return source.path == relative or source.path.endswith(f"/{relative}")


def _recipes_for(job: Job, recipes: Mapping[str, _Known], source: SourceFile) -> dict[str, _Known]:
    """The recipes that the job wants and that can be made of such a file."""
    media = media_of(source.content_type)
    names = recipes if job.renditions is None else job.renditions
    if media is None:
        return {}
    known = ((name, recipes[name]) for name in names if name in recipes)
    return {name: each for name, each in known if each.recipe.takes(media)}


def _row(source: SourceFile, name: str, recipe: _Known) -> RenditionRow:
    """The row of a rendition that is to be made: `hero.mp4` → `hero.web.mp4`."""
    folder, slash, file = source.path.rpartition("/")
    return RenditionRow(
        path=f"{folder}{slash}{file.removesuffix(source.ext)}.{name}{recipe.recipe.ext}",
        source_path=source.path,
        source_sha256=source.sha256,
        name=name,
        recipe=recipe.text,
        recipe_digest=recipe.digest,
    )


def size_of(path: Path) -> int | None:
    """Bytes of a file on this machine; None where there is none."""
    try:
        found = path.stat()
        return found.st_size if S_ISREG(found.st_mode) else None
    except (OSError, ValueError):  # a name that this system cannot hold
        return None


def unwanted(reader: Reader, batches: Sequence[Batch]) -> Iterator[RenditionRow]:
    """Renditions of the files of these batches that no recipe asks for any more."""
    if not has_renditions(reader):
        return
    jobs: dict[JobKey, list[Job]] = {}
    endings: dict[JobKey, set[str]] = {}
    for batch in batches:
        recipes = {name: f".{name}{recipe.ext}" for name, recipe in batch.renditions.items()}
        for job in batch.jobs:
            names = recipes if job.renditions is None else job.renditions
            wanted = (recipes[name] for name in names if name in recipes)
            endings.setdefault(job.key, set()).update(wanted)
            jobs.setdefault(job.key, []).append(job)
    for key, row in current_renditions(reader, jobs):
        if row.path.endswith(tuple(endings[key])):
            continue
        # The same render may have another name in another manifest, which wants it.
        source = source_of(reader, row.source_path)
        if source is not None and any(_is_of(source, job) for job in jobs[key]):
            yield row
