"""What the promises cost: syncing, looking, hashing, each measured by itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

from benchmarks.programs import measure, stand_in, write_batch
from benchmarks.results import Figure
from benchmarks.rows.base import Load, Measured, Place, Row, run_words
from benchmarks.rows.loop import drive


def costs(place: Place) -> Measured:
    """A batch as it is, without syncs, and under strace, which counts them."""
    load = Load(
        jobs=place.pick(400, 100, 4),
        slots=place.pick(100, 100, 4),
        service=place.pick(1.0, 1.0, 0.2),
        size=500_000,
    )
    as_is, without = drive(place, load), drive(place, load, "--no-sync")
    with place.fresh() as folder:
        one = seconds_of_a_sync(folder, place.pick(200, 100, 5))
    digest = seconds_of_a_digest(load.size)
    held = 1000 * (as_is.seen["held"] - without.seen["held"]) / load.jobs
    figures = [
        Figure(name="an fsync of 4 KB on this disk", value=1000 * one, unit="ms"),
        Figure(name="commits a job", value=as_is.seen["commits"] / load.jobs),
        Figure(name="syncs of files and folders a job", value=as_is.seen["file_syncs"] / load.jobs),
        Figure(name="syncs a job as the system sees them", value=synced(place, load)),
        Figure(name="the loop is held for syncing, a job", value=held, unit="ms"),
        Figure(
            name="processor time a job, without syncs",
            value=1000 * without.usage["cpu"] / load.jobs,
            unit="ms",
        ),
        Figure(
            name="processor time a job, as it is",
            value=1000 * as_is.usage["cpu"] / load.jobs,
            unit="ms",
        ),
        Figure(
            name="looks at a status a job", value=as_is.books["asked"].get("status", 0) / load.jobs
        ),
        Figure(name="hashing 0.5 MB", value=1000 * digest, unit="ms"),
    ]
    details = {
        "as_is": {"usage": as_is.usage, "books": as_is.books, "held": as_is.seen["held"]},
        "without_syncs": {"usage": without.usage, "held": without.seen["held"]},
    }
    return Measured(figures, details)


def seconds_of_a_sync(folder: Path, rounds: int) -> float:
    """The median of appending a page and syncing it."""
    times = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(rounds):
            start = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def seconds_of_a_digest(size: int) -> float:
    """The best of ten digests."""
    data, best = os.urandom(size), float("inf")
    for _ in range(10):
        start = time.perf_counter()
        hashlib.sha256(data).hexdigest()
        best = min(best, time.perf_counter() - start)
    return best


def synced(place: Place, load: Load) -> float | None:
    """Calls of fsync and fdatasync a job, the database's among them; None without strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    with place.fresh() as folder:
        write_batch(folder, load.jobs)
        counts = folder / "counts.txt"
        tracing: list[str | Path] = [
            strace,
            "-f",
            "-c",
            "--seccomp-bpf",
            "-e",
            "trace=fsync,fdatasync",
            "-o",
            counts,
        ]
        with stand_in(folder, slots=load.slots, service=load.service, size=load.size) as service:
            measure([*tracing, *run_words(load)], folder=folder, env=service.env, timeout=300)
        rows = [line.split() for line in counts.read_text().splitlines()]
    calls = [int(row[3]) for row in rows if row and row[-1] in ("fsync", "fdatasync")]
    return sum(calls) / load.jobs


ROWS = (Row("promises", "what syncing, looking and hashing cost", costs),)
