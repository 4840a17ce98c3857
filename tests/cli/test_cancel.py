"""`cancel`: what fal answered, and what it cost."""

from __future__ import annotations

from support.cli import Workspace

from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault
from kling_batch.ledger.reader import Reader


def test_cancel_says_what_fal_said(workspace: Workspace) -> None:
    workspace.world.settings.profile = "demo"
    workspace.world.settings.concurrency = 0
    workspace.run("--detach", code=6)

    told = workspace.invoke("cancel", "--all", "--emulator-url", workspace.url)

    assert told.count("asked (202)") == 2
    workspace.run(code=1)
    charged = sum(workspace.world.books.charges().values())
    assert charged == len(workspace.pictures()) <= 1


def test_what_fal_removed_from_its_queue_is_settled_at_once(workspace: Workspace) -> None:
    workspace.world.settings.concurrency = 0
    workspace.world.settings.cancel_removes = True
    workspace.run("--detach", code=6)

    told = workspace.invoke("cancel", "--all", "--emulator-url", workspace.url)

    assert told.count("removed from the queue") == 2
    with Reader.open(workspace.folder / "outputs" / "ledger.db") as reader:
        assert reader.money().exposed == 0
        assert len(reader.attempts_in(State.CANCELLED)) == 2
    assert workspace.world.books.total_committed_micro_usd == 0


def test_a_key_that_is_refused_at_the_cancellation_is_reported_as_such(
    workspace: Workspace,
) -> None:
    workspace.world.settings.profile = "realistic"
    workspace.run("--detach", code=6)
    workspace.world.faults.add(Fault(stage="cancel", what="status", status=401))

    told = workspace.invoke("cancel", "--all", "--emulator-url", workspace.url, code=3)

    assert told.count("fal refuses the key") == 2


def test_the_ledger_has_the_exit_code_of_a_change_by_hand(workspace: Workspace) -> None:
    workspace.world.settings.concurrency = 0
    workspace.run("--detach", code=6)
    workspace.world.faults.add(Fault(stage="cancel", what="status", status=404, times=1))

    for code, words in (
        (1, ("cancel", "--all", "--emulator-url", workspace.url)),
        (2, ("retry", "")),
        (2, ("resolve", "nowhere/", "--not-submitted")),
        (0, ("retry", "--all")),
    ):
        workspace.invoke(*words, code=code)
        with Reader.open(workspace.folder / "outputs" / "ledger.db") as reader:
            rows = list(reader.db.query("select exit_code from runs order by id desc limit 1"))
        assert rows == [{"exit_code": code}], words
