"""Sidecar record of a file: what was requested, its cost, its digest. Pure.

`store.py` writes it beside the file as JSON. Must hold no secret: URLs lose their query, which may
hold a signature.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from kling_batch import __version__
from kling_batch.core.jobs import JSON, Job, canonical_json
from kling_batch.core.outcomes import Fetched
from kling_batch.core.quantities import usd_number
from kling_batch.core.records import Attempt, RenditionRow
from kling_batch.core.schema_version import SIDECAR_VERSION

#: What `cost_usd` is: of the bill, of the emulator's, or of the plan.
CHARGED, WOULD_HAVE_COST, ESTIMATED = "charged", "would have cost", "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Which output of how many a file is, and the service that rendered it."""

    index: int
    outputs: int
    service: str | None


def sidecar(
    job: Job, attempt: Attempt, part: Part, item: Fetched, *, url: str, saved_at: datetime
) -> JSON:
    """The record of one output of an attempt; a run without its ledger recovers the file by it."""
    cost = attempt.cost if attempt.cost is not None else attempt.estimate
    arguments = json.loads(canonical_json(job.arguments))
    return {
        "schema_version": SIDECAR_VERSION,
        "batch": job.batch,
        "job": job.id,
        "take": job.take,
        "key": job.key,
        "mode": job.mode or None,
        "tier": job.tier or None,
        "endpoint": job.endpoint,
        "service": part.service,
        "output": part.index,
        "outputs": part.outputs,
        "prompt": arguments.get("prompt"),
        "arguments": arguments,
        "request_id": attempt.handle.request_id if attempt.handle else None,
        "cost_usd": usd_number(cost),
        "cost_is": _cost_is(attempt, part),
        "billable_units": attempt.billable_units,
        "sha256": item.sha256,
        "size": item.size,
        "content_type": item.content_type,
        "url": public(url),
        "submitted_at": attempt.submitted_at,
        "rendered_at": attempt.rendered_at,
        "saved_at": saved_at.isoformat(timespec="seconds"),
        "program": f"kling-batch {__version__}",
    }


def _cost_is(attempt: Attempt, part: Part) -> str:
    if attempt.cost is None:
        return ESTIMATED
    return WOULD_HAVE_COST if part.service == "emulator" else CHARGED


def rendition_record(row: RenditionRow) -> JSON:
    """What the sidecar of a file says of a rendition of it."""
    recipe = json.loads(row.recipe)
    if "command" in recipe:
        recipe["command"] = recipe["command"][:1]  # sidecars are published; words may be secrets
    return {
        "file": PurePosixPath(row.path).name,
        "recipe": recipe,
        "recipe_digest": row.recipe_digest,
        "sha256": row.sha256,
        "size": row.size,
        "content_type": row.content_type,
    }


def public(url: str) -> str | None:
    """A URL without user, query and fragment; None for data URIs."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return None
    return urlunsplit((parts.scheme, parts.hostname or "", parts.path, "", ""))
