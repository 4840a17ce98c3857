"""What rows have in common: their scale, a folder of their own, a run of the program."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from benchmarks.programs import StandIn, Usage, kling_batch, measure, stand_in, write_batch
from benchmarks.results import Figure, RowResult, now

#: `full`: as the bounds are meant. `short`: the same shapes, smaller. `tiny`: whether it
#: runs at all.
Scale = Literal["full", "short", "tiny"]
T = TypeVar("T")

#: Jobs rendered before a run of ten thousand, which looks first whether the disk can take them, by
#: the size of those that are there.
LEARNED = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row runs, and how large."""

    folder: Path
    scale: Scale
    #: Also the sizes that take very long.
    longest: bool = False

    def pick(self, full: T, short: T, tiny: T) -> T:
        """A parameter by scale."""
        return {"full": full, "short": short, "tiny": tiny}[self.scale]

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """An empty folder; its files are emptied afterwards, since they may be gigabytes.

        They are deleted when all is measured: where many files were deleted within minutes, some
        file systems take twenty times as long for a new one (`cost_of_new_file`).
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            yield folder
        finally:
            empty(folder)


def empty(folder: Path) -> None:
    """Take the content of all files in a folder, and leave their inodes."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.truncate(path, 0)


def cost_of_new_file(folder: Path) -> float:
    """Seconds for a new file in a folder like those of a run.

    ext4 without a journal looks long for an inode that was not deleted within five minutes.
    """
    place = Path(tempfile.mkdtemp(dir=folder))
    begun = time.perf_counter()
    for number in range(200):
        (place / str(number)).touch()
    return (time.perf_counter() - begun) / 200


class Measured(NamedTuple):
    """Figures and what explains them."""

    figures: Sequence[Figure]
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row: its name on the command line, what it measures, and how."""

    name: str
    title: str
    measure: Callable[[Place], Measured]

    def run(self, place: Place) -> RowResult:
        """Measure; a program that fails is a result, too."""
        start = time.perf_counter()
        figures: Sequence[Figure] = ()
        details: dict[str, Any] = {}
        error = ""
        try:
            figures, details = self.measure(place)
        except Exception as caught:  # noqa: BLE001 - the other rows are measured all the same
            error = f"{type(caught).__name__}: {caught}"[:500]
            print(traceback.format_exc(), file=sys.stderr)
        seconds = time.perf_counter() - start
        return RowResult(
            name=self.name,
            title=self.title,
            figures=figures,
            details=details,
            seconds=seconds,
            error=error,
            scale=place.scale,
            date=now(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A batch and the service that renders it."""

    jobs: int
    slots: int
    service: float
    size: int
    spread: float = 0.0
    #: Fraction of the answers that fail.
    trouble: float = 0.0
    #: Open requests at most; None: as many as there are slots.
    window: int | None = None
    #: Submissions a second, high enough not to be what is measured; None: the program's default.
    rate: float | None = 2000.0
    timeout: float = 600.0


class RunResult(NamedTuple):
    """A program's run on a stand-in of its own."""

    usage: Usage
    books: dict[str, Any]
    #: Processor time of the stand-in for each request, in seconds.
    answering: float
    #: Files in the folder at the end.
    delivered: int

    @property
    def requests(self) -> int:
        """Of every kind."""
        return sum(self.books["asked"].values())

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return self.usage.code is not None


def run_words(load: Load) -> list[str | Path]:
    """The command line of a run of the program."""
    window = str(load.window or load.slots)
    rate = () if load.rate is None else ("--rate", f"{load.rate:g}/s")
    return kling_batch("run", "m.yaml", "--yes", "--quiet", "-j", window, *rate)


def run_on_stand_in(
    place: Place,
    load: Load,
    words: Callable[[Path], list[str | Path]] | None = None,
    *,
    learned: int = 0,
) -> RunResult:
    """A program, without `words` kling-batch, on a fresh stand-in in a fresh folder.

    Args:
        place: the scale and the folder.
        load: the batch and the service.
        words: the command line, from the folder.
        learned: jobs of the same kind that another run in this folder has rendered before.
    """
    command = words or (lambda _folder: run_words(load))
    with place.fresh() as folder:
        if learned:
            write_batch(folder, learned)
            with _service(folder, load) as service:
                measure(command(folder), folder=folder, env=service.env, timeout=load.timeout)
        write_batch(folder, learned + load.jobs)
        with _service(folder, load) as service:
            idle = service.books()["cpu"]
            usage = measure(command(folder), folder=folder, env=service.env, timeout=load.timeout)
            books = service.books()
        delivered = sum(not file.name.startswith(".") for file in folder.rglob("*.mp4"))
    asked = max(1, sum(books["asked"].values()))
    return RunResult(usage, books, (books["cpu"] - idle) / asked, delivered - learned)


def _service(folder: Path, load: Load) -> AbstractContextManager[StandIn]:
    return stand_in(
        folder,
        slots=load.slots,
        service=load.service,
        size=load.size,
        spread=load.spread,
        trouble=load.trouble,
    )


def explained(run: RunResult) -> dict[str, Any]:
    """A run for the details."""
    usage = run.usage
    return {
        "code": usage.code,
        "wall": usage.wall,
        "cpu": usage.cpu,
        "memory_mb": usage.memory,
        "delivered": run.delivered,
        "stand_in_ms_a_request": 1000 * run.answering,
        "books": run.books,
    }


def times_ideal(run: RunResult, seconds: float, jobs: int) -> tuple[float, str]:
    """First submission to last file as a multiple of the ideal; a note where files are missing."""
    got = run.delivered
    if got >= jobs and run.complete:
        return run.books["seconds"] / seconds, f"{run.books['seconds']:.1f} s"
    return max(run.usage.wall, run.books["seconds"]) / seconds, f"{got:,} of {jobs:,} files, ended"
