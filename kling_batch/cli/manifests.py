"""From paths on the command line to loaded, selected batches; shared by run, plan and validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch.cli.options import pairs
from kling_batch.core.jobs import Batch
from kling_batch.errors import Problem


def load_all(manifests: Sequence[Path], variables: tuple[str, ...]) -> tuple[Batch, ...]:
    """Load every manifest; raises one `ManifestError` with all problems of all of them."""
    batches = read_all(manifests, variables)
    for batch in batches:
        _warn(batch.warnings)
    return batches


def read_all(manifests: Sequence[Path], variables: tuple[str, ...]) -> tuple[Batch, ...]:
    """The same without a word about warnings."""
    from kling_batch.manifest import loader as manifest  # noqa: PLC0415 - pydantic loads late

    return manifest.load_all(manifests, variables=pairs(variables, "--set"))


def chosen(values: dict[str, Any]) -> Callable[[Batch], Batch]:
    """The selection that `--only`, `--exclude` and `--tag` describe."""
    if not (values["only"] or values["exclude"] or values["tag"]):
        return lambda batch: batch
    from kling_batch.planning.selection import select  # noqa: PLC0415

    def choose(batch: Batch) -> Batch:
        made = select(batch, only=values["only"], exclude=values["exclude"], tags=values["tag"])
        _warn(made.warnings[len(batch.warnings) :])
        return made

    return choose


def _warn(warnings: Sequence[Problem]) -> None:
    for warning in warnings:
        click.echo(f"{warning.place}: warning: {warning.message}", err=True)
