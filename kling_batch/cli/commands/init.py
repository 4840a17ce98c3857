"""`init`, `schema` and `gallery`: files for people and their editors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kling_batch.cli.options import PATH
from kling_batch.errors import ExitCode, UsageError

SCHEMA_NAME = "kling-batch.schema.json"


@click.command()
@click.argument("file", type=PATH, default=Path("manifest.yaml"))
def init(file: Path) -> int:
    """Write a commented manifest, and its schema beside it for editors."""
    from kling_batch.cli.starter import init_text  # noqa: PLC0415
    from kling_batch.manifest.schema import schema as made  # noqa: PLC0415 - pydantic loads late

    beside = file.with_name(SCHEMA_NAME)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as opened:
            opened.write(init_text(name=file.name, schema=SCHEMA_NAME))
        beside.write_text(json.dumps(made(), ensure_ascii=False, indent=2) + "\n", "utf-8")
    except FileExistsError:
        raise UsageError(f"{file} is there already; nothing was written") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from error
    click.echo(f"{file}: try it with: kling-batch run {file} --emulator", err=True)
    return ExitCode.OK


@click.command()
def schema() -> int:
    """Print the manifest's JSON Schema (draft 2020-12)."""
    from kling_batch.manifest.schema import schema as made  # noqa: PLC0415

    click.echo(json.dumps(made(), ensure_ascii=False, indent=2))
    return ExitCode.OK
