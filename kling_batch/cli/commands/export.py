"""`kling-batch export`: what a ledger has, for other people and programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.ledgers import ledger_path, reader_of
from kling_batch.cli.options import PATH, ledger_options
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean, count
from kling_batch.core.verdicts import Verdict
from kling_batch.errors import ExitCode, UsageError
from kling_batch.output.files import describe_error, replace_file
from kling_batch.report import export_lines
from kling_batch.shown_location import shown

_NAME = "{job}{suffix}{ext}"


@click.command(epilog="Example: kling-batch export --picked final-cut --csv final-cut.csv")
@click.option("--jsonl", is_flag=True, help="Everything, as JSON lines on standard output")
@click.option("--picked", type=PATH, metavar="DIR", help="Copy the picked takes into this folder")
@click.option("--approved", is_flag=True, help="With --picked: the approved takes, too")
@click.option(
    "--name",
    default=_NAME,
    show_default=True,
    metavar="TEMPLATE",
    help="With --picked: the files' names, with the fields of a manifest's `path:`",
)
@click.option("--link", is_flag=True, help="With --picked: hard links instead of copies")
@click.option("--csv", "list_file", type=PATH, metavar="FILE", help="With --picked: write a list")
@ledger_options
@click.option("--json", "as_json", is_flag=True, help="With --picked: the list as one document")
def export(
    *,
    jsonl: bool,
    picked: Path | None,
    approved: bool,
    name: str,
    link: bool,
    list_file: Path | None,
    as_json: bool,
    **places: Any,
) -> int:
    """Export everything as JSON lines, or picked takes.

    --jsonl: runs, jobs with their names, attempts with their costs, events and files, a line for
    each. --picked: each file comes with its sidecar, under a name of your choice. Of a picked
    draft it is the final. Nothing in the folder is overwritten but the list of --csv, which may be
    no file of the export; the same command again adds what is new.
    """
    if jsonl and picked is not None:
        raise UsageError("--jsonl or --picked, not both")
    if jsonl:
        given = {"--approved": approved, "--name": name != _NAME, "--link": link}
        given |= {"--csv": list_file is not None, "--json": as_json}
        if extra := [option for option, is_given in given.items() if is_given]:
            raise UsageError(f"{', '.join(extra)} without --picked: --jsonl exports everything")
        with reader_of(places) as reader:
            for line in export_lines.lines(reader):
                click.echo(line)
        return ExitCode.OK
    if picked is None:
        raise UsageError("say what to export: --jsonl, or --picked DIR")
    verdicts = (Verdict.PICKED, Verdict.APPROVED) if approved else (Verdict.PICKED,)
    ledger = ledger_path(places)
    operations.NamedFiles(ledger).check({"--csv": list_file})
    done = operations.export_takes(
        ledger, picked, verdicts=verdicts, name=name, link=link, list_file=list_file
    )
    if list_file is not None:
        try:
            replace_file(list_file, done.as_csv())
        except OSError as error:
            raise UsageError(f"the list cannot be written: {describe_error(error)}") from error
    if as_json:
        document = {"schema_version": SCHEMA_VERSION, "files": done.rows, "missing": done.missing}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    for line in (*done.notes, *done.missing):
        click.echo(clean(line), err=True)
    files = count(len(done.rows), "file")
    click.echo(f"{files} in {shown(picked)}, {len(done.missing):,} missing", err=True)
    return ExitCode.SOME_FAILED if done.missing else ExitCode.OK
