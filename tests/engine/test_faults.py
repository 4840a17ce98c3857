"""Every fault at every stage, then runs without faults until nothing changes any more.

The checks go by the emulator's books. The matrix is generated from the tables below. All of it
runs on virtual time, in an order that the seed decides; the seed is part of the test's id.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import make_job
from support.faults import (
    ALWAYS,
    ANYWHERE,
    NETWORK,
    REFUSED,
    FaultRig,
    PlannedFault,
    check_invariants,
    check_settled,
)

from kling_batch.core.jobs import Job, OutputOf, parents
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.core.records import Cap
from kling_batch.emulator import Fault, Settings

#: The moments of a run at which faults can be injected, in order. Commits to the ledger are named
#: after their event; `half` is in the middle of a body.
STAGES: dict[str, tuple[str, ...]] = {
    "before connect": ("submit_intended.before", "submit_intended.after", "connect"),
    "before acceptance": ("submit.before",),
    "after acceptance": ("submit.after", "submit_accepted.before", "submit_accepted.after"),
    "while queued": ("queued.before", "queued.after", "remote_observed.before"),
    "while running": ("running.before", "running.after", "remote_observed.after"),
    "before result": (
        "done.before",
        "done.after",
        "result.before",
        "result.after",
        "remote_completed.before",
        "remote_completed.after",
    ),
    "during download": ("folder.before", "download.before", "download.half", "download.after"),
    "before rename": ("fsync.before", "fsync.after", "rename.before"),
    "after rename": (
        "rename.after",
        "sidecar.before",
        "sidecar.after",
        "artifacts_saved.before",
        "artifacts_saved.after",
    ),
}
#: Events that occur after a fault only.
RARE = ("submit_unconfirmed", "submit_refused", "run_recovered", "reconciled_found", "remote_lost")
READS = ("queued", "running", "done", "result")
WIRE = ("connect", "submit", "download", "list", *READS)
SECONDS = {"standard": 1.0}


@dataclass(frozen=True)
class Case:
    stage: str
    planned: PlannedFault
    seed: int

    def __str__(self) -> str:
        return f"{self.stage}-{self.planned}-seed{self.seed}".replace(" ", "_")


def cases() -> Iterator[Case]:
    """Stage × moment × fault, once and for a whole run, at the first or second job it meets."""
    seed = 0
    for stage, moments in STAGES.items():
        for moment in moments:
            for fault in faults_at(moment):
                for times in (1, ALWAYS) if fault not in ANYWHERE else (1,):
                    seed += 1
                    yield Case(stage, PlannedFault(moment, fault, 1 + seed % 2, times), seed)


def faults_at(moment: str) -> tuple[str, ...]:
    place = moment.partition(".")[0]
    if place not in WIRE:
        return ANYWHERE
    if place == "connect":
        return ("reset", "hang", *ANYWHERE)
    if moment == "submit.after":
        # 429 means that fal did not accept the request. Injected after acceptance it would be
        # false, which no client can detect.
        return (*(fault for fault in NETWORK if fault != "429"), *ANYWHERE)
    return (*NETWORK, *ANYWHERE, *(REFUSED if place in (*READS, "list") else ()))


@cache
def four_jobs() -> tuple[Job, ...]:
    """A job, two takes of another, and a child that needs the first one's output."""
    parent = make_job("a")
    output = OutputOf(key=parent.key, job_id="a", take=1)
    child = make_job("child", video_url=output, duration=None)
    return (parent, make_job("same"), make_job("same", take=2), child)


def renders(seconds: float = 1.0) -> Settings:
    return Settings(concurrency=2, media="template", service_times={"standard": seconds})


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder, in memory where there is such a place: thousands of commits are synced here."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    with in_memory() as path:
        yield path


@pytest.mark.parametrize(
    "case",
    [
        # Every second one that happens once in every suite, all others in the gate.
        pytest.param(
            case,
            marks=[pytest.mark.acceptance] if case.planned.times == ALWAYS or case.seed % 2 else [],
        )
        for case in cases()
    ],
    ids=str,
)
def test_whatever_breaks_wherever(folder: Path, case: Case) -> None:
    rig = FaultRig(folder, renders())
    jobs = four_jobs()

    rig.go(jobs, case.planned, seed=case.seed)
    check_invariants(rig)
    rig.until_quiet(jobs, seed=case.seed)

    assert rig.injected
    check_settled(rig, jobs)
    check_accepted_are_done(rig, jobs)


def check_accepted_are_done(rig: FaultRig, jobs: Sequence[Job], where: str = "") -> None:
    """Check that all accepted jobs are done; others are in doubt, or wait for one that is."""
    states = {job.key: state for job, state in zip(jobs, rig.states(jobs), strict=True)}
    prompts = {job.key: str(job.arguments["prompt"]) for job in jobs}
    taken = Counter(r.prompt for r in rig.world.books.accepted if r.prompt in prompts.values())
    done = Counter(prompts[key] for key, state in states.items() if state is State.SUCCEEDED)
    assert done == taken, where
    for job in jobs:
        waits = any(states[parent.key] is not State.SUCCEEDED for parent in parents(job.arguments))
        allowed = {None} if waits else {State.SUCCEEDED, State.IN_DOUBT}
        assert states[job.key] in allowed, where


