"""Requests whose jobs left the manifest while open or in doubt: collected, never bought again."""

from __future__ import annotations

import json

import pytest
from support.books import paid_once
from support.cli import HEAD, HERO, OTHER, POLICY, Desk

from kling_batch.emulator import Fault


def left(studio: Desk, *faults: Fault) -> None:
    """`hero` is bought, and has left the manifest before it is collected."""
    studio.world.faults.add(*faults)
    studio.write(HERO)
    studio.run("--detach", code=6)
    studio.write(OTHER)


@pytest.mark.parametrize("error", ["content_policy_violation", "internal_error"])
def test_a_failed_leftover_is_no_reason_to_type_anything(studio: Desk, error: str) -> None:
    left(studio, Fault(stage="job", what="fail", error=error, prompt="first"))
    told = studio.run(code=1)
    assert "Next:" not in told


def test_a_failed_leftover_points_at_nobody_elses_prompt(studio: Desk) -> None:
    left(studio, POLICY)
    assert "[m.yaml" not in studio.run(code=1)


def test_a_reviewed_plan_fits_beside_an_open_leftover(studio: Desk) -> None:
    studio.world.settings.profile = "realistic"
    left(studio)
    studio.say("plan", "m.yaml", "--save", "plan.json")
    told = studio.run("--plan", "plan.json", "--timeout", "3s", code=6)
    assert "no longer fits" not in told


def test_resolve_of_a_leftover_does_not_promise_to_send_it(studio: Desk) -> None:
    studio.world.settings.list_allowed = False
    studio.world.faults.add(Fault(stage="submit.before", what="reset", prompt="first"))
    studio.write(HERO)
    studio.run(code=5)
    mark = studio.open_key()[3:11]
    studio.write(OTHER)
    studio.run(code=5)
    told = studio.say("resolve", f"hero@{mark}", "--not-submitted")
    assert "the next run sends it" not in told


def test_an_edited_job_leaves_its_request_to_be_collected_beside_its_successor(
    studio: Desk,
) -> None:
    studio.write(HERO)
    studio.run("--detach", code=6)
    mark = studio.open_key()[3:11]
    studio.write(HERO.replace("first", "changed"))

    told = studio.plan()
    studio.run()

    assert f"hero@{mark}: no longer in the manifest; in flight at fal" in told
    assert studio.pictures() == [f"hero.{mark}.png", "hero.png"]
    paid_once(studio, 2)
    assert "nothing to do" in studio.run()
    assert "everything fits" in studio.say("verify")


def test_a_job_that_was_taken_out_leaves_its_request_to_be_collected(studio: Desk) -> None:
    studio.write(HERO, OTHER)
    studio.run("--detach", code=6)
    studio.write(OTHER)

    studio.run()

    assert studio.pictures() == ["hero.png", "other.png"]
    paid_once(studio, 2)


def test_a_selection_leaves_the_rest_alone(studio: Desk) -> None:
    studio.write(HERO, OTHER)
    studio.run("--detach", "--only", "hero", code=6)
    studio.write(OTHER, "  - {id: third, prompt: third}\n")

    studio.run("--only", "third")

    assert studio.pictures() == ["third.png"]
    studio.run()
    assert studio.pictures() == ["hero.png", "other.png", "third.png"]


@pytest.mark.parametrize("registered", [False, True])
def test_it_can_be_named_listed_and_cancelled(studio: Desk, registered: bool) -> None:
    studio.world.settings.profile = "demo"
    studio.world.settings.concurrency = 0
    studio.write(HERO)
    studio.run("--detach", code=6)
    key = studio.open_key()
    name = f"hero@{key[3:11]}" if registered else "hero"
    studio.write(HERO.replace("first", "changed"))
    if registered:
        studio.run("--detach", code=6)

    assert any(row["job_id"] == name for row in json.loads(studio.say("status", "--json"))["jobs"])
    assert name in studio.say("status")
    for word in (name, key):
        assert "first" in studio.say("show", word)
    told = studio.say("cancel", "--all" if registered else name, "--emulator-url", studio.url)
    assert f"{name}: asked (202)" in told
    assert told.count("asked (202)") == 1 + registered


def test_its_doubt_is_looked_up_told_and_resolved_by_its_name(studio: Desk) -> None:
    studio.world.settings.list_allowed = False
    studio.world.faults.add(Fault(stage="submit.after", what="reset", times=1))
    studio.write(HERO)
    studio.run(code=5)
    mark = studio.open_key()[3:11]
    studio.write(HERO.replace("first", "changed"))

    told = studio.run(code=5)

    assert f"kling-batch resolve hero@{mark}" in told
    lost = next(r for r in studio.world.books.accepted if r.prompt == "first")
    studio.say("resolve", f"hero@{mark}", "--request-id", lost.request_id)
    studio.run()
    assert studio.pictures() == [f"hero.{mark}.png", "hero.png"]
    paid_once(studio, 2)


def test_it_is_never_bought_again(studio: Desk) -> None:
    """Neither after a failure that a job would be retried for, nor after a silent list."""
    limits = "limits: {doubt_wait: 1s}\n"
    studio.world.faults.add(
        Fault(stage="submit.before", what="reset", prompt="first"),
        Fault(stage="job", what="fail", error="internal_error", prompt="second"),
    )
    studio.write(HERO, OTHER)
    studio.run("--detach", code=5)
    (studio.folder / "m.yaml").write_text(
        HEAD.replace("jobs:", f"{limits}jobs:") + "  - {id: new, prompt: third}\n"
    )
    posts = len(studio.world.books.posts)

    studio.run(code=5)
    studio.run(code=5)

    assert len(studio.world.books.posts) == posts + 1
    assert studio.pictures() == ["new.png"]


def test_a_reviewed_plan_does_not_drift_by_what_is_only_collected(studio: Desk) -> None:
    studio.write(HERO)
    studio.run("--detach", code=6)
    studio.write(HERO.replace("first", "changed"))
    studio.say("plan", "m.yaml", "--save", "plan.json")

    studio.run("--plan", "plan.json")

    assert len(studio.pictures()) == 2
