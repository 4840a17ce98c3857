"""Every fenced block of the documents: parsed, and executed where it is marked.

`<!-- file: NAME -->` before a block writes it to a file, `<!-- executed -->` before a block of
commands runs it in that folder, in the order of the page, with bash and the installed program.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml
from jsonschema import Draft202012Validator
from support import documents
from support.cli import run_command
from support.process import environment, free_port
from test_docs import DOCUMENTS, ledger

from kling_batch.cli.main import cli
from kling_batch.emulator.faults import parse_plan
from kling_batch.emulator.settings import Settings
from kling_batch.manifest.schema import schema

ROOT = Path(__file__).parent.parent


class Block(NamedTuple):
    document: str
    line: int
    mark: str
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


_BLOCK = re.compile(
    r"(?:^<!-- (executed|file: [\w.-]+) -->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def blocks_of(path: Path) -> list[Block]:
    text = path.read_text()
    name = str(path.relative_to(ROOT))
    return [
        Block(name, text[: found.start()].count("\n") + 1, found[1] or "", found[2], found[3])
        for found in _BLOCK.finditer(text)
    ]


#: Documents that people read at length; templates of issues have no blocks.
BLOCKS = [block for path in DOCUMENTS for block in blocks_of(path)]


def of(*languages: str) -> Any:
    found = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=[block.place for block in found])


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    known = {"sh", "yaml", "json", "python", "sql", "csv", "text"}

    assert len(BLOCKS) > 40
    assert [block.place for block in BLOCKS if block.language not in known] == []
    fences = sum(path.read_text().count("\n```") for path in DOCUMENTS)
    assert fences == 2 * len(BLOCKS)


# -- commands ----------------------------------------------------------------------------------


def commands_in(text: str) -> list[list[str]]:
    """The words of each command of this program in a block of shell."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        before = ""  # what separates the words from those before them
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                while words and re.match(r"\w+=", words[0]):
                    words.pop(0)
                command = words and words[0].rpartition("/")[2] == "kling-batch"
                if command and not set(before) & set("<>"):
                    found.append(words[1:])
                words, before = [], word
            else:
                words.append(word)
    return found


@of("sh")
def test_commands_are_those_of_the_program(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, capture_output=True)
    for words in commands_in(block.text):
        if words[0].startswith("-"):
            assert words in (["--version"], ["--help"]), block.place
            continue
        assert words[0] in documents.commands(), f"{block.place}: {words[0]}"
        command = documents.commands()[words[0]]
        parent = click.Context(cli, info_name="kling-batch")
        try:
            command.make_context(words[0], words[1:], parent=parent)
        except click.UsageError as error:
            pytest.fail(f"{block.place}: {error.format_message()}")


WALKS = sorted({block.document for block in BLOCKS if block.mark == "executed"})


def test_the_first_hour_and_the_recipes_are_walked() -> None:
    assert WALKS == ["docs/emulator.md", "docs/recipes.md", "docs/tutorial.md"]


def files_of(document: str, folder: Path) -> None:
    for block in BLOCKS:
        if block.document == document and block.mark.startswith("file: "):
            (folder / block.mark.removeprefix("file: ")).write_text(block.text)


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("curl") is None, reason="the emulator is asked by curl")
@pytest.mark.parametrize("document", WALKS)
def test_what_a_page_tells_people_to_type_works(document: str, tmp_path: Path) -> None:
    env = environment(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", HOME=str(tmp_path / "home")
    )
    said = ""
    port = str(free_port())
    for block in BLOCKS:
        if block.document != document:
            continue
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text)
        elif block.mark == "executed":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text.replace("8765", port)],
                cwd=tmp_path,
                env=env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
            assert "Traceback" not in done.stderr
            said += done.stdout + done.stderr
    assert "would have cost" in said
    if document == "docs/tutorial.md":
        assert "nothing to do" in said
        assert "approving all that wait" in said
        clips = sorted(p.name for p in tmp_path.glob("outputs-emulator/shop/*/*.mp4"))
        assert {"spin.mp4", "spin~draft.mp4", "zoom.mp4", "zoom~draft.mp4"} < {*clips}
        assert sorted(p.name for p in tmp_path.glob("final-cut/*.???")) == [
            "hero-t2.png",
            "spin.mp4",
            "zoom.mp4",
        ]
        pictures = sorted(p.name for p in tmp_path.glob("outputs-emulator/shop/*/hero*.png"))
        assert pictures == ["hero-t2.png", "hero-t3.png", "hero.png"]
        assert (tmp_path / "outputs-emulator/gallery.html").exists()


