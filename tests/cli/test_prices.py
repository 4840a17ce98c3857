"""fal's own unit prices: what `plan --live-prices` says of them, and what caps make of them."""

from __future__ import annotations

import json

import pytest
from support.cli import Workspace

from kling_batch.emulator import Fault

T2V = "fal-ai/kling-video/o3/standard/text-to-video"
JOBS = [f"id: j{n}, mode: text-to-video, tier: standard, prompt: word {n}" for n in range(6)]


def unit_price(usd: float) -> Fault:
    row = {"endpoint_id": T2V, "unit_price": usd, "unit": "second", "currency": "USD"}
    return Fault(stage="pricing", what="status", status=200, body={"prices": [row]})


@pytest.mark.parametrize(
    ("fault", "paid"),
    [
        (unit_price(0.28), 1),
        (unit_price(0.07), 2),
        (Fault(stage="pricing", what="status", status=503), 2),
        (Fault(stage="pricing", what="garbage"), 2),
    ],
)
def test_a_cap_is_held_against_the_dearer_of_two_prices(
    workspace: Workspace, fault: Fault, paid: int
) -> None:
    """A clip of five seconds is three units: $0.42 by the catalogue."""
    workspace.videos(*JOBS)
    workspace.world.faults.add(fault)

    for _ in range(2):
        told = workspace.run("--max-cost", "1.12", code=4, manifest="trial.yaml")

    assert ("2.00 times the catalogue's" in told) == (paid == 1)
    assert workspace.charges() == [1] * paid


def test_without_a_cap_nobody_is_asked_for_prices(workspace: Workspace) -> None:
    workspace.videos(*JOBS[:1])
    workspace.world.faults.add(unit_price(0.28))

    told = workspace.run(manifest="trial.yaml")

    assert "times the catalogue" not in told
    assert workspace.world.faults.report()[0]["seen"] == 0


def test_live_prices_compare_unit_with_unit(workspace: Workspace) -> None:
    workspace.videos(*JOBS[:1], "id: u, mode: text-to-video, tier: 4k, prompt: x")

    told = workspace.invoke("plan", "trial.yaml", "--live-prices", "--emulator-url", workspace.url)

    assert told.count("as in the catalogue") == 2
    assert "$0.42 per second" in told


def test_a_plan_says_before_what_a_run_under_a_cap_refuses(workspace: Workspace) -> None:
    job = "version: 1\nname: raw\njobs: [{id: a, endpoint: acme/dream, input: {prompt: x}}]\n"
    workspace.put(job)
    sentence = "a: its price is unknown, so --max-cost cannot hold; give the job a `price:`"
    options = (workspace.file, "--emulator-url", workspace.url, "--max-cost", "1")

    planned = workspace.invoke("plan", *options)

    assert f"`run` will refuse this: {sentence}" in planned
    assert "unknown  a: new" in planned
    assert "1 to pay; up to $0.00 of at most $1.00, and 1 job of unknown price" in planned
    assert sentence in workspace.invoke("run", *options, code=2)
    assert "will refuse" not in workspace.invoke("plan", *options[:-2])
    assert workspace.charges() == []
    document, _ = json.JSONDecoder().raw_decode(workspace.invoke("plan", *options[:-2], "--json"))
    assert (document["cost_usd"], document["jobs_of_unknown_price"]) == (0, 1)


def test_a_run_says_before_it_pays_what_its_sum_leaves_out(workspace: Workspace) -> None:
    endpoint = "endpoint: fal-ai/kling-video/o3/pro/text-to-video-next"
    job = f"version: 1\nname: raw\njobs: [{{id: a, {endpoint}, input: {{prompt: x}}}}]\n"
    workspace.put(job)

    told = workspace.run(code=1)

    assert "1 to render for up to $0.00, and 1 job of unknown price" in told
