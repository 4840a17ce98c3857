"""The line of costs at the end of a run: its cap, and what counts against that."""

from __future__ import annotations

import pytest
from support.reports import report

from kling_batch.core.quantities import MicroUSD
from kling_batch.report.costs import run_cost

CAP, COUNTED = MicroUSD(10_000_000), MicroUSD(7_000_000)


@pytest.mark.parametrize(
    ("emulated", "cap", "counted", "end"),
    [
        (False, CAP, COUNTED, "in all, cap $10.00, against which $7.00 counts"),
        (False, CAP, None, "in all, cap $10.00"),
        (False, None, COUNTED, "in all"),
        (True, CAP, COUNTED, "charges nothing; cap $10.00, against which $7.00 counts"),
        (True, CAP, None, "charges nothing"),
        (True, None, COUNTED, "charges nothing"),
    ],
)
def test_a_cap_says_what_counts_where_the_batches_do_not(
    emulated: bool, cap: MicroUSD | None, counted: MicroUSD | None, end: str
) -> None:
    assert run_cost(report(emulated=emulated, cap=cap, counted=counted)).endswith(end)
