"""Manifests to batches: what they mean, and every mistake at once with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import batch, jobs, messages, problems, write

from kling_batch.catalog.registry import parse_usd
from kling_batch.core.jobs import Limits
from kling_batch.errors import ManifestError
from kling_batch.manifest.loader import load, load_all

TWELVE = """\
version: 1
name: twelve
limits: {rate: 60/min}
defaults: {mode: text-to-video, tier: standard}
jobs:
  - id: a
    promt: A cat
  - id: b
    prompt: x
    duration: 20
  - id: b
    prompt: y
  - id: c
    prompt: x
    multi_prompt: [{prompt: y}]
  - id: d
    mode: image-to-video
    prompt: x
  - id: e
    mode: image-to-video
    prompt: x
    image_url: missing.png
  - id: f
    mode: image-to-video
    prompt: x
    image_url: {job: nobody}
  - id: g
    mode: reference-to-video
    prompt: "@Image3 walks"
    image_urls: ["https://a.example/1.png", "https://a.example/2.png"]
  - id: h/i
    prompt: x
  - id: j
    prompt: "{{ brnad }}"
  - id: k
    mode: text-to-image
    prompt: x
    duration: 5
  - id: l
    prompt: x
    aspect_ratio: 4:3
"""


def test_twelve_mistakes_are_twelve_sentences_in_order(tmp_path):
    found = problems(tmp_path, TWELVE)
    lines = [problem.place.line for problem in found]

    assert lines == [7, 10, 11, 15, 16, 22, 26, 29, 31, 34, 38, 41]
    assert all(problem.place.column for problem in found)


def test_a_misspelt_key_is_not_also_a_missing_one(tmp_path):
    assert messages(tmp_path, "jobs: [{id: a, mode: text-to-video, promt: x}]") == [
        "batch.yaml:1:37: a job has no key `promt` (did you mean `prompt`?)"
    ]


def test_five_lines_are_enough(tmp_path):
    made = batch(
        tmp_path,
        """\
        jobs:
          - id: cat
            mode: text-to-video
            prompt: A cat
        """,
    )
    (job,) = made.jobs

    assert (made.name, made.output, made.limits) == ("batch", None, Limits())
    assert job.endpoint == "fal-ai/kling-video/o3/pro/text-to-video"
    assert job.path == "batch/text-to-video/cat{output}{ext}"
    assert job.estimate == parse_usd("0.56")
    assert str(job.place).endswith("batch.yaml:2:5")


def test_the_manifest_of_the_design(tmp_path):
    write(tmp_path, "sku,title\na1,Lamp\nb2,Chair\n", "products.csv")
    made = batch(
        tmp_path,
        """\
        version: 1
        name: spring-campaign
        output: outputs
        path: "{batch}/{mode}/{job}{suffix}{ext}"
        limits: {concurrency: 8, rate: 60/min, max_cost: 40.00, deadline: 3h, on_doubt: hold, doubt_wait: 1h}
        vars: {brand: Acme}
        defaults: {mode: text-to-video, tier: standard, duration: 5}
        jobs:
          - id: hero-still
            mode: text-to-image
            prompt: "Studio shot of the {{ brand }} sneaker"
            takes: 3
          - id: hero-clip
            mode: image-to-video
            image_url: {job: hero-still, take: 1}
            prompt: Camera slowly zooms in
          - id: "spin-{{ product }}-{{ tier }}"
            matrix: {product: [sneaker, backpack], tier: [standard, pro], exclude: [{product: backpack, tier: pro}]}
            prompt: "The {{ product }} rotating on white, soft light"
          - from: products.csv
            id: "sku-{{ sku }}"
            prompt: "{{ title }} on a marble table"
        """,  # noqa: E501
    )

    assert [job.label for job in made.jobs] == [
        "hero-still",
        "hero-still#2",
        "hero-still#3",
        "hero-clip",
        "spin-sneaker-standard",
        "spin-sneaker-pro",
        "spin-backpack-standard",
        "sku-a1",
        "sku-b2",
    ]
    assert made.output == "outputs"
    assert made.limits == Limits(
        concurrency=8,
        rate=1.0,
        max_cost=parse_usd("40"),
        deadline=10_800.0,
        doubt_wait=3600.0,
    )
    assert made.jobs[0].arguments["prompt"] == "Studio shot of the Acme sneaker"
    assert "duration" not in made.jobs[0].arguments
    assert [job.tier for job in made.jobs[4:7]] == ["standard", "pro", "standard"]
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jobs: 5", "1:7: `jobs` must be a list"),
        ("version: 1", "1:1: `jobs` must be a list"),
        ("jobs: []", "1:7: `jobs` must be a list"),
        ("- a", "1:1: a manifest is a mapping"),
        ("jobs: [5]", "1:8: a job is a mapping"),
        ("jobs: [{}]", "1:8: `id` is missing"),
        ("version: 2\njobs: [{id: a}]", "1:10: `version` is wrong: 2 is no version"),
        ("version: true\njobs: [{id: a}]", "1:10: `version`"),
        ("limit: {}\njobs: [{id: a}]", "1:1: a manifest has no key `limit` (did you mean"),
        ("limits: 5\njobs: [{id: a}]", "1:9: `limits` must be a mapping"),
        ("limits: {rate: 5}\njobs: [{id: a}]", "1:16: `rate` is wrong: 5 is no rate"),
        ("limits: {rates: 5}\njobs: [{id: a}]", "1:10: `limits` has no key `rates`"),
        ("limits: {max_cost: -1}\njobs: [{id: a}]", "1:20: `max_cost` is wrong"),
        ("limits: {max_cost: yes}\njobs: [{id: a}]", "1:20: `max_cost` is wrong"),
        ("limits: {deadline: soon}\njobs: [{id: a}]", "1:20: `deadline` is wrong"),
        ("limits: {concurrency: 0}\njobs: [{id: a}]", "1:23: `concurrency` is wrong"),
        ("limits: {on_doubt: pay}\njobs: [{id: a}]", "1:20: `on_doubt` is wrong"),
        (
            "limits: {on_doubt: resubmit}\njobs: [{id: a}]",
            "1:20: `on_doubt` is wrong: `resubmit` could pay twice and exists no more",
        ),
        ("vars: {a-b: 1}\njobs: [{id: a}]", "1:13: `vars` is wrong: `a-b` is no name"),
        ("vars: [1]\njobs: [{id: a}]", "1:7: `vars` must be a mapping"),
        ("env: {a: FAL_KEY}\njobs: [{id: a}]", "1:10: `env` is wrong: FAL_KEY is a secret"),
        ("env: {a: NOT_SET}\njobs: [{id: a}]", "1:10: the environment variable NOT_SET"),
        ("name: a/b\njobs: [{id: a}]", "1:7: the batch's name cannot be used"),
        ("path: x\njobs: [{id: a}]", "1:7: `path`: it must contain {job}"),
        ("path: ../{job}{ext}\njobs: [{id: a, mode: text-to-video, prompt: x}]", "2:8: `../a`"),
        ("defaults: {id: x}\njobs: [{id: a}]", "1:12: `defaults` has no key `id`"),
        ("defaults: {durration: 5}\njobs: [{id: a}]", "1:12: `defaults` has no key `durr"),
        ("jobs: [{id: a, matrix: {}}]", "1:24: `matrix` has no names"),
        ("jobs: [{id: a, matrix: {b: []}}]", "1:28: `matrix` is wrong: `b` is an empty list"),
        ("jobs: [{id: a, matrix: {b: 1}}]", "1:28: `matrix` is wrong: `b` must be a list"),
        ("jobs: [{id: a, params: 5}]", "1:24: `params` must be a mapping"),
        ("jobs: [{id: a, takes: 0, mode: edit}]", "1:23: `takes`: 0 is not a whole number"),
        ("jobs: [{id: a, takes: 9999999999999999999999, mode: edit}]", "1:23: `takes`"),
        ("jobs: [{id: a, tags: {a: b}, mode: edit}]", "1:22: `tags`: must be a list"),
        (
            "vars: {s: '{{ \"\\ud800\" }}'}\njobs: [{id: a, tags: ['{{ s }}'], mode: edit}]",
            "2:22: `tags`: contains half a character",
        ),
        ("jobs: [{id: a}]", "1:8: `mode` is missing"),
        ("jobs: [{id: a, mode: text2video}]", "1:22: there is no mode `text2video` (did you"),
        ("jobs: [{id: a, mode: 5}]", "1:22: `mode` must be a word"),
        ("jobs: [{id: a, mode: text-to-image, tier: 4k}]", "1:43: text-to-image has no tier `4k`"),
        ("jobs: [{id: [a]}]", "1:13: `id` must be text"),
        ("jobs: [{id: true}]", "1:13: `id` must be text"),
        ("jobs: [{id: a, price: 5, mode: edit}]", "1:16: `price` belongs to jobs with `endpoint`"),
        ("jobs: [{id: a, when: '{{ x', mode: edit}]", "1:22: template:"),
        ("jobs: [{id: a, from: x.csv}]", "1:22: there is no table `x.csv`"),
        ("jobs: [{id: a, from: x.pdf}]", "x.pdf: a table cannot be a `.pdf` file"),
    ],
)
def test_each_mistake_has_its_place(tmp_path, text, expected):
    lines = [line.removeprefix("batch.yaml:") for line in messages(tmp_path, text)]

    assert any(line.startswith(expected) for line in lines), lines


def test_numbers_and_dates_are_good_names(tmp_path):
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-video}
        jobs:
          - {id: 7, prompt: 1984}
          - {id: 2026-10-01, prompt: 2026-10-01}
          - {id: no, prompt: no}
        """,
    )

    assert list(made) == ["7", "2026-10-01", "no"]
    assert made["7"].arguments["prompt"] == "1984"
    assert made["no"].arguments["prompt"] == "no"


