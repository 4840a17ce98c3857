"""The language: layers, variables, conditions, matrix, tables, and places of what is wrong."""

from __future__ import annotations

import json

import pytest
from support.manifests import batch, jobs, messages, problems, write

from kling_batch.catalog.registry import parse_usd
from kling_batch.core.jobs import job_key
from kling_batch.errors import Place

T2V = "defaults: {mode: text-to-video}\n"


# --- who has the last word ----------------------------------------------------------------------


def test_job_over_row_over_defaults_over_fal(tmp_path):
    write(
        tmp_path,
        "id,duration,aspect_ratio\na,7,square\nb,,square\nc,8,\n",
        "t.csv",
    )
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-video, duration: 6, aspect_ratio: portrait, prompt: x}
        jobs:
          - from: t.csv
          - {from: t.csv, id: "own-{{ id }}", duration: 9}
          - {id: null-d, duration: null}
        """,
    )

    assert {name: job.arguments["duration"] for name, job in made.items()} == {
        "a": "7",
        "b": "6",
        "c": "8",
        "own-a": "9",
        "own-b": "9",
        "own-c": "9",
        "null-d": "5",
    }
    assert made["c"].arguments["aspect_ratio"] == "9:16"
    assert made["a"].arguments["aspect_ratio"] == "1:1"


def test_defaults_that_a_mode_does_not_have_are_left_out(tmp_path):
    made = jobs(
        tmp_path,
        """\
        defaults: {tier: standard, duration: 5, generate_audio: true, mode: text-to-image}
        jobs:
          - {id: image, prompt: x}
          - {id: clip, mode: text-to-video, prompt: x}
          - {id: edit, mode: edit, prompt: x, video_url: "https://a.example/v.mp4"}
          - {id: none, mode: text-to-video, tier: null, prompt: x}
        """,
    )

    assert made["image"].endpoint == "fal-ai/kling-image/o3/text-to-image"
    assert "duration" not in made["image"].arguments
    assert made["clip"].tier == "standard"
    assert made["edit"].tier == "standard"
    assert "generate_audio" not in made["edit"].arguments
    assert made["none"].tier == "pro"


def test_what_a_mode_does_not_have_is_a_mistake_in_the_job_itself(tmp_path):
    write(tmp_path, "id,duration\na,5\n", "t.csv")
    found = messages(
        tmp_path,
        """\
        defaults: {mode: text-to-image, prompt: x}
        jobs:
          - {id: own, duration: 5}
          - {id: own-tier, tier: standard}
          - from: t.csv
        """,
    )

    assert [line.split(": ")[0] for line in found] == [
        "batch.yaml:3:15",
        "batch.yaml:4:26",
        "t.csv:2",
    ]
    assert "t.csv:2: column duration: text-to-image has no parameter `duration`" in found[2]


def test_shots_and_prompt_of_a_job_outrank_defaults_that_exclude_them(tmp_path):
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-video, prompt: x, duration: 5}
        jobs:
          - {id: shots, multi_prompt: [{prompt: a, duration: 3}, {prompt: b, duration: 4}]}
          - {id: plain}
        """,
    )

    assert "prompt" not in made["shots"].arguments
    assert made["shots"].arguments["duration"] == "7"
    assert made["plain"].arguments["prompt"] == "x"


def test_params_pass_unknown_names_through_and_check_known_ones(tmp_path):
    made = jobs(
        tmp_path,
        T2V + "jobs: [{id: a, prompt: x, params: {new: {deep: 1}, duration: 7, image_url: q}}]",
    )
    assert made["a"].arguments["new"] == {"deep": 1}
    assert made["a"].arguments["duration"] == "7"
    assert made["a"].arguments["image_url"] == "q"

    found = messages(tmp_path, T2V + "jobs:\n- {id: a, prompt: x, params: {duration: 70}}")
    assert found == ["batch.yaml:3:41: `duration` is 70; allowed: 3 to 15"]
    found = messages(
        tmp_path, T2V + "jobs:\n- {id: a, prompt: x, duration: 5, params: {duration: 7}}"
    )
    assert "stands in the job and in `params`" in found[0]


