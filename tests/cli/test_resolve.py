"""`resolve`: a person settles a submission in doubt, and may have erred."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.books import paid_once
from support.cli import MANIFEST, ONE, Workspace

from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged
from kling_batch.emulator import Fault
from kling_batch.fal.addresses import handle_of
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader


def test_resolve_by_request_id_collects_what_was_paid(workspace: Workspace) -> None:
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    told = workspace.run(code=5)
    assert "kling-batch resolve two" in told
    (lost,) = [r for r in workspace.world.books.accepted if "second" in r.prompt]

    workspace.invoke("resolve", "two", "--request-id", lost.request_id)
    workspace.run()

    assert workspace.pictures() == ["one.png", "two.png"]
    paid_once(workspace, 2)


def test_a_wrong_id_is_taken_back_and_the_right_one_collected(workspace: Workspace) -> None:
    """Also after a run has asked fal for it in vain; the job is never free to be sent meanwhile."""
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    workspace.run(code=5)
    (lost,) = [r for r in workspace.world.books.accepted if "second" in r.prompt]
    workspace.invoke("resolve", "two", "--request-id", "nonsense")
    workspace.run("--timeout", "3s", code=6)

    workspace.invoke("resolve", "two", "--request-id", lost.request_id)
    workspace.run()

    assert workspace.pictures() == ["one.png", "two.png"]
    paid_once(workspace, 2)
    assert "everything fits" in workspace.invoke("verify")
    assert "not in doubt" in workspace.invoke("resolve", "two", "--request-id", "another", code=2)


def test_resolve_not_submitted_lets_the_next_run_send_it(workspace: Workspace) -> None:
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.before", what="reset", prompt="second", times=1))
    workspace.run(code=5)
    workspace.run(code=5)

    workspace.invoke("resolve", "two", "--not-submitted")
    workspace.run()

    paid_once(workspace, 2)
    assert len(workspace.world.books.posts) == 3


def test_resolve_refuses_what_makes_no_sense(workspace: Workspace) -> None:
    workspace.run()

    assert "not in doubt" in workspace.invoke("resolve", "one", "--not-submitted", code=2)
    assert "did you mean 'one'" in workspace.invoke("resolve", "onr", "--not-submitted", code=2)
    assert "say one of" in workspace.invoke("resolve", "one", code=2)


def mixed_up(workspace: Workspace) -> tuple[str, str]:
    """Both jobs in doubt; the person gave `one` the id of `two`, and then put it right."""
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(Fault(stage="submit.after", what="reset"))
    workspace.run(code=5)
    ids = {word: r.request_id for r in workspace.world.books.accepted for word in r.prompt.split()}
    workspace.invoke("resolve", "one", "--request-id", ids["second"])
    workspace.invoke("resolve", "one", "--request-id", ids["first"])
    workspace.world.faults.clear()
    return ids["first"], ids["second"]


def test_an_id_that_was_taken_back_may_be_given_to_its_own_job(workspace: Workspace) -> None:
    _, second = mixed_up(workspace)
    workspace.invoke("resolve", "two", "--request-id", second)
    workspace.run()
    assert workspace.pictures() == ["one.png", "two.png"]


def test_an_id_that_was_taken_back_is_found_in_the_list_by_its_own_job(
    workspace: Workspace,
) -> None:
    mixed_up(workspace)
    workspace.world.settings.list_allowed = True
    workspace.put(MANIFEST + "limits: {doubt_wait: 8s}\n")
    workspace.run()
    paid_once(workspace, 2)


@pytest.mark.parametrize("listed", [False, True])
def test_what_fal_itself_gave_an_id_stays_exposed_whatever_a_person_confirms(
    workspace: Workspace, listed: bool
) -> None:
    """By its answer or by its list; then it denies it, and a person repeats that very id."""
    workspace.put(ONE)
    if listed:
        workspace.world.faults.add(Fault(stage="submit.after", what="reset"))
    workspace.run("--detach", code=5 if listed else 6)
    path = workspace.folder / "outputs/ledger.db"
    (request,) = workspace.world.books.accepted
    with Ledger(path, service="emulator", now=lambda: datetime.now(UTC)) as ledger:
        (attempt,) = ledger.attempts_in(State.IN_DOUBT, State.SUBMITTED)
        if listed:
            handle = handle_of(attempt.endpoint, request.request_id)
            ledger.record(attempt.id, Event.RECONCILED_FOUND, handle=handle)
        ledger.record(attempt.id, Event.REMOTE_LOST, reason="404 for ten minutes")
    workspace.invoke("resolve", "one", "--request-id", request.request_id)

    told = workspace.invoke("resolve", "one", "--not-submitted", code=2)

    assert "not in doubt" in told
    with Reader.open(path) as reader:
        known = reader.attempt(attempt.id)
    assert known.charged is not Charged.NO
    assert known.handle is not None


def test_an_id_that_a_person_gave_and_fal_has_shown_is_no_guess_any_more(
    workspace: Workspace,
) -> None:
    """It was finished when first looked at, and its result is gone."""
    workspace.put(ONE)
    workspace.world.settings.list_allowed = False
    workspace.world.faults.add(
        Fault(stage="submit.after", what="reset"), Fault(stage="result", what="expired")
    )
    workspace.run(code=5)
    (request,) = workspace.world.books.accepted
    workspace.invoke("resolve", "one", "--request-id", request.request_id)
    workspace.run("--timeout", "2s", code=6)

    assert "not in doubt" in workspace.invoke("resolve", "one", "--not-submitted", code=2)


def test_a_cancellation_makes_no_guess_of_what_fal_has_shown(workspace: Workspace) -> None:
    workspace.world.settings.list_allowed = False
    workspace.world.settings.profile = "realistic"
    workspace.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    workspace.run("--timeout", "2s", code=5)
    (lost,) = [r for r in workspace.world.books.accepted if "second" in r.prompt]
    workspace.invoke("resolve", "two", "--request-id", lost.request_id)
    workspace.run("--timeout", "2s", code=6)  # fal shows it, and the ledger says so
    assert "not in doubt" in workspace.invoke("resolve", "two", "--not-submitted", code=2)
    for stage in ("status", "cancel"):
        workspace.world.faults.add(Fault(stage=stage, what="status", status=503))
    workspace.invoke("cancel", "two", "--emulator-url", workspace.url, code=1)

    assert "not in doubt" in workspace.invoke("resolve", "two", "--not-submitted", code=2)
