"""JSON Schema of the documents that commands print with `--json`; the stream of a run is apart.

Must not describe manifests. Pure.
"""

from __future__ import annotations

from kling_batch.core.lifecycle import State
from kling_batch.core.outcomes import Charged
from kling_batch.planning.plan import Action
from kling_batch.report.schema_terms import (
    EXIT,
    FLAG,
    LEFT_OUT,
    OBJECT,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    OPTIONAL_USD,
    OPTIONAL_WHOLE,
    TEXT,
    TIME,
    USD,
    VERSION,
    WHOLE,
    Schema,
    array,
    counted,
    object_of,
    ref,
    words,
)

_RENDITION: dict[str, Schema] = {"rendition": TEXT, "of": TEXT}
#: What is told of a rendition that was made, and of one that was not.
RENDITION = object_of(
    {**_RENDITION, "path": TEXT, "sha256": TEXT, "size": WHOLE, "content_type": TEXT}
)
RENDITION_FAILED = object_of({**_RENDITION, "reason": TEXT})


def documents() -> dict[str, Schema]:
    """Plan, validation, catalogue and command tree."""
    planned = object_of(
        {
            "batch": TEXT,
            "job": TEXT,
            "take": {"type": "integer", "minimum": 1},
            "key": {"type": "string", "pattern": "^k1:"},
            "action": words(Action),
            "reason": TEXT,
            "paid_since": OPTIONAL_TIME,
            "request_id": OPTIONAL_TEXT,
            "endpoint": TEXT,
            "model": OPTIONAL_TEXT,
            "mode": OPTIONAL_TEXT,
            "tier": OPTIONAL_TEXT,
            "estimate_usd": USD,
            "estimate_note": OPTIONAL_TEXT,
            "path": TEXT,
            "arguments": OBJECT,
        }
    )
    plan = object_of(
        {
            "schema_version": VERSION,
            "cost_usd": USD,
            "jobs_of_unknown_price": WHOLE,
            "awaiting_verdicts_usd": USD,
            "cap_usd": OPTIONAL_USD,
            "prices_dated": OPTIONAL_TEXT,
            "wall_time_seconds": WHOLE,
            "start_timeout_seconds": OPTIONAL_NUMBER,
            "idle": FLAG,
            "left_out": LEFT_OUT,
            "covered_by_caps": OPTIONAL_WHOLE,
            "account_max_per_day_usd": OPTIONAL_USD,
            "account_counted_usd": OPTIONAL_USD,
            "counts": counted(Action),
            "jobs": array(planned),
        }
    )
    validation = object_of(
        {"schema_version": VERSION, "valid": FLAG, "problems": array(ref("problem"))}
    )
    catalog = object_of(
        {
            "schema_version": VERSION,
            "models": array(object_of({"model": TEXT, "description": TEXT, "default": FLAG})),
            "endpoints": array(
                object_of(
                    {
                        **dict.fromkeys(("endpoint", "model", "mode", "tier", "output"), TEXT),
                        "parameters": array(object_of({"name": TEXT, "kind": TEXT})),
                    }
                )
            ),
        }
    )
    return {
        "plan": plan,
        "validation": validation,
        "catalog": catalog,
        "comparison": _comparison(),
        "catalog_check": _catalog_check(),
        "exported": object_of(
            {"schema_version": VERSION, "files": array(OBJECT), "missing": array(TEXT)}
        ),
        "renditions": object_of(
            {
                "schema_version": VERSION,
                "made": array(RENDITION),
                "failed": array(RENDITION_FAILED),
                "left": WHOLE,
            }
        ),
        **_command_tree(),
    }


def _comparison() -> Schema:
    row = object_of(
        {
            "mode": OPTIONAL_TEXT,
            "tier": OPTIONAL_TEXT,
            "endpoint": OPTIONAL_TEXT,
            "jobs": WHOLE,
            "cost_usd": USD,
            "jobs_of_unknown_price": WHOLE,
        }
    )
    model = object_of(
        {
            "model": TEXT,
            "cost_usd": USD,
            "wall_time_seconds": WHOLE,
            "jobs_to_pay": WHOLE,
            "jobs_of_unknown_price": WHOLE,
            "jobs_awaiting_verdict": WHOLE,
            "awaiting_verdicts_usd": USD,
            "jobs_not_paid_again": WHOLE,
            "rows": array(row),
            "cannot": array(TEXT),
            "problems": array(OBJECT),
            "notes": array(TEXT),
        }
    )
    return object_of({"schema_version": VERSION, "models": array(model)})


