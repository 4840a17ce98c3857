"""Frame of the live view: it fits every terminal, and the money is in it."""

from __future__ import annotations

import pytest
from support.reports import CENT, job

from kling_batch.core.events import EventKind, Pace, RunEvent
from kling_batch.core.quantities import MicroUSD
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.display.cells import row_width
from kling_batch.report.display.frame import View, compose
from kling_batch.report.display.progress import Progress


@pytest.mark.parametrize("jobs", [5, 5000])
@pytest.mark.parametrize(("width", "height"), [(20, 6), (20, 24), (40, 24), (80, 24), (160, 50)])
def test_a_frame_fits_and_tells_the_money(jobs: int, width: int, height: int) -> None:
    progress = Progress()
    names = [f"a-very-long-name-of-a-job-in-the-morning-light-{n}" for n in range(jobs)]
    progress.begin(Plan(tuple(PlannedJob(job(n), Action.SUBMIT, "") for n in names)), 0.0)
    for name in names:
        progress.fold(RunEvent(kind=EventKind.SUBMITTED, job=name, batch="spring"), 1.0)
    pace = Pace(most=10, rate=5, open=jobs, window=jobs)
    view = View(cap=MicroUSD(900_000 * CENT), emulated=False, elapsed=9.0, pace=pace)

    rows = compose(progress, view, width, height)

    text = "\n".join("".join(part for part, _ in row) for row in rows)
    assert max(map(row_width, rows)) < width
    assert len(rows) < height
    assert f"${jobs * 70 / 100:,.2f}" in text
    assert "$9,000.00" in text


def test_finals_that_wait_for_a_verdict_do_not_hold_the_bar_back() -> None:
    progress = Progress()
    items = [("a-draft", Action.KEEP), ("b-draft", Action.KEEP), ("a", Action.HOLD)]
    progress.begin(Plan(tuple(PlannedJob(job(n), action, "") for n, action in items)), 0.0)
    pace = Pace(most=10, rate=10, open=0, window=8)
    view = View(cap=None, emulated=False, elapsed=9.0, pace=pace)

    rows = ["".join(part for part, _ in row) for row in compose(progress, view, 80, 24)]

    assert rows[0].endswith("  100 %  2 of 2 done")
    assert set(rows[0].split()[0]) == {"━"}
    assert rows[1] == "1 waiting for a verdict"
