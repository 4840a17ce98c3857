"""YAML text to values with places, and what cannot be read to a message."""

from __future__ import annotations

import json

import pytest

from kling_batch.errors import ManifestError
from kling_batch.manifest.yaml_source import parse


def value(text: str):
    return parse(text.encode(), "f.yaml").value


def refusal(data: bytes) -> str:
    with pytest.raises(ManifestError) as caught:
        parse(data, "f.yaml")
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("16:9", "16:9"),
        ("2026-10-01", "2026-10-01"),
        ("2026-10-01T10:00:00Z", "2026-10-01T10:00:00Z"),
        ("no", "no"),
        ("on", "on"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("5", 5),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("0x1f", 31),
        ("0o17", 15),
        ("40.00", 40.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e3", 1000.0),
        (".inf", ".inf"),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_read_as_yaml_1_2_means_them(written, meant):
    got = value(f"a: {written}")["a"]

    assert got == meant
    assert type(got) is type(meant)


def test_places_of_keys_and_values():
    tree = parse(b"jobs:\n  - id: a\n    elements:\n      - {x: 1, y: [2, 3]}\n", "f.yaml")

    assert str(tree.place(("jobs", 0, "id"))) == "f.yaml:2:9"
    assert str(tree.place(("jobs", 0, "id"), key=True)) == "f.yaml:2:5"
    assert str(tree.place(("jobs", 0, "elements", 0, "y", 1))) == "f.yaml:4:23"
    # What is not there is told at what it would stand in.
    assert str(tree.place(("jobs", 0, "elements", 0, "z"))) == "f.yaml:4:9"
    assert str(tree.place(())) == "f.yaml:1:1"


def test_bom_and_carriage_returns_do_not_matter():
    tree = parse("\ufeffa: 1\r\nb:\r\n  - ü\r\n".encode(), "f.yaml")

    assert tree.value == {"a": 1, "b": ["ü"]}
    assert str(tree.place(("b", 0))) == "f.yaml:3:5"


def test_anchors_and_merges():
    tree = parse(b"x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [*x, {c: 4}]\n", "f.yaml")

    assert tree.value["y"] == {"a": 1, "b": 3}
    assert tree.value["z"] == {"a": 1, "b": 2, "c": 4}
    assert str(tree.place(("y", "a"))) == "f.yaml:1:11"
    assert tree.problems.errors == []


def test_a_quoted_merge_key_is_a_key():
    assert value("'<<': 1") == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: `a` stands twice in this mapping; first in line 1"),
        ("a: {b: 1, b: 2}", "f.yaml:1:11: `b` stands twice in this mapping; first in line 1"),
        ("? [a]\n: b", "f.yaml:1:3: a key must be text"),
        ("p: {{ x }}", "f.yaml:1:5: a key must be text"),
        ("a: !secret x", "f.yaml:1:4: tag !secret means nothing here"),
        ("<<: 5", "f.yaml:1:1: `<<` merges mappings only"),
    ],
)
def test_what_can_be_read_past_is_collected(text, said):
    problems = parse(text.encode(), "f.yaml").problems.errors

    assert any(str(each).startswith(said) for each in problems), problems


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "f.yaml: the file is empty"),
        (b" \n\n", "f.yaml: the file is empty"),
        (b"# only\n", "f.yaml: the file holds only comments"),
        (b"\xff\xfea\x00", "f.yaml:1:1: the file is UTF-16"),
        (b"a: 1\nb: caf\xe9\n", "f.yaml:2:7: byte 0xe9 is not UTF-8"),
        (b"a:\n\t- b", "f.yaml:2:1: not YAML: a tab cannot indent YAML (use spaces)"),
        (b"a: b: c", "f.yaml:1:5: not YAML: mapping values are not allowed"),
        (b"a: [1", "f.yaml:2:1: not YAML:"),
        (b"a: @b", "f.yaml:1:4: not YAML:"),
        (b'a: "\\ud800"', "f.yaml:1:7: not YAML:"),
        (b"a: \x00", "f.yaml:1:4: character U+0000 is not allowed"),
        (b"a: 1\n---\nb: 2", "f.yaml:2:1: a second document starts here"),
        (b"a: &a [*a]", "f.yaml:1:8: alias *a refers to itself"),
        (b"a: *b", "f.yaml:1:4: alias *b is not defined above"),
        (b"[" * 900, "f.yaml:1:61: nested deeper than 60 levels"),
        (b"{a: " * 10_000, "f.yaml:1:241: nested deeper than 60 levels"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(data, said):
    assert refusal(data).startswith(said)


def test_depths_that_libyaml_itself_refuses_are_reported_in_the_same_words():
    """It reads ahead, so that only some of its versions let us see the 61st level first."""
    said = refusal(b"[" * 200_000)

    assert said in (f"f.yaml:1:{n}: nested deeper than 60 levels" for n in (61, 1001)), said


def test_aliases_cannot_blow_up():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]

    assert "once aliases are written out" in refusal("\n".join(lines).encode())


def test_aliases_cannot_nest_too_deep():
    lines = ["a0: &a0 " + "[" * 50 + "]" * 50, "a1: &a1 " + "[" * 50 + "*a0" + "]" * 50]

    assert "nested deeper than 60 levels" in refusal("\n".join(lines).encode())


def test_a_giant_file_is_refused_before_it_is_read():
    assert "put the jobs into a table" in refusal(b"a" * 64_000_001)


# -- text that YAML silently takes away ------------------------------------------------------------


