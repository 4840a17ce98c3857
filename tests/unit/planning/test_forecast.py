"""`why`, `show` and `plan` say the same of the next payment, and the next run then does it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest
from support.cli import run_command
from support.engine import Rig, make_job, make_jobs

from kling_batch.core.jobs import Job, OutputOf, job_key
from kling_batch.core.lifecycle import Event
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running
from kling_batch.errors import ExitCode
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.names import find
from kling_batch.planning.forecast import outlook
from kling_batch.planning.plan import Action
from kling_batch.report.history import as_data, why


def agreed(rig: Rig, jobs: Sequence[Job]) -> list[tuple[Action, str]]:
    """What the plan decides, which is what `why` and `show` go by and say."""
    with rig.ledger() as ledger:
        items = rig.plan(ledger, jobs).items
        for item in items:
            named = find(ledger, item.job.label)
            planned = outlook(ledger, named).planned
            assert planned.action is item.action
            assert item.duplicate or planned.reason == item.reason
            assert as_data(ledger, named)["next"] == {
                "action": planned.action.value,
                "reason": planned.reason,
            }
            pays = "the next run pays up to $0.42" in why(ledger, named)[0]
            assert pays is (item.action is Action.SUBMIT)
        return [(item.action, first_reason(ledger, item.job.label)) for item in items]


def first_reason(ledger: Ledger, label: str) -> str:
    return why(ledger, find(ledger, label))[0]


def grant(rig: Rig, job: Job) -> None:
    with rig.ledger() as ledger:
        ledger.begin_run(command="retry", batches=[], pid=1, version="0", cap=None)
        ledger.record(ledger.standings()[job.key].attempt_id, Event.RETRY_GRANTED)


def child_of(parent: Job, name: str) -> Job:
    """A job that needs the parent's output."""
    job = make_job(name)
    output = OutputOf(key=parent.key, job_id=parent.id, take=1)
    arguments = {**job.arguments, "image_url": output}
    return job._replace(arguments=arguments, key=job_key(job.endpoint, arguments, 1))


ERRORS = ["content_policy_violation", "runner_server_error", "internal_error", "one_of"]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("granted", [False, True])
def test_of_a_failure_all_say_the_same(tmp_path: Path, error: str, granted: bool) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error=error, prompt="bad")])
    jobs = [make_job("bad"), make_job("good")]
    rig.run(jobs)
    if granted:
        grant(rig, jobs[0])

    (bad, told), (good, _) = agreed(rig, jobs)

    assert good is Action.KEEP
    assert bad is (Action.SUBMIT if granted else Action.SETTLED)
    assert ("stays so" in told) is not granted
    before = len(rig.world.books.accepted)
    rig.run(jobs)
    assert (len(rig.world.books.accepted) > before) is granted


def test_a_failure_between_two_tries_is_paid_again_and_all_say_so(tmp_path: Path) -> None:
    error = "runner_server_error"
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error=error, times=1)])
    jobs = make_jobs(1)

    async def stop(engine) -> None:
        while "retrying" not in rig.kinds():  # noqa: ASYNC110 - the rig tells nobody
            await anyio.sleep(0.1)
        engine.leave(ExitCode.STILL_RUNNING, "the time is over")

    rig.run(jobs, stop=stop)

    ((action, told),) = agreed(rig, jobs)
    assert action is Action.SUBMIT
    assert "try 2 after" in told
    assert "unless the manifest's `retry` allows fewer" in told
    rig.run(jobs)
    assert len(rig.world.books.accepted) == 2
    assert rig.charges == [1]


def test_a_failure_after_the_last_try_may_go_on_where_the_manifest_allows_more(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, faults=[Fault(stage="job", what="fail", error="runner_server_error")])
    jobs = make_jobs(1)
    rig.run(jobs)

    ((action, told),) = agreed(rig, jobs)
    assert action is Action.SETTLED
    assert "unless the manifest's `retry` allows more attempts" in told


def test_what_needs_a_failed_job_is_not_paid_and_all_say_so(tmp_path: Path) -> None:
    refused = Fault(stage="job", what="fail", error="content_policy_violation", prompt="parent")
    rig = Rig(tmp_path, faults=[refused])
    parent = make_job("parent")
    child = child_of(parent, "child")
    jobs = [parent, child, child_of(child, "grandchild")]
    rig.run(jobs)

    (_, (one, told), (other, _)) = agreed(rig, jobs)
    assert one is other is Action.BLOCKED
    assert "was never submitted and needs parent" in told
    assert "does not pay for it" in told
    grant(rig, parent)
    assert [action for action, _ in agreed(rig, jobs)] == [Action.SUBMIT] * 3


@pytest.mark.parametrize("fault", [None, "hang"])
def test_of_what_is_open_or_in_doubt_all_say_the_same(tmp_path: Path, fault: str | None) -> None:
    rig = Rig(tmp_path, Settings(media="template", list_allowed=False, profile="realistic"))
    if fault:
        rig.world.faults.add(Fault(stage="submit.after", what="reset"))
    jobs = make_jobs(1)

    async def stop(engine) -> None:
        await anyio.sleep(20)
        engine.leave(ExitCode.STILL_RUNNING, "the time is over")

    rig.run(jobs, stop=stop)

    ((action, told),) = agreed(rig, jobs)
    assert action is (Action.RECONCILE if fault else Action.COLLECT)
    assert ("does not send it again" in told) is bool(fault)


def test_a_file_that_is_gone_is_downloaded_for_nothing_and_all_say_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    jobs = make_jobs(1)
    rig.run(jobs)
    (tmp_path / rig.files()[0]).unlink()

    ((action, told),) = agreed(rig, jobs)
    assert action is Action.DOWNLOAD
    assert "its file is missing" in told
    assert "costs nothing" in told


# -- the program -------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[tuple[World, str]]:
    world = World(Settings(profile="instant", media="template"))
    with running(world) as url:
        yield world, url


def test_after_retry_why_and_plan_announce_the_payment_that_follows(
    tmp_path: Path, served: tuple[World, str]
) -> None:
    world, url = served
    manifest = "version: 1\njobs:\n  - {id: bad, mode: text-to-image, prompt: forbidden}\n"
    (tmp_path / "m.yaml").write_text(manifest)
    world.faults.add(Fault(stage="job", what="fail", error="content_policy_violation", times=1))

    def say(*words: str, code: int = 0) -> str:
        done = run_command(*words, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stdout

    say("run", "m.yaml", "--emulator-url", url, code=1)
    assert "stays so: fal would refuse the same request again" in say("why", "bad")
    say("retry", "bad")

    assert "the next run pays up to $0.03 for another attempt" in say("why", "bad")
    assert "the next run pays up to $0.03 for another attempt" in say("show", "bad")
    assert json.loads(say("show", "bad", "--json"))["next"]["action"] == "submit"
    assert "1 to pay" in say("plan", "m.yaml", "--emulator-url", url)
    say("run", "m.yaml", "--emulator-url", url)
    assert list(world.books.charges().values()) == [1]
    assert len(world.books.accepted) == 2
