"""`export --jsonl`: everything that a ledger holds, in the shape that docs/export.md describes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.cli import run_command
from support.engine import Rig, make_job

import kling_batch
from kling_batch.core.records import RenditionRow
from kling_batch.ledger.renditions import begin_rendition

DOC = Path(kling_batch.__file__).parents[1] / "docs/export.md"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    rig = Rig(tmp_path_factory.mktemp("export"))
    rig.run([make_job("hero")._replace(tags=("spring",)), make_job("second", prompt="y" * 2_500)])
    with rig.ledger() as ledger:
        begin_rendition(
            ledger,
            RenditionRow(
                "hero.web.mp4", "hero.mp4", "0a" * 32, "web", '{"ext": ".mp4"}', "0b" * 32
            ),
        )
    words = ("verdict", "hero", "approve", "--ledger", rig.ledger_path)
    assert run_command(*words, cwd=rig.ledger_path.parent).returncode == 0
    return rig


def exported(rig: Rig) -> list[dict[str, Any]]:
    done = run_command("export", "--jsonl", "--ledger", rig.ledger_path, cwd=rig.ledger_path.parent)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_row_is_there_once(rig: Rig) -> None:
    records = exported(rig)

    kinds = [record["record"] for record in records]
    assert (kinds[0], kinds[-1]) == ("export", "end")
    assert records[-1]["counts"] == {kind: kinds.count(kind) for kind in kinds[1:-1]}
    with rig.ledger() as ledger:
        for kind, table in {"job": "jobs", "attempt": "attempts", "event": "events"}.items():
            (row,) = ledger.db.query(f"select count(*) as n from {table}")
            assert kinds.count(kind) == row["n"] > 0


def test_its_money_is_the_money_of_the_emulator(rig: Rig) -> None:
    attempts = [record for record in exported(rig) if record["record"] == "attempt"]

    assert sum(attempt["charged_usd"] for attempt in attempts) == pytest.approx(0.84)
    assert {a["request_id"] for a in attempts} == {
        request.request_id for request in rig.world.books.accepted
    }
    assert len(rig.charges) == 2


def test_names_have_tags_and_json_is_no_text(rig: Rig) -> None:
    records = exported(rig)

    names = {r["job_id"]: r["tags"] for r in records if r["record"] == "name"}
    assert names == {"hero": ["spring"], "second": []}
    prompts = {r["arguments"]["prompt"] for r in records if r["record"] == "job"}
    assert prompts == {"prompt of hero", "y" * 2_500}


def test_the_shape_is_documented(rig: Rig) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", DOC.read_text("utf-8"), re.MULTILINE)
    documented = {kind: set(re.findall(r"`(\w+)`", fields)) for kind, fields in rows}

    shapes = {r["record"]: set(r) - {"record"} for r in exported(rig)}
    assert shapes == documented
