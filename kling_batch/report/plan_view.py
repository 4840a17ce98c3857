"""Plan as text and JSON; `plan_markdown` has the page for pull requests. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kling_batch.catalog.registry import by_id
from kling_batch.core.jobs import JSON, Job
from kling_batch.core.quantities import MicroUSD, duration, format_usd, rate_text, usd_number
from kling_batch.core.schema_version import SCHEMA_VERSION
from kling_batch.core.text import clean
from kling_batch.core.text import count as count_of
from kling_batch.planning.account import AccountUse
from kling_batch.planning.coverage import Coverage
from kling_batch.planning.plan import Action, Plan, PlannedJob, is_paid, is_unpriced
from kling_batch.report.costs import ROUNDED, is_rounded
from kling_batch.report.request_view import as_arguments, as_lines
from kling_batch.settings import Settings

#: At most so many lines; jobs that are kept are only counted.
MANY = 200

#: What the plan calls each action.
LABELS: dict[Action, str] = {
    Action.SUBMIT: "pay",
    Action.COLLECT: "collect",
    Action.RECONCILE: "look up",
    Action.RECOVER: "recover",
    Action.DOWNLOAD: "download",
    Action.PLACE: "copy",
    Action.RESTORE: "put back",
    Action.KEEP: "keep",
    Action.SETTLED: "leave",
    Action.BLOCKED: "blocked",
    Action.HOLD: "waiting",
    Action.DECLINED: "declined",
}

#: Seconds of a render by endpoint, from the ledger's own history.
History = Mapping[str, float]

#: Seconds of a render where neither history nor the model's page has a figure.
_UNKNOWN_SECONDS = {"image": 15.0, "video": 180.0}


def as_text(
    plan: Plan,
    settings: Settings,
    history: History,
    coverage: Coverage | None = None,
    account: AccountUse | None = None,
    *,
    prompts: bool = False,
) -> str:
    """A line for each job that is not kept, with its request if `prompts`; then the totals."""
    moving = [item for item in plan.items if item.action is not Action.KEEP]
    lines = []
    for item in moving[:MANY]:
        lines.append(_line(item))
        if prompts:
            lines += [f"{'':>21}{line}" for line in as_lines(item.job)]
    if len(moving) > MANY:
        lines.append(f"… and {len(moving) - MANY} more (--json lists all)")
    notes = [*left_out_lines(plan, coverage, account), *footnotes(plan, settings, history)]
    return "\n".join([*lines, totals_line(plan, settings), *notes])


def _line(item: PlannedJob) -> str:
    price = price_text(item)
    note = f" [{item.job.estimate_note}]" if is_paid(item) and item.job.estimate_note else ""
    return f"{LABELS[item.action]:>9}  {price:>8}  {item.job.label}: {clean(item.reason)}{note}"


class Paid(NamedTuple):
    """Jobs of one kind that a run would pay for."""

    #: Mode and tier; a job by `endpoint:` has neither, and shows its address.
    kind: str
    jobs: int
    cost: MicroUSD
    #: Jobs among them whose price nobody knows; the cost leaves them out.
    unknown: int

    @property
    def most(self) -> str:
        """The cost as people read it: never zero for what is not known."""
        if self.jobs and self.unknown == self.jobs:
            return "unknown"
        return format_usd(self.cost) + (f" and {self.unknown:,} unknown" if self.unknown else "")


def paid_by_kind(plan: Plan) -> list[Paid]:
    """What would be paid for, by mode and tier."""
    return sorted(paid_by_words(plan).values())


def paid_by_words(plan: Plan) -> dict[tuple[str, str], Paid]:
    """The same by mode and tier as two words, in the plan's order; an endpoint's has no tier."""
    jobs: dict[tuple[str, str], list[Job]] = {}
    for item in filter(is_paid, plan.items):
        words = (item.job.mode, item.job.tier) if item.job.mode else (item.job.endpoint, "")
        jobs.setdefault(words, []).append(item.job)
    return {words: paid_for(" ".join(filter(None, words)), jobs[words]) for words in jobs}


def paid_for(kind: str, jobs: Sequence[Job]) -> Paid:
    """What these jobs cost together."""
    cost = MicroUSD(sum(job.estimate for job in jobs))
    return Paid(kind, len(jobs), cost, sum(map(is_unpriced, jobs)))


def has_price(item: PlannedJob) -> bool:
    """Whether its price is shown: this run pays it, or one after a verdict."""
    return is_paid(item) or (item.action is Action.HOLD and not item.duplicate)


def price_text(item: PlannedJob) -> str:
    """Its price as people read it; empty where none is due."""
    if not has_price(item):
        return ""
    return "unknown" if is_unpriced(item.job) else format_usd(item.job.estimate)


def totals_line(plan: Plan, settings: Settings) -> str:
    """How many jobs of each kind, and at most how much money."""
    counts = ", ".join(
        f"{count} to {word}" if action is Action.SUBMIT else f"{count} {word}"
        for action, word in LABELS.items()
        if (count := plan.count(action))
    )
    cap = f" of at most {format_usd(settings.max_cost)}" if settings.max_cost is not None else ""
    upto = f"up to {format_usd(plan.cost)}{cap}{beside_sum(plan)}"
    return f"{counts or 'no jobs'}; {upto}{_awaiting(plan)}"


def beside_sum(plan: Plan) -> str:
    """What the sum of a plan leaves out, to follow it; empty where it has everything."""
    return f", and {count_of(plan.unpriced, 'job')} of unknown price" if plan.unpriced else ""


def _awaiting(plan: Plan) -> str:
    """What verdicts that are still to come would add."""
    if not plan.count(Action.HOLD):
        return ""
    return f"; approving all that wait would add up to {format_usd(plan.awaiting_cost)}"


def left_out_lines(
    plan: Plan, coverage: Coverage | None, account: AccountUse | None = None
) -> list[str]:
    """What this run would leave to others, by options and by caps; what the account's stands at."""
    notes = [f"left out: {', '.join(map(str, plan.left_out))}"] if plan.left_out else []
    notes += [str(coverage)] if coverage else []
    return notes + ([str(account)] if account else [])


