"""Progress, the model of every display: phases, counts, money and duplicates, without a clock."""

from __future__ import annotations

from typing import Any

import pytest
from support.reports import job

from kling_batch.core.events import EventKind, RunEvent
from kling_batch.core.jobs import Job
from kling_batch.core.outcomes import Charged
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.display.phases import EVENT_STYLES, MOVING, OF_ACTION, Phase
from kling_batch.report.display.progress import Progress

PRICE = MicroUSD(700_000)


def planned(*items: tuple[Job, Action], duplicates: tuple[str, ...] = ()) -> Plan:
    return Plan(tuple(PlannedJob(j, a, "", duplicate=j.id in duplicates) for j, a in items))


def run_event(
    kind: str, name: str, message: str = "", batch: str = "spring", **data: Any
) -> RunEvent:
    return RunEvent(kind=EventKind(kind), job=name, batch=batch, message=message, data=data)


def begun(*items: tuple[Job, Action], duplicates: tuple[str, ...] = ()) -> Progress:
    progress = Progress()
    progress.begin(planned(*items, duplicates=duplicates), 0.0)
    return progress


@pytest.mark.parametrize(
    ("action", "phase"),
    [
        (Action.SUBMIT, Phase.WAITING),
        (Action.COLLECT, Phase.SUBMITTED),
        (Action.RECONCILE, Phase.LOOKING),
        (Action.DOWNLOAD, Phase.DOWNLOADING),
        (Action.PLACE, Phase.DOWNLOADING),
        (Action.KEEP, Phase.UNCHANGED),
        (Action.SETTLED, Phase.FAILED),
        (Action.BLOCKED, Phase.BLOCKED),
        (Action.HOLD, Phase.UNJUDGED),
        (Action.DECLINED, Phase.DECLINED),
    ],
)
def test_every_action_begins_in_a_phase(action: Action, phase: Phase) -> None:
    progress = begun((job("a"), action))

    assert progress.count(phase) == progress.total == 1


def test_what_nobody_has_approved_is_no_part_of_what_is_left() -> None:
    """Two drafts are done: the run is, though one final is not judged and one not wanted."""
    progress = begun(
        (job("a-draft"), Action.SUBMIT),
        (job("b-draft"), Action.KEEP),
        (job("a"), Action.HOLD),
        (job("b"), Action.DECLINED),
    )
    assert (progress.wanted, progress.total) == (2, 4)
    assert progress.ended == 1
    assert progress.totals() == (
        (1, "of 2 done"),
        (1, "waiting"),
        (1, "waiting for a verdict"),
        (1, "declined"),
    )

    progress.fold(run_event("submitted", "a-draft"), 1.0)
    progress.fold(run_event("saved", "a-draft"), 2.0)

    assert (progress.done, progress.ended, progress.waiting) == (2, 2, 0)
    assert progress.seconds_left(3.0, None) is None


def test_a_job_goes_all_the_way() -> None:
    progress = begun((job("a"), Action.SUBMIT), (job("b"), Action.KEEP))

    seen = [
        progress.fold(run_event("submitted", "a", "accepted, $0.70"), 1.0),
        progress.fold(run_event("progress", "a", "IN_QUEUE", position=3), 2.0),
        progress.fold(run_event("progress", "a", "IN_PROGRESS"), 5.0),
        progress.fold(run_event("rendered", "a", "rendered, downloading"), 9.0),
        progress.fold(run_event("saved", "a", "a.mp4"), 10.0),
    ]

    assert [(line.phase, line.since, line.note) for line in seen if line] == [
        (Phase.SUBMITTED, 1.0, ""),
        (Phase.QUEUED, 2.0, "position 3"),
        (Phase.RENDERING, 5.0, ""),
        (Phase.DOWNLOADING, 9.0, ""),
        (Phase.DONE, 10.0, "a.mp4"),
    ]
    assert progress.totals() == ((2, "of 2 done"),)
    assert progress.moving == {}


def test_a_phase_keeps_its_moment_while_its_note_changes() -> None:
    progress = begun((job("a"), Action.SUBMIT))
    progress.fold(run_event("throttled", "a", "429; again in 2 s", seconds=2.0), 1.0)

    line = progress.fold(run_event("throttled", "a", "429; again in 4 s", seconds=4.0), 3.0)

    assert line is not None
    assert (line.phase, line.since, line.again) == (Phase.SENDING, 1.0, 7.0)
    assert line.note == "fal asks to wait"


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        ("in_doubt", Phase.LOOKING),
        ("held", Phase.IN_DOUBT),
        ("adopted", Phase.SUBMITTED),
        ("retrying", Phase.RETRYING),
        ("unreachable", Phase.SENDING),
        ("locked", Phase.SENDING),
        ("blocked", Phase.BLOCKED),
        ("undelivered", Phase.UNDELIVERED),
        ("download_again", Phase.DOWNLOADING),
        ("put_again", Phase.DOWNLOADING),
        ("failed", Phase.FAILED),
    ],
)
def test_every_kind_of_the_engine_has_a_phase(kind: str, phase: Phase) -> None:
    progress = begun((job("a"), Action.SUBMIT))

    progress.fold(run_event(kind, "a", "why"), 1.0)

    assert progress.count(phase) == 1
    assert ("spring", "a") in progress.moving or phase not in MOVING


