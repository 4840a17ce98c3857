"""`cancel`: what fal answered, and what it cost."""

from __future__ import annotations

from support.cli import Desk

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault
from kling_batch.ledger.reader import Reader


def test_cancel_says_what_fal_said(desk: Desk) -> None:
    desk.world.settings.profile = "demo"
    desk.world.settings.concurrency = 0
    desk.run("--detach", code=6)

    told = desk.say("cancel", "--all", "--emulator-url", desk.url)

    assert told.count("asked (202)") == 2
    desk.run(code=1)
    charged = sum(desk.world.books.charges().values())
    assert charged == len(desk.pictures()) <= 1


def test_what_fal_removed_from_its_queue_is_settled_at_once(desk: Desk) -> None:
    desk.world.settings.concurrency = 0
    desk.world.settings.cancel_removes = True
    desk.run("--detach", code=6)

    told = desk.say("cancel", "--all", "--emulator-url", desk.url)

    assert told.count("removed from the queue") == 2
    with Reader.open(desk.folder / "outputs" / "ledger.db") as reader:
        assert reader.money().exposed == 0
        assert len(reader.attempts_in(State.CANCELLED)) == 2
    assert desk.world.books.total_committed_micro_usd == 0


def test_a_key_that_is_refused_at_the_cancellation_is_told_as_such(desk: Desk) -> None:
    desk.world.settings.profile = "realistic"
    desk.run("--detach", code=6)
    desk.world.faults.add(Fault(stage="cancel", what="status", status=401))

    told = desk.say("cancel", "--all", "--emulator-url", desk.url, code=3)

    assert told.count("fal refuses the key") == 2
