"""`compare`: a manifest on several generations, side by side, before anything is paid."""

from __future__ import annotations

import json
from typing import Any

from support.cli import Workspace

STILL = "id: still, mode: text-to-image, prompt: a still"
CLIP = "id: clip, tier: standard, prompt: a kite, duration: 5"
CHILD = "id: child, mode: image-to-video, prompt: it moves, image_url: {job: still}"
SPEECH = (
    "id: speech, mode: avatar, image_url: 'https://a.example/1.png', "
    "audio_url: 'https://a.example/1.mp3'"
)


def compared(workspace: Workspace, *words: str) -> dict[str, Any]:
    """The comparison by model."""
    told = workspace.invoke("compare", "trial.yaml", "--json", *words)
    return {each["model"]: each for each in json.loads(told)["models"]}


def test_each_column_is_what_the_manifest_costs_on_that_model(workspace: Workspace) -> None:
    workspace.videos(CLIP, "id: other, tier: pro, prompt: another, duration: 10")

    found = compared(workspace, "--models", "o3,V4")

    assert list(found) == ["o3", "v4"]
    assert [row["cost_usd"] for row in found["o3"]["rows"]] == [0.42, 1.12]
    assert [row["cost_usd"] for row in found["v4"]["rows"]] == [0.785, 2.35]
    assert found["o3"]["cost_usd"] == 1.54
    assert found["v4"]["cost_usd"] == 3.135
    assert found["v4"]["wall_time_seconds"] > 0
    assert not (workspace.folder / "outputs").exists()
    assert workspace.charges() == []


def test_it_agrees_with_the_plan_of_the_manifest_that_says_so(workspace: Workspace) -> None:
    workspace.videos(CLIP)
    found = compared(workspace)

    for model, column in found.items():
        if column["cannot"]:
            continue
        workspace.videos(f"{CLIP}, model: {model}")
        told = workspace.invoke("plan", "trial.yaml", "--json", "--offline")
        planned, _ = json.JSONDecoder().raw_decode(told)  # warnings follow
        assert (planned["cost_usd"], planned["wall_time_seconds"]) == (
            column["cost_usd"],
            column["wall_time_seconds"],
        )
        assert planned["jobs"][0]["model"] == model
    assert found.keys() >= {"o3", "v4", "v3", "v3-turbo"}
    assert found.keys().isdisjoint({"v2.6", "avatar"})  # they can make none of it


def test_what_a_model_cannot_do_is_listed_with_reasons_and_the_rest_is_planned(
    workspace: Workspace,
) -> None:
    workspace.videos(CLIP, STILL.replace("text-to-image", "text-to-image, tier: pro"), CHILD)

    told = workspace.invoke("compare", "trial.yaml", "--models", "v4")
    (v4,) = compared(workspace, "--models", "v4").values()

    assert v4["cannot"] == ["still", "child"]
    assert [(p["line"], p["code"]) for p in v4["problems"]] == [(6, "unknown-mode")]
    assert v4["jobs_to_pay"] == 1
    assert v4["cost_usd"] == 0.785
    assert "v4 cannot make 2 jobs: still, child" in told
    assert "text-to-image is a mode of o3 and v3" in told


def test_a_mode_of_one_model_alone_and_an_endpoint_stay_what_they_are(workspace: Workspace) -> None:
    raw = "id: raw, endpoint: fal-ai/else, input: {}, price: 0.10, mode: null, tier: null"
    workspace.videos(SPEECH, raw)

    found = compared(workspace, "--models", "v4,o3")

    assert found["v4"]["rows"] == found["o3"]["rows"]
    assert [row["mode"] for row in found["v4"]["rows"]] == ["avatar", None]
    assert found["v4"]["rows"][1]["endpoint"] == "fal-ai/else"


def test_what_is_paid_already_costs_nothing_more(workspace: Workspace) -> None:
    workspace.videos(CLIP)
    workspace.run(manifest="trial.yaml")

    found = compared(workspace, "--models", "o3,v4", "--emulator-url", workspace.url)

    assert (found["o3"]["cost_usd"], found["o3"]["jobs_not_paid_again"]) == (0, 1)
    assert found["v4"]["cost_usd"] == 0.785


def test_what_waits_for_a_verdict_is_not_paid_for_yet_and_said_with_its_price(
    workspace: Workspace,
) -> None:
    workspace.videos(
        "id: hero, takes: 2, prompt: a kite, duration: 3",
        head="review: {draft: {tier: standard}, final: {tier: pro}}\n",
    )

    told = workspace.invoke("compare", "trial.yaml", "--models", "o3")
    (o3,) = compared(workspace, "--models", "o3").values()

    plan = json.loads(workspace.plan("--json", manifest="trial.yaml"))
    assert (o3["jobs_to_pay"], o3["jobs_awaiting_verdict"]) == (2, 2)
    assert o3["awaiting_verdicts_usd"] == plan["awaiting_verdicts_usd"] > o3["cost_usd"]
    assert o3["jobs_not_paid_again"] == 0
    assert "not paid again" not in told
    assert "2 for $0.68" in told


def test_a_model_that_is_none_and_a_manifest_with_errors_are_reported(workspace: Workspace) -> None:
    workspace.videos(CLIP)
    assert "did you mean `v4`" in workspace.invoke(
        "compare", "trial.yaml", "--models", "v44", code=2
    )

    workspace.videos("id: a, prompt: x, durration: 5")
    assert "trial.yaml:5:" in workspace.invoke("compare", "trial.yaml", code=2)


def test_a_price_that_nobody_knows_is_not_shown_as_none(workspace: Workspace) -> None:
    workspace.videos("id: clip, tier: pro, prompt: a kite, duration: 5")

    told = workspace.invoke("compare", "trial.yaml", "--models", "v1.5,o3")

    rows = {line.split("  ")[0]: line for line in told.splitlines()}
    for name in ("text-to-video pro", "total"):
        assert "1 for unknown" in rows[name]
        assert "$0.00" not in rows[name]
    found = compared(workspace, "--models", "v1.5,o3")
    assert [found[each]["jobs_of_unknown_price"] for each in ("v1.5", "o3")] == [1, 0]
    assert [each["jobs_of_unknown_price"] for each in found["v1.5"]["rows"]] == [1]