# -- killed at every single moment ---------------------------------------------------------------

PARTS = 8


def fresh_ledger(folder: Path) -> tuple[FaultRig, Sequence[Job]]:
    """No earlier run."""
    return FaultRig(folder, renders(1.0)), four_jobs()


def changed_manifest(folder: Path) -> tuple[FaultRig, Sequence[Job]]:
    """An earlier run; since then a job was renamed, one edited, one duplicated; a file is gone."""
    rig = FaultRig(folder, renders(1.0))
    rig.go([make_job(name) for name in ("renamed", "changed", "original", "deleted")])
    rig.delete("test/deleted.mp4")
    return rig, (
        make_job("new-name", prompt="prompt of renamed"),
        make_job("changed", prompt="other words"),
        make_job("original"),
        make_job("duplicate", prompt="prompt of original"),
        make_job("deleted"),
    )


def after_kill(folder: Path) -> tuple[FaultRig, Sequence[Job]]:
    """The run before was killed between a POST and its answer, with another request open."""
    rig, jobs = fresh_ledger(folder)
    rig.go(jobs, PlannedFault("submit.after", "kill", 2))
    return rig, jobs


SITUATIONS = (fresh_ledger, changed_manifest, after_kill)


def tier(part: int) -> list[pytest.MarkDecorator]:
    """When a part of the moments is tried: one always, three in the gate, four in long runs."""
    if part == 0:
        return []
    return [pytest.mark.long if part % 2 else pytest.mark.acceptance]


@pytest.mark.parametrize("part", [pytest.param(n, marks=tier(n)) for n in range(PARTS)])
@pytest.mark.parametrize("prepare", SITUATIONS)
def test_killed_at_any_moment(prepare: Any, part: int) -> None:
    with in_memory() as folder:
        rig, jobs = prepare(folder)
        rig.go(jobs, seed=part)
        moments = len(rig.log)
    for moment in range(1 + part, moments + 1, PARTS):
        with in_memory() as folder:
            rig, jobs = prepare(folder)
            rig.go(jobs, seed=part, kill_at=moment)
            where = f"killed at moment {moment}, {rig.log[-1]}"
            assert rig.results[-1] is None, where
            check_invariants(rig)
            rig.until_quiet(jobs, seed=part)
            check_settled(rig, jobs)
            check_accepted_are_done(rig, jobs, where)


# -- any sequence of them ------------------------------------------------------------------------

EVERY_MOMENT = tuple(
    dict.fromkeys(
        [moment for moments in STAGES.values() for moment in moments]
        + ["list.before", "list.after", "ledger.before", "ledger.after"]
        + [f"{event}.{side}" for event in RARE for side in ("before", "after")]
    )
)


@st.composite
def planned_faults(draw: st.DrawFn) -> PlannedFault:
    moment = draw(st.sampled_from(EVERY_MOMENT))
    fault = draw(st.sampled_from(faults_at(moment)))
    nth, times = draw(st.integers(1, 6)), draw(st.sampled_from([1, 1, 3, ALWAYS]))
    return PlannedFault(moment, fault, nth, times)


#: One run: its faults, and before it the seconds that pass and the hours the clock is set by.
RUNS = st.fixed_dictionaries(
    {
        "planned_faults": st.lists(planned_faults(), max_size=3),
        "kill_at": st.none() | st.integers(1, 200),
        "later": st.sampled_from([0, 0, 60, 3600, 7200]),
        "clock": st.sampled_from([0, 0, 0, -1, -7, 5]),
    }
)
ACCOUNTS = st.fixed_dictionaries(
    {
        "concurrency": st.sampled_from([1, 2, 8]),
        "list_delay": st.sampled_from([0.0, 30.0]),
        "list_unfinished": st.booleans(),
        "list_filter": st.sampled_from(["ended_at", "sent_at"]),
        "list_allowed": st.sampled_from([True, True, True, False]),
        "declare_sizes": st.booleans(),
        "url_form": st.sampled_from(["app", "endpoint", "response"]),
        "result_ttl": st.sampled_from([3600.0, 10.0]),
    }
)
FAILURES = st.sampled_from([None, None, "internal_error", "content_policy_violation"])
CAPS = st.sampled_from([None, None, 900_000, 1_300_000, 1_700_000])


def any_runs(
    runs: list[dict[str, Any]], account: dict[str, Any], failure: str | None, limit: int | None
) -> None:
    jobs = four_jobs()
    cap = limit and Cap(limit=MicroUSD(limit), batches=("test",))
    policy = {"caps": (cap,) if cap else (), "concurrency": 3}
    with in_memory() as folder:
        rig = FaultRig(folder, Settings(media="template", service_times=SECONDS, **account))
        if failure:
            fault = Fault(stage="job", what="fail", error=failure, probability=0.3)
            rig.world.faults.add(fault)
        for n, run in enumerate(runs):
            rig.epoch += timedelta(seconds=run["later"])
            rig.turn_clock(run["clock"])
            rig.go(jobs, *run["planned_faults"], seed=n, kill_at=run["kill_at"], **policy)
            check_invariants(rig, cap or None)
        rig.until_quiet(jobs, **policy)
        check_invariants(rig, cap or None)
        check_settled(rig, jobs)


