"""What a render that has not begun waits for: a verdict on its draft, a pick, another render.

Says it as the plan does, from the ledger's entries alone. Must not decide what a run pays for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from kling_batch.core.jobs import (
    JobKey,
    awaited_job,
    draft_id,
    is_unpicked,
)
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.verdicts import Verdict
from kling_batch.report.gallery_entry import Entry

#: What helps where a source is settled without files.
_COMMANDS = {
    JobStatus.FAILED: "retry",
    JobStatus.CANCELLED: "retry",
    JobStatus.IN_DOUBT: "resolve",
}


def with_waits(entries: Sequence[Entry]) -> list[Entry]:
    """The same entries, each that has not begun with what it waits for."""
    waits = _Waits(entries)
    return [
        replace(entry, held=waits.of(entry)) if entry.state is JobStatus.WAITING else entry
        for entry in entries
    ]


class _Waits:
    """The present renders of a ledger, by name and by key."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        present = [entry for entry in entries if not entry.superseded]
        self._takes: dict[tuple[str, str], list[Entry]] = {}
        for entry in present:
            self._takes.setdefault((entry.batch, entry.job), []).append(entry)
        self._by_key: dict[JobKey, Entry] = {entry.key: entry for entry in present}

    def of(self, entry: Entry) -> str:
        """What this one waits for; empty: for a run only."""
        draft = self._draft(entry)
        if draft is not None and not draft.judged.approves:
            return self._unapproved(draft)
        if draft is not None and self._another_is_picked(draft):
            return "Not wanted: another take of its draft is picked"
        needs = (self._parent(entry, key) for key in entry.parents)
        paid_for = f"The next run pays for it: {entry.command('run')}" if draft else ""
        return next(filter(None, needs), paid_for)

    def _draft(self, entry: Entry) -> Entry | None:
        drafts = self._takes.get((entry.batch, draft_id(entry.job)), [])
        return next((draft for draft in drafts if draft.take == entry.take), None)

    def _another_is_picked(self, draft: Entry) -> bool:
        return draft.judged is not Verdict.PICKED and _picked(self._takes[draft.batch, draft.job])

    def _unapproved(self, draft: Entry) -> str:
        if draft.judged is Verdict.REJECTED:
            return f"Not wanted: {draft.label} is rejected"
        if self._another_is_picked(draft):
            return "Not wanted: another take of its draft is picked"
        if draft.state is not JobStatus.DONE:
            return f"Waits for its draft {draft.label}, which is {draft.state}"
        return f"Waits for a verdict on {draft.label}: {draft.command('review')}"

    def _parent(self, entry: Entry, key: JobKey) -> str:
        if is_unpicked(key):
            return self._pick(entry.batch, awaited_job(key))
        parent = self._by_key.get(key)
        if parent is None or parent.state is JobStatus.DONE:
            return ""
        command = _COMMANDS.get(parent.state)
        if command is None:
            return f"Begins when {parent.label} is rendered"
        told = parent.command(command, parent.label)
        return f"Needs {parent.label}, which is {parent.state}: {told}"

    def _pick(self, batch: str, job: str) -> str:
        finals = self._takes.get((batch, job), [])
        drafts = self._takes.get((batch, draft_id(job)), [])
        if _picked(finals) or _picked(drafts):
            return ""
        among = drafts or finals
        name = draft_id(job) if drafts else job
        takes = f"{name}#1..#{len(among)}" if len(among) > 1 else name
        return f"Waits for a pick among {takes}: {among[0].command('review')}"


def _picked(takes: Iterable[Entry]) -> bool:
    return any(take.judged is Verdict.PICKED for take in takes)
