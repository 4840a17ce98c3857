"""Tables: rows with their lines, and what is wrong with a row told where it is."""

from __future__ import annotations

import pytest

from kling_batch.core.diagnostics import Collector
from kling_batch.errors import ManifestError
from kling_batch.manifest.tables import open_table


def read(folder, name, data):
    """Rows, and what was said about the others."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    problems = Collector()
    try:
        rows = list(open_table(path, name, problems).rows)
    except ManifestError as error:
        return [], [str(each) for each in [*problems.errors, *error.problems]]
    return rows, [str(each) for each in problems.errors]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "a,b\n1,x\n2,y\n"),
        ("t.csv", "a;b\n1;x\n2;y"),
        ("t.csv", "\ufeffa,b\r\n1,x\r\n2,y\r\n"),
        ("t.csv", " a , b \n1,x\n\n2,y\n"),
        ("t.tsv", "a\tb\n1\tx\n2\ty\n"),
    ],
)
def test_ways_to_write_the_same_table(tmp_path, name, text):
    rows, said = read(tmp_path, name, text)

    assert [row for _, row in rows] == [{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]
    assert said == []


WIDE = "Farben (rot, grün, blau, gelb)"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        (f"id;prompt;{WIDE}", "a;Schuh;rot"),
        (f'id;prompt;"{WIDE}"', "a;Schuh;rot"),
        (f'id;prompt;"{WIDE}"', "a;Schuh"),
        (f"id;prompt;{WIDE}", '"a";"Schuh; rot";"rot, ""grün"""'),
        (f"id;prompt;{WIDE}", '\na;"Schuh\nrot, grün";rot'),
        ('id;prompt;"Farben\n(rot, grün, blau)"', "a;Schuh;rot"),
        (f"id\tprompt\t{WIDE}", "a\tSchuh\trot"),
        ("id,prompt,a; b; c; d", "a,Schuh,rot"),
        ("id,prompt,colour", "a,Schuh;rot;x;y"),
        ("id,prompt,colour", ""),
    ],
)
def test_the_delimiter_is_the_one_with_which_rows_fit(tmp_path, header, row):
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n", "utf-8")

    columns = open_table(tmp_path / "t.csv", "t.csv", Collector()).header

    assert (len(columns), *columns[:2]) == (3, "id", "prompt")


def test_lines_are_counted_through_quoted_cells(tmp_path):
    rows, _ = read(tmp_path, "t.csv", 'a,b\n1,"x\ny"\n2,z\n')

    assert rows == [(2, {"a": "1", "b": "x\ny"}), (4, {"a": "2", "b": "z"})]


def test_rows_of_jsonl_keep_their_types(tmp_path):
    rows, said = read(tmp_path, "t.jsonl", '{"a": 1, "b": ["x"]}\n\n{"b": null}\n')

    assert rows == [(1, {"a": 1, "b": ["x"]}), (3, {"b": None})]
    assert said == []


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.csv", "", "t.csv: the table has no header"),
        ("t.csv", "a,b\n1\n", "t.csv:2: column b: the row has 1 cells, the header 2"),
        ("t.csv", "a,b\n1,2,3\n", "t.csv:2: the row has 3 cells, the header 2"),
        ("t.csv", "a,a\n1,2\n", "t.csv:1: column a: stands twice in the header"),
        ("t.csv", "a,,b\n1,2,3\n", "t.csv:1: column 2 has no name"),
        ("t.csv", 'a,b\n1,"x\n', "t.csv:2: not CSV: unexpected end of data"),
        ("t.csv", 'a,b\n1,"x"y\n', "t.csv:2: not CSV: ',' expected after '\"'"),
        ("t.csv", "a\n" + "x" * 1_000_001, "t.csv:2: not CSV: field larger than field limit"),
        ("t.csv", b"a,b\n1,x\n2,caf\xe9\n", "t.csv:3:6: byte 0xe9 is not UTF-8"),
        ("t.csv", "ä".encode() + b"\xe9\n", "t.csv:1:2: byte 0xe9 is not UTF-8"),
        ("t.csv", b"\xef\xbb\xbfa\xe9\n", "t.csv:1:2: byte 0xe9 is not UTF-8"),
        ("t.csv", b'sep="\na,b\n', 't.csv:1: a `"` quotes cells and cannot part them'),
        ("t.jsonl", "{\n", "t.jsonl:1:2: not JSON: Expecting property name"),
        ("t.jsonl", "   {\n", "t.jsonl:1:5: not JSON: Expecting property name"),
        ("t.jsonl", "[1]\n", "t.jsonl:1: not a row: it is no JSON object"),
        ("t.jsonl", '{"a": NaN}', "t.jsonl:1: not a row: NaN is no number"),
        ("t.jsonl", '{"a": 1, "a": 2}', "t.jsonl:1: not a row: `a` stands twice"),
        ("t.jsonl", '{"e\u0301": 1, "é": 2}', "t.jsonl:1: not a row: `é` stands twice"),
        ("t.jsonl", '{"a": {"é": 1, "e\u0301": 2}}', "t.jsonl:1: not a row: `é` stands twice"),
        ("t.jsonl", "[" * 100_000, "t.jsonl:1: not a row: nested too deep"),
        ("t.jsonl", '{"a":' * 61 + "1" + "}" * 61, "t.jsonl:1: not a row: nested too deep"),
        ("t.jsonl", '{"a": ' + "9" * 5000 + "}", "t.jsonl:1: not a row: it has a number of too"),
        ("t.xlsx", b"PK", "t.xlsx: a table cannot be a `.xlsx` file"),
    ],
)
def test_what_is_wrong_is_reported_where_it_is(tmp_path, name, data, said):
    _, problems = read(tmp_path, name, data)

    assert any(each.startswith(said) for each in problems), problems


def test_rows_after_a_bad_one_are_read(tmp_path):
    rows, said = read(tmp_path, "t.csv", "a,b\n1\n2,y\n3\n")

    assert [line for line, _ in rows] == [3]
    assert len(said) == 2


def test_a_table_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"t\.csv: cannot be read: No such file"):
        open_table(tmp_path / "t.csv", "t.csv", lambda _: None)


def test_rows_are_streamed(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n1\n" + b"2\n" * 100_000 + b"\xff\n")

    table = open_table(path, "t.csv", lambda _: None)

    assert next(table.rows) == (2, {"a": "1"})


def refusal(path):
    with pytest.raises(ManifestError) as caught:
        list(open_table(path, path.name, lambda _: None).rows)
    (problem,) = caught.value.problems
    return str(problem)


def test_a_giant_table_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "rows.csv"
    with path.open("wb") as file:
        file.write(b"id,prompt\n")
        file.truncate(500_000_001)  # holes cost nothing

    assert refusal(path) == "rows.csv: the table is larger than 500 MB"


def test_a_device_has_no_end_and_is_no_table(tmp_path):
    path = tmp_path / "rows.csv"
    path.symlink_to("/dev/zero")

    assert refusal(path) == "rows.csv: is a device, not a table"