def test_unquoted_ratios_are_ratios(tmp_path):
    made = jobs(
        tmp_path,
        "jobs: [{id: a, mode: text-to-video, prompt: x, aspect_ratio: 9:16}]",
    )

    assert made["a"].arguments["aspect_ratio"] == "9:16"


def test_keys_do_not_depend_on_how_it_is_written(tmp_path):
    one = batch(
        tmp_path,
        "name: a\njobs: [{id: a, mode: text-to-video, prompt: A cat, duration: 5}]",
        "a.yaml",
    )
    other = batch(
        tmp_path,
        """\
        # the same render by another name
        name: b
        path: "elsewhere/{job}{ext}"
        vars: {animal: cat}
        defaults: {tier: pro, duration: "5", takes: 1, tags: [x]}
        jobs:
          - prompt: "A {{ animal }}  "
            mode: text-to-video
            aspect_ratio: landscape
            generate_audio: false
            id: other
        """,
        "b.yaml",
    )

    assert one.jobs[0].key == other.jobs[0].key


def test_takes_are_jobs_of_their_own(tmp_path):
    made = jobs(tmp_path, "jobs: [{id: a, mode: text-to-image, prompt: x, takes: 3}]")

    assert list(made) == ["a", "a#2", "a#3"]
    assert len({job.key for job in made.values()}) == 3
    assert made["a#3"].path == "batch/text-to-image/a-t3{output}{ext}"