def _catalog_check() -> Schema:
    difference = object_of(
        {"change": TEXT, "parameter": OPTIONAL_TEXT, "message": TEXT, "moved": FLAG}
    )
    endpoint = object_of(
        {
            **dict.fromkeys(("endpoint", "model", "mode", "tier", "dated"), TEXT),
            "not_compared": OPTIONAL_TEXT,
            "differences": array(difference),
        }
    )
    return object_of(
        {
            "schema_version": VERSION,
            "fits": FLAG,
            "prices_not_compared": OPTIONAL_TEXT,
            "endpoints": array(endpoint),
        }
    )


def _command_tree() -> dict[str, Schema]:
    parameter = object_of(
        {
            "name": TEXT,
            "kind": {"enum": ["option", "argument"]},
            "spellings": array(TEXT),
            "type": TEXT,
            "choices": {"type": ["array", "null"], "items": TEXT},
            "default": {},
            "required": FLAG,
            "multiple": FLAG,
            "flag": FLAG,
            "environment": OPTIONAL_TEXT,
            "metavar": OPTIONAL_TEXT,
            "help": OPTIONAL_TEXT,
        }
    )
    command = object_of(
        {
            "command": TEXT,
            "group": TEXT,
            "summary": TEXT,
            "help": TEXT,
            "examples": array(TEXT),
            "parameters": array(parameter),
        }
    )
    code = object_of({"code": EXIT, "meaning": TEXT})
    tree = object_of(
        {
            "schema_version": VERSION,
            "program": {"const": "kling-batch"},
            "version": TEXT,
            "exit_codes": array(code),
            "commands": array(command),
        }
    )
    return {"commands": tree}


def ledger_documents() -> dict[str, Schema]:
    """What is read from the ledger; the rows have the columns of its views."""
    row: dict[str, Schema] = {
        "batch": TEXT,
        "job_id": TEXT,
        "take": {"type": "integer", "minimum": 1},
        "state": words(State, "pending"),
        "mode": OPTIONAL_TEXT,
        "tier": OPTIONAL_TEXT,
        "prompt": OPTIONAL_TEXT,
        "estimate_usd": USD,
        "cost_usd": OPTIONAL_USD,
        "request_id": OPTIONAL_TEXT,
        "remote_status": OPTIONAL_TEXT,
        "failure_kind": OPTIONAL_TEXT,
        "failure": OPTIONAL_TEXT,
        "files": OPTIONAL_TEXT,
        "endpoint": TEXT,
        "job_key": TEXT,
        "attempt_id": OPTIONAL_WHOLE,
        "value": OPTIONAL_TEXT,
    }
    money: dict[str, Schema] = {"charged_usd": USD, "exposed_usd": USD, "unknown_usd": USD}
    head: dict[str, Schema] = {"schema_version": VERSION, "emulated": FLAG}
    attempt = object_of(
        {
            "attempt": WHOLE,
            "state": words(State),
            "request_id": OPTIONAL_TEXT,
            "estimate_usd": USD,
            "cost_usd": OPTIONAL_USD,
            "charged": words(Charged, None),
            "failure": OPTIONAL_TEXT,
            "events": array(object_of({"at": TIME, "event": TEXT, "to_state": words(State)})),
            "files": array(TEXT),
            "value": OPTIONAL_TEXT,
        }
    )
    coming = object_of({"action": TEXT, "reason": TEXT})
    spend = object_of({"batch": TEXT, "day": TEXT, "attempts": WHOLE, **money})
    drift = object_of({"endpoint": TEXT, "renders": WHOLE, "estimated_usd": USD})
    rendition = object_of(
        {
            **_RENDITION,
            "path": TEXT,
            "sha256": OPTIONAL_TEXT,
            "size": OPTIONAL_WHOLE,
            "content_type": OPTIONAL_TEXT,
            "failure": OPTIONAL_TEXT,
        }
    )
    return {
        "status": object_of({**head, "ledger": TEXT, **money, "jobs": array(object_of(row))}),
        "list_row": object_of({**head, **row, "renditions": array(rendition)}),
        "show": object_of(
            {**head, "next": coming, "as_of": OPTIONAL_TEXT, "attempts": array(attempt)}
        ),
        "costs": object_of({**head, **money, "spend": array(spend), "drift": array(drift)}),
    }