def test_tags_in_all_their_spellings(tmp_path):
    write(tmp_path, 'id,tags\nc,"x, y"\nd,\n', "t.csv")
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-image, prompt: x, tags: [all]}
        jobs:
          - {id: a, tags: [x, 5]}
          - {id: b}
          - from: t.csv
        """,
    )

    assert {name: job.tags for name, job in made.items()} == {
        "a": ("x", "5"),
        "b": ("all",),
        "c": ("x", "y"),
        "d": ("all",),
    }


# --- variables ----------------------------------------------------------------------------------


def test_set_over_env_over_vars(tmp_path):
    text = """\
    vars: {a: file, b: file, c: "{{ a }}!", n: 5}
    env: {b: MARKET, d: OTHER}
    defaults: {mode: text-to-image}
    jobs: [{id: x, prompt: "{{ a }} {{ b }} {{ c }} {{ d }} {{ n + 1 }}"}]
    """

    def prompt(variables, environ):
        return batch(tmp_path, text, variables=variables, environ=environ).jobs[0].arguments

    assert prompt({}, {"OTHER": "o"})["prompt"] == "file file file! o 6"
    assert prompt({}, {"OTHER": "o", "MARKET": "env"})["prompt"] == "file env file! o 6"
    given = {"a": "set", "b": "set", "n": "7"}
    assert prompt(given, {"OTHER": "o", "MARKET": "env"})["prompt"] == "set set set! o 8"


def test_the_environment_is_only_what_env_names(tmp_path):
    found = problems(
        tmp_path, T2V + 'jobs: [{id: a, prompt: "{{ HOME }}"}]', environ={"HOME": "/root"}
    )

    assert [problem.code for problem in found] == ["unknown-variable"]


def test_a_variable_that_nobody_declared_cannot_be_set(tmp_path):
    *_, problem = problems(
        tmp_path, "vars: {brand: A}\njobs: [{id: a, mode: edit}]", variables={"brnad": "B"}
    )

    assert str(problem) == "variables: brnad: no variable of this name (did you mean `brand`?)"


def test_templates_stand_in_every_string(tmp_path):
    write(tmp_path, "id\na\n", "rows-de.csv")
    made = batch(
        tmp_path,
        """\
        name: "{{ market }}-spring"
        output: "out/{{ market }}"
        path: "{market}/{job}{suffix}{ext}"
        vars: {market: de, seconds: 7, sizes: [square, portrait]}
        jobs:
          - from: "rows-{{ market }}.csv"
            matrix: {shape: ["{{ sizes[0] }}", "{{ sizes[1] }}"]}
            id: "{{ id }}-{{ shape }}"
            mode: "{{ 'text-to-video' }}"
            tier: "{% if market == 'de' %}standard{% else %}pro{% endif %}"
            duration: "{{ seconds }}"
            aspect_ratio: "{{ shape }}"
            takes: "{{ 1 + 1 }}"
            tags: ["m-{{ market }}"]
            multi_prompt: [{prompt: "{{ shape }}", duration: "{{ seconds }}"}]
            params: {"new": "{{ seconds }}"}
        """,
    )

    assert made.name == "de-spring"
    assert made.output == "out/de"
    assert [job.label for job in made.jobs] == [
        "a-square",
        "a-square#2",
        "a-portrait",
        "a-portrait#2",
    ]
    job = made.jobs[3]
    assert job.path == "de/a-portrait-t2{output}{ext}"
    assert (job.tier, job.tags) == ("standard", ("m-de",))
    assert job.arguments["multi_prompt"] == [{"prompt": "portrait", "duration": "7"}]
    assert job.arguments["new"] == 7


def test_text_from_a_table_is_text_and_no_template(tmp_path):
    write(tmp_path, "id,prompt\na,{{ secret }} and {% if %}\n", "t.csv")
    made = jobs(tmp_path, T2V + "jobs: [{from: t.csv}]")

    assert made["a"].arguments["prompt"] == "{{ secret }} and {% if %}"


def test_columns_stand_in_paths(tmp_path):
    write(tmp_path, "sku,shelf\na,top\n", "t.csv")
    made = jobs(
        tmp_path,
        'path: "{shelf}/{job}{ext}"\n' + T2V + "jobs: [{from: t.csv, id: '{{ sku }}', prompt: x}]",
    )

    assert made["a"].path == "top/a{output}{ext}"


def test_a_cell_cannot_lead_out_of_the_output_folder(tmp_path):
    write(tmp_path, "sku,shelf\na,../../etc\n", "t.csv")
    found = messages(
        tmp_path,
        'path: "{shelf}/{job}{ext}"\n' + T2V + "jobs: [{from: t.csv, id: '{{ sku }}', prompt: x}]",
    )

    assert "leaves the output folder" in found[0]
    assert found[0].startswith("t.csv:2: ")


# --- conditions ---------------------------------------------------------------------------------


def test_when_leaves_jobs_out(tmp_path):
    write(tmp_path, "id,active\na,yes\nb,no\nc,\nd,1\n", "t.csv")
    made = jobs(
        tmp_path,
        """\
        vars: {market: de}
        defaults: {mode: text-to-image, prompt: x}
        jobs:
          - {from: t.csv, when: "{{ active }}"}
          - {id: e, when: market == 'de'}
          - {id: f, when: market == 'fr'}
          - {id: g, when: false}
          - {id: h, when: true}
          - id: "{{ i }}"
            matrix: {i: [1, 2, 3]}
            when: i != 2
        """,
    )

    assert list(made) == ["a", "d", "e", "h", "1", "3"]


def test_a_batch_without_any_job_is_a_mistake(tmp_path):
    (line,) = messages(tmp_path, "jobs: [{id: a, mode: edit, when: false}]")

    assert "there is no job at all" in line


# --- matrix -------------------------------------------------------------------------------------


def test_matrix_names_that_are_keys_set_them(tmp_path):
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-video, prompt: x, tier: 4k}
        jobs:
          - id: "{{ tier }}-{{ duration }}"
            matrix:
              tier: [standard, pro]
              duration: [3, 15]
              exclude: [{tier: pro, duration: 15}]
              include: [{tier: 4k, duration: 4, aspect_ratio: square}]
        """,
    )

    assert list(made) == ["standard-3", "standard-15", "pro-3", "4k-4"]
    assert made["standard-15"].estimate == parse_usd("1.26")
    assert made["4k-4"].arguments["aspect_ratio"] == "1:1"
    assert made["pro-3"].arguments["aspect_ratio"] == "16:9"


