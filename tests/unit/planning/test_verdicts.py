"""What verdicts let a plan pay for: a final, a picked take, and everything made of them."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from support.engine import make_job

from kling_batch.core.jobs import PICKED, Batch, Job, JobKey, OutputOf, job_key, unpicked_key
from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Failure, FailureKind
from kling_batch.core.records import GrantedTakes, Standing
from kling_batch.core.recovery import Recovery
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.planning.plan import Action, OnDisk, Plan, make_plan
from kling_batch.planning.selection import select, with_extra_takes
from kling_batch.planning.verdicts import Review, with_picks


def reviewed(takes: int = 1) -> list[Job]:
    """The drafts and finals of `hero`."""
    numbers = range(1, takes + 1)
    drafts = [make_job("hero~draft", take=n) for n in numbers]
    return drafts + [make_job("hero", take=n)._replace(draft="hero~draft") for n in numbers]


def rows(verdicts: dict[JobKey, Verdict]) -> dict[JobKey, VerdictRow]:
    return {
        key: VerdictRow(id=n, job_key=key, attempt_id=n, verdict=verdict, note="", author="", at="")
        for n, (key, verdict) in enumerate(verdicts.items(), 1)
    }


def plan(jobs: list[Job], verdicts: dict[JobKey, Verdict] | None = None, **more: Any) -> Plan:
    standings: dict[JobKey, Standing] = more.pop("standings", {})
    review = Review(jobs, rows(verdicts or {}))
    return make_plan(jobs, standings, on_disk=lambda _: OnDisk.HERE, review=review, **more)


def actions(made: Plan) -> dict[str, Action]:
    return {item.job.label: item.action for item in made.items}


# -- finals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "action"),
    [
        (Verdict.NONE, Action.HOLD),
        (Verdict.APPROVED, Action.SUBMIT),
        (Verdict.PICKED, Action.SUBMIT),
        (Verdict.REJECTED, Action.DECLINED),
    ],
)
def test_a_final_is_paid_for_once_its_draft_is_approved(verdict: Verdict, action: Action) -> None:
    draft, final = reviewed()

    made = plan([draft, final], {draft.key: verdict})

    assert actions(made) == {"hero~draft": Action.SUBMIT, "hero": action}
    assert made.awaiting_cost == (final.estimate if action is Action.HOLD else 0)


def test_without_a_review_no_final_is_paid_for() -> None:
    made = make_plan(reviewed(), {}, on_disk=lambda _: OnDisk.HERE)

    assert actions(made)["hero"] is Action.HOLD


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize(
    ("state", "action"),
    [
        (State.SUBMITTING, Action.RECONCILE),
        (State.IN_DOUBT, Action.RECONCILE),
        (State.SUBMITTED, Action.COLLECT),
        (State.RENDERED, Action.DOWNLOAD),
        (State.SUCCEEDED, Action.KEEP),
    ],
)
def test_a_verdict_changes_nothing_about_a_final_that_is_paid(
    verdict: Verdict, state: State, action: Action
) -> None:
    draft, final = reviewed()
    standings = {final.key: Standing(7, state, 1)}

    made = plan([draft, final], {draft.key: verdict}, standings=standings)

    assert actions(made)["hero"] is action


def test_a_failed_final_is_tried_again_only_while_its_draft_is_approved() -> None:
    draft, final = reviewed()
    failed = Failure(kind=FailureKind.POLICY, message="words")
    standings = {final.key: Standing(7, State.FAILED, 1, failed, granted=True)}

    for verdict, action in ((Verdict.APPROVED, Action.SUBMIT), (Verdict.NONE, Action.HOLD)):
        made = plan([draft, final], {draft.key: verdict}, standings=standings)
        assert actions(made)["hero"] is action


def test_nobody_can_judge_a_draft_that_has_failed() -> None:
    draft, final = reviewed()
    failed = Failure(kind=FailureKind.POLICY, message="words")

    made = plan([draft, final], standings={draft.key: Standing(7, State.FAILED, 1, failed)})

    assert actions(made) == {"hero~draft": Action.SETTLED, "hero": Action.BLOCKED}
    assert made.awaiting_cost == 0


def test_what_nobody_wants_is_not_blocked() -> None:
    parent = make_job("still")
    failed = {
        parent.key: Standing(7, State.FAILED, 1, Failure(kind=FailureKind.POLICY, message="words"))
    }
    need = OutputOf(key=parent.key, job_id="still", take=1)
    drafts = [make_job(name, image_url=need) for name in ("hero~draft", "hero")]
    draft, final = drafts[0], drafts[1]._replace(draft="hero~draft")

    made = plan([parent, draft, final], {draft.key: Verdict.REJECTED}, standings=failed)

    assert actions(made)["hero"] is Action.DECLINED


def test_a_final_that_was_paid_elsewhere_is_recovered_without_a_verdict() -> None:
    draft, final = reviewed()
    found = Recovery(request_id="r-1", since="2026-11-20T14:03:05.000Z", listed=True)

    made = plan([draft, final], recovered=lambda job: found if job is final else None)

    assert actions(made)["hero"] is Action.RECOVER


@pytest.mark.parametrize("words", set(permutations([*Verdict, Verdict.APPROVED], 3)))
def test_of_several_takes_the_picked_one_else_every_approved_one(
    words: tuple[Verdict, ...],
) -> None:
    if words.count(Verdict.PICKED) > 1:
        return
    jobs = reviewed(3)
    drafts, finals = jobs[:3], jobs[3:]

    made = plan(jobs, {draft.key: word for draft, word in zip(drafts, words, strict=True)})

    paid = [actions(made)[final.label] is Action.SUBMIT for final in finals]
    wanted = Verdict.PICKED if Verdict.PICKED in words else Verdict.APPROVED
    assert paid == [word is wanted for word in words]


@pytest.mark.parametrize(
    ("verdict", "action"), [(Verdict.NONE, Action.HOLD), (Verdict.REJECTED, Action.DECLINED)]
)
def test_what_is_made_of_a_final_waits_or_ends_with_it(verdict: Verdict, action: Action) -> None:
    draft, final = reviewed()
    child = make_job("cut", video_url=OutputOf(key=final.key, job_id="hero", take=1))

    made = plan([draft, final, child], {draft.key: verdict})

    assert actions(made)["cut"] is action
    assert "hero" in made.items[-1].reason


# -- picks -----------------------------------------------------------------------------------------


def chain() -> list[Job]:
    """Three takes of `still`, `clip` made of the picked one, and `cut` made of `clip`."""
    stills = [make_job("still", take=n) for n in (1, 2, 3)]
    picked = OutputOf(key=unpicked_key("test", "still"), job_id="still", take=PICKED)
    clip = make_job("clip", image_url=picked)
    cut = make_job("cut", video_url=OutputOf(key=clip.key, job_id="clip", take=1))
    return [*stills, clip, cut]


def batch(jobs: list[Job]) -> Batch:
    return Batch(name="test", source="t", jobs=tuple(jobs), unpicked=True)


def test_a_job_of_a_picked_take_waits_and_says_for_what() -> None:
    made = plan(chain())

    assert actions(made)["clip"] is actions(made)["cut"] is Action.HOLD
    clip = next(item for item in made.items if item.job.id == "clip")
    assert clip.reason == "waits for a pick among still#1..#3: kling-batch review"


def test_once_picked_the_keys_are_those_of_the_take_by_its_number() -> None:
    jobs = chain()
    still = jobs[1]
    named = OutputOf(key=still.key, job_id="still", take=2)

    *_, clip, cut = with_picks(batch(jobs), rows({still.key: Verdict.PICKED})).jobs

    assert clip.key == make_job("clip", image_url=named).key
    assert clip.arguments["image_url"] == named
    assert cut.arguments["video_url"].key == clip.key
    assert cut.key == job_key(cut.endpoint, cut.arguments, 1)


@pytest.mark.parametrize("verdict", [Verdict.NONE, Verdict.APPROVED, Verdict.REJECTED])
def test_nothing_but_a_pick_picks(verdict: Verdict) -> None:
    jobs = chain()

    assert with_picks(batch(jobs), rows({jobs[0].key: verdict})).jobs == tuple(jobs)


def test_a_pick_among_takes_that_were_made_of_a_pick() -> None:
    """The verdict is on the key that the take has once its own parent is picked."""
    stills, clip = chain()[:3], chain()[3]
    clips = [clip._replace(take=n, key=job_key(clip.endpoint, clip.arguments, n)) for n in (1, 2)]
    second = OutputOf(key=unpicked_key("test", "clip"), job_id="clip", take=PICKED)
    cut = make_job("cut", video_url=second)
    first = with_picks(batch([*stills, *clips, cut]), rows({stills[0].key: Verdict.PICKED}))
    judged = rows({stills[0].key: Verdict.PICKED, first.jobs[4].key: Verdict.PICKED})

    decided = with_picks(batch([*stills, *clips, cut]), judged)

    assert decided.jobs[4].take == 2
    assert decided.jobs[-1].arguments["video_url"].key == decided.jobs[4].key


def test_a_picked_draft_means_its_final() -> None:
    jobs = reviewed(2)
    need = OutputOf(key=unpicked_key("test", "hero"), job_id="hero", take=PICKED)
    cut = make_job("cut", video_url=need)

    *_, decided = with_picks(batch([*jobs, cut]), rows({jobs[1].key: Verdict.PICKED})).jobs

    assert decided.arguments["video_url"].key == jobs[3].key


# -- selection and granted takes -------------------------------------------------------------------


def test_a_reviewed_job_is_selected_with_its_drafts() -> None:
    jobs = [*reviewed(2), make_job("other")]

    def labels(**globs: Any) -> set[str]:
        return {job.label for job in select(batch(jobs), **globs).jobs}

    assert labels(only=["hero"]) == {"hero~draft", "hero~draft#2", "hero", "hero#2"}
    assert labels(only=["hero#2"]) == {"hero~draft#2", "hero#2"}
    assert labels(only=["hero~draft"]) == {"hero~draft", "hero~draft#2"}
    assert labels(exclude=["hero"]) == {"other"}


def test_all_takes_of_a_picked_parent_are_taken_along() -> None:
    selected = select(batch(chain()), only=["clip"])

    assert [job.label for job in selected.jobs] == ["still", "still#2", "still#3", "clip"]


@pytest.mark.parametrize("name", ["hero", "hero~draft"])
def test_one_more_take_of_a_reviewed_job_is_a_draft_and_a_final(name: str) -> None:
    grown = with_extra_takes(batch(reviewed()), {name: GrantedTakes(2, None)}).jobs

    assert [job.label for job in grown] == ["hero~draft", "hero~draft#2", "hero", "hero#2"]
    assert grown[-1].draft == "hero~draft"
