"""The report of a run, made of its plan, its result and the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine import START, Rig, RunOptions, make_job, resolve

from kling_batch.core.command_line import Command
from kling_batch.core.events import name_of
from kling_batch.core.jobs import Batch
from kling_batch.core.verdicts import Verdict
from kling_batch.errors import ExitCode
from kling_batch.ledger.verdicts import record_verdict
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.builder import build_report
from kling_batch.report.run_report import JobOutcome
from kling_batch.shown_location import shown


def test_a_second_name_whose_file_could_not_be_put_down_is_not_done(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    x = make_job("x")
    jobs = [x, x._replace(id="y", path="test/y{output}{ext}")]
    with rig.ledger() as ledger:
        plan = rig.plan(ledger, jobs)
    run_result = rig.run(jobs)
    run_result.reasons[name_of(jobs[1])] = "its file was taken away"
    batch = Batch(name="test", source="test.yaml", jobs=())
    with rig.ledger() as ledger:
        report = build_report(
            ledger,
            plan,
            run_result,
            resolve([batch], RunOptions(output=tmp_path, emulator="")),
            batches=[batch],
            run_id=1,
            started=rig.now(),
            ended=rig.now(),
            command=Command.parsed("kling-batch run test.yaml"),
        )

    assert [line.outcome for line in report.lines] == [JobOutcome.SUCCEEDED, JobOutcome.UNDELIVERED]
    assert [line.cost for line in report.lines] == [420_000, 0]
    assert report.exit_code is ExitCode.SOME_FAILED


@pytest.mark.parametrize("here", [".", "test", ".."])
def test_files_are_named_as_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    rig = Rig(tmp_path)
    jobs = [make_job("x"), make_job("y")._replace(path="y{output}{ext}")]
    run_result = rig.run(jobs)
    batch = Batch(name="test", source="test.yaml", jobs=tuple(jobs))
    monkeypatch.chdir(tmp_path / here)
    with rig.ledger() as ledger:
        report = build_report(
            ledger,
            rig.plan(ledger, jobs),
            run_result,
            resolve([batch], RunOptions(output=tmp_path, emulator="")),
            batches=[batch],
            run_id=1,
            started=rig.now(),
            ended=rig.now(),
            command=Command.parsed("kling-batch run test.yaml"),
        )

    expected = [(shown(tmp_path / name),) for name in ("test/x.mp4", "y.mp4")]
    assert [line.files for line in report.lines] == expected


@pytest.mark.parametrize(
    ("verdict", "outcome", "step"),
    [
        (Verdict.NONE, JobOutcome.AWAITING, "review"),
        (Verdict.REJECTED, JobOutcome.DECLINED, ""),
    ],
)
def test_after_an_approval_was_taken_back_the_next_step_is_to_judge(
    tmp_path: Path, verdict: Verdict, outcome: JobOutcome, step: str
) -> None:
    rig = Rig(tmp_path)
    draft = make_job("hero~draft")
    final = make_job("hero", duration="7")._replace(draft="hero~draft")
    rig.run([draft])
    record_verdict(rig.ledger_path, draft.key, Verdict.APPROVED, at=START)
    batch = Batch(name="test", source="test.yaml", jobs=(draft, final))
    plan = Plan(
        (PlannedJob(draft, Action.KEEP, "unchanged"), PlannedJob(final, Action.SUBMIT, "approved"))
    )
    run_result = rig.run(batch.jobs, withdrawn=lambda job: job.id == "hero")
    record_verdict(rig.ledger_path, draft.key, verdict, at=START)

    with rig.ledger() as ledger:
        report = build_report(
            ledger,
            plan,
            run_result,
            resolve([batch], RunOptions(output=tmp_path, emulator="")),
            batches=[batch],
            run_id=2,
            started=rig.now(),
            ended=rig.now(),
            command=Command.parsed("kling-batch run test.yaml"),
        )

    assert [line.outcome for line in report.lines] == [JobOutcome.UNCHANGED, outcome]
    assert "hero~draft" in report.lines[1].message
    assert [each.split()[1] for each in report.next_steps] == ([step] if step else [])
    assert rig.charges == [1]
