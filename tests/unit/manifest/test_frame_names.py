"""Columns and matrix names that are called like `from`, `when` and `matrix`: plain variables."""

from __future__ import annotations

import pytest
from support.manifests import batch, jobs, messages, write

JOB = 'id: "s-{{ to }}", mode: text-to-image'


def prompts(made):
    return {name: job.arguments["prompt"] for name, job in made.items()}


@pytest.mark.parametrize("column", ["from", "when", "matrix"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_column_of_such_a_name_is_a_variable(tmp_path, column, suffix):
    rows = {"csv": f"{column},to\na,b\n", "jsonl": f'{{"{column}": "a", "to": "b"}}\n'}
    write(tmp_path, rows[suffix], f"t.{suffix}")
    prompt = f"prompt: \"{{{{ {column} }}}} {{{{ row['{column}'] }}}}\""

    made = jobs(tmp_path, f"jobs: [{{from: t.{suffix}, {JOB}, {prompt}}}]")

    assert prompts(made) == {"s-b": "a a"}


@pytest.mark.parametrize("name", ["from", "when", "matrix"])
def test_so_is_a_name_of_a_matrix(tmp_path, name):
    text = f'id: "s-{{{{ {name} }}}}", mode: text-to-image, prompt: "{{{{ {name} }}}}!"'

    made = jobs(tmp_path, f"jobs: [{{matrix: {{{name}: [day, night]}}, {text}}}]")

    assert prompts(made) == {"s-day": "day!", "s-night": "night!"}


def test_a_job_may_decide_by_such_a_column(tmp_path):
    write(tmp_path, "when,to\nday,a\nnight,b\n", "t.csv")

    made = jobs(tmp_path, f"jobs: [{{from: t.csv, {JOB}, when: \"when == 'night'\", prompt: x}}]")

    assert list(made) == ["s-b"]


@pytest.mark.parametrize(
    "table",
    [
        "id,mode,prompt,when\na,text-to-image,x,no\nb,text-to-image,x,\nc,text-to-image,x,yes\n",
        (
            '{"id":"a","mode":"text-to-image","prompt":"x","when":false}\n'
            '{"id":"b","mode":"text-to-image","prompt":"x"}\n'
            '{"id":"c","mode":"text-to-image","prompt":"x","when":1}\n'
        ),
    ],
)
def test_a_column_when_decides_where_the_job_leaves_it_open(tmp_path, table):
    """Like every column that is a key of jobs; an empty cell leaves it open, too."""
    name = "t.csv" if table.startswith("id") else "t.jsonl"
    assert [job.id for job in batch(tmp_path, table, name).jobs] == ["b", "c"]
    write(tmp_path, table, name)

    text = f"vars: {{when: no}}\njobs: [{{from: {name}}}]"

    assert [job.id for job in batch(tmp_path, text).jobs] == ["b", "c"]
    said = f"jobs: [{{from: {name}, when: true}}]"
    assert [job.id for job in batch(tmp_path, said).jobs] == ["a", "b", "c"]


def test_an_error_of_a_spreadsheet_decides_nothing(tmp_path):
    table = "id,mode,prompt,when\na,text-to-image,x,#REF!\nb,text-to-image,x,\n"

    write(tmp_path, table, "t.csv")
    (told,) = messages(tmp_path, "jobs: [{from: t.csv}]")

    assert "column when" in told
    assert "#REF!" in told


def test_the_key_itself_is_still_checked(tmp_path):
    assert messages(tmp_path, "jobs: [{id: a, mode: text-to-image, prompt: x, when: [1]}]")
