"""From paths on the command line to loaded, selected batches; shared by run, plan and validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.options import pairs
from kling_batch.core.jobs import Batch
from kling_batch.errors import ManifestError, Place, Problem
from kling_batch.planning.selection import select


def load_manifests(
    manifests: Sequence[Path], variables: tuple[str, ...], *, warn: bool = True
) -> tuple[Batch, ...]:
    """Load every manifest and print its warnings.

    Raises:
        ManifestError: all problems of all manifests.
    """
    from kling_batch.manifest.loader import load_all  # noqa: PLC0415 - with YAML and Jinja

    try:
        batches = load_all(manifests, variables=pairs(variables, "--set"))
    except ManifestError as error:
        raise ManifestError(tuple(map(_as_typed, error.problems))) from None
    if warn:
        for batch in batches:
            warn_of(batch.warnings)
    return batches


def _as_typed(problem: Problem) -> Problem:
    """The problem of a variable, at the option that gave it."""
    if problem.code != "unknown-variable" or problem.place.line:
        return problem
    return problem.at(Place(problem.place.file.replace("variables: ", "--set ", 1)))


def selection_of(values: dict[str, Any]) -> Callable[[Batch], Batch]:
    """The selection of jobs that `--only`, `--exclude` and `--tag` describe."""
    only, exclude, tags = values["only"], values["exclude"], values["tag"]
    if not (only or exclude or tags):
        return lambda batch: batch

    def selected(batch: Batch) -> Batch:
        found = select(batch, only=only, exclude=exclude, tags=tags)
        warn_of(found.warnings[len(batch.warnings) :])
        return found

    return selected


def warn_of(warnings: Sequence[Problem]) -> None:
    """Print warnings about manifests."""
    for warning in warnings:
        click.echo(f"{warning.place}: warning: {warning.message}", err=True)
