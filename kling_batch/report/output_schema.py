"""JSON Schema of everything that commands print as JSON: `kling-batch schema output`.

Describes what is promised; a test holds real output of every command with `--json` against it.
Readers ignore fields that they do not know, so objects stay open. Pure.
"""

from __future__ import annotations

from kling_batch.core.events import EventKind
from kling_batch.core.jobs import JSON
from kling_batch.core.outcomes import Charged, FailureKind
from kling_batch.planning.plan import Action
from kling_batch.report.document_schemas import (
    RENDITION,
    RENDITION_FAILED,
    documents,
    ledger_documents,
)
from kling_batch.report.run_report import JobOutcome
from kling_batch.report.schema_terms import (
    EXIT,
    FLAG,
    LEFT_OUT,
    NUMBER,
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


def output_schema() -> Schema:
    """The whole schema: one of the documents, or one line of a stream."""
    defined = {**_stream(), **documents(), **ledger_documents()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What kling-batch prints as JSON",
        "anyOf": [ref(name) for name in defined if name != "problem"],
        "$defs": defined,
    }


# -- the stream of a run ---------------------------------------------------------------------------

_PLACE = object_of({"file": TEXT, "line": WHOLE, "column": WHOLE, "cell": OPTIONAL_TEXT})

_JOB_DATA: dict[str, Schema] = {"endpoint": TEXT, "estimate_usd": USD}

_ATTEMPT_DATA: dict[str, Schema] = {
    **_JOB_DATA,
    "cost_usd": OPTIONAL_USD,
    "request_id": OPTIONAL_TEXT,
    "attempt": {"type": "integer", "minimum": 1},
    "attempts": {"type": "integer", "minimum": 1},
}

_FILE = object_of({"path": TEXT, "size": WHOLE, "sha256": TEXT, "content_type": OPTIONAL_TEXT})

_REASON: dict[str, Schema] = {"reason": TEXT}
_KIND: dict[str, Schema] = {"reason": words(FailureKind)}
_PAUSE: dict[str, Schema] = {"seconds": NUMBER}
_FAILURE: dict[str, Schema] = {
    **_REASON,
    "failure": words(FailureKind),
    "charged": words(Charged),
}


def _event_data() -> dict[str, Schema]:
    """What the `data` of each event has."""
    repeated = object_of({**_ATTEMPT_DATA, **_KIND, **_PAUSE, "charged": words(Charged)})
    left = object_of({**_JOB_DATA, **_REASON}, _ATTEMPT_DATA)
    return {
        EventKind.UNREACHABLE: repeated,
        EventKind.THROTTLED: repeated,
        EventKind.LOCKED: repeated,
        EventKind.BRAKING: object_of({**_JOB_DATA, **_PAUSE}),
        EventKind.SUBMITTED: object_of(_ATTEMPT_DATA),
        EventKind.IN_DOUBT: object_of(_ATTEMPT_DATA),
        EventKind.ADOPTED: object_of(_ATTEMPT_DATA),
        EventKind.RECOVERED: object_of({**_ATTEMPT_DATA, "paid_since": OPTIONAL_TIME}),
        EventKind.HELD: object_of({**_ATTEMPT_DATA, **_REASON}),
        EventKind.PROGRESS: object_of(_ATTEMPT_DATA, {"position": WHOLE}),
        EventKind.UNREADABLE: object_of({**_JOB_DATA, **_REASON}),
        EventKind.UNHEARD: object_of({**_ATTEMPT_DATA, **_REASON}),
        EventKind.RENDERED: object_of({**_ATTEMPT_DATA, "render_seconds": OPTIONAL_NUMBER}),
        EventKind.DOWNLOAD_AGAIN: object_of({**_ATTEMPT_DATA, **_REASON, **_PAUSE}),
        EventKind.PUT_AGAIN: object_of({**_ATTEMPT_DATA, **_REASON, **_PAUSE}),
        EventKind.UNDELIVERED: left,
        EventKind.SAVED: object_of(
            {
                **_ATTEMPT_DATA,
                "files": array(TEXT),
                "artifacts": array(_FILE),
                "render_seconds": OPTIONAL_NUMBER,
            }
        ),
        EventKind.RENDITION: RENDITION,
        EventKind.RENDITION_FAILED: RENDITION_FAILED,
        EventKind.RETRYING: repeated,
        EventKind.FAILED: object_of(
            {
                **_JOB_DATA,
                **_FAILURE,
                "error_type": OPTIONAL_TEXT,
                "status": OPTIONAL_WHOLE,
            },
            _ATTEMPT_DATA,
        ),
        EventKind.BLOCKED: object_of({**_JOB_DATA, **_REASON}),
        EventKind.WARNING: object_of(
            {}, {**_ATTEMPT_DATA, "cost": OPTIONAL_WHOLE, "estimate": WHOLE}
        ),
        EventKind.STOPPING: object_of({}, {**_REASON, "exit_code": EXIT}),
        "started": object_of(
            {
                "jobs": WHOLE,
                "actions": counted(Action),
                "cost_usd": USD,
                "committed_usd": USD,
                "cap_usd": OPTIONAL_USD,
                "output": TEXT,
                "emulated": FLAG,
                "left_out": LEFT_OUT,
                "covered_by_caps": OPTIONAL_WHOLE,
            }
        ),
        "heartbeat": object_of(
            {
                **dict.fromkeys(("jobs", "done", "waiting", "failed", "in_doubt"), WHOLE),
                "open": {**WHOLE, "description": "Requests open at fal; downloads are apart."},
                "downloading": {**WHOLE, "description": "Renders whose files are on their way."},
                "unapproved": {
                    **WHOLE,
                    "description": "Jobs that wait for a verdict, or that a person declined.",
                },
                "committed_usd": USD,
            }
        ),
    }


def _stream() -> dict[str, Schema]:
    data = _event_data()
    event = object_of(
        {
            "schema_version": VERSION,
            "event": {"enum": [str(name) for name in data]},
            "time": TIME,
            "batch": OPTIONAL_TEXT,
            "job": OPTIONAL_TEXT,
            "message": TEXT,
            "data": OBJECT,
        }
    )
    event["allOf"] = [
        {
            "if": {"properties": {"event": {"const": str(name)}}},
            "then": {"properties": {"data": fields}},
        }
        for name, fields in data.items()
    ]
    return {"event": event, "report": _report(), "error": _error(), "problem": _problem()}


def _problem() -> Schema:
    place = _PLACE["properties"]
    assert isinstance(place, dict)
    return object_of(
        {
            "severity": {"enum": ["error", "warning"]},
            **place,
            "code": TEXT,
            "message": TEXT,
            "hint": OPTIONAL_TEXT,
        }
    )


#: Codes of errors: a promise, as the names of events are.
ERROR_CODES = (
    *("failed", "usage", "manifest", "key", "budget", "ledger", "plan_drift"),
    *("system", "interrupted", "terminated"),
)


def _error() -> Schema:
    error = object_of(
        {
            "code": {"enum": [*ERROR_CODES]},
            "message": TEXT,
            "hint": OPTIONAL_TEXT,
            "place": {"anyOf": [_PLACE, {"type": "null"}]},
            "problems": array(ref("problem")),
        }
    )
    return object_of(
        {
            "schema_version": VERSION,
            "event": {"const": "error"},
            "time": TIME,
            "exit_code": EXIT,
            "error": error,
        }
    )


def _report() -> Schema:
    job = object_of(
        {
            "batch": TEXT,
            "job": TEXT,
            "ending": {"enum": [outcome.name.lower() for outcome in JobOutcome]},
            "message": TEXT,
            "mode": OPTIONAL_TEXT,
            "tier": OPTIONAL_TEXT,
            "prompt": OPTIONAL_TEXT,
            "files": array(TEXT),
            "cost_usd": OPTIONAL_USD,
            "seconds": OPTIONAL_NUMBER,
            "request_id": OPTIONAL_TEXT,
            "place": OPTIONAL_TEXT,
        }
    )
    endings: JSON = [outcome.name.lower() for outcome in JobOutcome]
    counts: Schema = {
        "type": "object",
        "propertyNames": {"enum": endings},
        "additionalProperties": WHOLE,
    }
    return object_of(
        {
            "schema_version": VERSION,
            "event": {"const": "report"},
            "time": TIME,
            "exit_code": EXIT,
            "exit_meaning": TEXT,
            "reasons": array(TEXT),
            "batches": array(TEXT),
            "started_at": TIME,
            "ended_at": TIME,
            "seconds": NUMBER,
            "counts": counts,
            "spent_now_usd": USD,
            "charged_usd": USD,
            "exposed_usd": USD,
            "cap_usd": OPTIONAL_USD,
            "emulated": FLAG,
            "output": TEXT,
            "ledger": TEXT,
            "next_steps": array(TEXT),
            "jobs": array(job),
            "unlisted_unchanged_jobs": WHOLE,
            "left_out": LEFT_OUT,
            "renditions": object_of({"made": WHOLE, "failed": array(TEXT), "left": WHOLE}),
        }
    )
