"""Files given as a saved plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kling_batch.errors import UsageError
from kling_batch.planning import saved_plan


def written(binds: Any) -> str:
    return json.dumps({"format": "kling-batch plan 1", "binds": binds})


def test_a_plan_binds_keys_and_prices() -> None:
    found = saved_plan.read(written({"b/one": ["k1:1", 28000], "b/two": ["k1:2", None]}), "p.json")
    assert found == {"b/one": ("k1:1", 28000), "b/two": ("k1:2", None)}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[" * 100_000,
        "[]",
        written(None),
        written([1]),
        written({"b/one": None}),
        written({"b/one": ["k1:1"]}),
        written({"b/one": ["k1:1", "0.56"]}),
        written({"b/one": ["k1:1", 0.56]}),
        written({"b/one": ["k1:1", True]}),
        written({"b/one": ["k1:1", float("nan")]}),
    ],
    ids=lambda text: text[37:70] or text[:5],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"p\.json: this is no plan; make one with: plan --save"):
        saved_plan.read(text, "p.json")