def test_a_mistake_in_the_matrix_is_reported_there(tmp_path):
    found = messages(
        tmp_path,
        T2V
        + "jobs:\n- id: 'a-{{ duration }}'\n  prompt: x\n"
        + "  matrix: {duration: [5, 50], exclude: [{duratoin: 5}]}\n",
    )
    assert found == [
        (
            "batch.yaml:5:42: `exclude` names `duratoin`, which the matrix does not have"
            " (did you mean `duration`?)"
        )
    ]
    found = messages(
        tmp_path,
        T2V + "jobs:\n- id: 'a-{{ duration }}'\n  prompt: x\n  matrix: {duration: [5, 50]}\n",
    )
    assert found == ["batch.yaml:5:22: `duration` is 50; allowed: 3 to 15"]


def test_an_id_without_a_variable_is_reported_how(tmp_path):
    (line,) = messages(tmp_path, T2V + "jobs:\n- {id: a, prompt: x, matrix: {b: [1, 2]}}\n")

    assert "the id `a` is taken" in line
    assert "put a variable into the id" in line


# --- tables -------------------------------------------------------------------------------------


def test_a_table_is_a_batch_by_itself(tmp_path):
    made = batch(
        tmp_path,
        """\
        id,mode,tier,prompt,duration,price,note
        a,text-to-video,standard,A cat,7,9.99,
        b,text-to-image,,"A dog, running",,1.00,nice
        """,
        name="jobs.csv",
    )

    assert made.name == "jobs"
    assert [(job.label, job.tier) for job in made.jobs] == [("a", "standard"), ("b", "pro")]
    assert made.jobs[1].arguments["prompt"] == "A dog, running"
    assert made.jobs[0].place.line == 2
    # A product's price is a variable like any other, not the price of the job.
    assert made.jobs[0].estimate == parse_usd("0.588")


def test_a_jsonl_is_a_batch_by_itself(tmp_path):
    made = batch(
        tmp_path,
        """\
        {"id": "still", "mode": "text-to-image", "prompt": "x", "num_images": 2, "takes": 2}
        {"id": "clip", "mode": "image-to-video", "prompt": "x", "image_url": {"job": "still", "output": 2}}
        {"id": "raw", "endpoint": "a/b", "input": {"x": [1]}, "price": 0.5}
        """,  # noqa: E501
        name="jobs.jsonl",
    )

    assert [job.label for job in made.jobs] == ["still", "still#2", "clip", "raw"]
    assert made.jobs[2].arguments["image_url"].key == made.jobs[0].key
    assert made.jobs[3].estimate == 500_000


def test_what_is_wrong_in_a_cell_is_reported_by_its_column(tmp_path):
    found = messages(
        tmp_path,
        "id,mode,prompt,duration\na,text-to-video,x,5\nb,text-to-video,,5\nc,text-to-vid,x,5\n"
        "d,text-to-video,x,50\na,text-to-video,x,5\n",
        name="jobs.csv",
    )

    assert found == [
        "jobs.csv:3: `prompt` (or `multi_prompt`) is missing",
        "jobs.csv:4: column mode: there is no mode `text-to-vid` (did you mean `text-to-video`?)",
        'jobs.csv:5: column duration: `duration` is "50"; allowed: 3 to 15',
        "jobs.csv:6: column id: the id `a` is taken by jobs.csv:2 (give each row another id)",
    ]


