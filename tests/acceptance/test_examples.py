"""Every example manifest, rendered to the end on the emulator: each job once, within its price."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine import CountingUploads, Rig

from kling_batch.core.jobs import Job, is_unpicked, parents
from kling_batch.core.lifecycle import State
from kling_batch.emulator import Settings
from kling_batch.manifest.loader import load

EXAMPLES = sorted((Path(__file__).parents[2] / "manifests").glob("*.yaml"))
COUNTS = {"quickstart": 3, "campaign": 23, "nightly": 3, "ci": 2, "drafts": 7}
#: Jobs that wait for a person's verdict.
WAITING = {"drafts": 5}


def waits(job: Job) -> bool:
    """Whether a verdict has to come first."""
    return bool(job.draft) or any(is_unpicked(need.key) for need in parents(job.arguments))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_pays_for_its_jobs_and_for_no_more(tmp_path, path):
    batch = load(path, environ={})
    planned = [job._replace(batch="test") for job in batch.jobs]
    jobs = [job for job in planned if not waits(job)]
    uploads = CountingUploads()
    settings = Settings(concurrency=8, media="template", check_inputs=False)
    rig = Rig(tmp_path, settings=settings, uploads=uploads)
    rig.run(planned)

    assert COUNTS[path.stem] == len(jobs)
    assert WAITING.get(path.stem, 0) == len(planned) - len(jobs)
    assert batch.warnings == ()
    assert rig.states(jobs) == [State.SUCCEEDED] * len(jobs)
    assert len(rig.world.books.accepted) == len(jobs)
    assert rig.world.books.total_charged_micro_usd <= sum(job.estimate for job in jobs)
    for job in jobs:
        assert list(tmp_path.glob(job.output_path(0, ".*"))), job.label

    rig.run(planned)

    assert len(rig.world.books.accepted) == len(jobs)


def test_two_jobs_on_one_photo_upload_it_once(tmp_path):
    (path,) = [path for path in EXAMPLES if path.stem == "campaign"]
    jobs = [job._replace(batch="test") for job in load(path, environ={}).jobs]
    uploads = CountingUploads()
    rig = Rig(tmp_path, settings=Settings(media="template", check_inputs=False), uploads=uploads)
    rig.run(jobs)

    assert sorted(each.name for each in uploads.paths) == ["logo.png", "sneaker.jpg"]
