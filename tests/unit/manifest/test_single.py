"""One job from flags: the checks of a manifest, told by the flag."""

from __future__ import annotations

import pytest
from PIL import Image
from support.manifests import jobs

from kling_batch.errors import ManifestError, Place
from kling_batch.manifest.loader import single


def made(mode="text-to-video", tier="pro", take=1, cwd=None, **arguments):
    more = {} if cwd is None else {"cwd": cwd}
    return single(mode, tier, arguments, batch="video", id="shot", take=take, **more)


def messages(**arguments):
    with pytest.raises(ManifestError) as caught:
        made(**arguments)
    return [str(problem) for problem in caught.value.problems]


def test_text_of_flags_becomes_what_the_api_wants():
    (job,) = made(prompt=" x ", duration="7", generate_audio="true", aspect_ratio="square").jobs

    assert job.arguments == {
        "prompt": "x",
        "duration": "7",
        "generate_audio": True,
        "aspect_ratio": "1:1",
        "shot_type": "customize",
    }
    assert job.path == "video/text-to-video/shot{output}{ext}"
    assert (job.id, job.batch, job.take) == ("shot", "video", 1)


def test_lists_and_shots_are_json():
    (job,) = made(multi_prompt='[{"prompt": "a"}, {"prompt": "b", "duration": 3}]').jobs

    assert [shot["duration"] for shot in job.arguments["multi_prompt"]] == ["5", "3"]


def test_it_is_the_same_job_as_in_a_manifest(tmp_path):
    listed = jobs(tmp_path, "jobs: [{id: a, mode: text-to-video, prompt: x, takes: 2}]")

    assert made(prompt="x").jobs[0].key == listed["a"].key
    assert made(prompt="x", take=2).jobs[0].key == listed["a#2"].key


def test_problems_name_the_flag():
    assert messages(prompt="x", duration="20", image_url="https://a.example/a.png") == [
        "--image-url: text-to-video has no parameter `image_url`; it belongs to image-to-video",
        '--param duration: `duration` is "20"; allowed: 3 to 15',
    ]
    assert messages(mode="image-to-video", prompt="x") == [
        "command line: image-to-video needs `image_url` (The first frame.)"
    ]
    assert messages(mode="nope", prompt="x")[0].startswith("--mode: there is no mode `nope`")
    assert messages(mode="image-to-image", tier="4k", prompt="x")[0].startswith(
        "--tier: image-to-image has no tier `4k`"
    )
    assert messages(prompt="x", endpoint="a/b") == ["--param endpoint: `endpoint` is no parameter"]
    assert messages(prompt="x", take=0) == ["--take: 0 is not from 1 to 1,000"]


def test_paths_start_at_the_working_folder(tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    batch = made("image-to-video", cwd=tmp_path, prompt="x", image_url="a.png")

    assert batch.jobs[0].arguments["image_url"].path == str(tmp_path / "a.png")
    assert batch.place_of(batch.jobs[0], ["body", "image_url"]) == Place("--image-url")


@pytest.mark.parametrize("name", ["model", "mode", "tier"])
def test_what_has_an_option_of_its_own_is_no_parameter(name):
    arguments = {"prompt": "x", name: "standard"}
    with pytest.raises(ManifestError) as caught:
        single("text-to-video", None, arguments, batch="video", id="shot")

    told = [str(problem) for problem in caught.value.problems]
    assert told == [f"--{name}: `{name}` is an option of its own (write --{name})"]


@pytest.mark.parametrize("value", [float("nan"), "\ud800"])
def test_what_is_no_json_is_reported(value):
    assert "cannot be sent as JSON" in messages(prompt="x", params={"a": value})[0]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("image_url", {"image_url": '{"job": "c"}'}),
        ("zz", {"image_url": "https://a.example/1.png", "params": '{"zz": {"job": "c"}}'}),
        (
            "zz",
            {"image_url": "https://a.example/1.png", "params": '{"zz": [{"a": {"job": "c"}}]}'},
        ),
    ],
)
def test_there_is_no_other_job_whose_output_it_could_take(name, more):
    (told,) = messages(mode="image-to-video", prompt="x", **more)

    assert f"`{name}` needs the job `c`, and there is no other job here" in told
    assert "put both jobs into a manifest" in told
