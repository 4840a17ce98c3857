"""Files given as a saved plan."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kling_batch.errors import PlanDriftError, UsageError
from kling_batch.planning import saved_plan
from kling_batch.settings import EMULATOR, FAL


def written(binds: Any, service: str = "fal") -> str:
    return json.dumps({"format": "kling-batch plan 2", "service": service, "binds": binds})


def test_a_plan_binds_keys_and_prices() -> None:
    text = written({"b/one": ["k1:1", 28000], "b/two": ["k1:2", None]})
    found = saved_plan.read(text, "p.json", FAL)
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
    ids=lambda text: text[55:88] or text[:5],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"p\.json: this is no plan; make one with: plan --save"):
        saved_plan.read(text, "p.json", FAL)


def test_the_plan_of_a_trial_is_for_no_run_that_pays() -> None:
    for made_for, service in ((FAL, FAL), (EMULATOR, EMULATOR), (FAL, EMULATOR)):
        assert saved_plan.read(written({}, made_for), "p.json", service) == {}

    with pytest.raises(
        PlanDriftError, match="this plan was made on the emulator; nothing was sent"
    ):
        saved_plan.read(written({}, EMULATOR), "p.json", FAL)


def test_a_plan_that_does_not_say_its_service_is_of_another_version() -> None:
    text = json.dumps({"format": "kling-batch plan 1", "binds": {}})

    with pytest.raises(UsageError, match=r"another version .* make a new one"):
        saved_plan.read(text, "p.json", FAL)
