"""What to type next after a run: complete commands, in the order in which a person would type them.

A command that is printed here does no more than the run itself was allowed to do. Reads only; what
the next run would do is the plan's word, never decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kling_batch.core.events import StopReason
from kling_batch.core.jobs import Batch
from kling_batch.errors import ExitCode, PlanDriftError, UsageError
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import shown
from kling_batch.planning.builder import build_plan
from kling_batch.planning.plan import Action, Plan
from kling_batch.report.command_line import Command
from kling_batch.report.run_report import JobLine, JobOutcome
from kling_batch.settings import DEFAULT_OUTPUT, LEDGER_NAME, PER_DAY, Settings

#: Jobs named in one command; nobody types more, and `retry --all` is another thing.
NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run at its end, as far as advice depends on it."""

    reader: Reader
    plan: Plan
    settings: Settings
    batches: Sequence[Batch]
    lines: Sequence[JobLine]
    code: ExitCode
    #: Why nothing more was bought.
    stops: Sequence[StopReason]
    command: Command
    #: Raises where a plan is not the one that was reviewed; None: nobody has reviewed one.
    approve: Callable[[Plan], None] | None


def next_steps(run: Ended) -> tuple[str, ...]:
    """The commands, each with a remark in parentheses behind three spaces where it needs one."""
    return tuple(_steps(run))


def _steps(run: Ended) -> Iterator[str]:
    outcomes = {line.outcome for line in run.lines}
    command = _located(run)
    untried, settled = _failed(run) if JobOutcome.FAILED in outcomes else ([], [])
    if JobOutcome.IN_DOUBT in outcomes:
        yield from _resolving(run)
    pending = JobOutcome.NOT_STARTED in outcomes or (untried and command.can("--retry-failed"))
    if outcomes & {JobOutcome.RUNNING, JobOutcome.UNDELIVERED} or (
        pending and run.code is not ExitCode.BUDGET
    ):
        yield from _again(run, command)
    if run.code is ExitCode.BUDGET:
        yield from _richer(run, command)
    if settled:
        yield from _retrying(run, command, settled)


def _richer(run: Ended, command: Command) -> Iterator[str]:
    """The same with more money; a day's cap is no flag's to raise."""
    if run.stops and all(stop.cap == PER_DAY for stop in run.stops):
        yield from _again(run, command, f"a day later, or after raising {PER_DAY}")
        return
    raised = command.having("--max-cost", "USD") if command.can("--max-cost") else command
    yield from _again(run, raised, "after raising the cap or topping up")


def _failed(run: Ended) -> tuple[list[JobLine], list[JobLine]]:
    """Of the failed jobs: those that the next run tries by itself, and those that stay so.

    What is in neither, a retry does not help: an adopted file that is gone was never fal's.
    """
    left = {(i.job.batch, i.job.label): i.action for i in _left(run, retry=False).items}
    failed = [line for line in run.lines if line.outcome is JobOutcome.FAILED]
    untried, settled = (
        [line for line in failed if left.get((line.batch, line.job)) is action]
        for action in (Action.SUBMIT, Action.SETTLED)
    )
    return untried, settled


def _located(run: Ended) -> Command:
    """The command; one that came as a bare text is told which ledger and service it was about."""
    command, emulator = run.command, run.settings.options.emulator
    if command.takes is not None:
        return command
    said = {word.partition("=")[0] for word in command.head}
    if emulator is not None and not said & {"--emulator", "--emulator-url"}:
        command = (
            command.having("--emulator-url", emulator) if emulator else command.having("--emulator")
        )
    return command if said & {"--output", "-o", "--ledger"} else _in_ledger(run, command)


def _in_ledger(run: Ended, command: Command) -> Command:
    """A command of the same ledger, which is named unless it lies where everybody looks."""
    ledger = run.settings.ledger
    if ledger == Path(DEFAULT_OUTPUT) / LEDGER_NAME:
        return command
    return command.having("--ledger", shown(ledger))


# -- doubts ------------------------------------------------------------------------------------


def _resolving(run: Ended) -> Iterator[str]:
    line = next(line for line in run.lines if line.outcome is JobOutcome.IN_DOUBT)
    resolve = _in_ledger(run, Command(("kling-batch", "resolve", _name(run.reader, line))))
    yield f"{resolve.having('--request-id', 'ID')}   (found in the fal dashboard)"
    yield f"{resolve.having('--not-submitted')}   (not found there)"


def _name(reader: Reader, line: JobLine) -> str:
    """What a person types for this job: its batch as well where the id alone is not enough."""
    whole = f"{line.batch}/{line.job}"
    if line.job.startswith("-"):
        return whole
    try:
        return line.job if find(reader, line.job).batch == line.batch else whole
    except UsageError:
        return whole


# -- the same again ----------------------------------------------------------------------------


def _again(run: Ended, command: Command, remark: str = "") -> Iterator[str]:
    """The command, within the plan on paper where one was handed in."""
    file = command.value("--plan")
    if file is not None:
        left = _left(run, retry=command.says("--retry-failed"))
        if command.value("--limit") is not None:
            # What this run has bought counts: one more job would not be in the plan.
            paid = {item.job.key for item in left.items if item.action is Action.SUBMIT}
            command = command.having("--limit", str(len(paid)))
        if not _approved(run, left):
            review = command.without("--plan").as_command("plan").having("--out", file)
            yield f"{review}   (the plan no longer fits: review a new one)"
    yield f"{command}   ({remark})" if remark else str(command)


def _left(run: Ended, *, retry: bool) -> Plan:
    """What the same run would do now with the jobs it was about."""
    mine = [item.job for item in run.plan.items if not item.orphaned]
    batches = [
        replace(batch, jobs=tuple(job for job in mine if job.batch == batch.name))
        for batch in run.batches
    ]
    settings = replace(run.settings, options=replace(run.settings.options, limit=None))
    return build_plan(run.reader, batches, settings, retry=lambda _: retry)


def _approved(run: Ended, plan: Plan) -> bool:
    try:
        if run.approve is not None:
            run.approve(plan)
    except PlanDriftError:
        return False
    return True


# -- another payment ---------------------------------------------------------------------------


def _retrying(run: Ended, command: Command, failed: Sequence[JobLine]) -> Iterator[str]:
    if command.can("--retry-failed"):
        retry = command.having("--retry-failed")
        yield from _again(run, retry, "pays for the failed ones again")
        return
    names = [_name(run.reader, line) for line in failed[:NAMED]]
    retry = _in_ledger(run, Command(("kling-batch", "retry", *names)))
    yield f"{retry}   (the next run pays for them again)"
