"""What options and caps leave to other runs is counted: before paying and at the end."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from support.cli import Desk, invoke

from kling_batch import load
from kling_batch.core.command_line import Command
from kling_batch.emulator import Fault
from kling_batch.errors import UsageError
from kling_batch.operations.handled_signals import Signals
from kling_batch.operations.plan import PlannedRun
from kling_batch.operations.run import open_run
from kling_batch.operations.services import now
from kling_batch.report.display.plain import PlainDisplay
from kling_batch.report.display.stream import SafeStream
from kling_batch.report.plan_view import left_out_lines
from kling_batch.settings import RunOptions

#: A ledger of the first version.
OLDER = Path(__file__).parents[1] / "data/ledger-v1.db"
CLIPS = tuple(f"id: clip-{n}, prompt: clip {n}" for n in range(5))


def started(desk: Desk, *words: str) -> str:
    """The line with which a run begins, before it pays."""
    told = desk.run(*words, manifest="trial.yaml")
    return next(line for line in told.splitlines() if "files in" in line)


def test_a_limit_says_how_many_jobs_it_leaves(desk: Desk) -> None:
    desk.videos(*CLIPS)

    assert "left out: 3 jobs by --limit 2" in desk.say("plan", "trial.yaml", "--limit", "2")
    told = desk.run("--limit", "2", manifest="trial.yaml")

    before, _, after = told.partition("accepted")
    assert "left out: 3 jobs by --limit 2" in before
    assert "left   3 jobs by --limit 2" in after
    assert len(desk.prompts()) == 2


def test_a_limit_of_nothing_is_not_a_batch_without_jobs(desk: Desk) -> None:
    told = desk.run("--limit", "0")

    assert "nothing to do, no job; left out: 2 jobs by --limit 0" in told
    assert desk.prompts() == []


def test_a_selection_says_how_many_jobs_it_leaves(desk: Desk) -> None:
    desk.videos(*CLIPS)

    words = ("--only", "clip-[01]", "--limit", "1")
    told = desk.plan(*words, manifest="trial.yaml")
    assert "left out: 3 jobs by --only, --exclude or --tag, 1 job by --limit 1" in told
    document = json.loads(desk.say("plan", "trial.yaml", *words, "--json"))
    assert document["left_out"] == [
        {"by": "--only, --exclude or --tag", "jobs": 3},
        {"by": "--limit 1", "jobs": 1},
    ]
    assert "3 jobs by --only, --exclude or --tag" in started(desk, *words)


def test_a_cap_below_the_plan_says_before_paying_how_far_it_reaches(desk: Desk) -> None:
    desk.videos(*CLIPS)
    words = ("--max-cost", "0.90")

    planned = desk.plan(*words, manifest="trial.yaml")
    told = desk.run(*words, manifest="trial.yaml", code=4)

    before, _, after = told.partition("accepted")
    assert "--max-cost covers 2 of 5 jobs to pay for" in planned
    assert "--max-cost covers 2 of 5 jobs to pay for" in before
    assert "left   3 jobs by --max-cost" in after
    assert desk.charges() == [1, 1]

    assert "covers 0 of 3 jobs" in desk.plan(*words, manifest="trial.yaml")
    assert "covers" not in desk.say("plan", "trial.yaml", "--max-cost", "2.10")


def test_each_batch_is_counted_under_its_own_cap(desk: Desk) -> None:
    desk.videos(*CLIPS, name="one", head="limits: {max_cost: 0.42}\n")
    desk.videos(*CLIPS[:2], name="two", head="limits: {max_cost: 0.84}\n")
    (desk.folder / "two.yaml").write_text(
        (desk.folder / "two.yaml").read_text().replace("clip ", "other ")
    )

    planned = desk.say("plan", "one.yaml", "two.yaml")
    words = ("one.yaml", "two.yaml", "--emulator-url", desk.url)
    invoke("run", *words, cwd=desk.folder)

    assert "max_cost covers 3 of 7 jobs to pay for" in planned
    assert len(desk.prompts()) == 3


def test_machines_get_the_counts_of_a_run(desk: Desk) -> None:
    desk.videos(*CLIPS)
    words = ("--limit", "3", "--max-cost", "0.42", "--json")

    done = invoke("run", "trial.yaml", "--emulator-url", desk.url, *words, cwd=desk.folder)

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["data"]["left_out"] == [{"by": "--limit 3", "jobs": 2}]
    assert records[0]["data"]["covered_by_caps"] == 1
    assert records[-1]["left_out"] == [
        {"by": "--limit 3", "jobs": 2},
        {"by": "--max-cost", "jobs": 2},
    ]


def test_a_ledger_of_an_older_version_is_planned_with_under_a_cap(desk: Desk) -> None:
    (desk.folder / "outputs").mkdir()
    shutil.copy(OLDER, desk.folder / "outputs/ledger.db")

    told = desk.say("plan", "desk.yaml", "--offline", "--max-cost", "0.03")

    assert "--max-cost covers 1 of 2 jobs to pay for" in told


# -- detached runs -----------------------------------------------------------------------------


def test_a_detached_run_submits_everything_and_collect_buys_nothing(desk: Desk) -> None:
    desk.world.settings.service_times = {"image": 600.0}
    rows = "".join(f"  - {{id: job-{n}, prompt: still {n}}}\n" for n in range(62))
    head = "version: 1\nlimits: {concurrency: 12}\ndefaults: {mode: text-to-image}\njobs:\n"
    desk.put(head + rows)
    desk.run("--detach", "--rate", "200/s", code=6)
    assert len(desk.prompts()) == 62

    desk.finish()
    desk.put(head + rows + "  - {id: later, prompt: one more}\n")
    told = desk.run("--collect", "--yes")

    assert "1 job by --collect" in told
    assert len(desk.pictures()) == 62
    assert len(desk.prompts()) == 62
    assert "--collect" in desk.last_command()
    desk.run("--max-cost", "9")
    assert desk.charges() == [1] * 63


def test_collect_pays_for_no_second_try(desk: Desk) -> None:
    desk.world.settings.service_times = {"image": 600.0}
    fault = Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    desk.world.faults.add(fault)
    desk.run("--detach", code=6)
    desk.finish()

    told = desk.run("--collect", "--yes", code=1)

    assert len(desk.world.books.posts) == 2
    assert "--retry-failed" not in told
    desk.run()
    assert len(desk.world.books.posts) == 3
    assert desk.charges() == [1, 1]


def test_collect_and_detach_exclude_each_other(desk: Desk) -> None:
    assert "--detach" in desk.run("--collect", "--detach", code=2)
    assert desk.prompts() == []


def test_a_person_who_is_asked_is_told_first(desk: Desk) -> None:
    (batch,) = load([desk.folder / "desk.yaml"])
    asked: list[str] = []

    def refuse(planned: PlannedRun, question: str) -> bool:
        shown = left_out_lines(planned.plan, planned.coverage)
        asked.append("\n".join([*shown, question]))
        return False

    options = RunOptions(output=desk.folder / "real", limit=1)
    with (
        pytest.raises(UsageError, match="not confirmed"),
        open_run(
            [batch],
            options,
            command=Command(("kling-batch", "run", "desk.yaml")),
            display=PlainDisplay(SafeStream(io.StringIO()), now=now),
            signals=Signals.NONE,
            ask=refuse,
        ),
    ):
        pass

    assert asked == ["left out: 1 job by --limit 1\n1 job, up to $0.03. Pay?"]
