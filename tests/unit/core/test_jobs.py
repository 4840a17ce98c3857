"""The key of a paid render: pinned for ever, and blind to everything that is not paid for."""

from __future__ import annotations

import json
from typing import Any
from unicodedata import is_normalized

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from kling_batch.catalog.registry import find, normalise
from kling_batch.core.jobs import (
    JobKey,
    KeyTemplate,
    LocalFile,
    OutputOf,
    Render,
    canonical_json,
    differences,
    job_key,
    job_label,
    leaves,
    local_files,
    parents,
    prompt_of,
    substitute,
)

T2V = find("text-to-video")
FILE = LocalFile(path="a.png", sha256="ab" * 32, size=3, content_type="image/png")
PARENT = OutputOf(key=JobKey("k1:" + "0" * 32), job_id="still", take=1, index=0)

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_golden_keys():
    """Written down once. If this fails, every ledger would pay again: put the code back."""
    t2v = "fal-ai/kling-video/o3/pro/text-to-video"
    samurai = normalise(T2V, {"prompt": "A samurai on a cliff at sunset"})

    assert job_key(t2v, samurai) == "k1:2edb8e67d419fc00a8e72e250d4e8957"
    assert job_key(t2v, samurai, take=2) == "k1:31c4493990d8b6c046bdb4cbbabc27b1"
    assert (
        job_key("any/endpoint", {"b": [1.5, None, True], "a": "é\u2028"})
        == "k1:dbb839add626c37eb0fbe414233829b2"
    )
    assert (
        job_key("any/endpoint", {"image_url": FILE, "from": [PARENT]})
        == "k1:caa09f230f46f3b4eaefad3e731753eb"
    )


def test_a_key_says_how_it_was_made():
    key = job_key("e", {})

    assert key.startswith("k1:")
    assert len(key) == 35


@given(st.dictionaries(st.text(), plain, max_size=5), st.randoms(use_true_random=False))
def test_order_does_not_matter(arguments, chance):
    names = list(arguments)
    chance.shuffle(names)

    assert job_key("e", arguments) == job_key("e", {name: arguments[name] for name in names})


@given(plain)
def test_the_kept_scanner_writes_what_json_writes(value):
    expected = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assume(is_normalized("NFC", expected))  # the other form of a letter is spelt in this one

    assert expected == canonical_json(value)


@pytest.mark.parametrize(
    "other",
    [
        ("f", {"prompt": "x"}, 1),
        ("e", {"prompt": "y"}, 1),
        ("e", {"prompt": "x"}, 2),
        ("e", {"prompt": "x", "more": 1}, 1),
        ("e", {"prompt": ["x"]}, 1),
    ],
)
def test_everything_that_is_paid_for_matters(other):
    assert job_key("e", {"prompt": "x"}, 1) != job_key(*other)


@given(
    st.sampled_from([{}, {"duration": 5}, {"duration": "5"}]),
    st.sampled_from([{}, {"aspect_ratio": "16:9"}, {"aspect_ratio": "widescreen"}]),
    st.sampled_from([{}, {"generate_audio": False}, {"generate_audio": None}]),
    st.sampled_from([{}, {"shot_type": "customize"}]),
    st.sampled_from(["A cat", " A cat ", "A cat\n"]),
)
def test_spelling_a_default_out_does_not_matter(duration, aspect, audio, shot, prompt):
    written = {**shot, **audio, **aspect, **duration, "prompt": prompt}

    expected = job_key(T2V.id, normalise(T2V, {"prompt": "A cat"}))
    assert expected == job_key(T2V.id, normalise(T2V, written))


def test_a_file_counts_by_its_content():
    moved = LocalFile(path="b/c.jpg", sha256=FILE.sha256, size=3, content_type="image/jpeg")
    changed = LocalFile(path="a.png", sha256="cd" * 32, size=3, content_type="image/png")

    assert job_key("e", {"u": FILE}) == job_key("e", {"u": moved})
    assert job_key("e", {"u": FILE}) != job_key("e", {"u": changed})


