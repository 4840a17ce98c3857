"""Names of the files that jobs will have: no two jobs share one, and no rendition takes one.

Pure: names are compared as a disk that ignores case would. Must not look at a disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

from kling_batch.core.jobs import Batch, Job, output_suffix
from kling_batch.errors import Place, Problem
from kling_batch.manifest.paths import folded
from kling_batch.manifest.tables import is_table

#: Files of one request whose names are reckoned with at most.
_MOST = 100


def outputs_of(job: Job) -> int:
    """How many files a job makes at most; 1 where nothing says more."""
    arguments = job.arguments
    if "num_images" not in arguments:
        return 1
    if job.mode and arguments.get("result_type") == "series":
        return int(arguments.get("series_amount", 9))
    number = arguments["num_images"]  # of an unknown endpoint it may be anything
    whole = isinstance(number, int) and not isinstance(number, bool)
    return max(1, number) if whole else 1


class FileNames:
    """The names of files, each with the job that has claimed it; without what follows them."""

    def __init__(self) -> None:
        """No name is claimed yet."""
        self._owners: dict[str, Job] = {}

    def claim(self, job: Job) -> str:
        """Claim the names of a job's files; what is wrong, as a sentence, or nothing."""
        for name in _names(job):
            first = self._owners.setdefault(name, job)
            if first is not job:
                where = f" of {first.place}" if first.batch != job.batch else ""
                both = f"`{job.label}` would land in the same file as `{first.label}`{where}"
                return f"{both}: {name}"
        return ""

    def taken_by_renditions(
        self, jobs: Iterable[Job], recipes: Iterable[str]
    ) -> Iterator[tuple[Job, str]]:
        """Jobs whose file would have the name of a rendition of these, each with a sentence."""
        endings = {recipe: f".{folded(recipe)}" for recipe in recipes}
        marks = tuple(endings.values())
        if not any(name.endswith(marks) for name in self._owners):
            return  # as in nearly every batch, of which some are long
        for job in jobs:
            wanted = endings if job.renditions is None else endings.keys() & job.renditions
            for name, recipe in product(_names(job), wanted):
                other = self._owners.get(name + endings[recipe])
                if other is not None:
                    of = f"the rendition `{recipe}` of `{job.label}`"
                    yield other, f"{of} would have the name of the file of `{other.label}`"


def clashes(batches: Sequence[Batch]) -> Iterator[Problem]:
    """Names that several batches would share: their own, those of files, those of renditions."""
    names: dict[str, Batch] = {}
    files = FileNames()
    for batch in batches:
        first = names.setdefault(batch.name, batch)
        if first is not batch:
            message = f"the name `{batch.name}` is taken by {first.source}"
            yield Problem(Place(batch.source), message, "duplicate-name", _hint_of(first, batch))
            continue
        for job in batch.jobs:
            if message := files.claim(job):
                yield Problem(job.place, message, "path-collision")
    for batch in names.values():
        for other, message in files.taken_by_renditions(batch.jobs, batch.renditions):
            if other.batch != batch.name:
                yield Problem(other.place, message, "path-collision", RENAME)


def _hint_of(*batches: Batch) -> str:
    """How one of these batches gets another name: a table has that of its file."""
    named = [batch.source for batch in batches if not is_table(Path(batch.source))]
    if not named:
        return "rename one of these tables"
    return f"give {named[0] if len(named) == 1 else 'one of them'} another `name:`"


#: What helps where a rendition and a job have the same name.
RENAME = "give the rendition or the job another name"


def _names(job: Job) -> Sequence[str]:
    """The names of a job's files as a disk compares them, without their endings."""
    path = folded(job.path)
    stem = path.removesuffix("{output}{ext}")
    if "num_images" not in job.arguments and "{" not in stem:
        return (stem,)  # of nearly every job, of which there may be many
    number = min(outputs_of(job), _MOST)
    if "{" not in stem:
        return [f"{stem}{output_suffix(n)}" for n in range(number)]
    return [path.format(output=output_suffix(n), ext="") for n in range(number)]