def test_every_kind_and_action_has_a_row_in_its_table() -> None:
    assert set(EVENT_STYLES) == set(EventKind)
    assert set(OF_ACTION) == set(Action)


def test_the_names_of_the_kinds_are_those_of_the_contract() -> None:
    """Other people's programs read them as NDJSON: a name may come, none may change."""
    assert {kind.value for kind in EventKind} == {
        *("unreachable", "throttled", "locked", "braking", "submitted", "in_doubt", "adopted"),
        *("held", "progress", "unreadable", "unheard", "rendered", "download_again"),
        *("undelivered", "saved", "retrying", "failed", "blocked", "warning", "stopping"),
        *("recovered", "put_again", "rendition", "rendition_failed"),
    }


def test_what_it_does_not_know_changes_nothing() -> None:
    progress = begun((job("a"), Action.SUBMIT))

    assert progress.fold(run_event("warning", "", batch=""), 1.0) is None
    assert progress.fold(run_event("submitted", "stranger"), 1.0) is None
    line = progress.fold(run_event("progress", "a", "SOME_FUTURE_STATUS"), 1.0)

    assert line is not None
    assert line.phase is Phase.WAITING
    assert progress.totals() == ((0, "of 1 done"), (1, "waiting"))


def test_money_is_committed_released_and_kept() -> None:
    progress = begun((job("a"), Action.SUBMIT), (job("b"), Action.SUBMIT), (job("c"), Action.KEEP))
    owed = [progress.committed]
    for event in (
        run_event("submitted", "a"),
        run_event("retrying", "a"),  # not charged, or it would not be tried again
        run_event("submitted", "a"),
        run_event("in_doubt", "b"),
        run_event("adopted", "b"),  # the same money, seen again
        run_event("failed", "a", charged=Charged.UNKNOWN),  # possibly charged
        run_event("failed", "b", charged=Charged.NO),
    ):
        progress.fold(event, 1.0)
        owed.append(progress.committed)

    assert [amount / PRICE for amount in owed] == [1, 2, 1, 2, 3, 3, 3, 2]


def test_the_ledgers_word_about_money_outranks_the_plans() -> None:
    progress = Progress()
    plan = planned((job("a"), Action.COLLECT), (job("b"), Action.SUBMIT))
    progress.begin(plan, 0.0, committed=MicroUSD(5_000_000))

    progress.fold(run_event("submitted", "b"), 1.0)
    progress.fold(run_event("failed", "a", charged=Charged.NO), 1.0)

    assert progress.committed == 5_000_000


def test_twins_follow_their_first_and_cost_nothing() -> None:
    first, duplicate = job("a", prompt="same"), job("b", prompt="same")
    progress = begun((first, Action.SUBMIT), (duplicate, Action.SUBMIT), duplicates=("b",))
    progress.fold(run_event("submitted", "a"), 1.0)
    assert progress.waiting == 1

    progress.fold(run_event("saved", "a"), 2.0)

    assert progress.done == 2
    assert progress.committed == PRICE


def test_equal_names_in_two_batches_are_two_jobs() -> None:
    progress = begun((job("a"), Action.SUBMIT), (job("a", "summer", "other"), Action.SUBMIT))
    progress.fold(run_event("saved", "a", batch="summer"), 1.0)

    assert progress.several_batches
    assert progress.lines["spring", "a"].phase is Phase.WAITING
    assert progress.lines["summer", "a"].phase is Phase.DONE


def test_stopping_is_remembered() -> None:
    progress = begun((job("a"), Action.SUBMIT))
    progress.fold(RunEvent(kind=EventKind.STOPPING, message="interrupted"), 1.0)

    assert progress.stopping == "interrupted"


def test_what_needs_attention_is_shown_first_then_the_oldest() -> None:
    names = ("old", "new", "odd")
    progress = begun(*((job(name), Action.SUBMIT) for name in names))
    progress.fold(run_event("submitted", "old"), 1.0)
    progress.fold(run_event("submitted", "new"), 2.0)
    progress.fold(run_event("in_doubt", "odd"), 3.0)

    assert [line.job for line in progress.first_moving(9)] == ["odd", "old", "new"]


def test_many_jobs_are_folded_without_recounting() -> None:
    shared = job("a")
    items = (PlannedJob(_renamed(shared, f"j{n}"), Action.SUBMIT, "") for n in range(20_000))
    progress = Progress()
    progress.begin(Plan(tuple(items)), 0.0)
    for n in range(20_000):
        progress.fold(run_event("submitted", f"j{n}"), 1.0)
        progress.fold(run_event("saved", f"j{n}"), 2.0)

    assert progress.done == 20_000
    assert progress.committed == 20_000 * PRICE


def _renamed(original: Job, name: str) -> Job:
    return Job(
        key=original.key,
        endpoint="e",
        arguments={},
        take=1,
        id=name,
        batch="spring",
        mode="",
        tier="",
        path="",
        estimate=PRICE,
    )
