"""Thousands of requests open at once: time, processor time and memory."""

from __future__ import annotations

from benchmarks.results import Figure
from benchmarks.rows.base import (
    LEARNED,
    Load,
    Measured,
    Place,
    Row,
    explained,
    run_on_stand_in,
    times_ideal,
)
from benchmarks.rows.makespan import load_of


def two_thousand(place: Place) -> Measured:
    """2,000 requests of 20 s, all rendered at once."""
    jobs = place.pick(2000, 500, 8)
    service = place.pick(20.0, 20.0, 0.5)
    # A second to submit them all is part of the ideal.
    best = service + jobs / 2000
    load = Load(jobs=jobs, slots=jobs, service=service, size=100_000, timeout=10 * best)
    ours = run_on_stand_in(place, load)
    ratio, note = times_ideal(ours, best, jobs)
    figures = [
        Figure(name="first submission to last file ÷ ideal", value=ratio, bound=1.25, note=note),
        Figure(name="most memory", value=ours.usage.memory, unit="MB", bound=300),
        Figure(name="files", value=ours.delivered, bound=jobs, at_least=True),
        Figure(name="open at once", value=ours.books["open"]),
        Figure(name="requests a job", value=ours.requests / jobs),
        Figure(name="connections at once", value=ours.books["peaks"].get("connections", 0)),
    ]
    return Measured(figures, {"load": load_of(load), "ours": explained(ours)})


def ten_thousand(place: Place) -> Measured:
    """10,000 requests of 120 s, all rendered at once; files of 2 KB."""
    jobs = place.pick(10_000, 1000, 8)
    service = place.pick(120.0, 30.0, 0.5)
    limit = place.pick(900.0, 200.0, 60.0)
    load = Load(jobs=jobs, slots=jobs, service=service, size=2000, timeout=limit)
    ours = run_on_stand_in(place, load, learned=LEARNED)
    ratio, note = times_ideal(ours, service, jobs)
    figures = [
        Figure(name="files", value=ours.delivered, bound=jobs, at_least=True),
        Figure(name="open at once", value=ours.books["open"], bound=jobs, at_least=True),
        Figure(name="cores in use", value=ours.usage.cpu / ours.usage.wall, bound=1),
        Figure(name="most memory", value=ours.usage.memory, unit="MB", bound=1024),
        Figure(name="first submission to last file ÷ service time", value=ratio, note=note),
        Figure(name="processor time a job", value=1000 * ours.usage.cpu / jobs, unit="ms"),
        Figure(name="requests a job", value=ours.requests / jobs),
    ]
    return Measured(figures, {"load": load_of(load), "ours": explained(ours)})


def trouble(place: Place) -> Measured:
    """10,000 requests of 120 s while one answer in twenty is slow, broken, refused or cut."""
    jobs = place.pick(10_000, 1000, 8)
    service = place.pick(120.0, 30.0, 0.5)
    limit = place.pick(900.0, 300.0, 100.0)
    load = Load(jobs=jobs, slots=jobs, service=service, size=20_000, timeout=limit, trouble=0.05)
    ours = run_on_stand_in(place, load, learned=LEARNED)
    ratio, note = times_ideal(ours, service, jobs)
    figures = [
        Figure(name="files", value=ours.delivered, bound=jobs, at_least=True),
        Figure(name="submitted again", value=ours.books["submitted_again"], bound=0),
        Figure(name="most memory", value=ours.usage.memory, unit="MB", bound=1024),
        Figure(name="first submission to last file ÷ service time", value=ratio, note=note),
        Figure(name="troubled answers", value=sum(ours.books["trouble"].values())),
    ]
    return Measured(figures, {"load": load_of(load), "ours": explained(ours)})


ROWS = (
    Row("open-2000", "2,000 requests of 20 s open at once", two_thousand),
    Row("open-10000", "10,000 requests of 120 s open at once", ten_thousand),
    Row("open-trouble", "10,000 open requests at a service in trouble", trouble),
)
