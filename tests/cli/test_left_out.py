"""What options and caps leave to other runs is counted: before paying and at the end."""

from __future__ import annotations

import io
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.cli import Workspace, run_command

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


def started(workspace: Workspace, *words: str) -> str:
    """The line with which a run begins, before it pays."""
    told = workspace.run(*words, manifest="trial.yaml")
    return next(line for line in told.splitlines() if "files in" in line)


def test_a_limit_says_how_many_jobs_it_leaves(workspace: Workspace) -> None:
    workspace.videos(*CLIPS)

    assert "left out: 3 jobs by --limit 2" in workspace.invoke("plan", "trial.yaml", "--limit", "2")
    told = workspace.run("--limit", "2", manifest="trial.yaml")

    before, _, after = told.partition("accepted")
    assert "left out: 3 jobs by --limit 2" in before
    assert "left   3 jobs by --limit 2" in after
    assert len(workspace.prompts()) == 2


def test_a_limit_of_nothing_is_not_a_batch_without_jobs(workspace: Workspace) -> None:
    told = workspace.run("--limit", "0")

    assert "nothing to do, no job; left out: 2 jobs by --limit 0" in told
    assert workspace.prompts() == []


def test_a_selection_says_how_many_jobs_it_leaves(workspace: Workspace) -> None:
    workspace.videos(*CLIPS)

    words = ("--only", "clip-[01]", "--limit", "1")
    told = workspace.plan(*words, manifest="trial.yaml")
    assert "left out: 3 jobs by --only, --exclude or --tag, 1 job by --limit 1" in told
    document = json.loads(workspace.invoke("plan", "trial.yaml", *words, "--json"))
    assert document["left_out"] == [
        {"by": "--only, --exclude or --tag", "jobs": 3},
        {"by": "--limit 1", "jobs": 1},
    ]
    assert "3 jobs by --only, --exclude or --tag" in started(workspace, *words)


def test_a_cap_below_the_plan_says_before_paying_how_far_it_reaches(workspace: Workspace) -> None:
    workspace.videos(*CLIPS)
    words = ("--max-cost", "0.90")

    planned = workspace.plan(*words, manifest="trial.yaml")
    told = workspace.run(*words, manifest="trial.yaml", code=4)

    before, _, after = told.partition("accepted")
    assert "--max-cost covers 2 of 5 jobs to pay for" in planned
    assert "--max-cost covers 2 of 5 jobs to pay for" in before
    assert "left   3 jobs by --max-cost" in after
    assert workspace.charges() == [1, 1]

    assert "covers 0 of 3 jobs" in workspace.plan(*words, manifest="trial.yaml")
    assert "covers" not in workspace.invoke("plan", "trial.yaml", "--max-cost", "2.10")


@pytest.mark.parametrize(
    ("seconds", "covered"), [(0, "0 of 2"), (2 * 86_400, "1 of 2")], ids=["today", "earlier"]
)
def test_a_render_about_to_be_recovered_counts_before_it_is(
    workspace: Workspace, seconds: int, covered: str
) -> None:
    """Paid for under a ledger that is lost; a cap of a day counts it by the day it was paid."""
    workspace.videos(*CLIPS[:1])
    workspace.run(manifest="trial.yaml")
    for path in (workspace.folder / "outputs").glob("ledger.db*"):
        path.unlink()
    (sidecar,) = workspace.folder.glob("outputs/**/*.mp4.json")
    known = json.loads(sidecar.read_text())
    paid = datetime.fromisoformat(known["submitted_at"]) - timedelta(seconds=seconds)
    sidecar.write_text(json.dumps({**known, "submitted_at": paid.isoformat()}))
    workspace.videos(*CLIPS[:3], head="limits: {max_cost_per_day: 0.80}\n")

    planned = workspace.plan(manifest="trial.yaml")
    told = workspace.run(manifest="trial.yaml", code=4)

    assert f"max_cost_per_day covers {covered} jobs to pay for" in planned
    assert f"max_cost_per_day covers {covered} jobs to pay for" in told.partition("recovered:")[0]
    assert len(workspace.prompts()) == 1 + int(covered[0])


