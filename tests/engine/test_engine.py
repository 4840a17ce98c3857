"""Whole runs of the engine on virtual time, judged by the emulator's books."""

from __future__ import annotations

import ssl
from collections import Counter
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from support.books import paid_once
from support.engine import Bent, Rig, account, make_job, make_jobs

from kling_batch.core.jobs import Job, OutputOf
from kling_batch.core.lifecycle import State
from kling_batch.emulator import Fault, Settings
from kling_batch.ledger.reader import Reader


def test_every_job_is_paid_once_and_ends_as_a_file(rig: Rig) -> None:
    jobs = make_jobs(20)

    run_result = rig.run(jobs)

    assert run_result.stops == []
    assert rig.states(jobs) == [State.SUCCEEDED] * 20
    assert rig.files() == sorted(f"test/job-{n}.mp4" for n in range(20))
    paid_once(rig, 20)


def test_a_second_run_sends_nothing(rig: Rig) -> None:
    jobs = make_jobs(5)
    rig.run(jobs)
    posts = len(rig.world.books.posts)

    rig.run(jobs)

    assert len(rig.world.books.posts) == posts == 5
    paid_once(rig, 5)


def test_minutes_of_rendering_pass_on_virtual_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Settings(concurrency=20, profile="realistic", media="template"))
    jobs = make_jobs(100)
    began = rig.now()

    rig.run(jobs, concurrency=100)

    assert rig.now() - began > timedelta(minutes=5)
    paid_once(rig, 100)


def test_a_job_that_goes_well_is_read_after_its_acceptance_and_after_its_end(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each read of it is a twentieth of what the event loop does for a job."""
    reads = Counter[str]()

    def counted(name: str) -> None:
        method = getattr(Reader, name)

        def read(reader: Reader, attempt_id: int) -> object:
            reads[name] += 1
            return method(reader, attempt_id)

        monkeypatch.setattr(Reader, name, read)

    counted("attempt")
    counted("files_of")

    rig.run(make_jobs(10))

    assert reads == {"attempt": 20, "files_of": 10}
    paid_once(rig, 10)


# -- endings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_faults_everywhere_never_hang_a_run_nor_pay_twice(
    tmp_path: Path, concurrency: int, detach: bool
) -> None:
    faults = [
        Fault(stage="submit.after", what="reset", probability=0.15),
        Fault(stage="submit.before", what="status", status=429, probability=0.1),
        Fault(stage="status", what="status", status=502, probability=0.1),
        Fault(stage="result", what="garbage", probability=0.1),
        Fault(stage="download", what="truncated", probability=0.2),
        Fault(stage="job", what="fail", error="internal_error", probability=0.2),
    ]
    rig = Rig(tmp_path, account(), faults)
    parents = make_jobs(12)
    jobs: list[Job] = [*parents]
    for parent in parents[:4]:
        reference = OutputOf(key=parent.key, job_id=parent.id, take=1)
        jobs.append(make_job(f"child-of-{parent.id}", video_url=reference))

    for _ in range(3):
        rig.run(jobs, concurrency=concurrency, detach=detach)
    rig.world.faults.clear()
    for _ in range(3):
        rig.run(jobs, concurrency=concurrency)

    assert max(rig.charges) == 1
    finals = rig.states(jobs)
    assert set(finals) <= {State.SUCCEEDED, State.FAILED, None}
    assert finals.count(State.SUCCEEDED) >= 12
    assert list(tmp_path.rglob("*.part")) == []


# -- TLS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["submit", "status", "list", "download"])
def test_a_damaged_tls_record_stops_no_run(tmp_path: Path, where: str) -> None:
    class Damaged(Bent):
        seen = 0

        def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
            kind = "submit" if request.method == "POST" else request.url.path.rsplit("/", 1)[-1]
            kind = "list" if kind == "by-endpoint" else kind
            kind = "download" if request.url.host.endswith("fal.media") else kind
            self.seen += kind == where
            if kind == where and self.seen == 2:
                raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")
            return answer

    faults = [Fault(stage="submit.after", what="reset", nth=2)] if where == "list" else []
    rig = Rig(tmp_path, Settings(concurrency=4, media="template", list_delay=20.0), faults)
    jobs = make_jobs(12)

    run_result = rig.run(jobs, transport=Damaged(rig.world), concurrency=3)

    assert not run_result.stops
    assert rig.states(jobs) == [State.SUCCEEDED] * 12
    assert rig.charges == [1] * 12
