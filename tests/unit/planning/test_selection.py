"""`--only`, `--exclude`, `--tag`: what is chosen, and what has to come along."""

from __future__ import annotations

import pytest
from support.manifests import batch

from kling_batch.planning.selection import select

TEXT = """\
jobs:
  - {id: still, mode: text-to-image, prompt: x, takes: 2, tags: [image]}
  - {id: clip, mode: image-to-video, image_url: {job: still}, prompt: zoom, tags: [hero]}
  - {id: night, mode: edit, video_url: {job: clip}, prompt: night, tags: [hero, dark]}
  - {id: alone, mode: text-to-image, prompt: y}
"""


@pytest.fixture
def whole(tmp_path):
    return batch(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("choice", "labels"),
    [
        ({}, ["still", "still#2", "clip", "night", "alone"]),
        ({"only": ["alone"]}, ["alone"]),
        ({"only": ["still"]}, ["still", "still#2"]),
        ({"only": ["still#2"]}, ["still#2"]),
        ({"only": ["a*", "still*"]}, ["still", "still#2", "alone"]),
        ({"exclude": ["still*", "clip", "night"]}, ["alone"]),
        ({"only": ["clip"]}, ["still", "clip"]),
        ({"only": ["night"]}, ["still", "clip", "night"]),
        ({"tags": ["dark", "image"]}, ["still", "still#2", "clip", "night"]),
        ({"only": ["night"], "exclude": ["clip"]}, ["night"]),
        ({"only": ["nothing"]}, []),
        ({"tags": ["nothing"]}, []),
    ],
)
def test_choices(whole, choice, labels):
    assert [job.label for job in select(whole, **choice).jobs] == labels


def test_what_comes_along_is_reported(whole):
    chosen = select(whole, only=["night"])

    assert [warning.message for warning in chosen.warnings] == [
        "`still` is taken along: `clip` needs its output",
        "`clip` is taken along: `night` needs its output",
    ]


def test_an_excluded_parent_is_reported(whole):
    (warning,) = select(whole, only=["night"], exclude=["clip"]).warnings

    assert warning.message == "`night` needs `clip`, which is excluded"


def test_a_glob_that_fits_nothing_is_reported(whole):
    (warning,) = select(whole, only=["nigth", "night"], exclude=["still*", "clip"]).warnings[-1:]

    assert "--only nigth fits no job" in str(warning)
    assert "did you mean `night`?" in str(warning)


def test_choosing_changes_no_key(whole):
    keys = {job.label: job.key for job in whole.jobs}

    assert {job.label: job.key for job in select(whole, only=["c*"]).jobs}.items() <= keys.items()
