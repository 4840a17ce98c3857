"""From paths on the command line to loaded, selected batches; shared by run, plan and validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch.commands.options import pairs
from kling_batch.errors import ManifestError, Place, Problem
from kling_batch.jobs import Batch


def load_all(manifests: Sequence[Path], variables: tuple[str, ...]) -> tuple[Batch, ...]:
    """Load every manifest; raises one `ManifestError` with all problems of all of them."""
    batches = read_all(manifests, variables)
    for batch in batches:
        for warning in batch.warnings:
            click.echo(f"{warning.place}: warning: {warning.message}", err=True)
    return batches


def read_all(manifests: Sequence[Path], variables: tuple[str, ...]) -> tuple[Batch, ...]:
    """The same without a word about warnings."""
    from kling_batch.manifest import load  # noqa: PLC0415 - pydantic loads late

    batches: list[Batch] = []
    problems: list[Problem] = []
    for path in manifests:
        try:
            batches.append(load(path, variables=pairs(variables, "--set")))
        except ManifestError as error:
            problems += error.problems
    names = [batch.name for batch in batches]
    for batch in batches:
        if names.count(batch.name) > 1:
            message = f"two manifests are called {batch.name!r}; give one another `name:`"
            problems.append(Problem(Place(batch.source), message, "duplicate-name"))
    if problems:
        raise ManifestError(tuple(problems))
    return tuple(batches)


def chosen(values: dict[str, Any]) -> Callable[[Batch], Batch]:
    """The selection that `--only`, `--exclude` and `--tag` describe."""
    if not (values["only"] or values["exclude"] or values["tag"]):
        return lambda batch: batch
    from kling_batch.selection import select  # noqa: PLC0415

    def choose(batch: Batch) -> Batch:
        return select(batch, only=values["only"], exclude=values["exclude"], tags=values["tag"])

    return choose
