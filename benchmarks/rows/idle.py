"""A run with nothing to do, in a ledger of its own jobs and in one with a million others."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.programs import FailedError, kling_batch, measure, stand_in, write_batch
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row

#: Seconds.
LIMIT = 0.5
#: After so many in all, a slow program is not measured again.
PATIENCE = 30.0


def nothing_to_do(place: Place) -> Measured:
    """1,000 finished jobs; alone, then among the others."""
    jobs = place.pick(1000, 1000, 20)
    times = {
        others: idle(place, jobs, others) for others in (0, place.pick(1_000_000, 100_000, 100))
    }
    figures = [
        Figure(
            name=f"{jobs:,} jobs, {others:,} others in the ledger",
            value=min(found["walls"]),
            unit="s",
            bound=LIMIT,
            note=f"processor {min(found['cpus']):.2f} s",
        )
        for others, found in times.items()
    ]
    alone, among = (min(found["cpus"]) for found in times.values())
    figures.append(
        Figure(name="processor time, among others ÷ alone", value=among / alone, bound=1.2)
    )
    return Measured(figures, {str(others): found for others, found in times.items()})


def idle(place: Place, jobs: int, others: int) -> dict[str, Any]:
    """Several runs; the stand-in must not be asked anything."""
    with place.fresh() as folder:
        write_batch(folder, 1)
        with stand_in(folder, slots=1, service=0.01, size=2000) as service:
            run = kling_batch("run", "m.yaml", "--yes", "--quiet")
            measure(run, folder=folder, env=service.env)
            asked = service.books()["asked"]
            write_batch(folder, jobs)
            words = ["-m", "benchmarks.ledgers", "m.yaml", "outputs", "--others", str(others)]
            made = measure([sys.executable, *words], folder=folder)
            runs = [measure(run, folder=folder, env=service.env)]
            while len(runs) < place.pick(7, 5, 1) and sum(each.wall for each in runs) < PATIENCE:
                runs.append(measure(run, folder=folder, env=service.env))
            if service.books()["asked"] != asked or "nothing to do" not in runs[0].output:
                raise FailedError(f"there was something to do: {runs[0].output[-500:]}")
        size = (folder / "outputs/ledger.db").stat().st_size
    return {
        "walls": [each.wall for each in runs],
        "cpus": [each.cpu for each in runs],
        "memory_mb": max(each.memory for each in runs),
        "ledger_mb": size / 1e6,
        "made_in": made.wall,
    }


ROWS = (Row("nothing-to-do", "a run with nothing to do", nothing_to_do),)