def test_an_output_counts_by_its_jobs_key():
    renamed = OutputOf(key=PARENT.key, job_id="picture", take=1, index=0)
    second = OutputOf(key=PARENT.key, job_id="still", take=1, index=1)

    assert job_key("e", {"u": PARENT}) == job_key("e", {"u": renamed})
    assert job_key("e", {"u": PARENT}) != job_key("e", {"u": second})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, object()])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises((ValueError, TypeError)):
        job_key("e", {"x": value})


def test_leaves_are_found_and_replaced_wherever_they_stand():
    arguments = {"a": [FILE, {"b": PARENT}], "c": 1}

    assert leaves(arguments) == [FILE, PARENT, 1]
    assert parents(arguments) == (PARENT,)
    assert local_files(arguments) == (FILE,)
    urls = {FILE: "https://up/1", PARENT: "https://out/2"}
    assert substitute(arguments, urls) == {"a": ["https://up/1", {"b": "https://out/2"}], "c": 1}


def test_references_are_spelt_by_content_and_text_is_not_escaped():
    value = {"b": [FILE, 1.5], "a": {"ü": PARENT}}
    file = f'{{"$file":"sha256:{FILE.sha256}"}}'
    output = f'{{"$output":["{PARENT.key}",{PARENT.index}]}}'

    assert canonical_json(value) == f'{{"a":{{"ü":{output}}},"b":[{file},1.5]}}'


def test_a_label_has_a_number_for_takes_after_the_first():
    assert [job_label("hero", take) for take in (1, 2, 10)] == ["hero", "hero#2", "hero#10"]


def test_differences_name_what_changed_with_both_values():
    before = Render("e/1", {"prompt": "a", "seconds": 5, "same": [1]})
    after = Render("e/2", {"prompt": "b", "audio": True, "same": [1]})

    assert list(differences(before, after).items()) == [
        ("endpoint", ("e/1", "e/2")),
        ("audio", (None, True)),
        ("prompt", ("a", "b")),
        ("seconds", (5, None)),
    ]
    assert differences(before, before) == {}


texts = st.text() | st.text('ab "\\\0\n\x7f:/é', max_size=8)
odd_arguments = st.dictionaries(
    st.sampled_from(["prompt", "a", "é", "\0"]),
    texts | st.none() | st.integers() | st.lists(texts, max_size=2),
    max_size=4,
)


@given(odd_arguments, texts, st.integers(1, 3))
@example({"other": "\0"}, "a cat", 1)
@example({"image_url": "https://a/b?X-Amz-Signature=1"}, "a cat", 1)
@example({"negative": "e\u0301"}, "a cat", 2)
def test_a_key_of_a_template_is_the_key_of_the_whole(
    arguments: dict[str, Any], text: str, take: int
) -> None:
    template = KeyTemplate("e", arguments, "prompt")

    if template.fits(text):
        assert template.key(text, take) == job_key("e", {**arguments, "prompt": text}, take)


def test_a_template_fits_plain_text_and_no_other() -> None:
    template = KeyTemplate("e", {"duration": "5"}, "prompt")

    assert template.fits('a "cat" \\ \0 \n')
    assert not template.fits("é")  # may be in another Unicode form
    assert not template.fits("https://a/b?sig=1")  # loses its signature
    assert not KeyTemplate("e", {"seed": "\0"}, "prompt").fits("a cat")


@pytest.mark.parametrize("value", ["\ud800", float("inf"), object()])
def test_a_template_of_what_is_no_json_raises_as_its_key_would(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        job_key("e", {"other": value})
    with pytest.raises((ValueError, TypeError)):
        KeyTemplate("e", {"other": value}, "prompt")


@pytest.mark.parametrize(
    ("arguments", "prompt"),
    [
        ({"prompt": 1.5, "multi_prompt": 5}, "1.5"),
        ({"multi_prompt": 5}, ""),
        ({"multi_prompt": True}, ""),
        ({"multi_prompt": "text"}, ""),
        ({"multi_prompt": [5, {"prompt": 7}, {}]}, "7\n"),
    ],
)
def test_the_prompt_of_an_endpoint_job_may_be_anything(arguments, prompt):
    assert prompt_of(arguments) == prompt