def warnings(text):
    return [str(each) for each in parse(text.encode(), "f.yaml").problems.warnings]


@pytest.mark.parametrize(
    ("text", "place", "kept"),
    [
        ("prompt: Shot #1 of the shoe\n", "1:9", "Shot"),
        ("a:\n  - prompt: é🦊 fox   # note\n", "2:13", "é🦊 fox"),
        ("a: {negative_prompt: blur #2\n}\n", "1:22", "blur"),
        ("multi_prompt:\n - a fox # x\n - b\n", "2:4", "a fox"),
        ("prompt: a\r\n  b\t#1\r\n", "1:9", "a b"),
        ("vars: {brand: Acme #1\n}\n", "1:15", "Acme"),
        ("id: hero #1\n", "1:5", "hero"),
    ],
)
def test_a_text_that_ends_at_a_comment_is_warned_of_with_its_place(text, place, kept):
    (line,) = warnings(text)

    assert line.startswith(
        f"f.yaml:{place}: the text ends before ` #`: {json.dumps(kept)[:1]}{kept}"
    )
    assert "quote the text" in line


@pytest.mark.parametrize(
    "text",
    [
        "duration: 5 #seconds\n",
        "tier: pro # or standard\n",
        "prompt: 'Shot #1'\n",
        'prompt: "Shot" # a comment\n',
        "prompt: >\n  Shot #1\n",
        "prompt: Shot#1 of it\n",
        "# Shot\nprompt: a fox\n#1\n",
        "prompt: a fox\n    # a comment of its own\nid: b\n",
    ],
)
def test_other_comments_are_nobodys_business(text):
    assert warnings(text) == []


@pytest.mark.parametrize("sign", "@`%")
@pytest.mark.parametrize("text", ["prompt: {}Image1 walks", "- {}x", "a: [{}x]", "a:\n  b: {}x"])
def test_a_text_that_cannot_begin_so_is_to_be_quoted(text, sign):
    said = refusal(text.format(sign).encode())

    assert f"quote it: a plain value cannot begin with {sign}" in said


@pytest.mark.parametrize(
    "text",
    [
        "[brand] shoe",
        "{brand} shoe",
        '"Fox" runs',
        "'Fox' runs",
        "> runs",
        "| runs",
        "*bold* x",
        ", runs",
    ],
)
def test_a_text_that_begins_like_something_else_is_to_be_quoted(text):
    said = refusal(f"prompt: {text}\n".encode())

    assert f"text that begins with {text[0]} needs quotes" in said


def test_an_anchor_that_nothing_refers_to_was_probably_text():
    (line,) = warnings("prompt: &fish and chips\n")
    assert line.startswith("f.yaml:1:9: `&fish` is left out of the text: YAML takes it for an anch")
    assert warnings("a: &x some text\nb: *x\nc: &unused [1]\n") == []


# -- escapes in double quotes ---------------------------------------------------------------------

PROMPTS = ["a fox 🦊", "🦊🦊 and 🐍", r"C:\ud83e\udd8a is a folder", "ä\u2028🦊", "\\🦊\\"]


@pytest.mark.parametrize("indent", [None, 2])
def test_what_python_writes_as_json_is_read_as_json(indent):
    document = {"jobs": [{"id": f"🦊{n}", "prompt": p} for n, p in enumerate(PROMPTS)]}

    assert value(json.dumps(document, indent=indent)) == document


@pytest.mark.parametrize("indent", [None, 2])
def test_places_behind_a_joined_character_are_those_of_the_file(indent):
    text = json.dumps({"a": PROMPTS, "🦊": {"b": [1, "🦊"], "c": 3}, "d": 4}, indent=indent)
    tree = parse(text.encode(), "f.yaml")

    for path, shown in ((("🦊", "c"), "3"), (("d",), "4"), (("🦊", "b", 1), r'"\ud83e')):
        place = tree.place(path)
        line = text.split("\n")[place.line - 1]
        assert line[place.column - 1 :].startswith(shown)
    place = tree.place(("🦊", "c"), key=True)
    assert text.split("\n")[place.line - 1][place.column - 1 :].startswith('"c"')


def test_a_problem_behind_a_joined_character_is_at_its_place_in_the_file():
    text = '{"a": "\\ud83e\\udd8a", "b": "\\ud83e"}'

    said = refusal(text.encode())

    column = text.rindex("d83e") + 1
    assert said.startswith(
        f"f.yaml:1:{column}: not YAML: `\\ud83e` is half of a character, and the"
    )


@pytest.mark.parametrize("text", ["a: \\ud83e\\udd8a", "a: '\\ud83e\\udd8a'", 'a: "\\\\ud83e"'])
def test_where_a_backslash_is_one_nothing_is_joined(text):
    assert "\\ud83e" in value(text)["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r'a: "a fox \ud83e\udd8a"', r"`\ud83e` is half of a character (write 🦊 itself)"),
        (
            r'a: "\udd8a fox"',
            r"`\udd8a` is half of a character, and the other is missing (write the",
        ),
        (r'a: "C:\dir"', r"unknown escape character (write \\ for a backslash in double quotes"),
        (r'a: "C:\xfoo"', r"hexdecimal number (write \\ for a backslash in double quotes"),
        (r'a: "\U00110000"', r"invalid Unicode character escape code (write \\ for a backslash"),
    ],
)
def test_text_in_quotes_is_not_said_to_need_them(text, said):
    told = refusal(text.encode())

    assert said in told
    assert "needs quotes" not in told
