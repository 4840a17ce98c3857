"""`report`: what was charged, by batch and endpoint."""

from __future__ import annotations

from pathlib import Path

from support.cli import invoke
from support.engine import Rig, make_jobs

from kling_batch.core.lifecycle import Event


def test_a_render_of_unknown_price_has_no_ratio(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(make_jobs(1, estimate=0))
    with rig.ledger() as ledger:
        ledger.record(1, Event.COST_LEARNT, cost=420_000)
    assert "None" not in invoke("report", "--ledger", rig.ledger_path, cwd=tmp_path).stdout


def test_renders_are_counted_in_the_singular_and_the_plural(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for attempt, renders in ((1, "1 render"), (2, "2 renders")):
        rig.run(make_jobs(attempt, estimate=420_000))
        with rig.ledger() as ledger:
            ledger.record(attempt, Event.COST_LEARNT, cost=420_000)

        told = invoke("report", "--ledger", rig.ledger_path, cwd=tmp_path).stdout
        assert f": {renders} would have cost" in told
