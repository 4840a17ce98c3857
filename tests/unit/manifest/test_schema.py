"""The schema that editors read and the loader that pays agree on what is a manifest."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kling_batch.cli.commands.init import starter_manifest
from kling_batch.errors import ManifestError
from kling_batch.manifest.frame import JOB_KEYS
from kling_batch.manifest.loader import load
from kling_batch.manifest.schema import read_manifest, schema
from kling_batch.manifest.yaml_source import parse

MANIFESTS = Path(__file__).parents[3] / "manifests"
EXAMPLES = sorted(MANIFESTS.glob("*.yaml"))
VALIDATOR = Draft202012Validator(schema())

PLAIN = {
    "version": 1,
    "name": "plain",
    "limits": {"concurrency": 2, "rate": "60/min", "max_cost": 5, "deadline": "3h"},
    "vars": {"brand": "Acme"},
    "defaults": {"tier": "standard"},
    "jobs": [
        {"id": "still", "mode": "text-to-image", "prompt": "x", "num_images": 2, "takes": 2},
        {
            "id": "clip",
            "mode": "image-to-video",
            "prompt": "x",
            "image_url": {"job": "still", "output": 2},
            "duration": 7,
            "generate_audio": True,
        },
        {"id": "shots", "mode": "text-to-video", "multi_prompt": [{"prompt": "a", "duration": 4}]},
        {
            "id": "{{ c }}",
            "matrix": {"c": ["a", "b"], "exclude": [{"c": "a"}]},
            "mode": "reference-to-video",
            "prompt": "{{ c }}",
            "image_urls": ["https://a.example/1.png"],
            "elements": [
                {
                    "frontal_image_url": "https://a.example/2.png",
                    "reference_image_urls": ["https://a.example/2.png"],
                }
            ],
            "aspect_ratio": "portrait",
            "params": {"new": 1},
            "tags": ["t"],
        },
        {"id": "raw", "endpoint": "a/b", "input": {"x": 1}, "price": 0.5},
    ],
}


def accepted_by_schema(document) -> bool:
    return VALIDATOR.is_valid(document)


def accepted_by_loader(document, folder) -> bool:
    path = folder / "m.yaml"
    path.write_text(json.dumps(document))
    try:
        load(path, environ={})
    except ManifestError:
        return False
    return True


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_both_take_every_example(path):
    assert [
        error.message for error in VALIDATOR.iter_errors(parse(path.read_bytes(), "").value)
    ] == []
    assert load(path, environ={}).jobs


def test_both_take_what_init_writes(tmp_path):
    text = starter_manifest()
    (tmp_path / "manifest.yaml").write_text(text)

    assert text.startswith("# yaml-language-server: $schema=kling-batch.schema.json\n")
    assert accepted_by_schema(parse(text.encode(), "").value)
    assert len(load(tmp_path / "manifest.yaml").jobs) == 4


def test_the_schema_beside_the_examples_is_this_one():
    beside = json.loads((MANIFESTS / "kling-batch.schema.json").read_text())

    assert schema() == beside


def test_every_key_is_described():
    job, frame = schema()["$defs"]["Job"]["properties"], schema()["properties"]

    assert set(job) == JOB_KEYS
    assert set(frame) == {"version", "name", "output", "path", "vars", "env", "retry"} | {
        "limits",
        "renditions",
        "hooks",
        "notify",
        "review",
        "defaults",
        "jobs",
    }
    for name, part in job.items():
        described = schema()["$defs"].get(name, part)
        assert described.get("description"), name


@pytest.mark.parametrize(
    ("mode", "ratios"),
    [
        ("text-to-video", {"16:9", "9:16", "1:1"}),
        ("remix", {"auto", "16:9", "9:16", "1:1"}),
        ("text-to-image", {"16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9"}),
    ],
)
def test_each_mode_has_its_own_choices(mode, ratios):
    job = {"id": "a", "mode": mode, "prompt": "x", "video_url": "v"}
    if mode != "remix":
        del job["video_url"]
    for ratio in ("auto", "16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "21:9", "5:4"):
        document = {"jobs": [{**job, "aspect_ratio": ratio}]}
        assert accepted_by_schema(document) is (ratio in ratios), ratio


WRONG = [
    ("version", 2),
    ("version", "1"),
    ("name", []),
    ("nmae", "x"),
    ("limits", {"rate": 60}),
    ("limits", {"rate": "60 per minute"}),
    ("limits", {"max_cost": -1}),
    ("limits", {"max_cost": "cheap"}),
    ("limits", {"deadline": "soon"}),
    ("limits", {"concurrency": 0}),
    ("limits", {"concurrency": 1.5}),
    ("limits", {"on_doubt": "pay"}),
    ("limits", {"speed": 1}),
    ("limits", {"rate": "0/s"}),
    ("limits", {"deadline": "0s"}),
    ("limits", {"start_timeout": "0.0 min"}),
    *(("limits", {"max_failures": wrong}) for wrong in ("0", "0%", "5.5", "40.00", 0, True)),
    ("limits", 5),
    ("vars", {"a-b": 1}),
    ("vars", []),
    ("env", {"a": 5}),
    ("env", {"a": "FAL_KEY"}),
    ("retry", {"attempts": 0}),
    ("hooks", {"on_saved": []}),
    ("hooks", {"on_saved": [" "]}),
    ("renditions", {"a b": 1}),
    ("renditions", {"a b": {}, "c d": 2}),
    ("defaults", {"id": "a"}),
    ("defaults", {"matrix": {"a": [1]}}),
    ("jobs", []),
    ("jobs", {}),
    ("jobs", ["a"]),
    ("jobs.0.id", None),
    ("jobs.0.id", ["a"]),
    ("jobs.0.when", ["brand"]),
    ("jobs.0.when", {"brand": "Acme"}),
    ("jobs.0.takes", 0),
    ("jobs.0.takes", "two"),
    ("jobs.0.tags", 5),
    ("jobs.0.promt", "x"),
    ("jobs.0.prompt", "x" * 2501),
    ("jobs.0.prompt", {"a": 1}),
    ("jobs.0.mode", "text-2-image"),
    ("jobs.0.num_images", 10),
    ("jobs.0.num_images", "some"),
    ("jobs.0.duration", 5),
    ("jobs.0.resolution", "8K"),
    ("jobs.0.params", 5),
    ("jobs.1.tier", "best"),
    ("jobs.1.duration", 16),
    ("jobs.1.duration", "5s"),
    ("jobs.1.generate_audio", "loud"),
    ("jobs.1.image_url", 5),
    ("jobs.1.image_url", {"job": "still", "taek": 1}),
    ("jobs.1.image_url", {"job": "still", "take": 0}),
    ("jobs.1.image_url", {"take": 1}),
    ("jobs.1.aspect_ratio", "1:1"),
    ("jobs.2.multi_prompt", [{"duration": 4}]),
    ("jobs.2.multi_prompt", [{"prompt": "a", "duration": 16}]),
    ("jobs.2.multi_prompt", [{"prompt": "a", "length": 4}]),
    ("jobs.2.multi_prompt", 5),
    ("jobs.3.matrix", {}),
    ("jobs.3.matrix", {"c": []}),
    ("jobs.3.matrix", {"c": "a"}),
    ("jobs.3.matrix", {"c": ["a"], "include": [5]}),
    ("jobs.3.elements", [{"video": "x"}]),
    ("jobs.3.elements", [{"reference_image_urls": ["a"] * 4}]),
    ("jobs.4.input", []),
    ("jobs.4.price", "cheap"),
]

RIGHT = [
    ("name", 5),
    ("x-mine", {"anything": [1]}),
    ("$schema", "kling-batch.schema.json"),
    ("output", 2026),
    ("retry", {"attempts": None}),
    ("hooks", {"on_saved": None, "on_finished": ["./end.sh", 1]}),
    ("defaults", None),
    ("limits", None),
    *(("limits", {"max_failures": right}) for right in (5, 5.0, "5", "20%", "0.5 %", "100%")),
    ("limits", {"rate": "0.5/s", "deadline": "0.5s", "start_timeout": "1h"}),
    ("limits", {"deadline": 90, "max_cost": "40.00", "doubt_wait": "1h30m"}),
    ("vars", {"deep": {"a": [1]}}),
    ("defaults", {"duration": 5, "generate_audio": False, "params": {"a": 1}}),
    ("jobs.2.id", 7),
    ("jobs.0.prompt", 1984),
    ("jobs.0.tags", "a, b"),
    ("jobs.0.aspect_ratio", "widescreen"),
    ("jobs.0.duration", None),
    ("jobs.0.when", True),
    ("jobs.0.when", "brand == 'Acme'"),
    ("jobs.1.duration", "{{ 3 + 4 }}"),
    ("jobs.1.duration", "7"),
    ("jobs.1.image_url", "https://a.example/1.png"),
    ("jobs.1.generate_audio", None),
    ("jobs.1.tier", "4k"),
    ("jobs.1.shot_type", "newer"),
    ("jobs.2.multi_prompt", [{"prompt": "{{ brand }}"}]),
    ("jobs.3.image_urls", "https://a.example/1.png"),
    ("jobs.3.image_urls", []),
    ("jobs.4.price", "0.50"),
]


def changed(path: str, value):
    document = copy.deepcopy(PLAIN)
    *parts, last = path.split(".")
    target = document
    for part in parts:
        target = target[int(part) if part.isdecimal() else part]
    target[last] = value
    return document


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_both_refuse(tmp_path, path, value):
    document = changed(path, value)

    assert not accepted_by_schema(document)
    assert not accepted_by_loader(document, tmp_path)


@pytest.mark.parametrize(("path", "value"), RIGHT)
def test_both_take(tmp_path, path, value):
    document = changed(path, value)

    assert [error.message for error in VALIDATOR.iter_errors(document)] == []
    assert accepted_by_loader(document, tmp_path)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 20)
    | st.sampled_from(["", "x", "5", "5s", "1:1", "square", "pro", "{{ brand }}", "yes", 1.5])
)
values = (
    scalars
    | st.lists(scalars, max_size=2)
    | st.dictionaries(
        st.sampled_from(["prompt", "duration", "job", "c", "rate", "x"]), scalars, max_size=2
    )
)


@given(
    st.sampled_from(
        [path for path, _ in WRONG + RIGHT if not path.startswith("jobs.4")] + ["jobs.0.zzz", "zzz"]
    ),
    values,
)
def test_what_the_frame_refuses_the_schema_refuses(path, value):
    """The model and its schema are one: a mutation that one refuses, the other refuses."""
    document = changed(path, value)
    _, problems = read_manifest(document)

    if problems:
        assert not accepted_by_schema(document), problems


@given(
    st.sampled_from([path for path, _ in WRONG + RIGHT if path.count(".") == 2]),
    values,
)
def test_what_an_editor_underlines_cannot_be_loaded(tmp_path_factory, path, value):
    """The schema never cries wolf: what it refuses in plain spelling, the loader refuses."""
    document = changed(path, value)
    # `5` for five and `yes` for true are taken, but not suggested.
    lenient = ("5", "yes", "square", "pro", "", 0, 1)
    if accepted_by_schema(document) or value in lenient or not isinstance(value, scalar_types):
        return

    assert not accepted_by_loader(document, tmp_path_factory.getbasetemp())


scalar_types = (bool, int, float, str, type(None))
