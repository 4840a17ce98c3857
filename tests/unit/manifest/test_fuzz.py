"""Whatever the bytes are: a batch or a message, never a traceback, never for ever."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kling_batch.cli.explain import explain
from kling_batch.core.jobs import Batch
from kling_batch.errors import ManifestError
from kling_batch.manifest.frame import JOB_KEYS
from kling_batch.manifest.loader import load
from kling_batch.manifest.schema import Document, Limits

MANIFESTS = Path(__file__).parents[3] / "manifests"
EXAMPLES = [path.read_bytes() for path in sorted(MANIFESTS.glob("*.yaml"))]
QUICK = settings(
    max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

words = st.sampled_from(
    [
        *sorted(JOB_KEYS),
        *Limits.model_fields,
        *Document.model_fields,
        "{{ x }}",
        "{{ x",
        "{% if x %}",
        "{{ 1/0 }}",
        "{{ [].append(1) }}",
        "text-to-video",
        "text-to-image",
        "edit",
        "reference-to-video",
        "@Image3 @Element1",
        "https://a.example/1.png",
        "5",
        "../x",
        "a/b",
        "",
        "\x00",
        "é\u0301\u2028",
        "\ud800",
        "con",
        "x" * 3000,
        "data:video/mp4;base64,AA",
        "{job: a}",
        "[1",
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | words
    | st.text(max_size=8)
    | st.just(10**400)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            words | st.sampled_from(["job", "take", "output", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
limits = st.sampled_from([*Limits.model_fields, "odd"])
job = st.dictionaries(st.sampled_from([*sorted(JOB_KEYS), "odd"]), values, max_size=5).flatmap(
    lambda more: st.fixed_dictionaries(
        {},
        optional={
            "id": st.sampled_from(["a", "b", "{{ i }}", "a/b", 5]),
            "mode": st.sampled_from(["text-to-video", "text-to-image", "edit", "image-to-video"]),
            "prompt": st.sampled_from(["x", "{{ i }}", "@Image1"]),
            "matrix": st.fixed_dictionaries({"i": st.lists(scalars, min_size=1, max_size=3)}),
            "image_url": st.fixed_dictionaries(
                {"job": st.sampled_from(["a", "b", "c"])}, optional={"output": scalars}
            ),
        },
    ).map(lambda base: {**base, **more})
)
manifests = st.fixed_dictionaries(
    {"jobs": st.lists(job, max_size=4)},
    optional={
        "vars": st.dictionaries(st.sampled_from(["x", "i", "a-b"]), values, max_size=2),
        "defaults": st.dictionaries(st.sampled_from(sorted(JOB_KEYS)), values, max_size=3),
        "limits": st.dictionaries(
            st.sampled_from([*Limits.model_fields, "odd"]), scalars, max_size=3
        ),
        "path": words,
        "name": scalars,
        "output": scalars,
        "env": values,
    },
)


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        batch = load(path, environ={})
    except ManifestError as error:
        said = error.problems
    else:
        check_batch(batch)
        return
    assert said
    text = data.decode("utf-8", "replace")
    for problem in said[:5]:
        assert problem.message
        assert explain(problem, text)


def check_batch(batch: Batch) -> None:
    assert isinstance(batch, Batch)
    assert len({(job.id, job.take) for job in batch.jobs}) == len(batch.jobs) > 0
    for job in batch.jobs:
        # What is to be sent can be sent, and what is to be written can be written below a folder.
        assert job.key.startswith("k1:")
        assert ".." not in Path(job.output_path(1, ".mp4")).parts
        assert not Path(job.output_path(0, ".png")).is_absolute()
        assert job.estimate >= 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@QUICK
@given(data=st.binary(max_size=200))
def test_any_bytes(folder, data):
    check(folder / "m.yaml", data)


@QUICK
@given(text=st.text(alphabet="-:{}[]&*<>!|'\"%@`#,? \t\n ajobs1", max_size=60))
def test_any_yaml_like_text(folder, text):
    check(folder / "m.yaml", text.encode())


@QUICK
@given(document=manifests)
def test_any_document(folder, document):
    """JSON is YAML, so the structures can be as odd as they like."""
    text = json.dumps(document, ensure_ascii=False)
    check(folder / "m.yaml", text.encode("utf-8", "surrogatepass"))


@QUICK
@given(
    example=st.sampled_from(EXAMPLES),
    cuts=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 40), words), max_size=4),
)
def test_any_damage_to_an_example(folder, example, cuts):
    data = example
    for start, length, word in cuts:
        at = start % len(data)
        data = data[:at] + word.encode("utf-8", "surrogatepass") + data[at + length :]
    check(folder / "m.yaml", data)


@QUICK
@given(
    header=st.lists(words, min_size=1, max_size=5),
    rows=st.lists(st.lists(words, max_size=6), max_size=4),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_any_table(folder, header, rows, end):
    text = end.join(",".join(cells) for cells in [header, *rows])
    check(folder / "m.csv", text.encode("utf-8", "surrogatepass"))


@QUICK
@given(rows=st.lists(job | values, max_size=4))
def test_any_lines_of_json(folder, rows):
    check(folder / "m.jsonl", "\n".join(json.dumps(row) for row in rows).encode())


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "test",
    [
        test_any_bytes,
        test_any_yaml_like_text,
        test_any_document,
        test_any_damage_to_an_example,
        test_any_table,
        test_any_lines_of_json,
    ],
    ids=lambda test: test.__name__,
)
def test_a_million_inputs(folder, test):
    """`pytest -m long`; FUZZ_EXAMPLES says how many of each kind, 170,000 if nothing."""
    examples = int(os.environ.get("FUZZ_EXAMPLES", "170000"))
    inner = test.hypothesis.inner_test
    longer = settings(QUICK, max_examples=examples, deadline=10_000)
    longer(given(**test.hypothesis._given_kwargs)(inner))(folder=folder)
