"""`init`, `validate` and `schema`."""

from __future__ import annotations

import json

from support.cli import Desk


def test_init_writes_a_manifest_that_runs_and_its_schema(desk: Desk) -> None:
    desk.say("init", "new.yaml")

    desk.say("validate", "new.yaml")
    assert "is there already" in desk.say("init", "new.yaml", code=2)
    assert json.loads(desk.say("schema")) == json.loads(
        (desk.folder / "kling-batch.schema.json").read_text()
    )


def test_validate_counts_the_jobs(desk: Desk) -> None:
    job = "  - {id: %s, mode: text-to-image, prompt: fox}\n"
    one = desk.folder / "one.yaml"
    one.write_text("version: 1\njobs:\n" + job % "a")
    assert "one.yaml: 1 job, no problems" in desk.say("validate", "one.yaml")
    one.write_text(one.read_text() + job % "b")
    assert "one.yaml: 2 jobs, no problems" in desk.say("validate", "one.yaml")
