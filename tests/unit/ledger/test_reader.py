"""The ledger's reader beside a process that writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.engine import (
    Rig,
    make_jobs,
)

from kling_batch.core.jobs import Batch
from kling_batch.core.lifecycle import Event
from kling_batch.core.outcomes import (
    Fetched,
    Handle,
)
from kling_batch.ledger.artifacts import Placed
from kling_batch.ledger.reader import Reader


def test_standings_beside_a_run_are_of_one_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    (job,) = make_jobs(1)
    with rig.ledger() as ledger:
        ledger.begin_run(command="t", batches=["test"], pid=1, version="0", cap=None)
        ledger.register(Batch(name="test", source="t", jobs=(job,)))
        number = ledger.intend(job, {}, tries=1)
        assert isinstance(number, int)
        handle = Handle(request_id="r", response_url="", status_url="", cancel_url="")
        ledger.record(number, Event.SUBMIT_ACCEPTED, handle=handle)
        ledger.record(number, Event.REMOTE_COMPLETED, output={})
        with Reader.open(rig.ledger_path) as reader:
            plain, count = reader.db.execute, 0

            def meanwhile(*words: Any) -> Any:
                nonlocal count
                count += 1
                if count == 2:  # between two of its queries the run saves the file
                    item = Fetched(
                        temporary="", sha256="0" * 64, size=1, ext=".mp4", content_type="video/mp4"
                    )
                    placed = Placed(index=0, path="a.mp4", fetched=item, url="")
                    ledger.save_artifacts(ledger.attempt(number), [placed])
                return plain(*words)

            monkeypatch.setattr(reader.db, "execute", meanwhile)
            assert job.key in reader.standings(), "a paid job looks new"
