"""A plan for people and machines: a short table, and one JSON document. Pure."""

from __future__ import annotations

from kling_batch.jobs import JSON
from kling_batch.plan import Action, Plan, PlannedJob
from kling_batch.prices import format_usd
from kling_batch.settings import Settings

#: More lines than this say nothing to a person; what will be kept is only counted.
MANY = 200

_WORDS: dict[Action, str] = {
    Action.SUBMIT: "pay",
    Action.COLLECT: "collect",
    Action.RECONCILE: "look up",
    Action.DOWNLOAD: "download",
    Action.PLACE: "copy",
    Action.KEEP: "keep",
    Action.SETTLED: "leave",
    Action.BLOCKED: "blocked",
}


def as_text(plan: Plan, settings: Settings) -> str:
    """A line a job that something happens to, then the totals."""
    moving = [item for item in plan.items if item.action is not Action.KEEP]
    lines = [_line(item) for item in moving[:MANY]]
    if len(moving) > MANY:
        lines.append(f"… and {len(moving) - MANY} more (--json lists all)")
    counts = ", ".join(
        f"{plan.count(action)} to {word}" if action is Action.SUBMIT else f"{count} {word}"
        for action, word in _WORDS.items()
        if (count := plan.count(action))
    )
    cap = f" of at most {format_usd(settings.max_cost)}" if settings.max_cost is not None else ""
    lines.append(f"{counts or 'no jobs'}; up to {format_usd(plan.cost)}{cap}")
    return "\n".join(lines)


def _line(item: PlannedJob) -> str:
    paid = item.action is Action.SUBMIT and not item.twin
    price = format_usd(item.job.estimate) if paid else ""
    note = f" [{item.job.estimate_note}]" if paid and item.job.estimate_note else ""
    return f"{_WORDS[item.action]:>9}  {price:>8}  {item.job.label}: {item.reason}{note}"


def as_json(plan: Plan, settings: Settings) -> JSON:
    """Everything, for machines."""
    return {
        "schema_version": 1,
        "cost_usd": plan.cost / 1e6,
        "cap_usd": None if settings.max_cost is None else settings.max_cost / 1e6,
        "idle": plan.idle,
        "counts": {action.value: plan.count(action) for action in Action if plan.count(action)},
        "jobs": [
            {
                "batch": item.job.batch,
                "job": item.job.id,
                "take": item.job.take,
                "key": item.job.key,
                "action": item.action.value,
                "reason": item.reason,
                "endpoint": item.job.endpoint,
                "mode": item.job.mode or None,
                "tier": item.job.tier or None,
                "estimate_usd": item.job.estimate / 1e6,
                "estimate_note": item.job.estimate_note or None,
                "path": item.job.path.format(output="", ext=""),
            }
            for item in plan.items
        ],
    }
