"""From paths on the command line to loaded, selected batches; shared by run, plan and validate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from kling_batch.commands.options import pairs
from kling_batch.jobs import Batch


def load_all(manifests: Sequence[Path], variables: tuple[str, ...]) -> tuple[Batch, ...]:
    """Load every manifest; raises one `ManifestError` with all problems of all of them."""
    from kling_batch.manifest import load_many  # noqa: PLC0415

    batches = load_many(tuple(manifests), variables=pairs(variables, "--set"))
    for batch in batches:
        for warning in batch.warnings:
            click.echo(f"{warning.place}: warning: {warning.message}", err=True)
    return batches


def chosen(values: dict[str, Any]) -> Callable[[Batch], Batch]:
    """The selection that `--only`, `--exclude` and `--tag` describe."""
    from kling_batch.selection import select  # noqa: PLC0415

    def choose(batch: Batch) -> Batch:
        return select(batch, only=values["only"], exclude=values["exclude"], tags=values["tag"])

    return choose
