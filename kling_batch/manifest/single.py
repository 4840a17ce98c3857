"""A batch of one job from the command line: the checks of a manifest, reported by flag.

Must not know manifests.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kling_batch.core.diagnostics import Collector, InvalidValue, fatal, summary
from kling_batch.core.jobs import JSON, Arguments, Batch, Job, job_key, parents
from kling_batch.errors import ArgumentPath, Place
from kling_batch.manifest.frame import OWN_KEYS
from kling_batch.manifest.inputs import Files
from kling_batch.manifest.paths import DEFAULT_PATH, PathTemplate, problem_of_id
from kling_batch.manifest.request import NOT_JSON, Requests

#: Flags that have a name of their own; every other parameter is a `--param`.
_FLAGS = ("model", "mode", "tier", "prompt", "aspect_ratio", "image_url", "video_url", "take")


def single(
    mode: str,
    tier: str | None,
    arguments: Mapping[str, JSON],
    *,
    model: str | None = None,
    batch: str,
    id: str,  # noqa: A002 - the name of the field of `Job`
    take: int = 1,
    cwd: Path = Path(),
    path: str = DEFAULT_PATH,
) -> Batch:
    """A batch of one job; values may be text, as flags give it. Raises `ManifestError`."""
    collector = Collector()
    for name in sorted(OWN_KEYS):
        if name in arguments:
            collector.error(_place((name,)), f"`{name}` is no parameter", "unknown-parameter")
    for name in sorted({"model", "mode", "tier"} & arguments.keys()):
        message = f"`{name}` is an option of its own"
        collector.error(_place((name,)), message, "conflict", f"write --{name}")
    collector.check()
    values = {**arguments, "model": model, "mode": mode, "tier": tier}
    request, problems = Requests(Files(cwd)).build(values, frozenset())
    collector.errors += [problem.at(_place(problem.path)) for problem in problems.errors]
    if why := problem_of_id(id) or problem_of_id(batch):
        collector.error(Place("--id"), why, "wrong-id")
    if not 1 <= take <= 1000:
        collector.error(Place("--take"), f"{take} is not from 1 to 1,000", "out-of-range")
    if request is not None and request.waiting:
        _refuse_references(request.arguments, collector)
    collector.check()
    collector.warnings += [problem.at(_place(problem.path)) for problem in problems.warnings]
    assert request is not None
    endpoint = request.endpoint
    assert endpoint is not None
    try:
        path = PathTemplate(path).fill(
            batch=batch,
            model=endpoint.model,
            mode=endpoint.mode,
            tier=endpoint.tier,
            job=id,
            take=take,
        )
    except InvalidValue as error:
        raise fatal(Place("--output"), error.message, "unsafe-path") from None
    try:
        key = job_key(endpoint.id, request.arguments, take)
    except NOT_JSON as error:
        raise fatal(Place("command line"), f"cannot be sent as JSON: {error}", "not-json") from None
    job = Job(
        key=key,
        endpoint=endpoint.id,
        arguments=request.arguments,
        take=take,
        id=id,
        batch=batch,
        mode=endpoint.mode,
        tier=endpoint.tier,
        path=path,
        estimate=request.estimate.micro,
        estimate_note=request.estimate.note,
        place=Place("command line"),
    )
    return Batch(
        name=batch,
        source="command line",
        jobs=(job,),
        warnings=summary(collector.warnings),
        locate=lambda _job, at: _place(at),
    )


def _refuse_references(arguments: Arguments, collector: Collector) -> None:
    """Report every output of another job: a batch of one job has none."""
    for name, value in arguments.items():
        for need in parents({name: value}):
            message = f"`{name}` needs the job `{need.job_id}`, and there is no other job here"
            hint = "give an address or a file, or put both jobs into a manifest"
            collector.error(_place((name,)), message, "unknown-job", hint)


def _place(path: ArgumentPath) -> Place:
    """The flag that a problem is about."""
    name = str(path[0]) if path else ""
    if not name:
        return Place("command line")
    return Place(f"--{name.replace('_', '-')}" if name in _FLAGS else f"--param {name}")