def test_each_batch_is_counted_under_its_own_cap(workspace: Workspace) -> None:
    workspace.videos(*CLIPS, name="one", head="limits: {max_cost: 0.42}\n")
    workspace.videos(*CLIPS[:2], name="two", head="limits: {max_cost: 0.84}\n")
    (workspace.folder / "two.yaml").write_text(
        (workspace.folder / "two.yaml").read_text().replace("clip ", "other ")
    )

    planned = workspace.invoke("plan", "one.yaml", "two.yaml")
    words = ("one.yaml", "two.yaml", "--emulator-url", workspace.url)
    run_command("run", *words, cwd=workspace.folder)

    assert "max_cost covers 3 of 7 jobs to pay for" in planned
    assert len(workspace.prompts()) == 3


def test_machines_get_the_counts_of_a_run(workspace: Workspace) -> None:
    workspace.videos(*CLIPS)
    words = ("--limit", "3", "--max-cost", "0.42", "--json")

    done = run_command(
        "run", "trial.yaml", "--emulator-url", workspace.url, *words, cwd=workspace.folder
    )

    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["data"]["left_out"] == [{"by": "--limit 3", "jobs": 2}]
    assert records[0]["data"]["covered_by_caps"] == 1
    assert records[-1]["left_out"] == [
        {"by": "--limit 3", "jobs": 2},
        {"by": "--max-cost", "jobs": 2},
    ]


def test_a_ledger_of_an_older_version_is_planned_with_under_a_cap(workspace: Workspace) -> None:
    (workspace.folder / "outputs").mkdir()
    shutil.copy(OLDER, workspace.folder / "outputs/ledger.db")

    told = workspace.invoke("plan", "workspace.yaml", "--offline", "--max-cost", "0.03")

    assert "--max-cost covers 1 of 2 jobs to pay for" in told


# -- detached runs -----------------------------------------------------------------------------


def test_a_detached_run_submits_everything_and_collect_buys_nothing(workspace: Workspace) -> None:
    workspace.world.settings.service_times = {"image": 600.0}
    rows = "".join(f"  - {{id: job-{n}, prompt: still {n}}}\n" for n in range(62))
    head = "version: 1\nlimits: {concurrency: 12}\ndefaults: {mode: text-to-image}\njobs:\n"
    workspace.put(head + rows)
    workspace.run("--detach", "--rate", "200/s", code=6)
    assert len(workspace.prompts()) == 62

    workspace.finish()
    workspace.put(head + rows + "  - {id: later, prompt: one more}\n")
    told = workspace.run("--collect", "--yes")

    assert "1 job by --collect" in told
    assert len(workspace.pictures()) == 62
    assert len(workspace.prompts()) == 62
    assert "--collect" in workspace.last_command()
    workspace.run("--max-cost", "9")
    assert workspace.charges() == [1] * 63


def test_collect_pays_for_no_second_try(workspace: Workspace) -> None:
    workspace.world.settings.service_times = {"image": 600.0}
    fault = Fault(stage="job", what="fail", error="internal_error", prompt="first", times=1)
    workspace.world.faults.add(fault)
    workspace.run("--detach", code=6)
    workspace.finish()

    told = workspace.run("--collect", "--yes", code=1)

    assert len(workspace.world.books.posts) == 2
    assert "--retry-failed" not in told
    workspace.run()
    assert len(workspace.world.books.posts) == 3
    assert workspace.charges() == [1, 1]


def test_collect_and_detach_exclude_each_other(workspace: Workspace) -> None:
    assert "--detach" in workspace.run("--collect", "--detach", code=2)
    assert workspace.prompts() == []


def test_a_person_who_is_asked_is_reported_first(workspace: Workspace) -> None:
    (batch,) = load([workspace.folder / "workspace.yaml"])
    asked: list[str] = []

    def refuse(planned: PlannedRun, question: str) -> bool:
        shown = left_out_lines(planned.plan, planned.coverage)
        asked.append("\n".join([*shown, question]))
        return False

    options = RunOptions(output=workspace.folder / "real", limit=1)
    with (
        pytest.raises(UsageError, match="not confirmed"),
        open_run(
            [batch],
            options,
            command=Command(("kling-batch", "run", "workspace.yaml")),
            display=PlainDisplay(SafeStream(io.StringIO()), now=now),
            signals=Signals.NONE,
            ask=refuse,
        ),
    ):
        pass

    assert asked == ["left out: 1 job by --limit 1\n1 job, up to $0.03. Pay?"]