@settings(max_examples=40, deadline=None, print_blob=True, derandomize=True)
@given(st.lists(RUNS, min_size=1, max_size=4), ACCOUNTS, FAILURES, CAPS)
def test_any_runs(runs: Any, account: Any, failure: Any, limit: Any) -> None:
    any_runs(runs, account, failure, limit)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(max_examples=4000, deadline=None, print_blob=True)
@given(st.lists(RUNS, min_size=1, max_size=5), ACCOUNTS, FAILURES, CAPS)
def test_thousands_of_runs(runs: Any, account: Any, failure: Any, limit: Any) -> None:
    any_runs(runs, account, failure, limit)


@pytest.mark.parametrize("fault", ["429", "reset"])
def test_killed_while_fal_refuses_leaves_nothing_in_doubt(folder: Path, fault: str) -> None:
    """What fal did not accept is settled before the pause, so the next run looks nothing up."""
    refusing = PlannedFault("submit.before" if fault == "429" else "connect", fault, times=ALWAYS)
    rig = FaultRig(folder, renders())
    jobs = [make_job(name) for name in "abc"]
    rig.go(jobs, refusing, PlannedFault("submit_refused.after", "kill", 4))
    assert rig.results == [None]
    check_invariants(rig)
    assert set(rig.states(jobs)) <= {State.FAILED, None}

    rig.go(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED] * 3
    assert rig.reached["list.before"] == 0
    check_settled(rig, jobs)


# -- found by the matrix ------------------------------------------------------------------------


def test_a_clock_that_is_less_wrong_than_it_was_hides_no_request() -> None:
    """The intent is neither in the future nor as old as it looks."""
    full = PlannedFault("submit.before", "full")
    ahead = {"planned_faults": [full], "kill_at": None, "later": 0, "clock": 5}
    less = {"planned_faults": [], "kill_at": None, "later": 3600, "clock": -1}

    any_runs([ahead, less], {"concurrency": 1, "list_filter": "ended_at"}, None, None)


@pytest.mark.parametrize("declared", [True, False])
def test_a_file_that_was_whole_when_the_run_died_is_named_by_the_next(
    folder: Path, declared: bool
) -> None:
    settings = renders()
    settings.declare_sizes = declared
    rig = FaultRig(folder, settings)
    jobs = [make_job("clip")]
    rig.go(jobs, PlannedFault("rename.before", "kill"))
    (whole,) = folder.rglob("*.part")
    before = whole.stat()

    rig.go(jobs)

    after = (folder / "test/clip.mp4").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    check_settled(rig, jobs)


def test_a_request_that_fal_denies_for_a_while_is_asked_for_until_it_knows_it(folder: Path) -> None:
    rig = FaultRig(folder, renders(200.0))
    jobs = [make_job("clip")]

    rig.go(jobs, PlannedFault("running.before", "404", times=30))

    assert rig.states(jobs) == [State.SUCCEEDED]
    check_settled(rig, jobs)


@pytest.mark.parametrize("listed", [True, False])
def test_a_request_that_fal_denied_in_one_run_is_collected_by_the_next(
    folder: Path, listed: bool
) -> None:
    settings = renders(1000.0)
    settings.list_allowed = listed
    rig = FaultRig(folder, settings)
    jobs = [make_job("clip")]
    rig.go(jobs, PlannedFault("running.before", "404", times=ALWAYS))
    assert rig.states(jobs) == [State.IN_DOUBT]

    rig.until_quiet(jobs)

    assert rig.states(jobs) == [State.SUCCEEDED]
    check_settled(rig, jobs)


@pytest.mark.parametrize("lag", [0.0, 120.0])
def test_a_result_that_is_denied_is_found_when_the_list_has_it(folder: Path, lag: float) -> None:
    settings = renders()
    settings.list_delay = lag
    rig = FaultRig(folder, settings)
    jobs = [make_job("clip")]

    rig.go(jobs, PlannedFault("result.before", "404", times=ALWAYS))

    assert rig.states(jobs) == [State.SUCCEEDED]
    check_settled(rig, jobs)


def test_a_request_that_nobody_knows_is_held_in_the_end(folder: Path) -> None:
    rig = FaultRig(folder, renders(ALWAYS))
    jobs = [make_job("clip")]
    denials = [
        PlannedFault(f"{state}.before", "404", times=ALWAYS) for state in ("queued", "running")
    ]

    for _ in range(2):
        run_result = rig.go(jobs, *denials)

        assert run_result is not None
        assert run_result.stops == []
        assert "no longer shows" in run_result.reasons["test", "clip", 1]
        assert rig.states(jobs) == [State.IN_DOUBT]