def test_a_problem_of_a_template_is_reported_by_the_cell_it_used(tmp_path):
    write(tmp_path, f"sku,title\na,Lamp\nb,{'x' * 2600}\n", "products.csv")
    found = messages(
        tmp_path,
        T2V + "jobs:\n- {from: products.csv, id: '{{ sku }}', prompt: 'A {{ title }}'}\n",
    )

    assert found == ["products.csv:3: column title: `prompt` has 2,602 characters; at most 2,500"]


def test_a_header_typo_is_reported_once_with_its_column(tmp_path):
    rows = "".join(f"s{n},Lamp\n" for n in range(500))
    write(tmp_path, f"sku,titel\n{rows}", "products.csv")
    found = messages(
        tmp_path,
        T2V + "jobs:\n- {from: products.csv, id: '{{ sku }}', prompt: 'A {{ title }}'}\n",
    )

    assert found == [
        (
            "batch.yaml:3:49: there is no variable `title`"
            " (did you mean the column `titel` of products.csv?)"
        )
    ]


def test_a_column_that_is_nearly_a_key_is_reported_in_a_table_alone(tmp_path):
    text = "id,mode,prompt,durration\na,text-to-video,x,5\n"
    (warning,) = batch(tmp_path, text, name="jobs.csv").warnings

    assert str(warning).endswith(
        "jobs.csv:1: column durration: no key of a job has this name, so it changes nothing "
        "(did you mean `duration`?)"
    )


def test_capitals_in_a_header_are_reported(tmp_path):
    write(tmp_path, "id,Prompt\na,x\n", "t.csv")
    (warning,) = batch(
        tmp_path, "defaults: {mode: text-to-image, prompt: p}\njobs: [{from: t.csv}]"
    ).warnings

    assert "did you mean `prompt`?" in str(warning)


def test_a_flood_of_the_same_mistake_is_cut_short(tmp_path):
    rows = "".join(f"s{n},50\n" for n in range(1000))
    found = messages(
        tmp_path,
        f"id,duration\n{rows}",
        name="jobs.csv",
    )

    assert len(found) < 200
    assert any("and 950 more like this" in line for line in found)


def test_one_text_instead_of_a_list_and_json_in_cells(tmp_path):
    write(
        tmp_path,
        'id,image_urls\na,https://x.example/1.png\nb,"[""https://x.example/1.png""]"\n',
        "t.csv",
    )
    made = jobs(
        tmp_path,
        "defaults: {mode: image-to-image, prompt: x}\njobs: [{from: t.csv}]",
    )

    assert made["a"].key == made["b"].key


def test_rows_of_jsonl_name_their_own_line(tmp_path):
    write(tmp_path, '{"sku": "a", "title": "x"}\n{"sku": "b"}\n', "t.jsonl")
    found = messages(
        tmp_path,
        T2V + "jobs:\n- {from: t.jsonl, id: '{{ sku }}', prompt: 'A {{ title }}'}\n",
    )

    assert found == ["t.jsonl:2: there is no variable `title` (known: sku)"]


def test_rows_times_matrix(tmp_path):
    write(tmp_path, "sku\na\nb\n", "t.csv")
    made = jobs(
        tmp_path,
        T2V
        + "jobs:\n- {from: t.csv, matrix: {tier: [standard, pro]}, id: '{{ sku }}-{{ tier }}',"
        + " prompt: x}\n",
    )

    assert list(made) == ["a-standard", "a-pro", "b-standard", "b-pro"]


@pytest.mark.parametrize("rows", ["", "\n\n"])
def test_a_table_with_a_header_alone_has_no_jobs(tmp_path, rows):
    (line,) = messages(tmp_path, f"id,mode\n{rows}", name="jobs.csv")

    assert "there is no job at all" in line


def test_params_and_inputs_in_cells_are_json(tmp_path):
    write(
        tmp_path,
        'id,mode,prompt,params\na,text-to-video,x,"{""new"": [1]}"\n',
        "t.csv",
    )
    write(tmp_path, 'id,endpoint,input\nb,a/b,"{""x"": 1}"\n', "u.csv")
    made = jobs(tmp_path, "jobs: [{from: t.csv}, {from: u.csv}]")

    assert made["a"].arguments["new"] == [1]
    assert made["b"].arguments == {"x": 1}
    (line,) = messages(tmp_path, "id,mode,prompt,params\na,edit,x,5\n", name="v.csv")[1:]
    assert line == 'v.csv:2: column params: `params` must be a mapping, not "5"'


