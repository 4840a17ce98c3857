"""`kling-batch validate`: every problem of a manifest at once; reads files, sends nothing."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kling_batch import operations
from kling_batch.cli.failures import problem_data
from kling_batch.cli.manifests import load_manifests, print_warnings
from kling_batch.cli.options import PATH
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, ManifestError, Problem


@click.command(epilog="Example: kling-batch validate manifest.yaml")
@click.argument("manifests", nargs=-1, required=True, type=PATH, metavar="MANIFEST...")
@click.option("--set", "variables", multiple=True, metavar="KEY=VALUE", help="Set a variable")
@click.option("--json", "as_json", is_flag=True, help="Problems as JSON, for editors")
def validate(manifests: tuple[Path, ...], variables: tuple[str, ...], *, as_json: bool) -> int:
    """Check manifests; nothing is sent or paid.

    Compares MANIFEST with its schema and with the rules of the endpoints.
    """
    if not as_json:
        batches = load_manifests(manifests, variables)
        print_warnings(tuple(operations.lacking(batches)))
        for batch in batches:
            click.echo(f"{batch.source}: {count(len(batch.jobs), 'job')}, no problems")
        return ExitCode.OK
    problems: tuple[Problem, ...] = ()
    warnings: list[Problem] = []
    try:
        batches = load_manifests(manifests, variables, warn=False)
        for batch in batches:
            warnings += batch.warnings
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
