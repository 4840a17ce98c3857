"""Chains: what needs what, in which order, at which price; and circles and strangers told."""

from __future__ import annotations

import pytest
from support.manifests import batch, jobs, messages, problems

from kling_batch.catalog.registry import parse_usd
from kling_batch.core.jobs import OutputOf

STILL = "- {id: still, mode: text-to-image, prompt: x, num_images: 2, takes: 2}\n"


def test_parents_come_first_in_whatever_order_they_are_written(tmp_path):
    made = batch(
        tmp_path,
        """\
        jobs:
          - {id: other, mode: text-to-image, prompt: y}
          - {id: night, mode: edit, video_url: {job: clip}, prompt: night}
          - {id: clip, mode: image-to-video, image_url: {job: still}, prompt: zoom}
          - {id: still, mode: text-to-image, prompt: x}
          - {id: last, mode: text-to-image, prompt: z}
        """,
    )

    assert [job.id for job in made.jobs] == ["other", "still", "clip", "night", "last"]


def test_an_output_stands_wherever_an_address_may(tmp_path):
    made = jobs(
        tmp_path,
        f"""\
        jobs:
          {STILL}
          - id: many
            mode: reference-to-video
            prompt: "@Image1 @Image2 @Element1"
            start_image_url: {{job: still}}
            image_urls: ["https://a.example/1.png", {{job: still, take: 2, output: 2}}]
            elements:
              - frontal_image_url: {{job: still}}
                reference_image_urls: [{{job: still, take: 2}}]
          - id: raw
            endpoint: a/b
            input: {{deep: [{{job: still, output: 2}}]}}
        """,
    )
    arguments = made["many"].arguments
    one, two = made["still"].key, made["still#2"].key

    assert arguments["start_image_url"] == OutputOf(key=one, job_id="still", take=1, index=0)
    assert arguments["image_urls"][1] == OutputOf(key=two, job_id="still", take=2, index=1)
    assert arguments["elements"][0]["reference_image_urls"][0].key == two
    assert made["raw"].arguments["deep"][0].key == one


def test_an_output_may_stand_in_parameters_that_are_passed_on(tmp_path):
    made = jobs(
        tmp_path,
        f"""\
        jobs:
          {STILL}
          - id: clip
            mode: text-to-video
            prompt: x
            params: {{style_url: {{job: still}}, more: [{{job: still, output: 2}}]}}
        """,
    )
    arguments = made["clip"].arguments

    assert arguments["style_url"].key == arguments["more"][0].key == made["still"].key
    found = messages(
        tmp_path,
        "jobs:\n- {id: a, mode: text-to-video, prompt: x, params: {x_url: no.png, y: {job: b}}}",
    )
    assert [line.split(": ")[0] for line in found] == ["batch.yaml:2:59", "batch.yaml:2:70"]


def test_a_childs_key_hangs_on_its_parents_key_and_on_nothing_else_of_it(tmp_path):
    text = """\
    jobs:
      - {{id: {id}, mode: text-to-image, prompt: {prompt}, tags: [{tag}]}}
      - {{id: clip, mode: image-to-video, image_url: {{job: {id}}}, prompt: zoom}}
      - {{id: night, mode: edit, video_url: {{job: clip}}, prompt: night}}
    """

    def keys(**words):
        made = jobs(tmp_path, text.format(**words))
        return [made[name].key for name in ("clip", "night")]

    before = keys(id="still", prompt="x", tag="a")
    assert before == keys(id="renamed", prompt="x", tag="b")
    assert not set(before) & set(keys(id="still", prompt="y", tag="a"))


def test_an_edit_of_a_clip_is_priced_by_that_clip(tmp_path):
    made = jobs(
        tmp_path,
        """\
        jobs:
          - {id: clip, mode: text-to-video, prompt: x, duration: 10}
          - {id: night, mode: edit, video_url: {job: clip}, prompt: night}
          - {id: ink, mode: remix, video_url: {job: clip}, prompt: ink}
        """,
    )

    # A frame more than ten seconds, never less.
    assert parse_usd("1.68") < made["night"].estimate < parse_usd("1.70")
    assert "source" in made["night"].estimate_note
    assert made["ink"].estimate == parse_usd("2.52")


def test_references_may_be_templates(tmp_path):
    made = jobs(
        tmp_path,
        """\
        jobs:
          - id: "still-{{ p }}"
            matrix: {p: [a, b]}
            mode: text-to-image
            prompt: "{{ p }}"
            takes: 2
          - id: "clip-{{ p }}"
            matrix: {p: [a, b]}
            mode: image-to-video
            prompt: x
            image_url: {job: "still-{{ p }}", take: "{{ 1 + 1 }}"}
        """,
    )

    assert made["clip-b"].arguments["image_url"].key == made["still-b#2"].key


def test_strangers_are_reported_with_the_nearest(tmp_path):
    found = messages(
        tmp_path,
        "jobs:\n"
        + STILL
        + "- {id: a, mode: image-to-video, prompt: x, image_url: {job: stil}}\n"
        + "- {id: b, mode: image-to-video, prompt: x, image_url: {job: still, take: 3}}\n"
        + "- {id: c, mode: image-to-video, prompt: x, image_url: {job: still, output: 3}}\n"
        + "- {id: d, mode: edit, prompt: x, video_url: {job: still}}\n"
        + "- {id: e, mode: image-to-video, prompt: x, image_url: {job: still, otput: 3}}\n",
    )

    assert found == [
        "batch.yaml:3:55: there is no job `stil` (did you mean `still`?)",
        "batch.yaml:4:55: `still` has 2 takes; there is no take 3",
        "batch.yaml:5:55: `still` makes 2 files; there is no output 3",
        "batch.yaml:6:45: `video_url` wants video, but `still` makes image",
        (
            "batch.yaml:7:68: `otput` is not part of a reference;"
            " write {job: …, take: …, output: …} (did you mean `output`?)"
        ),
    ]


