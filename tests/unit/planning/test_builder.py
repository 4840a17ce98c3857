"""What ledger and disk say before planning: which files lie where the manifest wants them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine import Rig, make_job

from kling_batch.core.jobs import Batch, Job
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.builder import Changes, OutputIndex, build_plan, orphaned_requests
from kling_batch.planning.plan import Action, OnDisk
from kling_batch.settings import RunOptions, resolve

JOB = make_job("hero")
RENAMED = JOB._replace(id="renamed", path="test/renamed{output}{ext}")


def batch_of(*jobs: Job) -> Batch:
    return Batch(name="test", source="test.yaml", jobs=jobs)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    """One job is done."""
    rig = Rig(tmp_path)
    rig.run([JOB])
    return rig


def where(rig: Rig, job: Job) -> OnDisk:
    with rig.ledger() as ledger:
        return OutputIndex(rig.store(), ledger.standings()).where(job)


def test_a_file_is_here_elsewhere_or_missing(rig: Rig) -> None:
    assert where(rig, JOB) is OnDisk.HERE
    assert where(rig, RENAMED) is OnDisk.ELSEWHERE
    (rig.folder / "test/hero.mp4").unlink()
    assert where(rig, JOB) is OnDisk.MISSING
    assert where(rig, RENAMED) is OnDisk.MISSING


def test_a_job_that_the_ledger_does_not_know_has_no_file(rig: Rig) -> None:
    stranger = make_job("stranger")
    (rig.folder / "test/stranger.mp4").write_bytes(b"put there by somebody")

    assert where(rig, stranger) is OnDisk.MISSING


def test_without_a_ledger_everything_is_to_be_bought(tmp_path: Path) -> None:
    batch = batch_of(JOB, make_job("other"))
    settings = resolve([batch], RunOptions(output=tmp_path))

    plan = build_plan(None, [batch], settings)

    assert [item.action for item in plan.items] == [Action.SUBMIT] * 2
    assert list(tmp_path.iterdir()) == []


def test_an_edited_job_says_what_changed_and_an_unknown_one_nothing(rig: Rig) -> None:
    edited = make_job("hero", prompt="another prompt", duration="10")
    with rig.ledger() as ledger:
        changes = Changes(ledger, [batch_of(edited)])

        assert changes.of(edited) == "duration, prompt"
        assert changes.of(JOB) == ""
        assert changes.of(make_job("stranger")) == ""


def test_an_open_request_whose_job_left_the_manifest_is_collected_under_a_marked_name(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path)
    rig.run([JOB], detach=True)
    edited = make_job("hero", prompt="another prompt")
    with rig.ledger() as ledger:
        assert orphaned_requests(ledger, [batch_of(JOB)]) == []

        (orphan,) = orphaned_requests(ledger, [batch_of(edited)])

    mark = JOB.key[3:11]
    assert orphan.orphaned
    assert orphan.action is Action.COLLECT
    assert orphan.job.key == JOB.key
    assert orphan.job.id == f"hero@{mark}"
    assert orphan.job.path == f"test/hero.{mark}{{output}}{{ext}}"
    assert orphan.job.estimate == MicroUSD(420_000)
