"""HTTP clients side by side: what one look at a request costs."""

from __future__ import annotations

import sys

from benchmarks.programs import measure, stand_in
from benchmarks.results import Figure
from benchmarks.rows.base import Measured, Place, Row

#: Asked in a process of its own, because importing the clients takes memory.
_INSTALLED = "from benchmarks.clients import installed; print(*installed())"


def side_by_side(place: Place) -> Measured:
    """The same look at few and at many connections; the best of alternating rounds."""
    rounds, requests = place.pick(2, 2, 1), place.pick(2000, 1000, 20)
    best: dict[tuple[str, int], float] = {}
    with place.fresh() as folder, stand_in(folder, slots=1, service=3600, size=2000) as service:
        names = measure([sys.executable, "-c", _INSTALLED], folder=folder).output.split()
        for connections in place.pick((20, 500), (20, 500), (2, 4)):
            for name in names * rounds:
                numbers = (str(connections), str(requests))
                words = [sys.executable, "-m", "benchmarks.clients", name, *numbers]
                output = measure(words, folder=folder, env=service.env).output
                cost = float(output.split()[-1])  # after what a client says about slow connections
                key = name, connections
                best[key] = min(cost, best.get(key, cost))
    figures = [
        Figure(name=f"a look by {name}, {connections} connections", value=cost, unit="ms")
        for (name, connections), cost in best.items()
    ]
    return Measured(figures, {"rounds": rounds, "requests": requests})


ROWS = (Row("clients", "processor time of a look, by HTTP client", side_by_side),)
