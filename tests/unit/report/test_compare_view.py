"""The comparison of generations where its table is wider than the terminal."""

from __future__ import annotations

import pytest
from support.engine import make_job

from kling_batch.core.jobs import Batch
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.report.compare_view import Column, as_text
from kling_batch.settings import RunOptions, resolve


def column(model: str) -> Column:
    jobs = (make_job("clip"),)
    return Column(
        model=model,
        plan=Plan(tuple(PlannedJob(job, Action.SUBMIT, "") for job in jobs)),
        settings=resolve([Batch(name="spring", source="", jobs=jobs)], RunOptions()),
        history={},
        problems=(),
        left_out=(),
    )


@pytest.mark.parametrize("width", [None, 160])
def test_a_table_that_fits_is_one(width: int | None) -> None:
    table = as_text([column(f"v{n}") for n in range(6)], width).splitlines()

    assert table[0].split() == [f"v{n}" for n in range(6)]
    assert table[1].count("1 for $0.42") == 6


def test_a_wide_table_becomes_a_paragraph_for_each_generation() -> None:
    lines = as_text([column(f"v{n}") for n in range(6)], 40).splitlines()

    assert lines[:4] == [
        "v0",
        "  text-to-video standard: 1 for $0.42",
        "  total: 1 for $0.42",
        "  time, about: 3 min 00 s",
    ]
    assert [line for line in lines if line.startswith("v")] == [f"v{n}" for n in range(6)]
