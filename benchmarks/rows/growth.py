"""Time and memory against the number of jobs: a line, or something steeper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmarks.programs import kling_batch, measure, write_batch
from benchmarks.results import Figure
from benchmarks.rows.base import LEARNED, Load, Measured, Place, Row, run_on_stand_in

#: How much dearer a job may be in the largest batch than in the next smaller one. On a line it
#: costs the same.
STEEPER = 1.25
#: Seconds and MB by which two measurements of the same thing may differ: a smaller step between two
#: sizes is taken as this.
NOISE_SECONDS, NOISE_MB = 0.05, 3.0


class Point(NamedTuple):
    """One size."""

    jobs: int
    #: Processor time, in seconds.
    cpu: float
    memory_mb: float


def sizes(place: Place) -> tuple[int, ...]:
    """Sizes of the batches."""
    return place.pick((100, 1000, 10_000, 100_000), (100, 1000, 10_000), (4, 8, 16))


def growth(points: Sequence[Point], name: str) -> list[Figure]:
    """What a job costs between the largest two sizes, against the step before; and the totals."""
    *_, small, middle, large = points
    step = f"to {large.jobs:,} jobs, to {middle.jobs:,}"

    def steeper(low: float, mid: float, high: float, noise: float) -> float:
        before = max(mid - low, noise) / (middle.jobs - small.jobs)
        return (high - mid) / (large.jobs - middle.jobs) / before

    return [
        Figure(
            name=f"{name}: time a job, largest step ÷ the one before",
            note=step,
            value=steeper(small.cpu, middle.cpu, large.cpu, NOISE_SECONDS),
            bound=STEEPER,
        ),
        Figure(
            name=f"{name}: memory a job, largest step ÷ the one before",
            note=step,
            value=steeper(small.memory_mb, middle.memory_mb, large.memory_mb, NOISE_MB),
            bound=STEEPER,
        ),
        *(
            Figure(
                name=f"{name}: processor time of {each.jobs:,} jobs",
                value=each.cpu,
                unit="s",
                note=f"{each.memory_mb:.0f} MB",
            )
            for each in points
        ),
    ]


def planned(place: Place, jobs: int) -> Point:
    """A plan that asks nobody."""
    best: list[Point] = []
    for _ in range(place.pick(7, 2, 1)):
        with place.fresh() as folder:
            write_batch(folder, jobs)
            used = measure(kling_batch("plan", "m.yaml", "--offline"), folder=folder)
        best.append(Point(jobs, used.cpu, used.memory))
    return min(best, key=lambda point: point.cpu)


def plans(place: Place) -> Measured:
    """Plans of every size."""
    points = [planned(place, jobs) for jobs in sizes(place)]
    return Measured(growth(points, "plan"), {"series": [each._asdict() for each in points]})


def rendered(place: Place, jobs: int) -> Point:
    """A whole run with tiny files that are rendered at once."""
    window = min(jobs, 500)
    load = Load(jobs=jobs, slots=window, service=0.5, size=2000, timeout=7200)
    usage = run_on_stand_in(place, load, learned=LEARNED).usage
    return Point(jobs, usage.cpu, usage.memory)


def runs(place: Place) -> Measured:
    """Runs; the largest size on request only, because it takes long."""
    wanted = [each for each in sizes(place) if each <= 10_000 or place.longest]
    if place.scale == "short":
        wanted = [100, 300, 1000]
    points = [rendered(place, jobs) for jobs in wanted]
    return Measured(growth(points, "run"), {"series": [each._asdict() for each in points]})


ROWS = (
    Row("growth-plan", "time and memory of a plan against its jobs", plans),
    Row("growth-run", "time and memory of a run against its jobs", runs),
)
