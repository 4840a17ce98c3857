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
