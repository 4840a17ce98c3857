"""Run batches of paid Kling generations on fal.ai, and pay for nothing twice.

The public API, described in `docs/python.md`; what is not in `__all__` is private. Each name is
imported when it is first used, so that `import kling_batch` stays light.
"""

from __future__ import annotations

from kling_batch.core.lazy import lazy_attributes

TYPE_CHECKING = False  # as `typing` has it, whose import takes half as long as the interpreter
if TYPE_CHECKING:
    from kling_batch.api.ledgers import Costs, LedgerJob, LedgerView, open_ledger
    from kling_batch.api.options import Options
    from kling_batch.api.runs import arun, load, plan, run
    from kling_batch.api.values import JobLine, Plan, PlannedJob, RunReport
    from kling_batch.core.events import EventKind, RunEvent
    from kling_batch.core.jobs import Batch, Job
    from kling_batch.core.quantities import USD
    from kling_batch.errors import (
        AuthError,
        BudgetError,
        ExitCode,
        KlingBatchError,
        LedgerError,
        ManifestError,
        PlanDriftError,
        Problem,
        UsageError,
    )
    from kling_batch.planning.plan import Action
    from kling_batch.report.run_report import JobOutcome

__version__ = "0.1.0"

_MODULES = {
    "api.ledgers": ("Costs", "LedgerJob", "LedgerView", "open_ledger"),
    "api.options": ("Options",),
    "api.runs": ("arun", "load", "plan", "run"),
    "api.values": ("JobLine", "Plan", "PlannedJob", "RunReport"),
    "core.events": ("EventKind", "RunEvent"),
    "core.jobs": ("Batch", "Job"),
    "core.quantities": ("USD",),
    "errors": (
        "AuthError",
        "BudgetError",
        "ExitCode",
        "KlingBatchError",
        "LedgerError",
        "ManifestError",
        "PlanDriftError",
        "Problem",
        "UsageError",
    ),
    "planning.plan": ("Action",),
    "report.run_report": ("JobOutcome",),
}

__all__ = [
    "USD",
    "Action",
    "AuthError",
    "Batch",
    "BudgetError",
    "Costs",
    "EventKind",
    "ExitCode",
    "Job",
    "JobLine",
    "JobOutcome",
    "KlingBatchError",
    "LedgerError",
    "LedgerJob",
    "LedgerView",
    "ManifestError",
    "Options",
    "Plan",
    "PlanDriftError",
    "PlannedJob",
    "Problem",
    "RunEvent",
    "RunReport",
    "UsageError",
    "__version__",
    "arun",
    "load",
    "open_ledger",
    "plan",
    "run",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__,
        {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names},
    )


def __dir__() -> list[str]:
    return __all__
