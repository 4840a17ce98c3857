"""Loading and planning 100,000 rows against a loop that no program can avoid."""

from __future__ import annotations

import json
import sys

from benchmarks.programs import measure
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row


def plan_of_rows(place: Place) -> Measured:
    """`scale.py` in a process of its own."""
    rows, rounds = place.pick("100000", "20000", "500"), place.pick("5", "3", "1")
    words = ["-m", "benchmarks.scale", "--rows", rows, "--rounds", rounds, "--json"]
    with place.fresh() as folder:
        # It ends with 1 where a bound is passed.
        done = measure([sys.executable, *words], folder=folder, codes=(0, 1))
    results = json.loads(done.output)
    figures = [
        Figure(
            name=f"{each['name']}, {each['rows']:,} rows ÷ bare loop",
            value=each["ratio"],
            bound=each["bound"],
            note=f"{each['ours']:.2f} s, bare {each['bare']:.2f} s",
        )
        for each in results
    ]
    return Measured(figures, {"results": results})


ROWS = (Row("plan-rows", "a plan of 100,000 rows against the bare loop", plan_of_rows),)
