"""A voice as the output of one job and the input of others: no file, an id in the answer."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from support.cli import Workspace

from kling_batch import open_ledger

VOICE = "id: narrator, mode: voice, voice_url: 'https://a.example/voice.mp3'"
CLIP = (
    "id: clip, model: v2.6, mode: image-to-video, tier: pro, prompt: 'hear <<<voice_1>>>', "
    "image_url: 'https://a.example/1.png', voice_ids: [{job: narrator}], generate_audio: true"
)
ELEMENT = (
    "id: element, mode: reference-to-video, prompt: '@Element1 speaks', generate_audio: true, "
    "elements: [{video_url: 'https://a.example/1.mp4', voice_id: {job: narrator}}]"
)


def sent(workspace: Workspace) -> dict[str, Any]:
    """Payloads that fal accepted, by the end of the endpoint's id."""
    accepted = workspace.world.books.accepted
    return {request.endpoint.removeprefix("fal-ai/kling-video/"): request for request in accepted}


def test_a_voice_is_made_once_and_its_id_is_sent_with_others(workspace: Workspace) -> None:
    workspace.videos(VOICE, CLIP, ELEMENT)

    workspace.run(manifest="trial.yaml")
    workspace.run(manifest="trial.yaml")

    requests = sent(workspace)
    voice = requests["create-voice"]
    name = f"voice-{voice.request_id[-12:]}"
    assert voice.charged_micro_usd == 7_000
    assert requests["v2.6/pro/image-to-video"].payload["voice_ids"] == [name]
    assert requests["o3/standard/reference-to-video"].payload["elements"][0]["voice_id"] == name
    assert workspace.charges() == [1, 1, 1]
    saved = workspace.folder / "outputs/trial/voice/narrator.json"
    assert json.loads(saved.read_text()) == {"voice_id": name}
    assert f"\n  voice_id: {name}\n" in workspace.invoke("show", "narrator")
    assert "voice_id:" not in workspace.invoke("show", "clip")
    lines = [json.loads(line) for line in workspace.invoke("export", "--jsonl").splitlines()]
    assert {"voice_id": name} in [each.get("output") for each in lines]
    for row in map(json.loads, workspace.invoke("list", "--json").splitlines()):
        assert row["value"] == (name if row["job_id"] == "narrator" else None)
    (shown,) = json.loads(workspace.invoke("show", "narrator", "--json"))["attempts"]
    assert shown["value"] == name
    columns = workspace.invoke("list", "--columns", "job,value", "--csv").splitlines()
    assert columns[1:] == ["trial/clip,", "trial/element,", f"trial/narrator,{name}"]
    jobs = json.loads(workspace.invoke("status", "--json"))["jobs"]
    assert [each["value"] for each in jobs] == [None, None, name]
    with open_ledger(workspace.folder / "outputs") as ledger:
        assert [each.value for each in ledger.jobs()] == ["", "", name]
    workspace.invoke("gallery")
    page = (workspace.folder / "outputs/gallery.html").read_text("utf-8")
    assert f'"value":"{name}"' in page


@pytest.mark.parametrize("kept", [True, False])
def test_without_the_ledger_nothing_is_bought_again(workspace: Workspace, kept: bool) -> None:
    """The child is found in fal's list by the id that it was sent with."""
    workspace.videos(VOICE, CLIP)
    workspace.run(manifest="trial.yaml")
    outputs = workspace.folder / "outputs"
    if kept:  # the voice's document alone
        for path in outputs.iterdir():
            if path.is_file():
                path.unlink()
        shutil.rmtree(outputs / "trial/image-to-video")
    else:
        shutil.rmtree(outputs)

    workspace.run(manifest="trial.yaml")

    assert workspace.charges() == [1, 1]
    assert (outputs / "trial/image-to-video/clip.mp4").is_file()


def test_the_document_is_enough_where_the_ledger_has_no_answer(workspace: Workspace) -> None:
    workspace.videos(VOICE)
    workspace.run(manifest="trial.yaml")
    for path in (workspace.folder / "outputs").iterdir():
        if path.is_file():
            path.unlink()
    workspace.videos(VOICE, CLIP)

    workspace.run(manifest="trial.yaml")

    requests = sent(workspace)
    name = f"voice-{requests['create-voice'].request_id[-12:]}"
    assert requests["v2.6/pro/image-to-video"].payload["voice_ids"] == [name]
    assert workspace.charges() == [1, 1]


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        (
            [CLIP, "id: narrator, mode: text-to-image, tier: pro, prompt: x"],
            "wants voice, but `narrator` makes image",
        ),
        (
            [VOICE, "id: a, mode: image-to-video, prompt: x, image_url: {job: narrator}"],
            "wants image, but `narrator` makes voice",
        ),
        ([VOICE.replace("voice_url", "voice_uri")], "did you mean `voice_url`"),
        ([CLIP], "there is no job `narrator`"),
        (
            [
                CLIP,
                "id: narrator, endpoint: fal-ai/else, input: {}, price: 1, mode: null, tier: null",
            ],
            "which only a known mode makes",
        ),
    ],
)
def test_what_is_no_voice_is_reported_before_anything_is_paid(
    workspace: Workspace, jobs: list[str], said: str
) -> None:
    workspace.videos(*jobs)

    assert said in workspace.invoke("validate", "trial.yaml", code=2)


def test_an_id_that_is_written_keeps_its_key(workspace: Workspace) -> None:
    workspace.videos(CLIP.replace("{job: narrator}", "my-voice"))

    told = workspace.invoke("plan", "trial.yaml", "--json", "--offline")
    (job,) = json.JSONDecoder().raw_decode(told)[0]["jobs"]  # warnings follow

    assert job["arguments"]["voice_ids"] == ["my-voice"]


def test_an_older_ledger_that_has_the_voice_finds_what_was_made_with_it(
    workspace: Workspace,
) -> None:
    outputs, ledger = workspace.folder / "outputs", workspace.folder / "outputs/ledger.db"
    workspace.videos(VOICE)
    workspace.run(manifest="trial.yaml")
    older = ledger.read_bytes()
    workspace.videos(VOICE, CLIP)
    workspace.run(manifest="trial.yaml")
    shutil.rmtree(outputs / "trial/image-to-video")
    for path in outputs.glob("ledger.db*"):
        path.unlink()
    ledger.write_bytes(older)

    workspace.run(manifest="trial.yaml")

    assert workspace.charges() == [1, 1]
    assert (outputs / "trial/image-to-video/clip.mp4").is_file()


def test_a_voice_that_was_taken_over_serves_a_later_run(workspace: Workspace) -> None:
    workspace.videos(VOICE)
    workspace.run(manifest="trial.yaml")
    for path in (workspace.folder / "outputs").iterdir():
        if path.is_file():
            path.unlink()
    workspace.run(manifest="trial.yaml")
    workspace.videos(VOICE, CLIP)

    workspace.run(manifest="trial.yaml")

    requests = sent(workspace)
    name = f"voice-{requests['create-voice'].request_id[-12:]}"
    assert requests["v2.6/pro/image-to-video"].payload["voice_ids"] == [name]
    assert workspace.charges() == [1, 1]