def footnotes(plan: Plan, settings: Settings, history: History) -> list[str]:
    """What the prices and the time rest on, where anything is paid for."""
    if not plan.count(Action.SUBMIT):
        return []
    notes = [f"prices of {dated}" for dated in (_dated(plan),) if dated]
    if is_rounded(item.job.estimate for item in plan.items if is_paid(item)):
        notes.append(ROUNDED)
    notes.append(time_line(plan, settings, history))
    if settings.start_timeout is not None:
        limit = duration(settings.start_timeout)
        notes.append(f"what fal has not begun after {limit} is given up, unpaid")
    notes.append(f"at most {rate_text(settings.rate)} submitted")
    return [f"({'; '.join(notes)})"]


def time_line(plan: Plan, settings: Settings, history: History) -> str:
    """How long the payments of a plan take, and how that is known."""
    seconds = duration(wall_time(plan, settings, history))
    return f"about {seconds} with {settings.concurrency} at once, {_basis(plan, history)}"


def _basis(plan: Plan, history: History) -> str:
    endpoints = {item.job.endpoint for item in plan.items if is_paid(item)}
    known = endpoints & history.keys()
    if not known:
        return "from fal's model pages"
    return "from earlier renders" if known == endpoints else "partly from earlier renders"


def _dated(plan: Plan) -> str:
    endpoints = {item.job.endpoint for item in plan.items if is_paid(item)}
    known = [e for e in map(by_id, sorted(endpoints)) if e is not None]
    return ", ".join(sorted({e.price_dated for e in known}))


def wall_time(plan: Plan, settings: Settings, history: History) -> float:
    """Seconds until the last render, if the account runs `concurrency` of them at once.

    A rate below what that needs decides instead.
    """
    work = [usual_seconds(item.job.endpoint, history) for item in plan.items if is_paid(item)]
    if not work:
        return 0.0
    submitted = (len(work) - 1) / settings.rate
    return max(submitted + min(work), *work, math.fsum(work) / settings.concurrency)


def usual_seconds(endpoint_id: str, history: History) -> float:
    """Seconds of a render: from history, else from the model's page, else by its kind."""
    if endpoint_id in history:
        return history[endpoint_id]
    endpoint = by_id(endpoint_id)
    if endpoint is None:
        return _UNKNOWN_SECONDS["video"]
    return float(endpoint.typical_seconds or _UNKNOWN_SECONDS.get(endpoint.output, 30.0))


def _model(job: Job) -> str | None:
    """The generation of a job; an `endpoint:` job names none."""
    endpoint = by_id(job.endpoint) if job.mode else None
    return None if endpoint is None else endpoint.model


def as_json(
    plan: Plan,
    settings: Settings,
    history: History,
    coverage: Coverage | None = None,
    account: AccountUse | None = None,
) -> JSON:
    """The whole plan as JSON values."""
    limit = settings.budget.account
    return {
        "schema_version": SCHEMA_VERSION,
        "cost_usd": usd_number(plan.cost),
        "jobs_of_unknown_price": plan.unpriced,
        "awaiting_verdicts_usd": usd_number(plan.awaiting_cost),
        "cap_usd": usd_number(settings.max_cost),
        "account_max_per_day_usd": usd_number(limit.limit if limit is not None else None),
        "account_counted_usd": usd_number(account.counted if account is not None else None),
        "prices_dated": _dated(plan) or None,
        "wall_time_seconds": round(wall_time(plan, settings, history)),
        "start_timeout_seconds": settings.start_timeout,
        "idle": plan.idle,
        "left_out": [{"by": option, "jobs": jobs} for option, jobs in plan.left_out],
        "covered_by_caps": coverage.jobs if coverage else None,
        "counts": {action.value: plan.count(action) for action in Action if plan.count(action)},
        "jobs": [
            {
                "batch": item.job.batch,
                "job": item.job.id,
                "take": item.job.take,
                "key": item.job.key,
                "action": item.action.value,
                "reason": item.reason,
                "paid_since": (item.found.since or None) if item.found else None,
                "request_id": (item.found.request_id or None) if item.found else None,
                "endpoint": item.job.endpoint,
                "model": _model(item.job),
                "mode": item.job.mode or None,
                "tier": item.job.tier or None,
                "estimate_usd": usd_number(item.job.estimate),
                "estimate_note": item.job.estimate_note or None,
                "path": item.job.path.format(output="", ext=""),
                "arguments": as_arguments(item.job),
            }
            for item in plan.items
        ],
    }
