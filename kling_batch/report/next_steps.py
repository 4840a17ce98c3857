"""Next steps after a run: complete commands, in the order in which a person would type them.

A command that is printed here does no more than the run itself was allowed to do. What the next run
would do is asked of the plan. Must not write, and must not decide about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from kling_batch.core.command_line import Command
from kling_batch.core.events import StopReason
from kling_batch.core.jobs import Batch
from kling_batch.core.text import count
from kling_batch.errors import ExitCode, PlanDriftError, UsageError
from kling_batch.ledger.commands import command_on, with_ledger
from kling_batch.ledger.names import find
from kling_batch.ledger.reader import Reader
from kling_batch.planning.builder import build_plan
from kling_batch.planning.plan import Action, Plan
from kling_batch.report.run_report import JobLine, JobOutcome
from kling_batch.settings import ACCOUNT_PER_DAY, MAX_FAILURES, PER_DAY, Settings

#: Jobs named in one command; `retry --all` would be about other jobs too.
NAMED = 20


class EndedRun(NamedTuple):
    """A run that has ended, as far as the next steps depend on it."""

    reader: Reader
    plan: Plan
    settings: Settings
    batches: Sequence[Batch]
    lines: Sequence[JobLine]
    code: ExitCode
    #: Why no further job was submitted.
    stops: Sequence[StopReason]
    command: Command
    #: Raises where a plan is not the one that was reviewed; None: none was reviewed.
    approve: Callable[[Plan], None] | None


def next_steps(run: EndedRun) -> tuple[str, ...]:
    """The commands, some with a remark: three spaces, then parentheses."""
    return tuple(_steps(run))


def _steps(run: EndedRun) -> Iterator[str]:
    outcomes = {line.outcome for line in run.lines}
    command = _with_ledger_and_service(run)
    untried, settled = _failed_jobs(run) if JobOutcome.FAILED in outcomes else ([], [])
    if JobOutcome.IN_DOUBT in outcomes:
        yield from _resolve_commands(run)
    if run.settings.options.collect:
        untried, settled = [], []  # this run was to buy nothing
    hopeless = [line for line in settled if line.to_change]
    settled = [line for line in settled if not line.to_change]
    pending = JobOutcome.NOT_STARTED in outcomes or (untried and command.can("--retry-failed"))
    stopped = hopeless and any(stop.cap == MAX_FAILURES for stop in run.stops)
    if outcomes & {JobOutcome.RUNNING, JobOutcome.UNDELIVERED} or (
        pending and run.code is not ExitCode.BUDGET and not stopped
    ):
        yield from _rerun(run, command)
    if run.code is ExitCode.BUDGET:
        yield from _rerun_with_more_money(run, command)
    if settled:
        yield from _retry_commands(run, command, settled, all_of_them=not hopeless)
    if hopeless:
        yield from _rerun(run, command, _change_first(hopeless))
    if JobOutcome.AWAITING in outcomes:
        yield from _verdict_commands(run, command)


def _change_first(lines: Sequence[JobLine]) -> str:
    """What to do before another payment can help: the same request would be refused again."""
    what = " and ".join(dict.fromkeys(line.to_change for line in lines))
    several = len({line.batch for line in lines}) > 1
    names = ", ".join(f"{line.batch}/{line.job}" if several else line.job for line in lines[:3])
    more = f" and {len(lines) - 3:,} more" if len(lines) > 3 else ""
    return f"after changing {what} of {names}{more}"


def _rerun_with_more_money(run: EndedRun, command: Command) -> Iterator[str]:
    """The command with a higher cap; the cap of a day has no flag."""
    days = [stop.cap for stop in run.stops if stop.cap in (PER_DAY, ACCOUNT_PER_DAY)]
    if days and len(days) == len(run.stops):
        names = " and ".join(dict.fromkeys(days))
        yield from _rerun(run, command, f"a day later, or after raising {names}")
        return
    if any(stop.support for stop in run.stops):
        yield from _rerun(run, command, "once fal's support has unlocked the account")
        return
    raised = command.having("--max-cost", "USD") if command.can("--max-cost") else command
    yield from _rerun(run, raised, "after raising the cap or topping up")


def _failed_jobs(run: EndedRun) -> tuple[list[JobLine], list[JobLine]]:
    """Failed jobs that the next run tries by itself, and those that only a retry pays again.

    For the others a retry does not help: an adopted file that is gone was never at fal.
    """
    actions = {
        (i.job.batch, i.job.label): i.action for i in _remaining_plan(run, retry=False).items
    }
    failed = [line for line in run.lines if line.outcome is JobOutcome.FAILED]
    untried, settled = (
        [line for line in failed if actions.get((line.batch, line.job)) is action]
        for action in (Action.SUBMIT, Action.SETTLED)
    )
    return untried, settled


def _with_ledger_and_service(run: EndedRun) -> Command:
    """The command; where its options are unknown, with those of its ledger and service."""
    command, emulator = run.command, run.settings.options.emulator
    if command.takes is not None:
        return command
    given = {word.partition("=")[0] for word in command.head}
    if emulator is not None and not given & {"--emulator", "--emulator-url"}:
        command = (
            command.having("--emulator-url", emulator) if emulator else command.having("--emulator")
        )
    if given & {"--output", "-o", "--ledger"}:
        return command
    return with_ledger(command, run.settings.ledger)


# -- submissions in doubt --------------------------------------------------------------------------


def _resolve_commands(run: EndedRun) -> Iterator[str]:
    line = next(line for line in run.lines if line.outcome is JobOutcome.IN_DOUBT)
    resolve = command_on(run.settings.ledger, "resolve", _job_name(run.reader, line))
    yield f"{resolve.having('--request-id', 'ID')}   (found in the fal dashboard)"
    yield f"{resolve.having('--not-submitted')}   (not found there)"


def _job_name(reader: Reader, line: JobLine) -> str:
    """The name to type for this job: with its batch where the id alone is ambiguous."""
    whole = f"{line.batch}/{line.job}"
    if line.job.startswith("-"):
        return whole
    try:
        return line.job if find(reader, line.job).batch == line.batch else whole
    except UsageError:
        return whole


# -- the same command again ------------------------------------------------------------------------


def _rerun(run: EndedRun, command: Command, remark: str = "") -> Iterator[str]:
    """The command, where there is one; where a saved plan was given, still within it."""
    if not command.head:
        return
    file = command.value("--plan")
    if file is not None:
        plan = _remaining_plan(run, retry=command.says("--retry-failed"))
        if command.value("--limit") is not None:
            # The jobs that this run paid for count: one more would not be in the saved plan.
            paid = {item.job.key for item in plan.items if item.action is Action.SUBMIT}
            command = command.having("--limit", str(len(paid)))
        if not _approved(run, plan):
            review = command.without("--plan").as_command("plan").having("--save", file)
            yield f"{review}   (the plan no longer fits: review a new one)"
    yield f"{command}   ({remark})" if remark else str(command)


def _remaining_plan(run: EndedRun, *, retry: bool) -> Plan:
    """The plan of the same run, as of now, for the jobs it was about."""
    mine = [item.job for item in run.plan.items if not item.orphaned]
    batches = [
        replace(batch, jobs=tuple(job for job in mine if job.batch == batch.name))
        for batch in run.batches
    ]
    settings = replace(run.settings, options=run.settings.options._replace(limit=None))
    return build_plan(run.reader, batches, settings, retry=lambda _: retry)


def _approved(run: EndedRun, plan: Plan) -> bool:
    try:
        if run.approve is not None:
            run.approve(plan)
    except PlanDriftError:
        return False
    return True


# -- verdicts ------------------------------------------------------------------------------------


def _verdict_commands(run: EndedRun, command: Command) -> Iterator[str]:
    """Where to judge what waits, and the same command for what was approved during the run."""
    waiting = {(line.batch, line.job) for line in run.lines if line.outcome is JobOutcome.AWAITING}
    plan = _remaining_plan(run, retry=False)
    approved = [
        item
        for item in plan.items
        if item.action is Action.SUBMIT and (item.job.batch, item.job.label) in waiting
    ]
    if len(approved) < len(waiting):
        judge = command_on(run.settings.ledger, "review")
        yield f"{judge}   ({count(len(waiting) - len(approved), 'job')} waiting for a verdict)"
    if approved:
        yield from _rerun(run, command, f"{count(len(approved), 'job')} approved meanwhile")


# -- another payment ---------------------------------------------------------------------------


def _retry_commands(
    run: EndedRun, command: Command, failed: Sequence[JobLine], *, all_of_them: bool
) -> Iterator[str]:
    """Commands that pay for these again; for others nothing is paid."""
    if all_of_them and command.can("--retry-failed"):
        retry = command.having("--retry-failed")
        yield from _rerun(run, retry, "pays for the failed ones again")
        return
    names = [_job_name(run.reader, line) for line in failed[:NAMED]]
    retry = command_on(run.settings.ledger, "retry", *names)
    yield f"{retry}   (the next run pays for them again)"