def test_more_takes_do_not_touch_the_first(tmp_path):
    text = "jobs: [{id: a, mode: text-to-image, prompt: x, takes: TAKES}]"
    two, three = (jobs(tmp_path, text.replace("TAKES", takes)) for takes in "23")

    assert [job.key for job in two.values()] == [job.key for job in three.values()][:2]


def test_duplicate_ids_are_reported_with_the_first(tmp_path):
    text = "defaults: {mode: text-to-image}\njobs:\n- {id: a, prompt: x}\n- {id: a, prompt: y}"

    (line,) = messages(tmp_path, text)
    assert line.startswith("batch.yaml:4:8: the id `a` is taken by batch.yaml:3:3")


@pytest.mark.parametrize(
    ("path", "ids"),
    [
        ("{job}{suffix}{ext}", ["hero", "Hero"]),
        ("{job}{suffix}{ext}", ["café", "cafe\u0301"]),
        ("{job}{suffix}{ext}", ["two", "two-2"]),
    ],
)
def test_two_jobs_never_share_a_file(tmp_path, path, ids):
    text = f'path: "{path}"\ndefaults: {{mode: text-to-image, num_images: 2}}\njobs:\n'
    text += "".join(f"- {{id: {each}, prompt: x {n}}}\n" for n, each in enumerate(ids))

    (problem,) = problems(tmp_path, text)
    assert problem.code == "path-collision"
    assert problem.place.line == 5