# --- rows that share a request ------------------------------------------------------------------


def test_rows_that_look_alike_are_judged_one_by_one(tmp_path):
    """The short way for rows that differ in words only must not pass what the long way refuses."""
    text = "defaults: {mode: text-to-image, duration: 5}\njobs: [{from: t.csv}]"
    write(tmp_path, "id,prompt,duration\na,x,\nb,y,5\nc,z,\n", "t.csv")

    (line,) = messages(tmp_path, text)
    assert line.startswith("t.csv:3: column duration: text-to-image has no parameter `duration`")


def test_words_of_rows_are_judged_though_the_rest_is_known(tmp_path):
    write(
        tmp_path,
        f"id,prompt\na,x\nb,@Image1\nc,{'y' * 2501}\nd,\u00a0\ne, z \n",
        "t.csv",
    )
    found = messages(tmp_path, T2V + "jobs: [{from: t.csv}]")

    assert [line[:8] for line in found] == ["t.csv:3:", "t.csv:4:", "t.csv:5:"]


def test_a_default_prompt_does_not_come_back(tmp_path):
    shots = '"[{""prompt"": ""s""}]"'
    write(tmp_path, f"id,multi_prompt\na,{shots}\nb,{shots}\nc,\n", "t.csv")
    made = jobs(tmp_path, "defaults: {mode: text-to-video, prompt: p}\njobs: [{from: t.csv}]")

    assert [("prompt" in job.arguments) for job in made.values()] == [False, False, True]
    assert made["a"].key == made["b"].key


def test_a_default_prompt_does_not_reach_raw_inputs(tmp_path):
    made = jobs(
        tmp_path,
        """\
        defaults: {mode: text-to-video, prompt: p}
        jobs:
          - id: "raw-{{ n }}"
            matrix: {n: [1, 2, 3]}
            endpoint: a/b
            input: {prompt: q}
        """,
    )

    assert {job.arguments["prompt"] for job in made.values()} == {"q"}


@pytest.mark.parametrize("row", ['{"n": 1}', '{"n": true}', '{"n": 1.0}', '{"n": "1"}'])
def test_equal_values_of_different_types_are_not_mixed_up(tmp_path, row):
    rows = [{"id": "first", "num_images": 1}, {"id": "second", "num_images": json.loads(row)["n"]}]
    text = "\n".join(json.dumps(each) for each in rows)
    write(tmp_path, text, "t.jsonl")
    found = messages(
        tmp_path, "defaults: {mode: text-to-image, prompt: x}\njobs: [{from: t.jsonl}]"
    )

    assert bool(found) is (row == '{"n": true}')


def test_every_field_of_a_job_has_its_own_value(tmp_path):
    write(tmp_path, "sku,title\n7,Lamp\n", "t.csv")
    made = batch(
        tmp_path,
        """\
        name: shop
        review: {draft: {tier: standard}, final: {tier: pro}}
        renditions: {small: {format: mp4, height: 480}}
        jobs:
          - {id: first, mode: text-to-image, prompt: x, review: null}
          - {from: t.csv, id: "sku-{{ sku }}", mode: text-to-video, prompt: "{{ title }}",
             takes: 2, tags: [a, b], renditions: [small]}
        """,
    )

    final = made.jobs[-1]
    assert final._asdict() == {
        "key": job_key(final.endpoint, final.arguments, 2),
        "endpoint": "fal-ai/kling-video/o3/pro/text-to-video",
        "arguments": {**final.arguments, "prompt": "Lamp"},
        "take": 2,
        "id": "sku-7",
        "batch": "shop",
        "mode": "text-to-video",
        "tier": "pro",
        "path": "shop/text-to-video/sku-7-t2{output}{ext}",
        "estimate": parse_usd("0.56"),
        "estimate_note": "",
        "place": Place(str(tmp_path / "t.csv"), 2),
        "tags": ("a", "b"),
        "entry": 1,
        "draft": "sku-7~draft",
        "renditions": ("small",),
    }


def test_a_column_without_a_name_is_not_suggested(tmp_path):
    write(tmp_path, "id,mode,prompt,\na,text-to-image,x,\nb,text-to-image,y,\n", "t.csv")

    (taken,) = messages(tmp_path, "jobs: [{from: t.csv, id: same}]")
    (unknown,) = messages(tmp_path, 'jobs: [{from: t.csv, prompt: "{{ qqq }}"}]')

    assert taken.endswith('(put a variable into the id, as in "same-{{ … }}" (id, mode, prompt))')
    assert unknown.endswith("(known: id, mode, prompt)")
