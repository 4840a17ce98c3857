"""What a run would do with each job, as a table: standing × disk × a person's word."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine import make_job, make_jobs

from kling_batch.core.jobs import Job, JobKey, OutputOf
from kling_batch.core.lifecycle import LIVE_OR_PAID, State
from kling_batch.core.outcomes import Charged, Failure, FailureKind
from kling_batch.core.records import Standing
from kling_batch.core.recovery import Recovery
from kling_batch.planning.plan import Action, OnDisk, Plan, PlannedJob, make_plan
from kling_batch.planning.retry import Decision, decide, may_try_again
from kling_batch.planning.selection import limited

FOUND = Recovery(request_id="r-1", since="2026-11-20T14:03:05.000Z", listed=True)


def failure(kind: FailureKind = FailureKind.INVALID, **facts: Any) -> Failure:
    return Failure(kind=kind, message="words", **facts)


def plan(
    jobs: list[Job],
    standings: dict[JobKey, Standing] | None = None,
    *,
    disk: OnDisk = OnDisk.HERE,
    **more: Any,
) -> Plan:
    return make_plan(jobs, standings or {}, on_disk=lambda _: disk, **more)


def one(standing: Standing | None, disk: OnDisk = OnDisk.HERE, **more: Any) -> PlannedJob:
    job = make_job("a")
    (item,) = plan([job], {job.key: standing} if standing else {}, disk=disk, **more).items
    assert item.job == job
    return item


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", OnDisk)
def test_a_new_job_is_bought(disk: OnDisk) -> None:
    item = one(None, disk)

    assert (item.action, item.reason, item.attempt_id, item.tries) == (
        Action.SUBMIT,
        "new",
        None,
        1,
    )


def test_a_new_job_under_a_known_name_says_what_changed() -> None:
    assert one(None, changed=lambda _: "prompt, duration").reason == "changed: prompt, duration"


@pytest.mark.parametrize(
    ("state", "disk", "action", "word"),
    [
        (State.SUCCEEDED, OnDisk.HERE, Action.KEEP, "unchanged"),
        (State.SUCCEEDED, OnDisk.ELSEWHERE, Action.PLACE, "another name"),
        (State.SUCCEEDED, OnDisk.MISSING, Action.DOWNLOAD, "missing"),
        *((State.RENDERED, disk, Action.DOWNLOAD, "paid and rendered") for disk in OnDisk),
        *((State.SUBMITTED, disk, Action.COLLECT, "in flight") for disk in OnDisk),
        *((State.SUBMITTING, disk, Action.RECONCILE, "in doubt") for disk in OnDisk),
        *((State.IN_DOUBT, disk, Action.RECONCILE, "in doubt") for disk in OnDisk),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_what_is_live_or_paid_is_never_bought_again_whoever_asks(
    state: State, disk: OnDisk, action: Action, word: str, asked: bool
) -> None:
    item = one(Standing(7, state, 2), disk, retry=lambda _: asked)

    assert item.action is action
    assert word in item.reason
    assert item.attempt_id == 7


@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("charged", Charged)
@pytest.mark.parametrize("tries", [1, 2, 3, 4])
def test_a_failed_job_is_tried_again_as_the_decision_says(
    kind: FailureKind, charged: Charged, tries: int
) -> None:
    why = failure(kind, charged=charged)

    item = one(Standing(7, State.FAILED, tries, why), attempts=3)

    if may_try_again(kind):
        assert (item.action, item.tries) == (Action.SUBMIT, tries), "it was no try"
    elif decide(why, tries, 3) is Decision.RETRY:
        assert (item.action, item.tries) == (Action.SUBMIT, tries + 1)
    else:
        assert item.action is Action.SETTLED
    assert "words" in item.reason


@pytest.mark.parametrize(
    "kind",
    [FailureKind.INVALID, FailureKind.POLICY, FailureKind.ABANDONED, FailureKind.EXPIRED],
)
@pytest.mark.parametrize("charged", Charged)
@pytest.mark.parametrize("tries", [1, 3])
def test_what_will_fail_again_or_may_be_billed_again_is_settled(
    kind: FailureKind, charged: Charged, tries: int
) -> None:
    item = one(Standing(7, State.FAILED, tries, failure(kind, charged=charged)), attempts=9)

    assert item.action is Action.SETTLED


@pytest.mark.parametrize("charged", [Charged.YES, Charged.UNKNOWN])
def test_a_transient_failure_that_may_be_billed_is_settled(charged: Charged) -> None:
    why = failure(FailureKind.TRANSIENT, charged=charged)

    assert one(Standing(7, State.FAILED, 1, why)).action is Action.SETTLED


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
@pytest.mark.parametrize("kind", FailureKind)
@pytest.mark.parametrize("word", ["asked", "granted"])
def test_a_persons_word_is_a_new_permission_from_one(
    state: State, kind: FailureKind, word: str
) -> None:
    standing = Standing(7, state, 3, failure(kind), word == "granted")

    item = one(standing, retry=lambda _: word == "asked")

    # What was rendered is given up by the name of its job only.
    by_name_only = kind is FailureKind.EXPIRED and word == "asked"
    action = Action.SETTLED if by_name_only else Action.SUBMIT
    assert (item.action, item.tries, item.attempt_id) == (action, 1, 7)


def test_a_cancelled_job_stays_cancelled() -> None:
    item = one(Standing(7, State.CANCELLED, 1, failure(FailureKind.ABANDONED)))

    assert item.action is Action.SETTLED
    assert "cancelled" in item.reason


# -- twins -------------------------------------------------------------------------------------


def duplicates() -> list[Job]:
    return [make_job(name, prompt="same") for name in ("first", "second", "third")]


def test_the_same_render_under_many_names_is_bought_once() -> None:
    jobs = duplicates()

    made = plan(jobs)

    assert [item.duplicate for item in made.items] == [False, True, True]
    assert {item.action for item in made.items} == {Action.SUBMIT}
    assert made.cost == jobs[0].estimate
    assert "first" in made.items[1].reason


def test_a_twin_of_a_done_job_is_placed_where_it_is_missing() -> None:
    jobs = duplicates()
    standings = {jobs[0].key: Standing(7, State.SUCCEEDED, 1)}
    here = {jobs[0].id, jobs[2].id}

    made = make_plan(
        jobs,
        standings,
        on_disk=lambda job: OnDisk.HERE if job.id in here else OnDisk.ELSEWHERE,
    )

    assert [item.action for item in made.items] == [Action.KEEP, Action.PLACE, Action.KEEP]
    assert {item.attempt_id for item in made.items} == {7}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("disk", OnDisk)
def test_a_twin_never_costs(state: State, disk: OnDisk) -> None:
    jobs = duplicates()
    why = failure() if state in (State.FAILED, State.CANCELLED) else None

    made = plan(jobs, {jobs[0].key: Standing(7, state, 1, why)}, disk=disk, retry=lambda _: True)

    first = sum(i.job.estimate for i in made.items[:1] if i.action is Action.SUBMIT)
    assert made.cost == first


# -- children ----------------------------------------------------------------------------------


def child_of(*fathers: Job, name: str = "child") -> Job:
    images = [OutputOf(key=p.key, job_id=p.id, take=p.take) for p in fathers]
    return make_job(name, image_urls=images)


@pytest.mark.parametrize(
    ("standing", "blocked"),
    [
        (None, False),
        (Standing(7, State.SUCCEEDED, 1), False),
        (Standing(7, State.RENDERED, 1), False),
        (Standing(7, State.SUBMITTED, 1), False),
        (Standing(7, State.IN_DOUBT, 1), False),
        (Standing(7, State.FAILED, 1, failure(FailureKind.TRANSIENT)), False),
        (Standing(7, State.FAILED, 1, failure()), True),
        (Standing(7, State.CANCELLED, 1, failure()), True),
    ],
)
def test_a_child_is_blocked_by_a_parent_that_will_give_nothing(
    standing: Standing | None, blocked: bool
) -> None:
    parent = make_job("parent")
    child = child_of(parent)

    made = plan([parent, child], {parent.key: standing} if standing else {})

    assert made.items[1].action is (Action.BLOCKED if blocked else Action.SUBMIT)
    if blocked:
        assert "needs parent, which is settled" in made.items[1].reason


def test_one_bad_parent_is_enough_and_its_grandchildren_are_blocked_too() -> None:
    good, bad = make_job("good"), make_job("bad")
    child = child_of(good, bad)
    grandchild = child_of(child, name="grandchild")

    made = plan([good, bad, child, grandchild], {bad.key: Standing(7, State.FAILED, 1, failure())})

    assert [i.action for i in made.items[2:]] == [Action.BLOCKED, Action.BLOCKED]


@pytest.mark.parametrize("state", [None, *State])
def test_a_parent_outside_the_run_must_have_succeeded(state: State | None) -> None:
    parent = make_job("parent")
    why = failure() if state in (State.FAILED, State.CANCELLED) else None

    made = plan([child_of(parent)], {parent.key: Standing(7, state, 1, why)} if state else {})

    expected = Action.SUBMIT if state is State.SUCCEEDED else Action.BLOCKED
    assert made.items[0].action is expected


def test_a_child_that_is_paid_already_needs_no_parent() -> None:
    parent = make_job("parent")
    child = child_of(parent)

    made = plan(
        [parent, child],
        {
            parent.key: Standing(7, State.FAILED, 1, failure()),
            child.key: Standing(8, State.SUBMITTED, 1),
        },
    )

    assert made.items[1].action is Action.COLLECT


# -- limits ------------------------------------------------------------------------------------


def test_a_limit_cuts_submissions_and_nothing_else() -> None:
    jobs = make_jobs(5)
    made = plan(jobs, {jobs[1].key: Standing(7, State.SUBMITTED, 1)})

    kept = limited(made, 2)

    assert [item.job.id for item in kept.items] == ["job-0", "job-1", "job-2"]
    assert limited(made, None) is made
    assert [item.job.id for item in limited(made, 0).items] == ["job-1"]


def test_a_limit_cuts_the_children_of_what_it_cuts() -> None:
    parents = make_jobs(2)
    children = [child_of(parents[1], name="of-1"), child_of(parents[0], name="of-0")]

    kept = limited(plan([*parents, *children]), 1)

    assert [item.job.id for item in kept.items] == ["job-0"]
    assert limited(kept, 1).items == kept.items


def test_a_limit_counts_twins_once() -> None:
    jobs = [*duplicates(), make_job("another")]

    kept = limited(plan(jobs), 1)

    assert [item.job.id for item in kept.items] == ["first", "second", "third"]


# -- whatever stands ---------------------------------------------------------------------------

standings = st.none() | st.builds(
    Standing,
    st.integers(1, 99),
    st.sampled_from(list(State)),
    st.integers(1, 4),
    st.builds(
        Failure,
        kind=st.sampled_from(list(FailureKind)),
        message=st.just("words"),
        charged=st.sampled_from(list(Charged)),
        retryable=st.none() | st.booleans(),
    ),
    st.booleans(),
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.lists(standings, min_size=5, max_size=5),
    st.lists(st.sampled_from(list(OnDisk)), min_size=5, max_size=5),
    st.booleans(),
    st.none() | st.integers(0, 5),
)
def test_no_plan_buys_what_is_live_or_paid(
    known: list[Standing | None], disks: list[OnDisk], asked: bool, limit: int | None
) -> None:
    jobs = make_jobs(4)
    jobs.append(child_of(jobs[0], jobs[1]))
    where = dict(zip((job.id for job in jobs), disks, strict=True))
    by_key = {job.key: s for job, s in zip(jobs, known, strict=True) if s is not None}

    made = make_plan(
        jobs, by_key, on_disk=lambda job: where[job.id], retry=lambda _: asked, attempts=3
    )
    kept = limited(made, limit)

    bought = [item for item in kept.items if item.action is Action.SUBMIT]
    for item in bought:
        standing = by_key.get(item.job.key)
        assert standing is None or standing.state in (State.FAILED, State.CANCELLED)
    assert kept.cost == sum(item.job.estimate for item in bought)
    assert limit is None or len(bought) <= limit
    assert made.idle == all(
        item.action in (Action.KEEP, Action.SETTLED, Action.BLOCKED) for item in made.items
    )
    assert [item.job for item in made.items] == jobs


def test_what_is_paid_for_under_another_ledger_is_recovered_and_costs_nothing() -> None:
    jobs = [make_job("a"), make_job("a")._replace(id="b", path="b{output}{ext}"), make_job("c")]
    made = plan(jobs, recovered=lambda job: FOUND if job.id in "ab" else None)

    assert [item.action for item in made.items] == [Action.RECOVER, Action.RECOVER, Action.SUBMIT]
    assert [item.duplicate for item in made.items] == [False, True, False]
    assert made.items[0].reason == "recovered: paid on 2026-11-20 14:03 UTC, in fal's request list"
    assert made.cost == jobs[2].estimate


@pytest.mark.parametrize("state", sorted(LIVE_OR_PAID))
def test_nothing_is_recovered_that_the_ledger_has(state: State) -> None:
    found = one(Standing(1, state, 1), recovered=lambda _: FOUND)
    assert found.action is not Action.RECOVER


@pytest.mark.parametrize("state", [State.FAILED, State.CANCELLED])
def test_what_failed_by_this_ledger_and_is_here_all_the_same_is_recovered(state: State) -> None:
    item = one(Standing(1, state, 1, failure()), recovered=lambda _: FOUND)
    assert item.action is Action.RECOVER


def test_every_action_is_reached_by_this_table() -> None:
    reached = {
        one(Standing(1, state, 1, failure() if state is State.FAILED else None), disk).action
        for state, disk in product(State, OnDisk)
        if state is not State.CANCELLED
    } | {one(None).action, one(None, recovered=lambda _: FOUND).action}

    # A child's parent blocks it; only `verify` asks to restore; verdicts are in `test_verdicts.py`.
    elsewhere = {Action.BLOCKED, Action.RESTORE, Action.HOLD, Action.DECLINED}
    assert reached == set(Action) - elsewhere
