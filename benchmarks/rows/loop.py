"""How long the event loop is held while hundreds of transitions a second are recorded."""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.driver import NOTED
from benchmarks.programs import measure, stand_in, write_batch
from benchmarks.results import Figure
from benchmarks.rows.base import Load, Measured, Place, Row, run_words
from benchmarks.rows.files import vars_of

#: Seconds.
LIMIT = 0.020


class Driven(NamedTuple):
    """A run under instruments."""

    #: What `driver.py` saw.
    seen: dict[str, Any]
    #: Transitions, and the moments of the first and the last.
    transitions: int
    first: float
    last: float
    usage: dict[str, Any]
    books: dict[str, Any]


def drive(place: Place, load: Load, *options: str) -> Driven:
    """Run a batch under `driver.py` on a stand-in."""
    with place.fresh() as folder:
        write_batch(folder, load.jobs)
        record = folder / "seen.json"
        program = run_words(load)[3:]  # without the interpreter and the module
        words = [sys.executable, "-m", "benchmarks.driver", record, *options, "--", *program]
        with stand_in(folder, slots=load.slots, service=load.service, size=load.size) as service:
            usage = measure(words, folder=folder, env=service.env, timeout=load.timeout)
            books = service.books()
        return Driven(
            json.loads(record.read_text()),
            *transitions(folder / "outputs/ledger.db"),
            vars_of(usage),
            books,
        )


def transitions(ledger: Path) -> tuple[int, float, float]:
    """How many transitions a ledger recorded, and when the first and the last."""
    with closing(sqlite3.connect(ledger)) as database:
        count, *moments = database.execute(
            "select count(*), min(at), max(at) from events"
        ).fetchone()
    first, last = (datetime.fromisoformat(each).timestamp() for each in moments)
    return count, first, last


def held_loop(place: Place) -> Measured:
    """1,200 clips, submitted at 60 a second: four to five transitions each."""
    load = Load(
        jobs=place.pick(1200, 400, 8),
        slots=place.pick(200, 200, 8),
        service=place.pick(1.0, 1.0, 0.3),
        size=50_000,
        rate=60,
    )
    run = drive(place, load)
    # What plans before and reports after holds nobody up.
    during = [each for each in run.seen["noted"] if run.first <= each[0] <= run.last + 0.01]
    worst = sorted(during, key=lambda each: -each[1])
    long = [each for each in worst if each[1] > LIMIT]
    figures = [
        Figure(
            name="transitions a second",
            value=run.transitions / max(0.001, run.last - run.first),
            bound=200,
            at_least=True,
        ),
        Figure(
            name="longest hold of the event loop",
            value=1000 * (worst[0][1] if worst else NOTED),
            unit="ms",
            bound=1000 * LIMIT,
            note=f"{len(long)} of {run.seen['calls']:,} calls above {1000 * LIMIT:.0f} ms",
        ),
        Figure(
            name="longest time of a call on the processor",
            value=1000 * max((each[2] for each in during), default=NOTED),
            unit="ms",
        ),
        Figure(
            name="the loop is held, of the time",
            value=run.seen["held"] / max(0.001, run.last - run.first),
        ),
    ]
    details = {
        "transitions": run.transitions,
        "seconds": run.last - run.first,
        "calls": run.seen["calls"],
        "worst": worst[:10],
        "usage": run.usage,
        "books": run.books,
    }
    return Measured(figures, details)


ROWS = (Row("loop-holds", "200 transitions a second without holding the loop", held_loop),)
