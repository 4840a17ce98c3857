"""The lines before the question whether to pay, at every width."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from contextlib import suppress
from typing import Any

import click
import pytest
from rich.cells import cell_len
from support.engine import PRO, make_job

from kling_batch.cli.commands import run as run_command
from kling_batch.core.jobs import Batch, Job, Limits
from kling_batch.core.quantities import MicroUSD
from kling_batch.operations.plan import PlannedRun
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Action, LeftOut, Plan, PlannedJob
from kling_batch.report.display.page import Page
from kling_batch.report.payment_question import before_paying
from kling_batch.settings import RunOptions, resolve

STANDARD = make_job("clip")
CLIPS = [make_job(f"pro-{n}", endpoint=PRO)._replace(tier="pro") for n in range(1200)]


def planned(
    *jobs: Job, limits: Limits | None = None, history: Any = None, **more: Any
) -> PlannedRun:
    batch = Batch(name="spring", source="", jobs=jobs, limits=limits or Limits())
    items = [PlannedJob(job, Action.SUBMIT, "") for job in jobs]
    items.append(PlannedJob(make_job("kept", endpoint="fal-ai/kept"), Action.KEEP, ""))
    items.append(PlannedJob(jobs[0]._replace(id="twin"), Action.SUBMIT, "", duplicate="clip"))
    plan = Plan(tuple(items), left_out=more.pop("left_out", ()))
    settings = resolve([batch], RunOptions())
    return PlannedRun(plan=plan, settings=settings, typical_seconds=history or {}, **more)


def told(found: PlannedRun, width: int | None = 80) -> list[str]:
    return [
        *before_paying(
            Page(width=width),
            found.plan,
            found.settings,
            found.typical_seconds,
            coverage=found.coverage,
            warnings=found.warnings,
        )
    ]


def test_split_time_and_cap_are_reported_before_the_question() -> None:
    found = planned(
        STANDARD,
        *CLIPS,
        limits=Limits(concurrency=100, rate=20.0),
        history={STANDARD.endpoint: 90.0, PRO: 120.0},
        warnings=("the disk is nearly full",),
        left_out=(LeftOut("--limit 1201", 3),),
    )

    assert told(found) == [
        "warning: the disk is nearly full",
        "left out: 3 jobs by --limit 1201",
        "to pay for               jobs    up to",
        "text-to-video pro       1,200  $504.00",
        "text-to-video standard      1    $0.42",
        "about 24 min 01 s with 100 at once, from earlier renders; no cap (--max-cost USD",
        "  sets one)",
    ]


def test_the_time_keeps_to_the_rate_and_says_what_it_rests_on() -> None:
    slow = planned(*CLIPS[:10], limits=Limits(rate=0.1), history={PRO: 10.0})
    mixed = planned(STANDARD, CLIPS[0], history={PRO: 10.0})

    assert told(slow, None)[-1].startswith("about 1 min 40 s with 8 at once, from earlier renders")
    assert "partly from earlier renders" in told(mixed, None)[-1]
    assert "from fal's model pages" in told(planned(STANDARD), None)[-1]


def test_caps_that_leave_something_open_are_named_with_what_they_cover() -> None:
    limits = Limits(max_cost_per_day=MicroUSD(20_000_000))
    coverage = Coverage(jobs=1, of=2, caps=("max_cost_per_day",))
    lines = told(planned(STANDARD, CLIPS[0], limits=limits, coverage=coverage))

    assert lines[0] == "max_cost_per_day covers 1 of 2 jobs to pay for"
    assert lines[-1].endswith("; cap $20.00 a day")
    assert told(planned(STANDARD, limits=Limits(max_cost=MicroUSD(5))))[-1].endswith("; cap $0.01")


def test_what_nobody_knows_the_price_of_is_said() -> None:
    unknown = make_job("new")._replace(estimate=MicroUSD(0), estimate_note="not in the catalogue")
    found = told(planned(STANDARD, unknown))
    alone = told(planned(unknown))

    assert "1 job of unknown price beside" in found
    assert " ".join(found[1].split()) == "text-to-video standard 2 $0.42 and 1 unknown"
    assert " ".join(alone[1].split()) == "text-to-video standard 1 unknown"


@pytest.mark.parametrize("width", [20, 40, 80, 160])
def test_every_line_fits_and_the_money_stays(width: int) -> None:
    odd = make_job("x", endpoint="fal-ai/" + "long/" * 30)._replace(mode="", tier="")
    lines = told(planned(STANDARD, *CLIPS, odd), width)

    assert [line for line in lines if cell_len(line) > width] == []
    assert any(line.endswith("$504.00") for line in lines)
    assert "--max-cost" in " ".join(lines)


def everything_on(terminal: int) -> bytes:
    """What was written to a pseudo-terminal that nobody writes to any more."""
    told = b""
    with suppress(OSError):  # its end, on Linux
        while piece := os.read(terminal, 10_000):
            told += piece
    return told


@pytest.mark.parametrize("answer", [True, False])
def test_the_question_itself_is_put_at_the_end(
    monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    """On standard error as wide as it is, whatever standard output is."""
    asked: list[str] = []

    def confirm(text: str, **_options: Any) -> bool:
        asked.append(text)
        return answer

    monkeypatch.setattr(click, "confirm", confirm)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    question = "1,201 jobs, up to $504.42 in all of it. Pay?"
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        assert run_command._ask(planned(STANDARD), question) is answer
    lines = everything_on(ours).decode().splitlines()
    os.close(ours)

    assert lines[0].split() == ["to", "pay", "for", "jobs", "up", "to"]
    assert " ".join([lines[-1], *asked]).split() == question.split()
    assert max(map(len, lines)) <= 40
    assert len(f"{asked[0]} [y/N]: ") <= 40
