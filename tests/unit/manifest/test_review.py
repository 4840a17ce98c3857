"""`review:` and `take: picked`: a job becomes draft and final, and keys stay what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import batch, jobs, messages

from kling_batch.core.jobs import PICKED, unpicked_key

TOP = "review: {draft: {tier: standard}, final: {tier: pro}}\n"
HERO = "jobs:\n  - {id: hero, mode: text-to-video, prompt: x, duration: 5}\n"


def test_a_job_becomes_a_draft_and_a_final_of_its_own_id(tmp_path: Path) -> None:
    made = jobs(tmp_path, TOP + HERO)

    assert list(made) == ["hero~draft", "hero"]
    assert (made["hero~draft"].tier, made["hero~draft"].draft) == ("standard", "")
    assert (made["hero"].tier, made["hero"].draft) == ("pro", "hero~draft")
    assert made["hero"].path == "batch/text-to-video/hero{output}{ext}"
    assert made["hero~draft"].path == "batch/text-to-video/hero~draft{output}{ext}"


def test_the_keys_are_those_of_the_same_jobs_without_a_review(tmp_path: Path) -> None:
    """Whoever rendered the final before does not pay for it again."""
    made = jobs(tmp_path, TOP + HERO)
    plain = {
        tier: jobs(tmp_path, HERO.replace("duration", f"tier: {tier}, duration"))["hero"].key
        for tier in ("standard", "pro")
    }

    assert {job.tier: job.key for job in made.values()} == plain


def test_each_take_has_a_draft_and_a_final(tmp_path: Path) -> None:
    made = jobs(tmp_path, TOP + HERO.replace("prompt", "takes: 2, prompt"))

    assert list(made) == ["hero~draft", "hero~draft#2", "hero", "hero#2"]


def test_a_jobs_own_review_takes_the_place_of_the_top_and_null_removes_it(tmp_path: Path) -> None:
    made = jobs(
        tmp_path,
        TOP
        + HERO
        + "  - {id: own, mode: text-to-video, prompt: y, review: {draft: {duration: 3}}}\n"
        + "  - {id: none, mode: text-to-video, prompt: z, review: null}\n",
    )

    assert list(made) == ["hero~draft", "hero", "own~draft", "own", "none"]
    assert (made["own~draft"].tier, made["own~draft"].arguments["duration"]) == ("pro", "3")
    assert made["own"].arguments["duration"] == "5"


def test_what_a_mode_does_not_have_makes_no_draft(tmp_path: Path) -> None:
    made = jobs(tmp_path, TOP + "jobs:\n  - {id: still, mode: text-to-image, prompt: x}\n")

    assert [(job.label, job.draft) for job in made.values()] == [("still", "")]


def test_rows_templates_and_columns_reach_draft_and_final(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text("id,prompt,long,review\na,first,7,five stars\n")
    made = jobs(
        tmp_path,
        """\
        review: {draft: {duration: 3}, final: {duration: "{{ long }}", params: {new: 1}}}
        defaults: {mode: text-to-video}
        jobs:
          - {from: shots.csv}
        """,
    )

    assert [made[name].arguments["duration"] for name in ("a~draft", "a")] == ["3", "7"]
    assert made["a"].arguments["new"] == 1
    assert "new" not in made["a~draft"].arguments


def test_params_of_a_row_and_of_the_review_are_both_passed_on(tmp_path: Path) -> None:
    (tmp_path / "shots.csv").write_text('id,prompt,params\na,first,"{""old"": 2}"\n')
    text = """\
        review: {draft: {tier: standard}, final: {PARAMS}}
        defaults: {mode: text-to-video}
        jobs:
          - {from: shots.csv}
        """
    made = jobs(tmp_path, text.replace("PARAMS", "duration: 7"))
    assert made["a"].arguments["old"] == made["a~draft"].arguments["old"] == 2

    made = jobs(tmp_path, text.replace("PARAMS", "params: {new: 1}"))
    assert (made["a"].arguments["old"], made["a"].arguments["new"]) == (2, 1)


def test_others_refer_to_the_final_or_to_the_draft_by_name(tmp_path: Path) -> None:
    made = jobs(
        tmp_path,
        TOP
        + HERO
        + "  - {id: a, mode: edit, prompt: y, review: null, video_url: {job: hero}}\n"
        + "  - {id: b, mode: edit, prompt: y, review: null, video_url: {job: hero~draft}}\n",
    )

    assert made["a"].arguments["video_url"].key == made["hero"].key
    assert made["b"].arguments["video_url"].key == made["hero~draft"].key


@pytest.mark.parametrize(
    ("review", "words"),
    [
        ("{draft: {tierr: standard}}", "`draft` has no key `tierr` (did you mean `tier`?)"),
        ("{drafts: {}}", "`review` has no key `drafts` (did you mean `draft`?)"),
        ("{draft: {takes: 2}}", "`draft` has no key `takes` (say it at the job)"),
        ("{draft: {tier: bogus}}", "there is no tier `bogus`"),
        ("{final: {duration: 77}}", "`duration` is 77"),
        ("{draft: {tier: pro}}", "draft and final are the same render"),
        ("yes", "`review` must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(tmp_path: Path, review: str, words: str) -> None:
    (line,) = messages(tmp_path, HERO.replace("prompt", f"review: {review}, prompt"))

    assert line.startswith("batch.yaml:2:")
    assert words in line


def test_the_ids_of_drafts_are_reserved(tmp_path: Path) -> None:
    (line,) = messages(tmp_path, HERO.replace("hero", "hero~draft"))

    assert "`~draft` ends the ids of drafts" in line


# -- picks -----------------------------------------------------------------------------------------

PICKED_STILL = """\
name: b
jobs:
  - {id: clip, mode: image-to-video, prompt: y, image_url: {job: still, take: picked}}
  - {id: still, mode: text-to-image, prompt: x, takes: 3}
"""


def test_a_picked_take_is_a_reference_to_come(tmp_path: Path) -> None:
    made = batch(tmp_path, PICKED_STILL)

    assert made.unpicked
    assert [job.label for job in made.jobs] == ["still", "still#2", "still#3", "clip"]
    reference = made.jobs[-1].arguments["image_url"]
    assert (reference.key, reference.take) == (unpicked_key("b", "still"), PICKED)
    assert not batch(tmp_path, PICKED_STILL.replace("picked", "2")).unpicked


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("{job: nobody, take: picked}", "there is no job `nobody`"),
        ("{job: still, take: piked}", "it counts from 1, or is `picked`"),
        ("{job: still, output: picked}", "it counts from 1"),
        ("{job: clip, take: picked}", "jobs need each other in a circle: clip → clip"),
    ],
)
def test_a_pick_among_nothing_is_an_error(tmp_path: Path, reference: str, words: str) -> None:
    text = PICKED_STILL.replace("{job: still, take: picked}", reference)

    assert words in messages(tmp_path, text)[0]