def test_a_broken_job_also_tells_of_its_references(tmp_path):
    found = messages(
        tmp_path,
        "jobs: [{id: a, mode: image-to-video, prompt: x, duration: 99, image_url: {job: b}}]",
    )

    assert [line.split(": ")[1][:18] for line in found] == [
        "`duration` is 99; ",
        "there is no job `b",
    ]


def test_circles_are_reported_as_circles(tmp_path):
    text = """\
    defaults: {mode: edit, prompt: x}
    jobs:
      - {id: a, video_url: {job: b}}
      - {id: b, video_url: {job: c}}
      - {id: c, video_url: {job: a}}
      - {id: self, video_url: {job: self}}
      - {id: behind, video_url: {job: a}}
    """
    found = messages(tmp_path, text)

    assert found == [
        "batch.yaml:3:24: jobs need each other in a circle: a → b → c → a",
        "batch.yaml:6:27: jobs need each other in a circle: self → self",
    ]


def test_of_very_many_circles_the_first_are_reported(tmp_path):
    rows = "".join(f'c{n},edit,x,"{{""job"": ""c{n ^ 1}""}}"\n' for n in range(20_000))
    found = problems(tmp_path, f"id,mode,prompt,video_url\n{rows}", name="jobs.csv")

    assert 10 < len(found) < 60
    assert all("c" in str(each) and each.code == "circle" for each in found)
    assert found[0].message.endswith("circle: c0 → c1 → c0")


def test_jobs_whose_parents_are_written_above_keep_their_order(tmp_path):
    made = batch(
        tmp_path,
        """\
        defaults: {mode: edit, prompt: x}
        jobs:
          - {id: a, video_url: "https://a.example/v.mp4"}
          - {id: b, video_url: {job: a}}
          - {id: c, video_url: "https://a.example/v.mp4"}
          - {id: d, video_url: {job: a}}
          - {id: e, video_url: {job: b}}
        """,
    )

    assert [job.id for job in made.jobs] == ["a", "b", "c", "d", "e"]


def test_a_childs_complaint_is_not_that_its_parent_has_one(tmp_path):
    found = problems(
        tmp_path,
        """\
        jobs:
          - {id: still, mode: text-to-image, prompt: x, resolution: 9K}
          - {id: clip, mode: image-to-video, image_url: {job: still}, prompt: zoom}
        """,
    )

    assert [problem.place.line for problem in found] == [2]


def test_a_chain_of_thousands_needs_no_recursion(tmp_path):
    lines = ["defaults: {mode: edit, prompt: x}", "jobs:"]
    lines += [f"- {{id: j{n}, video_url: {{job: j{n + 1}}}}}" for n in range(3000)]
    lines += ["- {id: j3000, video_url: 'https://a.example/v.mp4'}"]
    made = batch(tmp_path, "\n".join(lines)).jobs

    assert [made[0].id, made[-1].id] == ["j3000", "j0"]


def test_many_strangers_do_not_take_for_ever(tmp_path):
    rows = "".join(f'c{n},image-to-video,x,"{{""job"": ""nobody-{n}""}}"\n' for n in range(5000))
    found = problems(tmp_path, f"id,mode,prompt,image_url\n{rows}", name="jobs.csv")

    assert len(found) < 100
    assert "and 4,950 more like this" in found[-1].message


@pytest.mark.parametrize(
    ("given", "price"),
    [
        ("duration: '5'", "0.8484"),
        ("duration: ' 7'", "1.1844"),
        ("duration: '3', multi_prompt: [{prompt: x, duration: '10'}]", "1.6884"),
        # Of what cannot be read, or is left open, the longest that an edit takes.
        ("duration: null", "2.52"),
        ("duration: 5s", "2.52"),
        ("duration: 5.5", "2.52"),
        ("duration: [5]", "2.52"),
        ("duration: {job: still}", "2.52"),
        ("duration: -3", "2.52"),
        ("duration: '100000000000000000'", "2.52"),
        ("duration: '3', multi_prompt: [{prompt: x}]", "2.52"),
        ("duration: '3', multi_prompt: [{prompt: x, duration: 5s}]", "2.52"),
    ],
)
def test_an_edit_of_an_unchecked_clip_is_priced_by_what_can_be_read_of_it(tmp_path, given, price):
    made = jobs(
        tmp_path,
        f"""\
        jobs:
          {STILL}
          - id: clip
            endpoint: fal-ai/kling-video/o3/pro/text-to-video
            input: {{prompt: x, {given}}}
          - {{id: night, mode: edit, video_url: {{job: clip}}, prompt: night}}
        """,
    )

    assert made["night"].estimate == parse_usd(price)


def test_what_is_as_long_as_its_source_is_not_measured_by_a_duration(tmp_path):
    made = jobs(
        tmp_path,
        """\
        jobs:
          - id: clip
            endpoint: fal-ai/kling-video/o3/pro/video-to-video/edit
            input: {prompt: x, video_url: "https://a.example/1.mp4", duration: "3"}
          - {id: night, mode: edit, video_url: {job: clip}, prompt: night}
        """,
    )

    assert made["night"].estimate == parse_usd("2.52")
