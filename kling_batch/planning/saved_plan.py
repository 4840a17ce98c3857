"""Saved plan: written for review, given to a run, refused where it no longer fits. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from kling_batch.core.diagnostics import show
from kling_batch.core.jobs import JSON
from kling_batch.core.quantities import exact_usd
from kling_batch.errors import PlanDriftError, UsageError
from kling_batch.planning.plan import Action, Plan, PlannedJob
from kling_batch.settings import EMULATOR

_FORMAT = "kling-batch plan 2"


def to_file(plan: Plan, document: JSON, service: str) -> str:
    """`document` is the plan's JSON form; the part that binds is added to it."""
    bound = {"format": _FORMAT, "service": service, **document, "binds": _bound(plan)}
    return json.dumps(bound, ensure_ascii=False, indent=2) + "\n"


def hint(file: str) -> str:
    """What a plan that was saved is for; `file`: as it is typed."""
    return f"{file}: hand it to a run with: run … --plan {file}"


def read(text: str, source: str, service: str) -> JSON:
    """The binding part of a written plan, for a run that asks `service`.

    Raises:
        UsageError: it is no plan.
        PlanDriftError: whoever reviewed it agreed to a trial, and this is none.
    """
    try:
        document = json.loads(text)
        if document["format"] != _FORMAT:
            raise UsageError(
                f"{source}: a plan of another version ({show(document['format'])}); "
                "make a new one with: plan --save FILE"
            )
        made_for = str(document["service"])
        bound = {name: _binding(bound) for name, bound in document["binds"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(f"{source}: this is no plan; make one with: plan --save FILE") from None
    if made_for == EMULATOR != service:  # what may be paid for may also be tried
        raise PlanDriftError(f"{source}: {OF_A_TRIAL}")
    return bound


#: Why a plan does not fit a run that pays.
OF_A_TRIAL = "this plan was made on the emulator; nothing was sent; plan again without it"


def _binding(bound: JSON) -> tuple[str, int | None]:
    """Key and price of a job; raises where somebody made them something else."""
    key, price = bound
    if isinstance(price, bool) or not isinstance(price, int | None):
        raise TypeError("no price")
    return str(key), price


def _name(item: PlannedJob) -> str:
    return f"{item.job.batch}/{item.job.label}"


def _bound(plan: Plan) -> JSON:
    """Per job: what is to be rendered, and what it may cost if it is to be paid."""
    return {
        _name(item): [item.job.key, item.job.estimate if item.action is Action.SUBMIT else None]
        for item in plan.items
        if not item.orphaned  # costs nothing, and is gone once it is collected
    }


def check(plan: Plan, bound: JSON, source: str) -> None:
    """Raise `PlanDriftError` where the run would pay for anything that was not reviewed.

    What has been rendered since, by this plan's own earlier run, is no drift: it costs less.
    """
    drift = list(_drift(plan, bound))
    if drift:
        shown = "\n".join(f"  {line}" for line in drift[:20])
        more = f"\n  and {len(drift) - 20} more" if len(drift) > 20 else ""
        raise PlanDriftError(
            f"{source}: the plan no longer fits; nothing was sent\n{shown}{more}\n"
            "review a new one: kling-batch plan --save FILE"
        )


def _drift(plan: Plan, bound: JSON) -> Iterator[str]:
    items = {_name(item): item for item in plan.items if not item.orphaned}
    for name in bound.keys() - items.keys():
        yield f"{name} is no longer in the manifest"
    for name, item in items.items():
        if name not in bound:
            yield f"{name} is not in the plan"
            continue
        key, price = bound[name]
        if key != item.job.key:
            yield f"{name} has changed"
        elif item.action is Action.SUBMIT and price is None:
            yield f"{name} was not to be paid, and is now ({item.reason})"
        elif item.action is Action.SUBMIT and item.job.estimate != price:
            now, then = exact_usd(item.job.estimate), exact_usd(price)
            yield f"{name} costs {now}, planned {then}"
