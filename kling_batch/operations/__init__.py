"""The work of each command, without the command line; imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_batch.core.lazy import lazy_attributes

if TYPE_CHECKING:
    from kling_batch.operations.adopt import adopt_file
    from kling_batch.operations.billing import learn_bills
    from kling_batch.operations.cancel import cancel_jobs
    from kling_batch.operations.catalog_check import check_catalog
    from kling_batch.operations.checks import check_folder, check_key_file
    from kling_batch.operations.compare import compare_models
    from kling_batch.operations.doctor import check_service
    from kling_batch.operations.export import export_takes
    from kling_batch.operations.named_files import NamedFiles, must_be_no_ledger
    from kling_batch.operations.plan import PlannedRun, plan_run
    from kling_batch.operations.prices import live_price_changes
    from kling_batch.operations.raw_inputs import check_raw_inputs
    from kling_batch.operations.remake import lacking, make_renditions
    from kling_batch.operations.repair import repair_files
    from kling_batch.operations.resolve import resolve_not_submitted, resolve_submitted
    from kling_batch.operations.retry import allow_retries, allow_take
    from kling_batch.operations.run import open_run
    from kling_batch.operations.services import LedgerEdit, edit_ledger
    from kling_batch.operations.single import single_batch, single_result
    from kling_batch.operations.verdicts import judge
    from kling_batch.operations.verify import verify_ledger

_MODULES = {
    "NamedFiles": "named_files",
    "LedgerEdit": "services",
    "PlannedRun": "plan",
    "adopt_file": "adopt",
    "allow_retries": "retry",
    "allow_take": "retry",
    "cancel_jobs": "cancel",
    "check_catalog": "catalog_check",
    "check_folder": "checks",
    "check_key_file": "checks",
    "check_raw_inputs": "raw_inputs",
    "check_service": "doctor",
    "compare_models": "compare",
    "edit_ledger": "services",
    "export_takes": "export",
    "judge": "verdicts",
    "lacking": "remake",
    "learn_bills": "billing",
    "live_price_changes": "prices",
    "make_renditions": "remake",
    "must_be_no_ledger": "named_files",
    "open_run": "run",
    "plan_run": "plan",
    "repair_files": "repair",
    "resolve_not_submitted": "resolve",
    "resolve_submitted": "resolve",
    "single_batch": "single",
    "single_result": "single",
    "verify_ledger": "verify",
}

__all__ = [
    "LedgerEdit",
    "NamedFiles",
    "PlannedRun",
    "adopt_file",
    "allow_retries",
    "allow_take",
    "cancel_jobs",
    "check_catalog",
    "check_folder",
    "check_key_file",
    "check_raw_inputs",
    "check_service",
    "compare_models",
    "edit_ledger",
    "export_takes",
    "judge",
    "lacking",
    "learn_bills",
    "live_price_changes",
    "make_renditions",
    "must_be_no_ledger",
    "open_run",
    "plan_run",
    "repair_files",
    "resolve_not_submitted",
    "resolve_submitted",
    "single_batch",
    "single_result",
    "verify_ledger",
]

if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(
        __name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
    )
