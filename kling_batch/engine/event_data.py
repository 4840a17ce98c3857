"""Data of events: what a program may want to know of a job and its attempt, as JSON values.

The names are a contract (docs/events.md): add, never rename. Pure; must not emit anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from kling_batch.core.jobs import JSON, Job
from kling_batch.core.quantities import parse_time, usd_number
from kling_batch.core.records import Attempt, File


def job_data(job: Job) -> dict[str, JSON]:
    """What every event about a job has."""
    return {"endpoint": job.endpoint, "estimate_usd": usd_number(job.estimate)}


def attempt_data(attempt: Attempt, attempts: int) -> dict[str, JSON]:
    """What every event about an attempt has; `attempts` is how many the job may have."""
    return {
        "endpoint": attempt.endpoint,
        "estimate_usd": usd_number(attempt.estimate),
        "cost_usd": usd_number(attempt.cost),
        "request_id": attempt.handle.request_id if attempt.handle else None,
        "attempt": attempt.tries,
        "attempts": attempts,
    }


def render_seconds(attempt: Attempt) -> float | None:
    """Seconds from the submission to the end of the render; None where one is unknown."""
    if attempt.rendered_at is None:
        return None
    begun = parse_time(attempt.submitted_at or attempt.intended_at)
    return round(max(0.0, (parse_time(attempt.rendered_at) - begun).total_seconds()), 3)


def file_data(files: Iterable[tuple[str, File]]) -> list[JSON]:
    """Verified files, each with the path under which people know it."""
    return [
        {
            "path": path,
            "size": file.size,
            "sha256": file.sha256,
            "content_type": file.content_type,
        }
        for path, file in files
    ]
