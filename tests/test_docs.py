"""Documents against the code: generated tables, listed names, links, queries, configuration files.

With `UPDATE_DOCS=1` the generated tables are rewritten.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft202012Validator
from sqlite_utils import Database
from support import documents

from kling_batch.catalog.registry import index
from kling_batch.cli.command_tree import command_tree
from kling_batch.cli.commands import COMMANDS
from kling_batch.cli.main import cli
from kling_batch.core import events
from kling_batch.core.lifecycle import NEXT, TRANSITIONS
from kling_batch.core.outcomes import Charged
from kling_batch.errors import EXIT_MEANINGS, EXIT_PRIORITY
from kling_batch.ledger import everything
from kling_batch.ledger import migrations as ledger_migrations
from kling_batch.ledger.migrations import migrations
from kling_batch.manifest.paths import FIELDS
from kling_batch.manifest.schema import schema
from kling_batch.report import output_schema
from kling_batch.report.output_schema import ERROR_CODES
from kling_batch.report.run_report import JobOutcome

ROOT = Path(__file__).parent.parent


# -- generated tables --------------------------------------------------------------------------


def exit_codes() -> str:
    rows = [f"| {code.value} | {meaning} |" for code, meaning in EXIT_MEANINGS.items()]
    return "\n".join(["| exit | means |", "|---|---|", *rows])


def exit_priority() -> str:
    return ", ".join(str(code.value) for code in EXIT_PRIORITY) + "."


def commands() -> str:
    rows = [f"| `{name}` | {entry.summary} |" for name, entry in sorted(COMMANDS.items())]
    return "\n".join(["| command | does |", "|---|---|", *rows])


def states() -> str:
    rows = [
        f"| `{state}` | {meaning} | {money} | {then} |"
        for state, (meaning, money, then) in NEXT.items()
    ]
    return "\n".join(["| state | meaning | money | the next run |", "|---|---|---|---|", *rows])


def transitions() -> str:
    rows = [
        f"| {f'`{before}`' if before else 'pending'} | `{event}` | `{after}` |"
        for (before, event), after in TRANSITIONS.items()
    ]
    return "\n".join(["| from | event | to |", "|---|---|---|", *rows])


def packages() -> str:
    """Every package of the program with its one job, as its own docstring has it."""
    rows = []
    for folder in sorted((ROOT / "kling_batch").iterdir()):
        if (face := folder / "__init__.py").exists():
            doc = ast.get_docstring(ast.parse(face.read_text())) or ""
            rows.append(f"| `{folder.name}/` | {doc.splitlines()[0]} |")
    return "\n".join(["| package | job |", "|---|---|", *rows])


def ledger() -> sqlite3.Connection:
    """An empty ledger, made by the real migrations."""
    database = Database(memory=True)
    migrations.apply(database)
    return database.conn


def relations(kind: str) -> str:
    """Every table or view with its columns."""
    with ledger() as db:
        names = [
            name
            for (name,) in db.execute("select name from sqlite_schema where type = ?", (kind,))
            if not name.startswith(("sqlite_", migrations.migrations_table))
        ]
        rows = []
        for name in sorted(names):
            columns = ", ".join(
                f"`{column}`"
                for (column,) in db.execute("select name from pragma_table_info(?)", (name,))
            )
            rows.append(f"| `{name}` | {columns} |")
    return "\n".join([f"| {kind} | columns |", "|---|---|", *rows])


def upgrades() -> str:
    """Every migration with what it is for."""
    rows = [
        f"| `{name[:4]}` | {(inspect.getdoc(each) or '').splitlines()[0]} |"
        for name, each in vars(ledger_migrations).items()
        if re.match(r"m\d{3}_", name)
    ]
    return "\n".join(["| migration | brought |", "|---|---|", *rows])


def export_records() -> str:
    """Every kind of record of `export --jsonl` with its fields, from an empty ledger."""
    head = {"export": "schema_version program path", "end": "counts"}
    found = {kind: fields.split() for kind, fields in head.items()}
    with ledger() as db:
        for kind, select in everything._SELECTS.items():
            columns = db.execute(select.replace("{tags}", everything._TAGS)).description
            found[kind] = [everything._field(name) for name, *_ in columns]
    found["end"] = found.pop("end")
    rows = [f"| `{kind}` | {', '.join(f'`{f}`' for f in found[kind])} |" for kind in found]
    return "\n".join(["| record | fields |", "|---|---|", *rows])


def environment() -> str:
    """Every variable that stands for an option."""
    found: dict[str, tuple[str, list[str]]] = {}
    for command in command_tree(cli)["commands"]:
        for each in command["parameters"]:
            if variable := each["environment"]:
                option = max(each["spellings"], key=len)
                found.setdefault(variable, (option, []))[1].append(command["command"])
    rows = [
        f"| `{variable}` | `{option}` | {', '.join(f'`{name}`' for name in names)} |"
        for variable, (option, names) in sorted(found.items())
    ]
    return "\n".join(["| variable | option | commands |", "|---|---|---|", *rows])


BLOCKS: list[tuple[str, str, Callable[[], str]]] = [
    ("README.md", "exit-codes", exit_codes),
    ("README.md", "commands", commands),
    ("DESIGN.md", "packages", packages),
    ("DESIGN.md", "states", states),
    ("DESIGN.md", "transitions", transitions),
    ("docs/exit-codes.md", "exit-codes", exit_codes),
    ("docs/exit-codes.md", "exit-priority", exit_priority),
    ("docs/environment.md", "environment", environment),
    ("docs/export.md", "export-records", export_records),
    ("docs/ledger.md", "ledger-migrations", upgrades),
    ("docs/ledger.md", "ledger-tables", lambda: relations("table")),
    ("docs/ledger.md", "ledger-views", lambda: relations("view")),
    ("docs/troubleshooting.md", "exit-codes", exit_codes),
    ("docs/manifest.md", "manifest-top", lambda: documents.manifest_keys("manifest")),
    ("docs/manifest.md", "manifest-limits", lambda: documents.manifest_keys("limits")),
    ("docs/manifest.md", "manifest-shared", lambda: documents.manifest_keys("shared")),
    ("docs/manifest.md", "manifest-job", lambda: documents.manifest_keys("job")),
    ("docs/manifest.md", "manifest-parameters", documents.manifest_parameters),
    ("docs/manifest.md", "manifest-modes", documents.manifest_modes),
    ("docs/commands.md", "helps", documents.helps),
    ("docs/emulator.md", "fault-stages", documents.fault_stages),
    ("docs/emulator.md", "fault-kinds", documents.fault_kinds),
    ("docs/emulator.md", "fault-fields", documents.fault_fields),
    ("docs/emulator.md", "emulator-routes", documents.emulator_routes),
    ("docs/emulator.md", "emulator-settings", documents.emulator_settings),
]


@pytest.mark.parametrize(
    ("file", "name", "make"), BLOCKS, ids=[f"{file}-{name}" for file, name, _ in BLOCKS]
)
def test_generated_tables_are_current(file: str, name: str, make: Callable[[], str]) -> None:
    path = ROOT / file
    text = path.read_text()
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    expected = pattern.sub(lambda m: f"{m[1]}{make()}\n{m[2]}", text)
    assert len(pattern.findall(text)) == 1
    if os.environ.get("UPDATE_DOCS"):
        path.write_text(expected)

    assert text == expected or os.environ.get("UPDATE_DOCS")


# -- listed names ------------------------------------------------------------------------------


def listed(marker: str, file: str = "events.md") -> list[str]:
    """The names in the first column of the table below `<!-- names: … -->` in a document."""
    text = (ROOT / "docs" / file).read_text()
    table = text.partition(f"<!-- names: {marker} -->\n")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def records() -> list[list[str]]:
    """The keys of every record that the NDJSON display writes: its larger dictionary displays."""
    source = (ROOT / "kling_batch/report/display/ndjson.py").read_text()
    spelt = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict)]
    return [[ast.literal_eval(key) for key in d.keys if key] for d in spelt if len(d.keys) > 3]


def test_every_field_of_the_json_lines_is_documented() -> None:
    documented = [listed(name) for name in ("event", "started", "heartbeat", "report", "job")]

    assert sorted(map(sorted, documented)) == sorted(map(sorted, records()))


def test_every_event_is_documented() -> None:
    own = ["started", "heartbeat", "report"]  # written by the display itself

    assert sorted(listed("events")) == sorted([*map(str, events.EventKind), *own])


def data_of(event: str) -> tuple[set[str], bool]:
    """The fields of `data` that the document names for an event, and whether it has an attempt."""
    text = (ROOT / "docs/events.md").read_text().partition("<!-- names: events -->")[2]
    (cell,) = re.findall(rf"^\| `{event}` \|[^|]*\|(.*)\|$", text, re.MULTILINE)
    return {*re.findall(r"`([^`]+)`", cell)}, "*attempt*" in cell


@pytest.mark.parametrize("event", [*events.EventKind])
def test_the_data_of_every_event_is_documented(event: str) -> None:
    schema = output_schema._event_data()[event]
    common = {"endpoint", "estimate_usd"}
    attempt = {"cost_usd", "request_id", "attempt", "attempts"}
    named, about_attempt = data_of(event)

    described = {*schema["properties"]} - common
    assert about_attempt == (attempt <= described)
    assert described - attempt <= named
    values = {*map(str, Charged), "path", "size", "sha256", "content_type", "attempt"}
    assert (
        named - (values - (described - attempt)) - {"IN_QUEUE", "IN_PROGRESS"}
        == described - attempt
    )


def test_every_code_of_an_error_is_documented() -> None:
    assert listed("error-codes") == [*ERROR_CODES]


def test_every_variable_that_is_read_is_documented() -> None:
    """By the spellings `environ["X"]`, `environ.get("X"` and `"X" in …environ`."""
    read = re.compile(r'environ(?:\[|\.get\(|\.pop\()"([A-Z_]+)"|"([A-Z_]+)" in (?:os\.)?environ')
    sources = [path for path in SOURCES if path.is_relative_to(ROOT / "kling_batch")]
    names = {
        one or other for path in sources for one, other in read.findall(path.read_text("utf-8"))
    }

    assert {"NO_COLOR", "GITHUB_ACTIONS"} <= names
    assert names <= {*listed("environment", "environment.md")}


def test_every_ending_is_documented() -> None:
    assert listed("endings") == [outcome.name.lower() for outcome in JobOutcome]


# -- the manifest's reference, and messages --------------------------------------------


def test_the_language_in_one_page_names_every_key_and_every_field_of_paths() -> None:
    page = (ROOT / "manifests/README.md").read_text()
    keys = page.partition("**Top-level keys.**")[2].partition(" Keys that begin")[0]
    fields = page.partition("**Paths.** `")[2].partition("`")[0]

    assert set(re.findall(r"`(\w+)`", keys)) == schema()["properties"].keys()
    assert set(re.findall(r"\{(\w+)\}", fields)) == set(FIELDS)


@pytest.mark.parametrize("place", documents.KEYS)
def test_every_key_of_the_manifest_has_a_default_and_an_example(place: str) -> None:
    assert documents.KEYS[place].keys() == documents.key_schemas(place).keys()


def test_every_parameter_has_an_example() -> None:
    assert documents.PARAMETERS.keys() == index().users.keys()


def test_the_examples_of_the_reference_fit_the_schema() -> None:
    shared = {name: example for name, (_, example) in documents.KEYS["shared"].items()}
    own = {name: example for name, (_, example) in documents.KEYS["job"].items()}
    limits = {name: example for name, (_, example) in documents.KEYS["limits"].items()}
    top = {name: example for name, (_, example) in documents.KEYS["manifest"].items()}
    jobs = [{"id": "x", name: each} for name, each in (shared | own | documents.PARAMETERS).items()]
    for job in jobs:
        name = next(reversed(job))
        if name in documents.PARAMETERS:  # narrowed by modes and models: any of them may take it
            validator = Draft202012Validator(
                {**schema()["$defs"]["Job"]["properties"][name], "$defs": schema()["$defs"]}
            )
            assert validator.is_valid(job[name]), name
        else:
            mode = {} if name in ("mode", "endpoint") else {"mode": "text-to-video"}
            Draft202012Validator(schema()).validate({"jobs": [mode | job]})
    Draft202012Validator(schema()).validate({**top, "limits": limits})


def texts() -> str:
    """Every text of the program; what is filled in later is a NUL."""
    found = []
    for path in (ROOT / "kling_batch").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (
                    each.value if isinstance(each, ast.Constant) else 0 for each in node.values
                )
                found.append("".join(each if isinstance(each, str) else "\0" for each in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_every_message_of_the_troubleshooting_page_is_one_of_the_program() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text()
    rows = page.partition("<!-- messages -->\n")[2].partition("<!-- /messages")[0].splitlines()[2:]
    messages = [row.split(" | ")[0].removeprefix("| ").strip("`") for row in rows]
    said = texts()

    assert len(messages) > 15
    parts = [part.strip() for message in messages for part in message.split("…")]
    assert [part for part in parts if part not in said] == []


# -- links -------------------------------------------------------------------------------------

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not re.search(r"/(\.(?!github/)|outputs|build|dist)", f"/{path.relative_to(ROOT)}")
)
SOURCES = sorted(
    path
    for folder in ("kling_batch", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
)


def prose(path: Path) -> str:
    """A document without its fenced examples."""
    return re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a document: explicit ids, and slugs of its headings."""
    text = path.read_text()
    headings = re.findall(
        r"^#+ +(.+?) *$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return frozenset((*re.findall(r'<a id="([^"]+)"></a>', text), *slugs))


def missing(target: Path, anchor: str) -> bool:
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def citations() -> Iterator[tuple[str, str, str]]:
    """File, document and anchor of each `docs/…md#…` in code and tests."""
    for path in SOURCES:
        if path == Path(__file__):
            continue
        for document, anchor in re.findall(r"\b(docs/[\w/-]+\.md)(?:#([\w-]+))?", path.read_text()):
            yield str(path.relative_to(ROOT)), document, anchor


def test_every_citation_of_a_document_resolves() -> None:
    cited = list(citations())

    assert len(cited) > 30
    assert [each for each in cited if missing(ROOT / each[1], each[2])] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_resolves(path: Path) -> None:
    links = re.findall(
        r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    )
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    broken = []
    for link in relative:
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        if missing(target, anchor if target.suffix == ".md" else ""):
            broken.append(link)

    assert broken == []


def test_no_document_cites_what_readers_do_not_have() -> None:
    for path in (*DOCUMENTS, *SOURCES):
        if path != Path(__file__):
            assert not re.search(r"facts (sheet|§)|design §", path.read_text(), re.IGNORECASE), path


# -- what documents tell people to do ----------------------------------------------------------


def test_the_queries_of_the_ledgers_page_run() -> None:
    block = (ROOT / "docs/ledger.md").read_text().partition("<!-- queries -->\n```sql\n")[2]
    statements = block.partition("```")[0].split(";")

    assert len(statements) > 5
    for statement in statements:
        ledger().execute(statement)


def test_every_command_explains_itself() -> None:
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help, name
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help or name == "emulator", f"{name} {parameter.name}"


def test_the_gate_runs_the_readmes_test_command() -> None:
    readme = (ROOT / "README.md").read_text()
    gate = (ROOT / ".ci/run").read_text()

    assert len(re.findall(r"^python3 -m venv .*pytest.*$", readme, re.MULTILINE)) == 1
    assert ".venv/bin/python -m pytest" in gate


def test_every_test_tier_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    markers = [
        each.partition(":")[0] for each in project["tool"]["pytest"]["ini_options"]["markers"]
    ]
    text = (ROOT / "CONTRIBUTING.md").read_text()

    assert [name for name in markers if f"-m {name}" not in text] == []


def test_contributing_names_every_package_and_only_paths_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    packages = [face.parent.name for face in (ROOT / "kling_batch").glob("*/__init__.py")]
    paths = re.findall(r"`((?:kling_batch|tests|docs|manifests)/[\w/.-]+)`", text)

    assert [name for name in packages if f"| `{name}/` |" not in text] == []
    assert len(paths) > 10
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_module_that_a_document_names_exists() -> None:
    program = ROOT / "kling_batch"
    packages = "|".join(face.parent.name for face in program.glob("*/__init__.py"))
    named = {
        (path.name, name)
        for path in DOCUMENTS
        for name in re.findall(rf"`((?:{packages})/[\w/]+(?:\.py)?)`", prose(path))
        if "NAME" not in name
    }

    assert len(named) > 40
    missing = [
        each
        for each in sorted(named)
        if not any((program / (each[1] + end)).exists() for end in ("", ".py"))
    ]
    assert missing == []


@pytest.mark.parametrize(
    "name",
    [
        ".pre-commit-config.yaml",
        ".github/ISSUE_TEMPLATE/bug.yml",
        ".github/ISSUE_TEMPLATE/feature.yml",
        ".github/workflows/ci.yml",
    ],
)
def test_configuration_files_parse(name: str) -> None:
    assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)


def test_recipes_and_hooks_run_tools_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    tools = {
        re.split(r"[><=]", each)[0] for name in ("dev", "docs", "mutation") for each in extras[name]
    }
    known = {"python", "pip", "kling-batch", "lint-imports", *tools}
    for name in ("justfile", ".pre-commit-config.yaml"):
        used = set(re.findall(r"\.venv/bin/([\w-]+)", (ROOT / name).read_text()))
        assert used, name
        assert used <= known, name
