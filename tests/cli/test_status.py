"""`status` and `list` read the ledger."""

from __future__ import annotations

import json

import pytest
from support.cli import Desk


def test_list_and_status_read_the_ledger(desk: Desk) -> None:
    desk.run()

    rows = [json.loads(line) for line in desk.say("list", "--json").splitlines()]

    assert [row["state"] for row in rows] == ["succeeded", "succeeded"]
    assert desk.say("list", "--state", "failed") == ""
    assert json.loads(desk.say("status", "--json"))["charged_usd"] == pytest.approx(0.056)