# -- documents inside documents ----------------------------------------------------------------

TOP_LEVEL = schema()["properties"].keys()


@of("yaml")
def test_yaml_is_what_it_looks_like(block: Block, tmp_path: Path) -> None:
    document = yaml.load(block.text, yaml.BaseLoader)  # as in YAML 1.2: `no` and `16:9` are text
    match document:
        case {"version": _, "jobs": _}:
            check_manifest(block, tmp_path)
        case {"faults": _}:
            assert parse_plan(yaml.safe_load(block.text))[0]
        case {"jobs": {**jobs}}:
            for job in jobs.values():
                commands = "\n".join(step.get("run", "") for step in job["steps"])
                assert commands_in(commands), block.place
        case [{"uses": _}]:
            inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
            assert document[0]["with"].keys() <= inputs.keys()
        case {**part}:
            assert part.keys() <= TOP_LEVEL, block.place
            whole = yaml.safe_load(block.text)
            Draft202012Validator(schema()).validate({"jobs": [{"id": "x"}], **whole})
        case _:
            pytest.fail(f"{block.place}: neither a manifest nor anything else that is known")


def check_manifest(block: Block, folder: Path) -> None:
    shutil.copytree(ROOT / "manifests", folder, dirs_exist_ok=True)
    files_of(block.document, folder)
    (folder / "shown.yaml").write_text(block.text)
    done = run_command("validate", "shown.yaml", cwd=folder)
    assert done.returncode == 0, f"{block.place}\n{done.stderr}"


@of("json")
def test_json_parses(block: Block) -> None:
    lines = block.text.splitlines() if "\n{" in block.text else [block.text]
    assert all(isinstance(json.loads(line), dict) for line in lines)


@of("sql")
def test_queries_run(block: Block) -> None:
    statements = [each for each in block.text.split(";") if each.strip()]

    assert statements
    for statement in statements:
        ledger().execute(statement)


@of("python")
def test_python_is_where_it_is_executed(block: Block) -> None:
    assert block.document == "docs/python.md"  # tests/unit/api/test_documented.py
    compile(block.text, block.place, "exec")


# -- the emulator's page -----------------------------------------------------------------------


def test_bodies_for_the_control_plane_are_ones_that_it_takes() -> None:
    page = (ROOT / "docs/emulator.md").read_text()
    bodies = re.findall(r"_emulator/(\w+) -d '(.+)'", page)

    assert {name for name, _ in bodies} == {"faults", "settings"}
    for name, body in bodies:
        if name == "faults":
            assert parse_plan([json.loads(body)])[0]
        else:
            Settings().update(json.loads(body))


# -- the site and its pictures -----------------------------------------------------------------


def test_the_pictures_are_small_and_load_nothing() -> None:
    pictures = [p for p in (ROOT / "docs/pictures").iterdir() if p.suffix in (".svg", ".webp")]

    assert len(pictures) == 2
    for picture in pictures:
        assert picture.stat().st_size <= 200_000
        assert f"docs/pictures/{picture.name}" in (ROOT / "README.md").read_text()
        if picture.suffix == ".svg":
            assert not re.search(r"https?://(?!www\.w3\.org|www\.textualize)", picture.read_text())


def test_every_page_of_docs_is_in_the_sites_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]

    assert [name for name in pages if f": {name}\n" not in menu] == []
