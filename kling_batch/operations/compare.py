"""One manifest planned on several model generations, side by side. Sends nothing, asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kling_batch.catalog.registry import models as every_model
from kling_batch.core.diagnostics import nearest
from kling_batch.core.jobs import Batch, job_label
from kling_batch.errors import Problem, UsageError
from kling_batch.manifest.loader import load, load_on
from kling_batch.operations.plan import PlannedRun, plan_run
from kling_batch.settings import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class OnModel:
    """What a manifest is on one generation."""

    model: str
    planned: PlannedRun
    #: What the generation cannot make of it.
    problems: tuple[Problem, ...]
    #: The jobs that are left out for it, those that need one of them included.
    left_out: tuple[str, ...]


def compare_models(
    manifest: Path,
    models: Sequence[str],
    options: RunOptions,
    *,
    variables: Mapping[str, str] | None = None,
) -> tuple[OnModel, ...]:
    """The plan of a manifest on each of these models, or on all of them if none is named.

    A generation that can make none of its jobs is left out if it was not asked for.

    Raises:
        KlingBatchError: the manifest has errors as it stands, or there is no such model.
    """
    for name in models:
        if name not in every_model():
            hint = nearest(name, every_model()) or f"there are {', '.join(every_model())}"
            raise UsageError(f"there is no model `{name}`; {hint}")
    written = load(manifest, variables=variables)
    wanted = tuple(dict.fromkeys(models)) or every_model()
    asked = options._replace(offline=True, schemas=False)
    loaded = ((name, *load_on(manifest, name, variables=variables)) for name in wanted)
    return tuple(
        OnModel(
            model=name,
            planned=plan_run([batch], asked),
            problems=tuple(dict.fromkeys(problems)),
            left_out=_left_out(written, batch),
        )
        for name, batch, problems in loaded
        if models or any(job.mode for job in batch.jobs)
    )


def _left_out(written: Batch, batch: Batch) -> tuple[str, ...]:
    made = {(job.id, job.take) for job in batch.jobs}
    missing = (job for job in written.jobs if (job.id, job.take) not in made)
    return tuple(job_label(job.id, job.take) for job in missing)
