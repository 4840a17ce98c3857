"""Paths: filled in, below the output folder on every system, no two the same."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kling_batch.core.diagnostics import InvalidValue
from kling_batch.manifest.paths import PathTemplate, folded, is_plain_id, problem_of, problem_of_id

JOB = {"batch": "b", "mode": "text-to-video", "tier": "pro", "job": "hero", "take": 1}


def fill(template="{batch}/{mode}/{job}{suffix}{ext}", scope=None, known=(), **changes):
    return PathTemplate(template, known).fill(**{**JOB, **changes}, scope=scope)


@pytest.mark.parametrize(
    ("template", "changes", "path"),
    [
        ("{batch}/{mode}/{job}{suffix}{ext}", {}, "b/text-to-video/hero{output}{ext}"),
        ("{batch}/{mode}/{job}{suffix}{ext}", {"take": 2}, "b/text-to-video/hero-t2{output}{ext}"),
        ("{job}{ext}", {}, "hero{output}{ext}"),
        ("{job}/{take}{ext}", {"take": 3}, "hero/3{output}{ext}"),
        ("{tier}/{job}{suffix}x{ext}", {}, "pro/hero{output}x{ext}"),
        ("100%/{job}{ext}", {}, "100%/hero{output}{ext}"),
        ("{{x}}/{job}{ext}", {}, "{{x}}/hero{output}{ext}"),
        ("{mode}/{job}{ext}", {"mode": "", "tier": ""}, "raw/hero{output}{ext}"),
        ("{model}/{job}{ext}", {"model": "one"}, "one/hero{output}{ext}"),
        ("{model}/{job}{ext}", {"mode": "", "tier": ""}, "raw/hero{output}{ext}"),
    ],
)
def test_templates_are_filled(template, changes, path):
    assert fill(template, **changes) == path


def test_variables_stand_in_paths_and_their_braces_are_text():
    path = fill("{sku}/{job}{ext}", scope={"sku": "a{b}"}, known=["sku"])

    assert path == "a{{b}}/hero{output}{ext}"
    assert path.format(output="", ext=".mp4") == "a{b}/hero.mp4"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{job}", "must end in {ext}"),
        ("{ext}{job}", "must end in {ext}"),
        ("x{ext}", "must contain {job}"),
        ("{jbo}{ext}", "did you mean `job`"),
        ("{job}.{ext}", "brings its own dot"),
        ("{job}{suffix}{suffix}{ext}", "stands twice"),
        ("{job!r}{ext}", "a name alone"),
        ("{job:>10}{ext}", "a name alone"),
        ("{job{ext}", "."),
        ("{job.__class__}{ext}", "is not known"),
        ("{}{job}{ext}", "is not known"),
    ],
)
def test_templates_that_cannot_work(template, said):
    with pytest.raises(InvalidValue, match=said):
        PathTemplate(template)


@pytest.mark.parametrize(
    "path",
    ["a/b", "ä/ö", "a b/c", "x-t2", "a.b/c.d", "con-man/nullable", "日本語/猫", "com/lpt"],
)
def test_good_paths(path):
    assert problem_of(f"{path}{{output}}{{ext}}") == ""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/etc/x", "absolute"),
        ("C:/x", "absolute"),
        ("~/x", "absolute"),
        ("../x", "leaves the output folder"),
        ("a/../../x", "leaves the output folder"),
        ("a//x", "empty part"),
        ("./x", "leaves the output folder"),
        ("a\\b", "does not allow|not allow"),
        ("a\x00b", "not allow"),
        ("a\nb", "not allow"),
        ("a?b", "not allow"),
        ("a/con", "Windows reserves"),
        ("NUL/x", "Windows reserves"),
        ("a/lpt1.txt", "Windows reserves"),
        ("a./x", "ends with a space or a dot"),
        ("a /x", "ends with a space or a dot"),
        ("x" * 201, "more than 200 bytes"),
        ("ü" * 101, "more than 200 bytes"),
        ("/".join(["abcdefghi"] * 120), "longer than 1000 bytes"),
    ],
)
def test_bad_paths(path, said):
    import re

    assert re.search(said, problem_of(f"{path}{{output}}{{ext}}"))


@given(
    st.text(alphabet="aA.-_/ cCoOnN1é", max_size=8),
    st.sampled_from(["{job}{suffix}{ext}", "a/{job}{ext}", "co{job}{ext}", "/{job}{ext}"]),
    st.integers(1, 2),
)
@example("n", "co{job}{ext}", 1)
@example("con", "a/{job}{ext}", 1)
@example("x", "/{job}{ext}", 1)
def test_the_short_way_judges_as_the_long_one(job, template, take):
    short, long = PathTemplate(template), PathTemplate(template)
    long._frame = lambda *_: None

    assert outcome(short, job, take) == outcome(long, job, take)


def outcome(template, job, take):
    try:
        return template.fill(**{**JOB, "job": job, "take": take})
    except InvalidValue as error:
        return error.message


@pytest.mark.parametrize("one", ["a", "A-b_9", "hero still", "日本", "a.b", "é"])
def test_good_ids(one):
    assert problem_of_id(one) == ""


@pytest.mark.parametrize(
    "one", ["", "a/b", "a\\b", "a*", "a#2", "a{b", ".a", "a.", " a", "a\n", "x" * 151, "\ud800"]
)
def test_bad_ids(one):
    assert problem_of_id(one)
    assert not is_plain_id(one)


def test_paths_that_some_disk_takes_for_one():
    assert folded("A/b") == folded("a/B")
    assert folded("Straße") == folded("STRASSE")
    assert folded("caf\u00e9") == folded("cafe\u0301")
    assert folded("a") != folded("b")
