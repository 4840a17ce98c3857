"""`report`: what was charged, by batch and endpoint."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import run_command
from support.engine import Rig, make_jobs, slow

from kling_batch.core.lifecycle import Event
from kling_batch.emulator import Fault


def test_a_render_of_unknown_price_has_no_ratio(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(make_jobs(1, estimate=0))
    with rig.ledger() as ledger:
        ledger.record(1, Event.COST_LEARNT, cost=420_000)
    assert "None" not in run_command("report", "--ledger", rig.ledger_path, cwd=tmp_path).stdout


def test_renders_are_counted_in_the_singular_and_the_plural(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    for attempt, renders in ((1, "1 render"), (2, "2 renders")):
        rig.run(make_jobs(attempt, estimate=420_000))
        with rig.ledger() as ledger:
            ledger.record(attempt, Event.COST_LEARNT, cost=420_000)

        told = run_command("report", "--ledger", rig.ledger_path, cwd=tmp_path).stdout
        assert f": {renders} would have cost" in told


def grouped(rig: Rig, *words: str) -> list[dict[str, Any]]:
    told = run_command(
        "report", "--ledger", rig.ledger_path, "--json", *words, cwd=rig.ledger_path.parent
    )
    document = json.loads(told.stdout)
    found: list[dict[str, Any]] = document["groups"]
    total = sum(row["charged_usd"] for row in found)
    if "reason" not in words:
        assert total == pytest.approx(document["charged_usd"])
    return found


def test_any_grouping_adds_up(tmp_path: Path) -> None:
    refused = Fault(stage="job", what="fail", error="content_policy_violation", prompt="job-1")
    rig = Rig(tmp_path, faults=[refused])
    rig.run([job._replace(tier="pro") if job.id == "job-0" else job for job in make_jobs(3)])

    assert [(row["tier"], row["attempts"]) for row in grouped(rig, "--by", "tier")] == [
        ("pro", 1),
        ("standard", 2),
    ]
    assert [row["mode"] for row in grouped(rig, "--by", "mode,batch")] == ["text-to-video"]
    assert len(grouped(rig, "--by", "day")) == len(grouped(rig)) == 1
    (failure,) = grouped(rig, "--by", "reason")
    assert failure["failed"] == 1
    assert "policy" in failure["reason"]


def test_without_failures_there_is_no_reason_and_it_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(make_jobs(1))

    told = run_command("report", "--ledger", rig.ledger_path, "--by", "reason", cwd=tmp_path).stdout

    assert told.splitlines()[0] == "no attempt has failed, and only failures have a reason"


def test_csv_is_the_same_as_json(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.run(make_jobs(2))

    words = ("report", "--ledger", rig.ledger_path, "--by", "tier", "--csv")
    (row,) = csv.DictReader(run_command(*words, cwd=tmp_path).stdout.splitlines())

    (group,) = grouped(rig, "--by", "tier")
    assert {k: str(v) if v is not None else "" for k, v in group.items()} == row


def test_percentiles_of_latency(tmp_path: Path) -> None:
    rig = Rig(tmp_path, slow())
    rig.run(make_jobs(3))

    told = json.loads(
        run_command("report", "--ledger", rig.ledger_path, "--json", cwd=tmp_path).stdout
    )

    (latency,) = told["latency"]
    assert latency["renders"] == 3
    assert latency["p50"] == pytest.approx(400, rel=0.1)
    assert latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["longest"]


def test_an_unknown_grouping_is_an_error(tmp_path: Path) -> None:
    done = run_command("report", "--by", "moed", cwd=tmp_path)

    assert done.returncode == 2
    assert "did you mean `mode`?" in done.stderr
