"""The short reading of a valid manifest is the reading of the models, and takes what they take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_batch.manifest import frame, loader, schema
from kling_batch.manifest.frame import JOB_KEYS, OWN_KEYS, read_valid
from kling_batch.manifest.loader import load
from kling_batch.manifest.schema import read_manifest
from kling_batch.manifest.yaml_source import parse

MANIFESTS = sorted((Path(__file__).parents[3] / "manifests").glob("*.yaml"))

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-1, 200)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(
        ["3h", "60/min", "$4.50", "20%", "0", "hold", "FAL_KEY", "HOME", "text-to-video", "{{ x }}"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["attempts", "x", "a-b", "include", "exclude"]), inner, max_size=2
        )
    ),
    max_leaves=4,
)


def objects(names: Any, **usual: Any) -> Any:
    """Mappings with these keys, now and then with another one."""
    extra = st.dictionaries(st.sampled_from([*sorted(names), "odd"]), values, max_size=3)
    return st.tuples(st.fixed_dictionaries({}, optional=usual), extra).map(
        lambda both: {**both[1], **both[0]}
    )


jobs = objects(JOB_KEYS, id=scalars, mode=st.just("text-to-video"), params=values, matrix=values)
limits = objects(frame._LIMITS, max_cost=scalars, rate=scalars, reuse=scalars, deadline=scalars)
documents = objects(
    frame._DOCUMENT,
    jobs=st.lists(jobs | scalars, max_size=3),
    limits=limits | scalars,
    defaults=objects(JOB_KEYS) | scalars,
    env=st.dictionaries(st.sampled_from(["x", "a-b"]), scalars, max_size=2),
    retry=st.dictionaries(st.sampled_from(["attempts", "odd"]), scalars, max_size=1),
)


@given(documents | values)
@example({"jobs": [{"id": "a"}], "limits": {"deadline": 5, "rate": "60/min", "reuse": 0}})
@example({"jobs": [{"id": "a"}], "retry": {"attempts": 4}, "x-anchors": 1, "$schema": "s"})
@example({"jobs": [{"id": "a"}], "retry": {"attempts": 4}, "limits": {"retry_attempts": 2}})
@example({"jobs": [{"id": None, "mode": None}]})
@example({"jobs": [{"id": None, "mode": None}, {"id": "a"}]})
def test_both_readings_agree(document: Any) -> None:
    short = read_valid(document)
    whole, problems = read_manifest(document)

    if problems:
        assert short is None
    else:
        assert short is not None, "what is valid takes the short way"
        assert comparable(short) == comparable(whole)


def comparable(manifest: frame.Manifest) -> str:
    """Types count, and so does a number that is not equal to itself."""
    limits = manifest.limits
    kinds = {name: type(value).__name__ for name, value in limits._asdict().items()}
    plain = {name: getattr(manifest, name) for name in ("name", "output", "path", "entries")}
    maps: dict[str, Mapping[str, Any]] = {
        name: dict(getattr(manifest, name)) for name in ("vars", "env", "defaults")
    }
    return repr((limits, kinds, plain, maps))


def test_both_readings_have_the_same_keys() -> None:
    assert schema._names(schema._Job) == JOB_KEYS
    assert JOB_KEYS - schema._names(schema._Defaults) == OWN_KEYS
    assert schema._names(schema.Limits) == frame._LIMITS.keys()
    assert schema._names(schema.Document) == frame._DOCUMENT.keys()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_of_the_documentation_takes_the_short_way(path: Path) -> None:
    assert read_valid(parse(path.read_bytes(), str(path)).value) is not None


def test_a_valid_manifest_is_loaded_without_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "read_manifest", None)
    path = tmp_path / "m.yaml"
    path.write_text("limits: {max_cost: 5}\njobs: [{id: a, mode: text-to-image, prompt: x}]\n")

    assert loader.load_all([path]) == (load(path),)


def test_a_job_of_nulls_is_no_job_that_was_cut_out() -> None:
    manifest, problems = read_manifest({"jobs": [{"id": None, "mode": None}, "no mapping"]})

    assert manifest.entries == ({"id": None, "mode": None}, None)
    assert [problem.path for problem in problems] == [("jobs", 1)]
