"""What `--set` and the environment put in the place of `vars`: another prompt is another render."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cli import Workspace
from support.manifests import batch, messages, problems, write

from kling_batch.core.jobs import JSON
from kling_batch.manifest.variables import like


@pytest.mark.parametrize(
    ("replaced", "text", "value"),
    [
        (1.5, "2", 2),
        (2, "1.5", 1.5),
        (5, "10", 10),
        (5, "-1e3", -1000.0),
        (5, "ten", "ten"),
        (5, "true", "true"),
        (5, "", ""),
        (True, "false", False),
        (True, "1", "1"),
        (True, "no", "no"),
        ("5", "10", "10"),
        ("yes", "true", "true"),
        (None, "10", "10"),
        (["a"], "10", "10"),
    ],
)
def test_a_text_is_read_as_what_it_replaces(replaced: JSON, text: str, value: JSON) -> None:
    read = like(replaced, text)

    assert (read, type(read)) == (value, type(value))


def prompt(folder: Path, head: str, text: str, *given: str, **environ: str) -> object:
    variables = dict(pair.split("=") for pair in given)
    job = f'{head}\njobs: [{{id: a, mode: text-to-image, prompt: "{text}"}}]'
    return batch(folder, job, variables=variables, environ=environ).jobs[0].arguments["prompt"]


def test_any_number_replaces_any_number(tmp_path: Path) -> None:
    head, text = "vars: {s: 1.5, n: 2}", "{{ s * 2 }} cats and {{ n * 2 }} dogs"

    assert prompt(tmp_path, head, text) == "3.0 cats and 4 dogs"
    assert prompt(tmp_path, head, text, "s=2", "n=1.5") == "4 cats and 3.0 dogs"


def test_the_environment_gives_numbers_for_numbers_too(tmp_path: Path) -> None:
    head, text = "vars: {n: 5}\nenv: {n: N, m: M}", "{{ n * 2 }} cats, {{ m * 2 }}"

    assert prompt(tmp_path, head, text, M="1") == "10 cats, 11"
    assert prompt(tmp_path, head, text, M="1", N="10") == "20 cats, 11"
    assert prompt(tmp_path, head, text, "n=10", M="1") == "20 cats, 11"
    assert prompt(tmp_path, head, text, "n=10", M="1", N="7") == "20 cats, 11"


def test_what_a_template_gives_has_a_type_too(tmp_path: Path) -> None:
    head = 'vars: {a: 2, n: "{{ a * 2 }}", broken: "{{ nobody }}"}'

    assert prompt(tmp_path, head, "{{ n * 2 }} {{ broken }}", "n=10", "broken=x") == "20 x"


def test_a_variable_made_of_another_sees_the_environment(tmp_path: Path) -> None:
    head, text = 'vars: {n: 5, twice: "{{ n * 2 }}"}\nenv: {n: N}', "{{ twice }} cats"

    assert prompt(tmp_path, head, text) == "10 cats"
    assert prompt(tmp_path, head, text, N="10") == "20 cats"
    assert prompt(tmp_path, head, text, "n=10") == "20 cats"


def test_what_is_paid_for_is_what_the_number_says(workspace: Workspace) -> None:
    workspace.put(
        "version: 1\nvars: {n: 5, s: 1.5}\nenv: {n: N_OF_CATS}\ndefaults: {mode: text-to-image}\n"
        'jobs: [{id: a, prompt: "{{ n * 2 }} cats of {{ s * 2 }}"}]\n'
    )
    workspace.run()
    workspace.run("--set", "n=10", "--set", "s=2")
    workspace.run("--set", "n=10", "--set", "s=2")

    assert sorted(workspace.prompts()) == ["10 cats of 3.0", "20 cats of 4"]
    assert workspace.charges() == [1, 1]


# --- one mistake is one problem -----------------------------------------------------------------

USES = """\
name: "trial-{{ market }}"
output: "out/{{ market }}"
path: "{market}/{batch}/{job}{suffix}{ext}"
defaults: {mode: text-to-image}
jobs:
  - {id: hero, prompt: "for {{ market }}"}
  - {id: whole, prompt: "{{ market }}"}
  - {id: upper, prompt: "{{ market | upper }}"}
  - {id: "in-{{ market }}", prompt: x}
  - {id: late, prompt: x, when: "market == 'de'"}
  - {id: "m-{{ place }}", prompt: x, matrix: {place: ["{{ market }}", b]}}
  - {from: "rows-{{ market }}.csv", id: "{{ sku }}", prompt: x}
  - {from: rows.jsonl, prompt: "{{ market }} {{ n }}"}
  - {id: clip, mode: image-to-video, prompt: x, image_url: {job: hero}}
  - {id: row, mode: image-to-video, prompt: x, image_url: {job: a}}
  - {id: other, mode: image-to-video, prompt: x, image_url: {job: in-de}}