def test_takes_without_a_suffix_collide(tmp_path):
    text = 'path: "{job}{ext}"\njobs: [{id: a, mode: text-to-image, prompt: x, takes: 2}]'

    assert [problem.code for problem in problems(tmp_path, text)] == ["path-collision"]


def test_equal_jobs_are_reported_to_be_one(tmp_path):
    made = batch(
        tmp_path,
        "defaults: {mode: text-to-image, prompt: x}\njobs:\n- {id: a}\n- {id: b}\n",
    )

    assert made.jobs[0].key == made.jobs[1].key
    (warning,) = made.warnings
    assert warning.place.line == 4
    assert "paid for once" in warning.message


def test_raw_endpoints_pass_through(tmp_path):
    made = batch(
        tmp_path,
        """\
        defaults: {mode: text-to-video, tier: standard, duration: 5}
        jobs:
          - id: raw
            endpoint: fal-ai/other/model
            input: {text: hi, n: 5, duration: "5s"}
            price: 0.50
          - id: free
            endpoint: fal-ai/other/model
        """,
    )
    raw, free = made.jobs

    assert raw.endpoint == "fal-ai/other/model"
    assert raw.arguments == {"text": "hi", "n": 5, "duration": "5s"}
    assert raw.estimate == 500_000
    assert (raw.mode, raw.tier, raw.path) == ("", "", "batch/raw/raw{output}{ext}")
    assert (free.estimate, free.estimate_note) == (0, "price unknown")


def test_raw_endpoints_of_the_catalogue_have_its_price_and_a_warning(tmp_path):
    made = batch(
        tmp_path,
        """\
        jobs:
          - id: raw
            endpoint: fal-ai/kling-video/o3/standard/text-to-video
            input: {prompt: x}
        """,
    )

    assert made.jobs[0].estimate == parse_usd("0.42")
    assert made.jobs[0].arguments == {"prompt": "x"}
    assert [warning.place.line for warning in made.warnings] == [3]


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        ("endpoint: nothing", "is no endpoint id"),
        ("endpoint: a/b, mode: edit", "`mode` does not go with `endpoint`"),
        ("endpoint: a/b, prompt: x", "`prompt` does not go with `endpoint`"),
        ("endpoint: a/b, price: cheap", "'cheap' is not an amount"),
        ("endpoint: a/b, input: 5", "must be a mapping"),
    ],
)
def test_raw_endpoints_are_not_mixed_with_modes(tmp_path, job, expected):
    (line,) = messages(tmp_path, f"jobs: [{{id: a, {job}}}]")

    assert expected in line


