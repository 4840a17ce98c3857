"""Entry of the gallery: a render with its files, cost, verdict and next step, as a value. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from kling_batch.catalog.registry import by_id
from kling_batch.core.command_line import Command
from kling_batch.core.jobs import JobKey, job_label
from kling_batch.core.lifecycle import JobStatus
from kling_batch.core.locations import Location
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.ledger.commands import command_on
from kling_batch.settings import DEFAULT_OUTPUT, LEDGER_NAME

#: What an argument is called that names an input: jobs of one prompt and the same inputs are
#: variants of each other.
_INPUT_WORDS = ("url", "image", "video", "element")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file of a render."""

    path: Location
    sha256: str
    #: `image`, `video`, `audio` or `file`.
    kind: str
    content_type: str = ""
    size: int = 0
    missing: bool = False
    #: It is not the file that was saved: its size is another one.
    changed: bool = False
    #: What was made of it and is there.
    renditions: tuple[Media, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is there as it was saved."""
        return not self.missing and not self.changed

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
    #: What it waits for before it can begin, or why it is not wanted; empty: for a run only.
    held: str = ""
    #: Owed for certain, possibly owed, and what an attempt should cost.
    charged: MicroUSD
    exposed: MicroUSD
    estimate: MicroUSD
    attempts: int = 0
    media: tuple[Media, ...] = ()
    #: What it made in place of a file, such as the id of a voice.
    value: str = ""
    request_id: str = ""
    #: When it was rendered, and how many seconds after its submission.
    at: str = ""
    seconds: float | None = None
    #: No longer what the manifest asks for.
    superseded: bool = False
    verdict: VerdictRow | None = None
    #: The ledger that has it.
    ledger: Path = Path(DEFAULT_OUTPUT, LEDGER_NAME)

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
    def model(self) -> str:
        """Its model generation; empty: of an endpoint that the catalogue does not know."""
        known = by_id(self.endpoint)
        return known.model if known else ""

    @property
    def judged(self) -> Verdict:
        """The verdict that counts."""
        return self.verdict.verdict if self.verdict else Verdict.NONE

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

    def command(self, *words: str) -> Command:
        """A command about the ledger that has it."""
        return command_on(self.ledger, *words)

    @property
    def next_step(self) -> str:
        """What happens next where there is no file, with the command that brings it about."""
        match self.state:
            case JobStatus.WAITING if self.held:
                return self.held
            case JobStatus.WAITING | JobStatus.DOWNLOADING:
                return f"The next run takes it on: {self.command('run')}"
            case JobStatus.QUEUED | JobStatus.RENDERING:
                return f"A run collects it when fal has finished: {self.command('run')}"
            case JobStatus.FAILED | JobStatus.CANCELLED:
                return f"To pay for another try: {self.command('retry', self.label)}"
            case JobStatus.IN_DOUBT:
                return (
                    "fal may have accepted it and may bill it. To settle it: "
                    f"{self.command('resolve', self.label)}"
                )
            case _:
                return ""
