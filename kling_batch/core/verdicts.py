"""Verdicts that people give on finished renders, as values.

A verdict belongs to one take, by its job key. Must not know where verdicts are kept.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from kling_batch.core.jobs import JobKey


class Verdict(StrEnum):
    """What a person decided about a take; the value is the stored word."""

    APPROVED = "approved"
    REJECTED = "rejected"
    #: Approved, and chosen among the takes of its job.
    PICKED = "picked"
    #: Taken back, or only a note.
    NONE = "none"

    @property
    def approves(self) -> bool:
        """Whether it lets a final be paid for: a pick implies approval."""
        return self in (Verdict.APPROVED, Verdict.PICKED)


#: What people type, and the verdict that it records.
TYPED_VERDICTS: dict[str, Verdict] = {
    "approve": Verdict.APPROVED,
    "reject": Verdict.REJECTED,
    "pick": Verdict.PICKED,
    "none": Verdict.NONE,
}


class VerdictRow(NamedTuple):
    """One recorded verdict with its author and time; rows are never changed."""

    id: int
    job_key: JobKey
    #: The render that was judged; None where there was none (a note only).
    attempt_id: int | None
    verdict: Verdict
    note: str
    author: str
    #: UTC, in the ledger's format.
    at: str
