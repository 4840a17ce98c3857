"""`kling-batch validate`: every problem of a manifest at once; reads files, pays nothing.

What `endpoint:` jobs send is held against fal's schemas, which are asked for without a key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch import operations
from kling_batch.cli.failures import problem_data
from kling_batch.cli.grouped import GroupedCommand
from kling_batch.cli.manifests import load_manifests, warn_of
from kling_batch.cli.options import (
    PATH,
    options_of,
    place_options,
    schema_option,
    service_options,
)
from kling_batch.core.jobs import Batch
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, ManifestError, Problem


@click.command(cls=GroupedCommand, epilog="Example: kling-batch validate manifest.yaml")
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@place_options
@service_options
@schema_option
@click.option("--set", "variables", multiple=True, metavar="KEY=VALUE", help="Set a variable")
@click.option("--offline", is_flag=True, help="Ask nobody: files and kept schemas alone")
@click.option("--json", "as_json", is_flag=True, help="Problems as JSON, for editors")
def validate(manifests: tuple[Path, ...], **values: Any) -> int:
    """Check manifests; nothing is sent or paid.

    Compares MANIFEST with its schema and with the rules of the endpoints. `endpoint:` jobs are
    held against fal's own schemas, which are kept beside the ledger for a day.
    """
    as_json = values["as_json"]
    if not as_json:
        batches = load_manifests(manifests, values["variables"])
        warn_of(_raw_inputs(batches, values))
        warn_of(tuple(operations.lacking(batches)))
        for batch in batches:
            click.echo(f"{batch.source}: {count(len(batch.jobs), 'job')}, no problems")
        return ExitCode.OK
    problems: tuple[Problem, ...] = ()
    warnings: list[Problem] = []
    try:
        batches = load_manifests(manifests, values["variables"], warn=False)
        for batch in batches:
            warnings += batch.warnings
        warnings += _raw_inputs(batches, values)
        warnings += operations.lacking(batches)
    except ManifestError as error:
        problems = error.problems
    document = {
        "schema_version": SCHEMA_VERSION,
        "valid": not problems,
        "problems": [problem_data(problem, "error") for problem in problems]
        + [problem_data(problem, "warning") for problem in warnings],
    }
    click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    return ExitCode.USAGE if problems else ExitCode.OK


def _raw_inputs(batches: Sequence[Batch], values: dict[str, Any]) -> tuple[Problem, ...]:
    """Warnings about `endpoint:` jobs; raises `ManifestError`."""
    if all(job.mode for batch in batches for job in batch.jobs):
        return ()  # nobody is asked, and nothing is loaded for it
    return operations.check_raw_inputs(batches, options_of(values))