"""


@pytest.mark.parametrize(
    ("head", "told"),
    [
        ("env: {market: MARKET}", "the environment variable MARKET is not set (set it, or"),
        ("env: {market: 5}", "`env` is wrong: `market` must name an environment variable"),
        ("env: {market: FAL_KEY}", "`env` is wrong: FAL_KEY is a secret"),
        ('vars: {market: "{{ 1 / 0 }}", made: "{{ market }}!"}', "template: division by zero"),
        ('vars: {market: "{{ nobody }}"}', "there is no variable `nobody`"),
    ],
)
def test_what_follows_from_a_variable_without_a_value_is_not_told(
    tmp_path: Path, head: str, told: str
) -> None:
    write(tmp_path, '{"id": "a", "n": 1}\n{"id": "b", "n": 2}\n', "rows.jsonl")
    found = messages(tmp_path, f"{head}\n{USES}")

    assert len(found) == 1, found
    assert told in found[0]


def test_what_does_not_follow_from_it_is_told(tmp_path: Path) -> None:
    text = "env: {market: MARKET}\ndefaults: {mode: text-to-image}\njobs:\n"
    found = messages(
        tmp_path,
        text
        + '  - {id: a, prompt: "{{ market }} {{ brnad }}"}\n'
        + '  - {id: b, prompt: "{{ brnad }}"}\n'
        + "  - {id: c, mode: image-to-video, prompt: x, image_url: {job: nobody}}\n",
    )

    assert [line.split(": ")[0] for line in found] == ["batch.yaml:1:15"] + [
        f"batch.yaml:{line}" for line in ("5:21", "6:57")
    ]


def test_what_is_set_is_no_unknown_variable(tmp_path: Path) -> None:
    job = "jobs: [{id: a, mode: text-to-image, prompt: x}]"

    (problem,) = problems(tmp_path, f"env: {{market: 5}}\n{job}", variables={"market": "de"})

    assert "must name an environment variable" in problem.message


def test_a_column_stands_in_for_a_variable_without_a_value(tmp_path: Path) -> None:
    write(tmp_path, "id,market\na,de\n", "t.csv")
    text = (
        'env: {market: MARKET}\njobs: [{from: t.csv, mode: edit, prompt: "{{ market }} {{ x }}"}]'
    )

    assert [each.code for each in problems(tmp_path, text)] == [
        "no-environment",
        "unknown-variable",
    ]


def test_a_name_of_a_matrix_that_is_wrong_is_one_problem(tmp_path: Path) -> None:
    text = 'jobs: [{id: "b{{ a }}", matrix: {%s}, mode: edit, prompt: "{{ a }} {{ c }}"}]'

    for matrix in ("a: 5", "a: 5, c: [1]", "c: [1], a: []"):
        found = problems(tmp_path, text.replace(" {{ c }}", "") % matrix)
        assert [each.code for each in found] == ["wrong-value"], matrix


def test_a_table_whose_name_is_empty_is_not_left_out_in_silence(tmp_path: Path) -> None:
    job = "{id: a, mode: text-to-image, prompt: x}"

    (problem,) = problems(tmp_path, f'vars: {{e: null}}\njobs: [{job}, {{from: "{{{{ e }}}}"}}]')

    assert problem.message == "`from` is empty (null) here"
