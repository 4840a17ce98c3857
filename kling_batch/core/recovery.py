"""A paid render that a ledger does not have: found beside the target, or in fal's request list.

A ledger may be lost, an older copy, or another one than the one that paid; the render is paid for
all the same. Must not do I/O. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from kling_batch.core.jobs import JSON
from kling_batch.core.locations import Location
from kling_batch.core.quantities import MicroUSD, format_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredFile:
    """One output of the render, whole in its place: its digest is the one that was recorded."""

    index: int
    path: Location
    sha256: str
    size: int
    ext: str
    content_type: str
    #: fal's URL, `data:` for content that came inline, or empty where fal never had the file.
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """A render that is paid for, and that no attempt of the ledger owns."""

    #: fal's id of it; empty for a file that a person brought (`adopt`), which cost nothing here.
    request_id: str
    #: When it was submitted, ISO 8601; empty where nobody knows.
    since: str = ""
    rendered_at: str | None = None
    #: The cost as billed; None where only an estimate is known.
    cost: MicroUSD | None = None
    estimate: MicroUSD = field(default=MicroUSD(0))
    billable_units: float | None = None
    #: Every output; empty where the render is to be collected from fal.
    files: tuple[RecoveredFile, ...] = ()
    #: fal's output, as far as it is known.
    output: JSON = None
    #: What was sent, where fal's list says so.
    payload: JSON = None
    #: Found in fal's request list, not beside the target.
    listed: bool = False

    @property
    def paid(self) -> bool:
        """Whether it was paid for at fal."""
        return bool(self.request_id)

    @property
    def reason(self) -> str:
        """What was found, and since when it is paid, for people."""
        day = f" on {self.since[:16].replace('T', ' ')} UTC" if self.since else ""
        paid = f"paid{day}" if self.paid else "adopted"
        cost = f" for {format_usd(self.cost)}" if self.cost is not None and self.paid else ""
        if self.files:
            return f"recovered: {paid}{cost}, its file is here"
        where = "in fal's request list" if self.listed else "fetched by its request id"
        return f"recovered: {paid}{cost}, {where}"
