"""Entries of the gallery: every render of a ledger with its files, cost and verdict, as values.

Works while a run is writing. Must not write, and must not know the page.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from kling_batch.core.jobs import JobKey, final_id, is_draft_id, job_label, output_suffix
from kling_batch.core.lifecycle import STATUSES, JobStatus, State, status_of
from kling_batch.core.quantities import MicroUSD, format_usd, parse_time
from kling_batch.core.records import File, NamedRender, RenditionRow
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.ledger.queries import named_renders
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.renditions import current_renditions
from kling_batch.ledger.verdicts import latest_verdicts

#: What an argument is called that names an input: jobs of one prompt and the same inputs are
#: variants of each other.
_INPUT_WORDS = ("url", "image", "video", "element")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file of a render."""

    path: Path
    sha256: str
    #: `image`, `video`, `audio` or `file`.
    kind: str
    content_type: str = ""
    size: int = 0
    missing: bool = False
    #: What was made of it and is there.
    renditions: tuple[Media, ...] = ()

    @property
    def name(self) -> str:
        """Its file name."""
        return self.path.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One render that a manifest asks for, or once asked for."""

    batch: str
    job: str
    take: int = 1
    key: JobKey
    attempt: int | None = None
    state: JobStatus
    mode: str = ""
    tier: str = ""
    endpoint: str = ""
    prompt: str = ""
    #: What was sent beside the prompt.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Keys of the jobs whose output it used.
    parents: tuple[JobKey, ...] = ()
    #: Words of the manifest to select it by.
    tags: tuple[str, ...] = ()
    #: Why there is no file yet.
    message: str = ""
    #: What a final waits for, or why it is not wanted; empty: it waits for no verdict.
    held: str = ""
    #: Owed for certain, possibly owed, and what an attempt should cost.
    charged: MicroUSD
    exposed: MicroUSD
    estimate: MicroUSD
    attempts: int = 0
    media: tuple[Media, ...] = ()
    request_id: str = ""
    #: When it was rendered, and how many seconds after its submission.
    at: str = ""
    seconds: float | None = None
    #: No longer what the manifest asks for.
    superseded: bool = False
    verdict: VerdictRow | None = None

    @property
    def id(self) -> str:
        """Its name on the page and in links to it; the same as long as the job is the same."""
        named = json.dumps([self.batch, self.job, self.take, self.key])
        return sha256(named.encode()).hexdigest()[:12]

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return job_label(self.job, self.take)

    @property
    def variants(self) -> str:
        """The name of the set that it stands in: one prompt and the same inputs, in one mode."""
        if not self.prompt:
            named: list[Any] = [self.batch, self.job]
        else:
            inputs = {
                name: value
                for name, value in self.parameters.items()
                if any(word in name for word in _INPUT_WORDS) and name != "num_images"
            }
            named = [self.batch, self.mode, self.prompt, inputs]
        text = json.dumps(named, sort_keys=True, default=str)
        return sha256(text.encode("utf-8", "replace")).hexdigest()[:12]

    @property
    def cost(self) -> str:
        """The cost as far as it is known, for people."""
        if self.exposed:
            return f"up to {format_usd(self.charged + self.exposed)}"
        if self.charged or self.state in (JobStatus.FAILED, JobStatus.CANCELLED):
            return format_usd(self.charged)
        waiting = self.state is JobStatus.WAITING
        return f"about {format_usd(self.estimate)}" if waiting else ""

    @property
    def next_step(self) -> str:
        """What happens next where there is no file, with the command that brings it about."""
        match self.state:
            case JobStatus.WAITING if self.held:
                return self.held
            case JobStatus.WAITING | JobStatus.DOWNLOADING:
                return "The next run takes it on: kling-batch run"
            case JobStatus.QUEUED | JobStatus.RENDERING:
                return "A run collects it when fal has finished: kling-batch run"
            case JobStatus.FAILED | JobStatus.CANCELLED:
                return f"To pay for another try: kling-batch retry {shlex.quote(self.label)}"
            case JobStatus.IN_DOUBT:
                return (
                    "fal may have accepted it and may bill it. To settle it: "
                    f"kling-batch resolve {shlex.quote(self.label)}"
                )
            case _:
                return ""


def entries_from(
    reader: Reader, *, tags: Mapping[JobKey, tuple[str, ...]] | None = None
) -> list[Entry]:
    """Every job under its present name, and every render that manifests asked for before.

    Args:
        reader: of a ledger, also while a run writes it.
        tags: those of the jobs, from their manifests; the ledger has none.
    """
    held = reader.files()
    made = _renditions(reader)
    base = str(reader.path.parent)
    judged = latest_verdicts(reader)
    tagged = tags or {}
    return _with_drafts(
        [
            _entry(
                row,
                tuple(
                    _media(file, base, made.get(file.path, ()))
                    for file in _chosen(held.get(row.attempt_id or 0, []), row.path)
                ),
                judged.get(row.job_key),
                tagged.get(row.job_key, ()),
            )
            for row in named_renders(reader)
        ]
    )


def _with_drafts(entries: list[Entry]) -> list[Entry]:
    """The same, each final with what it waits for."""
    drafts = {
        (entry.batch, final_id(entry.job), entry.take): entry
        for entry in entries
        if is_draft_id(entry.job) and not entry.superseded
    }
    if not drafts:
        return entries
    picked = {
        (batch, job)
        for (batch, job, _), draft in drafts.items()
        if draft.verdict and draft.verdict.verdict is Verdict.PICKED
    }
    return [
        replace(entry, held=_held(draft, (entry.batch, entry.job) in picked))
        if (draft := drafts.get((entry.batch, entry.job, entry.take)))
        else entry
        for entry in entries
    ]


def _held(draft: Entry, one_is_picked: bool) -> str:
    """What the final of a draft waits for."""
    verdict = draft.verdict.verdict if draft.verdict else Verdict.NONE
    if verdict is Verdict.REJECTED:
        return f"Not wanted: {draft.label} is rejected"
    if one_is_picked and verdict is not Verdict.PICKED:
        return "Not wanted: another take of its draft is picked"
    if verdict.approves:
        return "The next run pays for it: kling-batch run"
    return f"Waits for a verdict on {draft.label}: kling-batch review"


def _entry(
    row: NamedRender, media: tuple[Media, ...], verdict: VerdictRow | None, tags: tuple[str, ...]
) -> Entry:
    prompts = ("prompt", "multi_prompt")
    return Entry(
        batch=row.batch,
        job=row.job_id,
        take=row.take,
        key=row.job_key,
        attempt=row.attempt_id,
        state=status_of(row.state, row.remote_status),
        mode=row.mode,
        tier=row.tier,
        endpoint=row.endpoint,
        prompt=_prompt(row.arguments),
        parameters={name: v for name, v in row.arguments.items() if name not in prompts},
        parents=tuple(dict.fromkeys(_parents(row.arguments))),
        tags=tags,
        message=_message(row),
        charged=row.charged,
        exposed=row.exposed,
        estimate=row.estimate,
        attempts=row.attempts,
        media=media,
        request_id=row.request_id or "",
        at=(row.rendered_at or "")[:16].replace("T", " "),
        seconds=_seconds(row),
        superseded=row.retired,
        verdict=verdict,
    )


def _seconds(row: NamedRender) -> float | None:
    if row.submitted_at is None or row.rendered_at is None:
        return None
    taken = parse_time(row.rendered_at) - parse_time(row.submitted_at)
    return max(0.0, taken.total_seconds())


def _prompt(arguments: dict[str, Any]) -> str:
    """The prompt, or those of the shots, one a line."""
    if prompt := arguments.get("prompt"):
        return str(prompt)
    shots = arguments.get("multi_prompt") or []
    return "\n".join(str(shot.get("prompt", "")) for shot in shots if isinstance(shot, dict))


def _parents(value: Any) -> Iterator[JobKey]:
    """Keys of the jobs whose output stands in stored arguments."""
    if isinstance(value, dict):
        output = value.get("$output")
        if isinstance(output, list) and output:
            yield JobKey(str(output[0]))
        for each in value.values():
            yield from _parents(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parents(each)


def _message(row: NamedRender) -> str:
    status = status_of(row.state, row.remote_status)
    if row.state is State.SUBMITTING:
        return "sent to fal, no answer yet"
    match status:
        case JobStatus.FAILED if row.failure:
            return row.failure
        case JobStatus.CANCELLED if row.failure:
            return f"cancelled: {row.failure}"
        case JobStatus.IN_DOUBT if row.doubt:
            return row.doubt
        case _:
            return STATUSES[status].note


def _chosen(held: Sequence[File], template: str) -> list[File]:
    """One file for each output: under the manifest's name where there is one, else any other."""
    chosen: dict[int, tuple[tuple[bool, bool], File]] = {}
    for file in held:
        wanted = template.format(output=output_suffix(file.index), ext=file.ext)
        rank = (not f"/{file.path}".endswith(f"/{wanted}"), file.superseded)
        if file.index not in chosen or rank < chosen[file.index][0]:
            chosen[file.index] = (rank, file)
    return [file for _, (_, file) in sorted(chosen.items())]


def _renditions(reader: Reader) -> dict[str, list[RenditionRow]]:
    """What was made of each file, by its stored name."""
    made: dict[str, list[RenditionRow]] = {}
    for _, row in current_renditions(reader):
        if row.sha256 is not None:
            made.setdefault(row.source_path, []).append(row)
    return made


def _media(file: File, base: str, made: Sequence[RenditionRow]) -> Media:
    path = Path(os.path.normpath(f"{base}/{file.path}"))
    renditions = (
        Media(
            path=Path(os.path.normpath(f"{base}/{row.path}")),
            sha256=row.sha256 or "",
            kind=_kind(row.content_type or ""),
            content_type=row.content_type or "",
            size=row.size or 0,
        )
        for row in made
    )
    return Media(
        path=path,
        sha256=file.sha256,
        kind=_kind(file.content_type),
        content_type=file.content_type,
        size=file.size,
        missing=not path.is_file(),
        renditions=tuple(each for each in renditions if each.path.is_file()),
    )


def _kind(content_type: str) -> str:
    kind = content_type.partition("/")[0]
    return kind if kind in ("image", "video", "audio") else "file"
