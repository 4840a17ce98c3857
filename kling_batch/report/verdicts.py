"""Verdicts in figures: how many of each, and how much of the money went into takes that are used.

Must not write, and must not decide what a verdict allows: that is the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kling_batch.catalog.parameters import decimal_number
from kling_batch.catalog.registry import ordered_seconds
from kling_batch.core.command_line import Command
from kling_batch.core.jobs import JSON, JobKey, draft_id, final_id, is_draft_id
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD, format_usd, usd_number
from kling_batch.core.records import NamedRender, StatusRow
from kling_batch.core.text import clean, count
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.ledger.queries import named_renders
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import latest_verdicts, verdict_history

# -- of `status` and `list` ------------------------------------------------------------------------


def verdict_of(row: StatusRow, verdicts: Mapping[JobKey, VerdictRow]) -> Verdict:
    """The verdict that counts for a take."""
    known = verdicts.get(JobKey(row.job_key))
    return known.verdict if known else Verdict.NONE


def verdicts_line(
    rows: Iterable[StatusRow], verdicts: Mapping[JobKey, VerdictRow], judge: Command
) -> str:
    """How many takes have each verdict, and how many drafts have none; empty without any.

    Where a take is picked, nobody need judge the others.
    """
    counts: Counter[Verdict] = Counter()
    unjudged: Counter[tuple[str, str]] = Counter()
    picked: set[tuple[str, str]] = set()
    for row in rows:
        verdict = verdict_of(row, verdicts)
        counts[verdict] += 1
        name = (row.batch, row.job_id)
        if is_draft_id(row.job_id) and row.state == State.SUCCEEDED and verdict is Verdict.NONE:
            unjudged[name] += 1
        if verdict is Verdict.PICKED:
            picked.add(name)
    drafts = sum(number for name, number in unjudged.items() if name not in picked)
    parts = [
        f"{counts[word]:,} {word}" for word in Verdict if word is not Verdict.NONE and counts[word]
    ]
    if drafts:
        parts.append(f"{count(drafts, 'draft')} to judge: {judge}")
    return f"verdicts: {', '.join(parts)}" if parts else ""


def judged_lines(reader: Reader, key: JobKey) -> list[str]:
    """Every verdict on a take, a line each, for `show`."""
    return [
        f"{row.verdict} by {clean(row.author)}, {row.at}"
        + (f": {clean(row.note)}" if row.note else "")
        for row in verdict_history(reader, key)
    ]


def judged_data(reader: Reader, key: JobKey) -> JSON:
    """The same as JSON values."""
    return [
        {"verdict": row.verdict.value, "note": row.note, "author": row.author, "at": row.at}
        for row in verdict_history(reader, key)
    ]


# -- of `report` -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """How much of what was rendered is used."""

    #: Finished takes of the judged jobs, drafts included.
    takes: int
    #: Of them: finals of drafts, picked takes, and approved ones where none is picked.
    used: int
    #: What all takes cost, and those that are used.
    spent: MicroUSD
    spent_on_used: MicroUSD
    #: Length of the used takes, as far as their jobs say it.
    used_seconds: float

    @property
    def per_second(self) -> MicroUSD | None:
        """What a second that is used cost, with everything that is not used."""
        return MicroUSD(round(self.spent / self.used_seconds)) if self.used_seconds else None

    def as_text(self, *, emulated: bool) -> str:
        """One line for people."""
        share = f" ({self.used / self.takes:.0%})" if self.takes else ""
        would = "would have cost " if emulated else ""
        text = (
            f"takes used: {self.used:,} of {self.takes:,}{share}, {would}"
            f"{format_usd(self.spent_on_used)} of {format_usd(self.spent)}"
        )
        if self.per_second is None:
            return text
        return f"{text}; {format_usd(self.per_second)} a used second"

    def as_json(self) -> JSON:
        """The same as JSON values."""
        per_second = None if self.per_second is None else usd_number(self.per_second)
        return {
            "takes": self.takes,
            "used": self.used,
            "spent_usd": usd_number(self.spent),
            "spent_on_used_usd": usd_number(self.spent_on_used),
            "used_seconds": self.used_seconds,
            "usd_per_used_second": per_second,
        }


def usage(reader: Reader) -> Usage | None:
    """How much of what was rendered for judged jobs is used; None where nobody has judged."""
    verdicts = {row.attempt_id: row.verdict for row in latest_verdicts(reader).values()}
    if not any(verdict is not Verdict.NONE for verdict in verdicts.values()):
        return None
    renders = named_renders(reader)
    judged = {
        (r.batch, final_id(r.job_id))
        for r in renders
        if verdicts.get(r.attempt_id, Verdict.NONE) is not Verdict.NONE
    }
    finished = {
        r.attempt_id: r
        for r in renders
        if r.state is State.SUCCEEDED and (r.batch, final_id(r.job_id)) in judged
    }
    reviewed = {(r.batch, r.job_id) for r in renders if is_draft_id(r.job_id)}
    picked = {
        (r.batch, r.job_id)
        for r in finished.values()
        if verdicts.get(r.attempt_id) is Verdict.PICKED
    }

    def is_used(render: NamedRender) -> bool:
        if is_draft_id(render.job_id):
            return False
        verdict = verdicts.get(render.attempt_id, Verdict.NONE)
        if (render.batch, draft_id(render.job_id)) in reviewed:
            return verdict is not Verdict.REJECTED  # its draft was approved
        one_is_picked = (render.batch, render.job_id) in picked
        return verdict is Verdict.PICKED or (verdict.approves and not one_is_picked)

    used = [render for render in finished.values() if is_used(render)]
    return Usage(
        takes=len(finished),
        used=len(used),
        spent=MicroUSD(sum(render.charged for render in finished.values())),
        spent_on_used=MicroUSD(sum(render.charged for render in used)),
        used_seconds=sum(_seconds(render) for render in used),
    )


def _seconds(render: NamedRender) -> float:
    """The length that was ordered; 0 for images and what is as long as its source."""
    ordered = ordered_seconds(render.arguments)
    if ordered is None:  # an endpoint outside the catalogue may take fractions
        return max(decimal_number(render.arguments.get("duration")) or 0.0, 0.0)
    return float(ordered)