def test_several_manifests_report_together(tmp_path):
    one = write(tmp_path, "jobs: [{id: a, mode: nope}]", "one.yaml")
    two = write(tmp_path, "jobs: [{id: a, mode: edit, prompt: x}]", "two.yaml")
    with pytest.raises(ManifestError) as caught:
        load_all([two, one])

    assert [problem.place.file for problem in caught.value.problems] == [str(one), str(two)]


def test_several_manifests_may_use_the_same_ids_but_not_the_same_files(tmp_path):
    text = "jobs: [{id: a, mode: text-to-image, prompt: x}]"
    one, two = write(tmp_path, text, "one.yaml"), write(tmp_path, text, "two.yaml")
    same_name = write(tmp_path, f"name: one\n{text}", "three.yaml")
    same_path = write(tmp_path, f"path: 'one/{{mode}}/{{job}}{{ext}}'\n{text}", "four.yaml")

    assert len({batch.jobs[0].key for batch in load_all([one, two])}) == 1
    with pytest.raises(ManifestError, match="the name `one` is taken"):
        load_all([one, same_name])
    with pytest.raises(ManifestError, match="would land in the same file"):
        load_all([one, same_path])


def test_a_variable_needs_to_be_known_to_one_of_several_manifests(tmp_path):
    text = "jobs: [{id: a, mode: text-to-image, prompt: x}]"
    one = write(tmp_path, f"vars: {{brand: A}}\n{text}", "one.yaml")
    two = write(tmp_path, text, "two.yaml")

    assert len(load_all([one, two], variables={"brand": "B"})) == 2
    with pytest.raises(ManifestError) as caught:
        load_all([one, two], variables={"brnad": "B"})
    assert [str(each.place) for each in caught.value.problems] == ["variables: brnad"]


def test_a_folder_or_nothing_is_no_manifest(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: Is a directory"):
        load(tmp_path)
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_what_fal_complains_about_is_found_again(tmp_path):
    write(tmp_path, "sku,title\na,Lamp\n", "t.csv")
    made = batch(
        tmp_path,
        """\
        defaults: {mode: text-to-video, duration: 7}
        jobs:
          - id: shots
            multi_prompt:
              - {prompt: a}
              - prompt: b
          - from: t.csv
            id: "{{ sku }}"
            prompt: "{{ title }}"
          - id: raw
            endpoint: a/b
            input: {deep: [1, {er: 2}]}
        """,
    )
    shots, row, raw = made.jobs

    def place(job, *loc):
        return str(made.place_of(job, ["body", *loc])).replace(f"{tmp_path}/", "")

    assert place(shots, "multi_prompt", 1, "prompt") == "batch.yaml:6:17"
    assert place(shots, "shot_type") == "batch.yaml:3:5"
    assert place(row, "prompt") == "t.csv:2: column title"
    assert place(row, "duration") == "batch.yaml:1:43"
    assert place(raw, "deep", 1, "er") == "batch.yaml:12:28"


RECIPES = "renditions: {p: {format: jpg}, a/b: {format: gif}}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("vars: {good: x, bad-name: y}\njobs: [{id: a, prompt: '{{ good }}'}]", ["1:27: `vars`"]),
        (RECIPES + "jobs: [{id: a, prompt: x, renditions: [p]}]", ["1:37: the rendition `a/b`"]),
        (
            "jobs: [{id: '{{ x }}', prompt: x, matrix: {x: [a, b], y: 1, z: []}}]",
            ["1:58: `matrix` is wrong: `y`", "1:64: `matrix` is wrong: `z`"],
        ),
        ("jobs: [{id: a, prompt: x, matrix: {x: 1}}]", ["1:39: `matrix`"]),
    ],
)
def test_one_bad_name_leaves_the_good_ones_known(tmp_path, text, found):
    said = messages(tmp_path, f"{text}\ndefaults: {{mode: text-to-image}}\n")

    for line, start in zip(said, found, strict=True):
        assert line.startswith(f"batch.yaml:{start}")


