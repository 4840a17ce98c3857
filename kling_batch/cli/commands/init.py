"""`kling-batch init` and `schema`: a first manifest, and the schema for editors."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import click

import kling_batch.cli
from kling_batch.cli.options import PATH
from kling_batch.cli.retype import typed
from kling_batch.errors import ExitCode, UsageError
from kling_batch.manifest.paths import PathTemplate, name_of_file
from kling_batch.manifest.schema import schema as manifest_schema
from kling_batch.manifest.tables import is_table
from kling_batch.report.output_schema import output_schema

SCHEMA_NAME = "kling-batch.schema.json"


@click.command(epilog="Example: kling-batch init campaign.yaml")
@click.argument("file", type=PATH, default=Path("manifest.yaml"))
def init(file: Path) -> int:
    """Write a commented manifest, and its schema beside it.

    FILE can be run unchanged; editors use the schema to complete and check it.
    """
    _check_name(file)
    schema_file = file.with_name(SCHEMA_NAME)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(starter_manifest(typed(file.name), _batch_name(file)))
        schema_file.write_text(_schema_text() + "\n", "utf-8")
    except FileExistsError:
        raise UsageError(f"{file} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    click.echo(f"{file}: try it with: kling-batch run {typed(str(file))} --emulator", err=True)
    return ExitCode.OK


def _check_name(file: Path) -> None:
    """Refuse what would not be a file, or not one that can be run."""
    if file.name in ("", ".."):
        raise UsageError(f"{file} is a folder; give the manifest a name, as in {file / 'x.yaml'}")
    if is_table(file):
        raise UsageError(f"{file} would be read as a table; name it {file.stem}.yaml")


def _batch_name(file: Path) -> str:
    """The name to write down; nothing where that of the file will do."""
    path, name = PathTemplate(), name_of_file(file)
    if not path.problem_of_batch(name):
        return ""
    name = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:100] or "batch"
    return f"batch-{name}" if path.problem_of_batch(name) else name


def starter_manifest(name: str = "manifest.yaml", batch: str = "") -> str:
    """The manifest of the package data, with the commands in its comments for this file name.

    `batch` is the batch's own name, where that of the file cannot be it.
    """
    text = files(kling_batch.cli).joinpath("manifest.yaml").read_text(encoding="utf-8")
    if batch:
        text = text.replace("version: 1\n", f'version: 1\nname: "{batch}"\n')
    return text.replace(" manifest.yaml", f" {name}")


@click.command(epilog="Example: kling-batch schema > kling-batch.schema.json")
@click.argument("what", type=click.Choice(("manifest", "output")), default="manifest")
def schema(what: str) -> int:
    """Print the JSON Schema of manifests, or of printed JSON.

    `output` describes what commands print with --json. Both are of draft 2020-12.
    """
    if what == "output":
        click.echo(json.dumps(output_schema(), ensure_ascii=False, indent=2))
    else:
        click.echo(_schema_text())
    return ExitCode.OK


def _schema_text() -> str:
    return json.dumps(manifest_schema(), ensure_ascii=False, indent=2)
