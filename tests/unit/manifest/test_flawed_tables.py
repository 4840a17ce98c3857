"""Tables as spreadsheet programs leave them: what is read, and what costs nothing but a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.manifests import batch, jobs, messages, write

from kling_batch.errors import ManifestError
from kling_batch.manifest.loader import load

SHOES = """\
    version: 1
    jobs:
      - {from: p.csv, id: "sku-{{ sku }}", mode: text-to-image, prompt: "{{ title }} on marble"}
"""


def prompts(folder: Path, text: str = SHOES) -> list[str]:
    return [job.arguments["prompt"] for job in batch(folder, text).jobs]


# -- blank rows and cells ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "blank", [",", ",,,", " , \t", '"",""', "\n\n", "\r\n,\r\n", "\u200b,\xa0\ufeff"]
)
def test_a_blank_row_is_no_job(tmp_path: Path, blank: str) -> None:
    write(tmp_path, f"sku,title\n1,Red shoe\n{blank}\n2,Blue shoe\n", "p.csv")

    assert prompts(tmp_path) == ["Red shoe on marble", "Blue shoe on marble"]


def test_a_blank_row_of_jsonl_is_no_job(tmp_path: Path) -> None:
    write(tmp_path, '{"sku": "1", "title": "x"}\n{"sku": "", "title": " "}\n', "p.jsonl")

    assert prompts(tmp_path, SHOES.replace("p.csv", "p.jsonl")) == ["x on marble"]


BLANK = "p.csv:3: column title: the cell is blank"


@pytest.mark.parametrize("cell", ["", "  ", '""', '"\n"', "\u200b", "\xa0\ufeff "])
def test_a_blank_cell_that_a_prompt_needs_is_an_error_at_the_cell(
    tmp_path: Path, cell: str
) -> None:
    write(tmp_path, f"sku,title\n1,Red shoe\n2,{cell}\n", "p.csv")

    (told,) = messages(tmp_path, SHOES)
    assert told.startswith(BLANK)


def test_a_blank_value_of_jsonl_is_an_error_at_its_column(tmp_path: Path) -> None:
    write(tmp_path, '{"sku": "1", "title": "x"}\n{"sku": "2", "title": ""}\n', "p.jsonl")

    (told,) = messages(tmp_path, SHOES.replace("p.csv", "p.jsonl"))
    assert told.startswith("p.jsonl:2: column title: the cell is blank")


@pytest.mark.parametrize(
    "job",
    [
        '{id: "sku-{{ title }}", prompt: "x"}',
        '{id: "s{{ sku }}", prompt: "{{ title | upper }} on marble"}',
        '{id: "s{{ sku }}", prompt: "{{ title.strip() }}, marble"}',
        '{id: "s{{ sku }}", prompt: \'{{ row["title"] }} on marble\'}',
        '{id: "s{{ sku }}", prompt: "{{ row.title }} on marble"}',
        '{id: "s{{ sku }}", endpoint: a/b, mode: null, input: {text: "a {{ title }}"}, price: 1}',
        '{id: "s{{ sku }}", mode: image-to-video, prompt: x, image_url: "https://h/{{ title }}"}',
        '{id: "s{{ sku }}", mode: text-to-video, multi_prompt: [{prompt: "a {{ title }}"}]}',
    ],
)
def test_every_way_to_use_a_blank_cell_is_found(tmp_path: Path, job: str) -> None:
    write(tmp_path, "sku,title\n2,\n", "p.csv")
    text = f"version: 1\ndefaults: {{mode: text-to-image, from: p.csv}}\njobs:\n  - {job}\n"
    text = text.replace(", from: p.csv", "").replace("- {", "- {from: p.csv, ")

    told = messages(tmp_path, text)

    assert any(each.startswith("p.csv:2: column title: the cell is blank") for each in told), told


@pytest.mark.parametrize(
    "prompt",
    [
        "{{ title or 'shoe' }} on marble",
        "{{ title | default('shoe', true) }} on marble",
        "{% if title %}{{ title }}{% else %}shoe{% endif %} on marble",
        "{{ title if title else 'shoe' }} on marble",
    ],
)
def test_a_template_that_minds_a_blank_cell_may_have_one(tmp_path: Path, prompt: str) -> None:
    write(tmp_path, "sku,title\n2,\n", "p.csv")

    assert prompts(tmp_path, SHOES.replace("{{ title }} on marble", prompt)) == ["shoe on marble"]


def test_a_blank_cell_that_nothing_uses_is_none_of_our_business(tmp_path: Path) -> None:
    write(tmp_path, "sku,title,note\n1,Red shoe,\n2,Hat,#REF!\n", "p.csv")

    assert prompts(tmp_path) == ["Red shoe on marble", "Hat on marble"]


# -- errors of spreadsheets --------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell", ["#REF!", "#N/A", " #DIV/0! ", "#NAME?", "Err:502", "#NV", "#ÜBERLAUF!", "#¿NOMBRE?"]
)
def test_an_error_of_the_spreadsheet_is_an_error_at_the_cell(tmp_path: Path, cell: str) -> None:
    write(tmp_path, f"sku,title\n1,Red shoe\n2,{cell}\n", "p.csv")

    (told,) = messages(tmp_path, SHOES)
    assert told.startswith(f"p.csv:3: column title: the cell is {cell.strip()}, an error of the sp")


def test_a_condition_does_not_excuse_an_error_of_the_spreadsheet(tmp_path: Path) -> None:
    write(tmp_path, "sku,title\n2,#REF!\n", "p.csv")

    (told,) = messages(tmp_path, SHOES.replace("{{ title }}", "{{ title or 'x' }}"))
    assert told.startswith("p.csv:2: column title")


def test_an_error_in_a_column_that_is_a_key_is_found(tmp_path: Path) -> None:
    write(tmp_path, "id,mode,prompt\na,text-to-image,#VALUE!\n", "p.csv")

    (told,) = messages(tmp_path, "version: 1\njobs: [{from: p.csv}]")
    assert told.startswith("p.csv:2: column prompt: the cell is #VALUE!")


def test_a_prompt_about_a_hash_is_a_prompt(tmp_path: Path) -> None:
    write(tmp_path, "sku,title\n1,#1 shoe\n", "p.csv")

    assert prompts(tmp_path) == ["#1 shoe on marble"]


# -- line ends, marks, encodings ---------------------------------------------------------------


def test_line_ends_of_the_file_do_not_change_a_key(tmp_path: Path) -> None:
    rows = 'id,mode,prompt\na,text-to-image,"one\ntwo"\n'
    keys = set()
    for ending in ("\n", "\r\n", "\r"):
        write(tmp_path, rows.replace("\n", ending), "j.csv")
        (job,) = jobs(tmp_path, "version: 1\njobs: [{from: j.csv}]").values()
        assert job.arguments["prompt"] == "one\ntwo"
        keys.add(job.key)
    write(tmp_path, '{"id": "a", "mode": "text-to-image", "prompt": "one\\r\\ntwo"}\r\n', "j.jsonl")
    (job,) = jobs(tmp_path, "version: 1\njobs: [{from: j.jsonl}]").values()
    assert {*keys, job.key} == {job.key}


@pytest.mark.parametrize(
    ("mark", "by"), [("sep=;", ";"), ('"sep=;"', ";"), ("sep=\t", "\t"), ("sep=|", "|")]
)
def test_excels_own_mark_is_no_row(tmp_path: Path, mark: str, by: str) -> None:
    table = f"{mark}\nsku{by}title\n1{by}Red, and so on\n2{by}\n"
    write(tmp_path, table, "p.csv")

    (told,) = messages(tmp_path, SHOES)
    assert told.startswith("p.csv:4: column title: the cell is blank")

    write(tmp_path, table.removesuffix(f"2{by}\n"), "p.csv")
    assert prompts(tmp_path) == ["Red, and so on on marble"]


ENCODINGS = ["utf-16-le", "utf-16-be", "utf-16", "utf-32", "utf-32-le"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_other_unicode_encodings_of_a_table_are_named(
    tmp_path: Path, encoding: str, name: str
) -> None:
    text = '{"sku": "1", "title": "é"}\n' if name == "p.jsonl" else "sku,title\n1,é\n"
    (tmp_path / name).write_bytes(text.encode(encoding))

    (told,) = messages(tmp_path, SHOES.replace("p.csv", name))

    assert told.startswith(f"{name}: the table is {encoding[:6].upper()} ")
    assert "CSV UTF-8" in told


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_other_unicode_encodings_of_a_manifest_are_named(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "p.yaml").write_bytes("version: 1\njobs: []\n".encode(encoding))

    with pytest.raises(ManifestError, match=rf"the file is {encoding[:6].upper()} .*UTF-8"):
        load(tmp_path / "p.yaml")


def test_what_is_no_text_table_is_reported_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"PK\x03\x04\x14\x00rest of a zip")
    (told,) = messages(tmp_path, SHOES)
    assert told.startswith("p.csv: is a spreadsheet by its content")
    assert "CSV UTF-8" in told

    (told,) = messages(tmp_path, SHOES.replace("p.csv", "p.xlsx"))
    assert "cannot be a `.xlsx` file" in told
    assert "CSV UTF-8" in told

    (told,) = messages(tmp_path, SHOES.replace("p.csv", "https://docs.google.com/x/export.csv"))
    assert told.startswith("batch.yaml:3:12: this is an address")
    assert "download it first" in told


@pytest.mark.parametrize("name", ["rows.xlsx", "https://host/rows.csv", "https://host/a.yaml"])
def test_the_same_as_a_manifest(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="CSV"):
        load(Path(name))


# -- names of columns --------------------------------------------------------------------------


def test_row_reaches_every_column(tmp_path: Path) -> None:
    write(tmp_path, "Product ID,sub-title\n7,Shoe\n", "p.csv")
    text = SHOES.replace("{{ sku }}", "{{ row['Product ID'] }}")
    text = text.replace("{{ title }}", "{{ row['sub-title'] | lower }}")

    (job,) = batch(tmp_path, text).jobs

    assert (job.id, job.arguments["prompt"]) == ("sku-7", "shoe on marble")


@pytest.mark.parametrize(
    ("header", "used", "hint"),
    [
        ("SKU", "sku", "did you mean the column `SKU` of p.csv?"),
        ("Product ID", "product_id", 'write {{ row["Product ID"] }}'),
        ("Product ID", "ProductID", 'write {{ row["Product ID"] }}'),
        ("product-id", "product_id", 'write {{ row["product-id"] }}'),
        ("Product ID", "row['product id']", 'write {{ row["Product ID"] }}'),
        ("Product ID", "Product ID", 'write {{ row["Product ID"] }}'),
        ("title", "row['titel']", "did you mean the column `title` of p.csv?"),
    ],
)
def test_the_nearest_column_is_named(tmp_path: Path, header: str, used: str, hint: str) -> None:
    write(tmp_path, f"{header},x\n7,y\n8,z\n", "p.csv")
    text = f"""\
        version: 1
        jobs:
          - {{from: p.csv, id: "a-{{{{ x }}}}", mode: text-to-image, prompt: "{{{{ {used} }}}} b"}}
    """

    (told,) = messages(tmp_path, text)

    assert hint in told


def test_a_column_called_row_stays_one(tmp_path: Path) -> None:
    write(tmp_path, "sku,row\n1,Red\n", "p.csv")

    assert prompts(tmp_path, SHOES.replace("{{ title }}", "{{ row }}")) == ["Red on marble"]


# -- numbers as spreadsheet programs write them --------------------------------------------------


@pytest.mark.parametrize("written", ["5", "5.0", "05", "5.", " 5.00 "])
def test_a_whole_number_is_one_however_it_is_written(tmp_path: Path, written: str) -> None:
    write(tmp_path, f"id,mode,prompt,duration,takes\na,text-to-video,x,{written},2.0\n", "p.csv")

    found = jobs(tmp_path, "version: 1\njobs: [{from: p.csv}]")

    assert {job.arguments["duration"] for job in found.values()} == {"5"}
    assert sorted(found) == ["a", "a#2"]


@pytest.mark.parametrize("written", ["5.5", "5,0", "five", "500.0"])
def test_another_number_is_an_error_still(tmp_path: Path, written: str) -> None:
    write(tmp_path, f'id,mode,prompt,duration\na,text-to-video,x,"{written}"\n', "p.csv")

    (told,) = messages(tmp_path, "version: 1\njobs: [{from: p.csv}]")
    assert told.startswith("p.csv:2: column duration")
