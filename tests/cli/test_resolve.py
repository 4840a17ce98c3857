"""`resolve`: a person settles a submission in doubt, and may have erred."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from support.books import paid_once
from support.cli import MANIFEST, ONE, Desk

from kling_batch.core.lifecycle import Event, State
from kling_batch.core.outcomes import Charged
from kling_batch.emulator import Fault
from kling_batch.fal.addresses import handle_of
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader


def test_resolve_by_request_id_collects_what_was_paid(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    told = desk.run(code=5)
    assert "kling-batch resolve two" in told
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]

    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    paid_once(desk, 2)


def test_a_wrong_id_is_taken_back_and_the_right_one_collected(desk: Desk) -> None:
    """Also after a run has asked fal for it in vain; the job is never free to be sent meanwhile."""
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    desk.run(code=5)
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]
    desk.say("resolve", "two", "--request-id", "nonsense")
    desk.run("--timeout", "3s", code=6)

    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run()

    assert desk.pictures() == ["one.png", "two.png"]
    paid_once(desk, 2)
    assert "everything fits" in desk.say("verify")
    assert "not in doubt" in desk.say("resolve", "two", "--request-id", "another", code=2)


def test_resolve_not_submitted_lets_the_next_run_send_it(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.before", what="reset", prompt="second", times=1))
    desk.run(code=5)
    desk.run(code=5)

    desk.say("resolve", "two", "--not-submitted")
    desk.run()

    paid_once(desk, 2)
    assert len(desk.world.books.posts) == 3


def test_resolve_refuses_what_makes_no_sense(desk: Desk) -> None:
    desk.run()

    assert "not in doubt" in desk.say("resolve", "one", "--not-submitted", code=2)
    assert "did you mean 'one'" in desk.say("resolve", "onr", "--not-submitted", code=2)
    assert "say one of" in desk.say("resolve", "one", code=2)


def mixed_up(desk: Desk) -> tuple[str, str]:
    """Both jobs in doubt; the person gave `one` the id of `two`, and then put it right."""
    desk.world.settings.list_allowed = False
    desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    desk.run(code=5)
    ids = {word: r.request_id for r in desk.world.books.accepted for word in r.prompt.split()}
    desk.say("resolve", "one", "--request-id", ids["second"])
    desk.say("resolve", "one", "--request-id", ids["first"])
    desk.world.faults.clear()
    return ids["first"], ids["second"]


def test_an_id_that_was_taken_back_may_be_given_to_its_own_job(desk: Desk) -> None:
    _, second = mixed_up(desk)
    desk.say("resolve", "two", "--request-id", second)
    desk.run()
    assert desk.pictures() == ["one.png", "two.png"]


def test_an_id_that_was_taken_back_is_found_in_the_list_by_its_own_job(desk: Desk) -> None:
    mixed_up(desk)
    desk.world.settings.list_allowed = True
    desk.put(MANIFEST + "limits: {doubt_wait: 8s}\n")
    desk.run()
    paid_once(desk, 2)


@pytest.mark.parametrize("listed", [False, True])
def test_what_fal_itself_gave_an_id_stays_exposed_whatever_a_person_confirms(
    desk: Desk, listed: bool
) -> None:
    """By its answer or by its list; then it denies it, and a person repeats that very id."""
    desk.put(ONE)
    if listed:
        desk.world.faults.add(Fault(stage="submit.after", what="reset"))
    desk.run("--detach", code=5 if listed else 6)
    path = desk.folder / "outputs/ledger.db"
    (request,) = desk.world.books.accepted
    with Ledger(path, service="emulator", now=lambda: datetime.now(UTC)) as ledger:
        (attempt,) = ledger.attempts_in(State.IN_DOUBT, State.SUBMITTED)
        if listed:
            handle = handle_of(attempt.endpoint, request.request_id)
            ledger.record(attempt.id, Event.RECONCILED_FOUND, handle=handle)
        ledger.record(attempt.id, Event.REMOTE_LOST, reason="404 for ten minutes")
    desk.say("resolve", "one", "--request-id", request.request_id)

    told = desk.say("resolve", "one", "--not-submitted", code=2)

    assert "not in doubt" in told
    with Reader.open(path) as reader:
        known = reader.attempt(attempt.id)
    assert known.charged is not Charged.NO
    assert known.handle is not None


def test_an_id_that_a_person_gave_and_fal_has_shown_is_no_guess_any_more(desk: Desk) -> None:
    """It was finished when first looked at, and its result is gone."""
    desk.put(ONE)
    desk.world.settings.list_allowed = False
    desk.world.faults.add(
        Fault(stage="submit.after", what="reset"), Fault(stage="result", what="expired")
    )
    desk.run(code=5)
    (request,) = desk.world.books.accepted
    desk.say("resolve", "one", "--request-id", request.request_id)
    desk.run("--timeout", "2s", code=6)

    assert "not in doubt" in desk.say("resolve", "one", "--not-submitted", code=2)


def test_a_cancellation_makes_no_guess_of_what_fal_has_shown(desk: Desk) -> None:
    desk.world.settings.list_allowed = False
    desk.world.settings.profile = "realistic"
    desk.world.faults.add(Fault(stage="submit.after", what="reset", prompt="second"))
    desk.run("--timeout", "2s", code=5)
    (lost,) = [r for r in desk.world.books.accepted if "second" in r.prompt]
    desk.say("resolve", "two", "--request-id", lost.request_id)
    desk.run("--timeout", "2s", code=6)  # fal shows it, and the ledger says so
    assert "not in doubt" in desk.say("resolve", "two", "--not-submitted", code=2)
    for stage in ("status", "cancel"):
        desk.world.faults.add(Fault(stage=stage, what="status", status=503))
    desk.say("cancel", "two", "--emulator-url", desk.url, code=1)

    assert "not in doubt" in desk.say("resolve", "two", "--not-submitted", code=2)
