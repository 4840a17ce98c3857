"""`catalog --check`: the catalogue held against fal's own schemas and unit prices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.cli import Workspace

from kling_batch.emulator import Fault

T2V = "fal-ai/kling-video/o3/standard/text-to-video"


def check(workspace: Workspace, *words: str, code: int = 0) -> str:
    return workspace.invoke(
        "catalog", *words, "--check", "--emulator-url", workspace.url, code=code
    )


def test_nothing_has_moved(workspace: Workspace) -> None:
    """The emulator's fields were written from the facts, not from the catalogue."""
    told = check(workspace, "o3")

    assert told == "17 endpoints as in the catalogue, 0 moved\n"
    assert workspace.charges() == []


def test_what_is_demanded_here_on_purpose_has_not_moved(workspace: Workspace) -> None:
    told = check(workspace, "voices")

    assert "required  sound_effect_prompt: at fal it may be left out" in told
    assert told.endswith("3 endpoints as in the catalogue, 0 moved\n")


def schema(**changes: Any) -> Fault:
    properties = {
        "prompt": {"type": "string", "maxLength": 2500},
        "multi_prompt": {"type": "array"},
        "duration": {"enum": [str(n) for n in range(3, 16)]},
        "generate_audio": {"type": "boolean"},
        "shot_type": {"type": "string"},
        "aspect_ratio": {"enum": ["16:9", "9:16", "1:1"]},
        **changes,
    }
    body = {"schema": {"properties": properties}}
    document = {
        "paths": {
            f"/{T2V}": {"post": {"requestBody": {"content": {"application/json": body}}}},
        }
    }
    return Fault(stage="schema", what="status", status=200, body=document)


def test_what_has_moved_is_reported_by_parameter_with_the_exit_code(workspace: Workspace) -> None:
    workspace.world.faults.add(
        schema(aspect_ratio={"enum": ["16:9", "9:16", "4:3"]}, seed={"type": "integer"})
    )

    told = check(workspace, T2V, code=1)

    assert "new       seed: fal has it, the catalogue does not" in told
    assert "choices   aspect_ratio: fal also takes 4:3" in told
    assert "choices   aspect_ratio: fal does not take 1:1" in told
    assert "0 endpoints as in the catalogue, 1 moved" in told


def test_a_default_of_fals_alone_is_reported_and_no_change(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(generate_audio={"type": "boolean", "default": True}))

    assert "default   generate_audio: fal's default is" in check(workspace, T2V)


def test_a_price_that_has_moved(workspace: Workspace) -> None:
    row = {"endpoint_id": T2V, "unit_price": 0.28, "unit": "second", "currency": "USD"}
    workspace.world.faults.add(
        Fault(stage="pricing", what="status", status=200, body={"prices": [row]})
    )

    told = check(workspace, T2V, code=1)

    assert "price     a unit costs $0.28 at fal and $0.14 in the catalogue" in told
    assert "expect 2.00 times the planned cost" in told


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(stage="schema", what="status", status=503), "HTTP 503"),
        (Fault(stage="schema", what="status", status=404), "HTTP 404"),
        (Fault(stage="schema", what="garbage"), "not compared"),
        (
            Fault(stage="schema", what="status", status=200, body={"paths": {}}),
            "describes no input",
        ),
        (Fault(stage="schema", what="reset"), "not compared"),
    ],
)
def test_what_cannot_be_read_is_not_taken_for_equal(
    workspace: Workspace, fault: Fault, said: str
) -> None:
    workspace.world.faults.add(fault)

    told = check(workspace, T2V, code=1)

    assert said in told
    assert "0 endpoints as in the catalogue, 0 moved, 1 not compared" in told


def test_prices_that_cannot_be_read_are_reported_and_no_change(workspace: Workspace) -> None:
    workspace.world.faults.add(Fault(stage="pricing", what="status", status=503))

    assert "prices not compared: fal's pricing API gave no prices" in check(workspace, T2V)


def test_an_id_that_fal_does_not_know_hides_no_other_price(workspace: Workspace) -> None:
    """The pricing API answers 404 to the whole call."""
    row = {"endpoint_id": T2V, "unit_price": 0.28, "unit": "second", "currency": "USD"}
    prices = {"status": 200, "body": {"prices": [row]}}
    workspace.world.faults.add(Fault(stage="pricing", what="status", status=404, nth=1))
    workspace.world.faults.add(Fault(stage="pricing", what="status", endpoint=T2V, **prices))

    told = check(workspace, "o3", "text-to-video", code=1)

    assert "expect 2.00 times the planned cost" in told
    assert "prices not compared" not in told


def test_it_is_json_for_programs(workspace: Workspace) -> None:
    workspace.world.faults.add(schema(shot_type={"enum": ["customize"]}))

    data = json.loads(check(workspace, T2V, "--json", code=1))

    assert data["fits"] is False
    (endpoint,) = data["endpoints"]
    assert endpoint["endpoint"] == T2V
    assert [(d["change"], d["parameter"], d["moved"]) for d in endpoint["differences"]] == [
        ("choices", "shot_type", True)
    ]


def test_schemas_need_no_key(workspace: Workspace) -> None:
    workspace.world.settings.update({"keys": ["another"]})

    told = check(workspace, T2V)

    assert "1 endpoint as in the catalogue" in told
    assert "prices not compared" in told
