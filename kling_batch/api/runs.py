"""`load`, `plan`, `run` and `arun`: the way from manifests to files, for Python programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

from kling_batch.api.checks import StrPath, names_of, paths_of, variables_of
from kling_batch.api.events import Events
from kling_batch.api.options import Options, command_of, run_options
from kling_batch.api.values import Plan, RunReport
from kling_batch.core.events import RunEvent
from kling_batch.core.jobs import Batch
from kling_batch.errors import UsageError
from kling_batch.manifest import loader
from kling_batch.operations.handled_signals import Signals, signals_of_caller
from kling_batch.operations.plan import PlannedRun, plan_run
from kling_batch.operations.run import Run, open_run
from kling_batch.planning.selection import select
from kling_batch.report.plan_view import left_out_lines


def load(
    manifests: StrPath | Sequence[StrPath], *, variables: Mapping[str, object] | None = None
) -> tuple[Batch, ...]:
    """Load one manifest or several, YAML or table; reads files, sends nothing.

    Args:
        manifests: their paths.
        variables: values of the manifests' `vars`, as `--set` gives them.

    Raises:
        ManifestError: every problem of every manifest, each with its place.
        UsageError: these are no paths, or a variable is neither text nor a number nor a flag.
    """
    paths = paths_of("manifests", manifests)
    return loader.load_all(paths, variables=variables_of(variables))


def plan(batches: Batch | Sequence[Batch], options: Options | None = None) -> Plan:
    """What `run` would do with these batches, and what it would cost; sends nothing.

    Raises:
        KlingBatchError: the options contradict each other, or the ledger cannot be read.
    """
    options = Options() if options is None else options
    warnings: list[str] = []
    planned = plan_run(
        _tuple(batches), run_options(options), select=partial(_select, options, warnings.append)
    )
    return Plan.of(planned, (*warnings, *planned.warnings))


def run(
    batches: Batch | Sequence[Batch],
    options: Options | None = None,
    *,
    approve: Callable[[Plan], bool] | None = None,
    on_event: Callable[[RunEvent], object] | None = None,
) -> RunReport:
    """Render what is new in these batches, collect what is open, pay for nothing twice.

    In the main thread, the first Ctrl-C stops the run in order: nothing more is bought, a
    submission in flight gets its answer, and the report has exit code 130. A second Ctrl-C raises
    `KeyboardInterrupt`. Inside an event loop or a notebook, use `await arun(…)`.

    Args:
        batches: of `load`.
        options: limits and the like; a cap or `yes=True` is the consent to pay.
        approve: is shown a plan that pays before anything is sent; False refuses it.
        on_event: is called with everything that happens.

    Returns:
        The report, also where jobs failed or the budget stopped the run: see its `exit_code`.

    Raises:
        KlingBatchError: the run could not begin; nothing was sent.
    """
    _must_be_outside_a_loop()
    display = Events(on_event)
    arguments = (_tuple(batches), Options() if options is None else options, approve, display)
    with display, _open(*arguments, signals=signals_of_caller()) as opened, display:
        return RunReport.of(opened.carry_out())


async def arun(
    batches: Batch | Sequence[Batch],
    options: Options | None = None,
    *,
    approve: Callable[[Plan], bool] | None = None,
    on_event: Callable[[RunEvent], object] | None = None,
) -> RunReport:
    """`run`, inside an event loop of asyncio or trio.

    Cancelling it stops the run as Ctrl-C does: a submission in flight gets its answer first. No
    signals are handled. Planning, and `approve`, run in the event loop and block it.
    """
    display = Events(on_event)
    arguments = (_tuple(batches), Options() if options is None else options, approve, display)
    with display, _open(*arguments, signals=Signals.NONE) as opened, display:
        return RunReport.of(await opened.carry_out_async())


@contextmanager
def _open(
    batches: tuple[Batch, ...],
    options: Options,
    approve: Callable[[Plan], bool] | None,
    display: Events,
    *,
    signals: Signals,
) -> Iterator[Run]:
    parsed = run_options(options)
    if approve is not None and not callable(approve):
        raise UsageError("approve is no function")
    with open_run(
        batches,
        parsed,
        command=command_of(batches, options),
        display=display,
        signals=signals,
        ask=_refuse,
        confirm=None if approve is None else lambda planned: approve(Plan.of(planned)),
        select=partial(_select, options, display.warn),
    ) as opened:
        yield opened


def _refuse(planned: PlannedRun, question: str) -> bool:
    notes = [*(f"warning: {each}" for each in planned.warnings)]
    notes += left_out_lines(planned.plan, planned.coverage, planned.account)
    told = "\n".join([*notes, question])
    raise UsageError(
        f"nobody has approved this: {told} Paying needs a cap (Options(max_cost=…), or "
        "limits: max_cost in the manifest), Options(yes=True) or approve=…; nothing was sent"
    )


def _select(options: Options, warn: Callable[[str], object], batch: Batch) -> Batch:
    """The jobs that the options choose."""
    only = names_of("only", options.only)
    exclude = names_of("exclude", options.exclude)
    tags = names_of("tags", options.tags)
    if not (only or exclude or tags):
        return batch
    selected = select(batch, only=only, exclude=exclude, tags=tags)
    for warning in selected.warnings[len(batch.warnings) :]:
        warn(f"{warning.place}: {warning.message}")
    return selected


def _must_be_outside_a_loop() -> None:
    # Whoever loads a manifest needs no event loop.
    from kling_batch.operations.own_loop import in_a_loop  # noqa: PLC0415

    if in_a_loop():
        raise UsageError("run() cannot be called inside an event loop; use: await arun(…)")


def _tuple(batches: object) -> tuple[Batch, ...]:
    one = isinstance(batches, Batch) or not isinstance(batches, Iterable)
    given = [batches] if one else [*cast("Iterable[object]", batches)]
    found = tuple(each for each in given if isinstance(each, Batch))
    if len(found) < len(given):
        raise UsageError("these are no batches: give what load(…) returns")
    return found
