"""Time of a batch against the ideal schedule, and cost of a job, beside the usual script."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.results import Figure
from benchmarks.rows.base import (
    Load,
    Measured,
    Place,
    Row,
    RunResult,
    explained,
    run_on_stand_in,
    times_ideal,
)
from benchmarks.schedule import ideal

#: fal-client's own pause between two looks, and a slower one.
INTERVALS = (0.1, 0.5)


def script(load: Load, interval: float, folder: Path) -> list[str | Path]:
    """The command line of the usual script."""
    (folder / "clips").mkdir()
    numbers = (str(load.jobs), str(load.slots), str(interval))
    return [sys.executable, "-m", "benchmarks.script", *numbers, folder / "clips"]


def milliseconds(run: RunResult, load: Load) -> float:
    """Processor time a job."""
    return 1000 * run.usage.cpu / load.jobs


def beside_the_script(place: Place) -> Measured:
    """400 clips of 2 s in 40 slots."""
    load = Load(
        jobs=place.pick(400, 160, 6),
        slots=place.pick(40, 40, 3),
        service=place.pick(2.0, 2.0, 0.2),
        size=500_000,
    )
    best = ideal(load.jobs, load.slots, load.service)
    ours = run_on_stand_in(place, load)
    scripts = {
        each: run_on_stand_in(place, load, partial(script, load, each)) for each in INTERVALS
    }
    ratio, note = times_ideal(ours, best, load.jobs)
    cost = milliseconds(ours, load)
    figures = [
        Figure(name="first submission to last file ÷ ideal", value=ratio, bound=1.05, note=note),
        *(_makespan_of(scripts[each], each, best, load) for each in INTERVALS),
        Figure(name="processor time a job", value=cost, unit="ms"),
        *(_cost_of(scripts[each], each, load) for each in INTERVALS),
        Figure(
            name=f"processor time ÷ the script's ({INTERVALS[0]} s)",
            value=cost / milliseconds(scripts[INTERVALS[0]], load),
            bound=0.25,
        ),
        Figure(name="requests a job", value=ours.requests / load.jobs, bound=6),
        *(_requests_of(scripts[each], each, load) for each in INTERVALS),
        Figure(
            name="an end is noticed late by, of its service time", value=_late(ours), bound=0.02
        ),
        Figure(
            name="processor time of the stand-in a request", value=1000 * ours.answering, unit="ms"
        ),
    ]
    details = {f"script {each} s": explained(run) for each, run in scripts.items()}
    return Measured(figures, {"load": load_of(load), "ours": explained(ours), **details})


def _makespan_of(run: RunResult, interval: float, best: float, load: Load) -> Figure:
    ratio, note = times_ideal(run, best, load.jobs)
    return Figure(name=f"the same, script ({interval} s)", value=ratio, note=note)


def _cost_of(run: RunResult, interval: float, load: Load) -> Figure:
    name = f"processor time a job, script ({interval} s)"
    return Figure(name=name, value=milliseconds(run, load), unit="ms")


def _requests_of(run: RunResult, interval: float, load: Load) -> Figure:
    return Figure(name=f"requests a job, script ({interval} s)", value=run.requests / load.jobs)


def _late(run: RunResult) -> float:
    return float(run.books["late_fraction"])


def load_of(load: Load) -> dict[str, float]:
    """A load for the details."""
    return {name: getattr(load, name) for name in ("jobs", "slots", "service", "size", "spread")}


def longer_renders(place: Place) -> Measured:
    """120 clips of 10 s, give or take 30 %, in 40 slots."""
    load = Load(
        jobs=place.pick(120, 80, 6),
        slots=place.pick(40, 40, 3),
        service=place.pick(10.0, 10.0, 0.3),
        size=500_000,
        spread=0.3,
    )
    best = ideal(load.jobs, load.slots, load.service, load.spread)
    ours = run_on_stand_in(place, load)
    ratio, note = times_ideal(ours, best, load.jobs)
    by_default = run_on_stand_in(place, replace(load, rate=None))
    default_ratio, default_note = times_ideal(by_default, best, load.jobs)
    figures = [
        Figure(name="first submission to last file ÷ ideal", value=ratio, bound=1.03, note=note),
        Figure(name="the same without `--rate`", value=default_ratio, note=default_note),
        Figure(name="requests a job, nothing known before", value=ours.requests / load.jobs),
        Figure(name="an end is noticed late by, of its service time", value=_late(ours)),
    ]
    details = {"ours": explained(ours), "by_default": explained(by_default)}
    return Measured(figures, {"load": load_of(load), **details})


def long_renders(place: Place) -> Measured:
    """40 clips of 94 s, give or take 10 %, at once, after 40 others: few jobs, but in real time."""
    load = Load(
        jobs=place.pick(40, 40, 3),
        slots=place.pick(40, 40, 3),
        service=place.pick(94.0, 30.0, 0.4),
        size=500_000,
        spread=0.1,
    )
    ours = run_on_stand_in(place, load, learned=load.jobs)
    figures = [
        Figure(name="requests a job", value=ours.requests / load.jobs, bound=12),
        Figure(
            name="an end is noticed late by, of its service time", value=_late(ours), bound=0.02
        ),
    ]
    return Measured(figures, {"load": load_of(load), "ours": explained(ours)})


ROWS = (
    Row("makespan-2s", "400 clips of 2 s, 0.5 MB each, 40 slots", beside_the_script),
    Row("makespan-10s", "120 clips of 10 s (± 30 %), 40 slots", longer_renders),
    Row("requests-94s", "40 clips of 94 s (± 10 %) after 40 others, 40 slots", long_renders),
)