def test_many_bad_names_are_told_and_end(tmp_path):
    names = ", ".join(f"a-{n}: 1" for n in range(500))

    found = messages(tmp_path, f"vars: {{{names}}}\njobs: [{{id: a, mode: edit, prompt: x}}]")

    assert 20 <= len(found) < 30
    assert found[0].startswith("batch.yaml:1:13: `vars` is wrong: `a-0`")


def test_a_number_of_too_many_digits_is_told_where_it_is_made(tmp_path):
    found = messages(
        tmp_path,
        """\
        vars: {x: 1}
        jobs:
          - id: "{{ x }}"
            mode: text-to-image
            matrix:
              n: ["{{ ('9' * 4300) | int + 1 }}"]
              m: ["{{ n }} {{ x }}"]
            prompt: "{{ n }} {{ x }}"
        """,
    )

    assert found[0] == "batch.yaml:6:11: template: it has a number of too many digits"


@pytest.mark.parametrize(
    ("file", "name"),
    [("~t.csv", "t"), ("./~t.csv", "t"), ("~nobody-here.jsonl", "nobody-here"), ("a~b.csv", "a~b")],
)
def test_a_table_given_as_a_manifest_is_opened_by_its_path(tmp_path, monkeypatch, file, name):
    text = "id,mode,prompt\na,text-to-image,x\n"
    if file.endswith("jsonl"):
        text = '{"id": "a", "mode": "text-to-image", "prompt": "x"}'
    write(tmp_path, text, file)
    monkeypatch.chdir(tmp_path)

    for path in (Path(file), tmp_path / file):
        assert [(each.batch, each.id) for each in load(path).jobs] == [(name, "a")]


@pytest.mark.parametrize("file", ["#a.csv", " lead.csv", "x{{y}}.csv", "con.csv"])
def test_a_table_whose_name_no_batch_can_have_is_to_be_renamed(tmp_path, file):
    (problem,) = problems(tmp_path, "id,mode,prompt\na,text-to-image,x\n", file)

    assert problem.message.startswith("the batch's name cannot be used: it ")
    assert problem.hint.startswith("rename the file")


@pytest.mark.parametrize(
    ("name", "why"), [("~x", "begins with `~`"), ("con", "reserves"), ("a:b", "may not contain")]
)
def test_a_batch_whose_name_spoils_every_path_is_told_once(tmp_path, name, why):
    two = "jobs: [{id: a, mode: text-to-image, prompt: x}, {id: b, mode: text-to-image, prompt: y}]"

    (problem,) = problems(tmp_path, f'name: "{name}"\n{two}')

    assert why in problem.message
    assert problem.hint == "say `name:` with letters, digits, - and _"


def test_a_name_that_begins_with_a_tilde_may_stand_inside_a_path(tmp_path):
    head = 'name: "~x"\npath: "clips/{batch}/{job}{suffix}{ext}"\n'

    (job,) = batch(tmp_path, head + "jobs: [{id: a, mode: text-to-image, prompt: x}]").jobs

    assert job.path == "clips/~x/a{suffix}{ext}".replace("{suffix}", "{output}")


def test_what_to_do_about_two_batches_of_one_name_depends_on_the_files(tmp_path):
    (tmp_path / "other").mkdir()
    row = "id,mode,prompt\na,text-to-image,x\n"
    one, two = write(tmp_path, row, "t.csv"), write(tmp_path / "other", row, "t.csv")
    manifest = "jobs: [{id: a, mode: text-to-image, prompt: x}]"
    yaml, same = write(tmp_path, manifest, "t.yaml"), write(tmp_path / "other", manifest, "t.yaml")

    def hint(*paths):
        with pytest.raises(ManifestError) as caught:
            load_all(paths)
        return caught.value.problems[0].hint

    assert hint(one, two) == "rename one of these tables"
    assert hint(one, yaml) == f"give {yaml} another `name:`"
    assert hint(yaml, same) == "give one of them another `name:`"
