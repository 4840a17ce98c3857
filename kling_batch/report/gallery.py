"""Gallery: every render of a ledger on one HTML page that needs no server and no network.

`entries_from` reads, `render_gallery` renders, `write_gallery` writes the page beside the files.
Works while a run is writing. Must not change the ledger, copy media or load anything from outside.
"""

from __future__ import annotations

import os
import shlex
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kling_batch.core.jobs import job_label, output_suffix
from kling_batch.core.lifecycle import STATUSES, JobStatus, State, status_of
from kling_batch.core.quantities import MicroUSD, format_usd
from kling_batch.core.records import File, NamedRender
from kling_batch.core.text import clean
from kling_batch.ledger.queries import named_renders, service_of
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import replace_file

PAGE = "gallery.html"

#: With more videos than this, browsers do not preload their metadata.
EAGER_VIDEOS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file as the page links to it."""

    #: Relative to the page, percent-encoded.
    url: str
    name: str
    #: `image`, `video`, `audio` or `file`.
    kind: str
    size: int = 0
    missing: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One render that a manifest asks for, or once asked for."""

    batch: str
    job: str
    take: int = 1
    state: JobStatus
    mode: str = ""
    tier: str = ""
    endpoint: str = ""
    prompt: str = ""
    #: Why there is no file yet.
    message: str = ""
    #: Owed for certain, possibly owed, and what an attempt should cost.
    charged: MicroUSD
    exposed: MicroUSD
    estimate: MicroUSD
    media: tuple[Media, ...] = ()
    request_id: str = ""
    #: When it was rendered.
    at: str = ""
    #: No longer what the manifest asks for.
    superseded: bool = False

    @property
    def label(self) -> str:
        """As `Job.label`."""
        return job_label(self.job, self.take)

    @property
    def resolve(self) -> str:
        """The command that settles it where it is in doubt."""
        return f"kling-batch resolve {shlex.quote(self.label)}"

    @property
    def cost(self) -> str:
        """The cost as far as it is known, for people."""
        if self.exposed:
            return f"up to {format_usd(self.charged + self.exposed)}"
        if self.charged or self.state in (JobStatus.FAILED, JobStatus.CANCELLED):
            return format_usd(self.charged)
        waiting = self.state is JobStatus.WAITING
        return f"about {format_usd(self.estimate)}" if waiting else ""


@dataclass(slots=True)
class Group:
    """All takes of a job, and what they replaced."""

    batch: str
    job: str
    takes: list[Entry] = field(default_factory=list)
    older: list[Entry] = field(default_factory=list)


# -- reading -----------------------------------------------------------------------------------


def entries_from(reader: Reader, output: Path) -> list[Entry]:
    """Every job under its present name, and every render that manifests asked for before.

    Args:
        reader: of a ledger, also while a run writes it.
        output: the folder of the page.
    """
    held = reader.files()
    base = reader.path.parent
    return [
        _entry(row, held.get(row.attempt_id or 0, []), base, output)
        for row in named_renders(reader)
    ]


def _entry(row: NamedRender, mine: Sequence[File], base: Path, output: Path) -> Entry:
    return Entry(
        batch=row.batch,
        job=row.job_id,
        take=row.take,
        state=status_of(row.state, row.remote_status),
        mode=row.mode,
        tier=row.tier,
        endpoint=row.endpoint,
        prompt=_prompt(row.arguments),
        message=_message(row),
        charged=row.charged,
        exposed=row.exposed,
        estimate=row.estimate,
        media=tuple(_media(f, base, output) for f in _chosen(mine, row.path)),
        request_id=row.request_id or "",
        at=(row.rendered_at or "")[:16].replace("T", " "),
        superseded=row.retired,
    )


def _prompt(arguments: dict[str, Any]) -> str:
    """The prompt, or those of the shots, one a line."""
    if prompt := arguments.get("prompt"):
        return str(prompt)
    shots = arguments.get("multi_prompt") or []
    return "\n".join(str(shot.get("prompt", "")) for shot in shots if isinstance(shot, dict))


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


def _media(file: File, base: Path, output: Path) -> Media:
    path = Path(os.path.normpath(base / file.path))
    kind = file.content_type.partition("/")[0]
    return Media(
        url=relative_url(path, output),
        name=path.name,
        kind=kind if kind in ("image", "video", "audio") else "file",
        size=file.size,
        missing=not path.is_file(),
    )


def relative_url(path: Path, folder: Path) -> str:
    """A percent-encoded URL of a file, relative to a page in `folder`."""
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_uri()  # on another drive
    return quote(os.fsencode(relative))


# -- rendering ---------------------------------------------------------------------------------


def render_gallery(
    entries: Iterable[Entry],
    *,
    title: str,
    total: MicroUSD | None = None,
    emulated: bool = False,
    written: str = "",
) -> str:
    """The page.

    Args:
        entries: in the order to show them; takes of a job stand together.
        title: heading and window title.
        total: what the ledger counts in all, where that is more than these entries.
        emulated: nothing was charged.
        written: the time of writing, as text.
    """
    shown = list(entries)
    groups = _grouped(shown)
    current = [entry for entry in shown if not entry.superseded]
    videos = sum(media.kind == "video" for entry in shown for media in entry.media)
    css, js = _part("gallery.css"), _part("gallery.js")
    return _template()(
        title=title,
        groups=groups,
        batches=list(dict.fromkeys(group.batch for group in groups)),
        states=_state_counts(current),
        number=len(current),
        total=format_usd(_sum(shown) if total is None else total),
        emulated=emulated,
        written=written,
        preload="metadata" if videos <= EAGER_VIDEOS else "none",
        css=css,
        js=js,
        css_hash=_digest(css),
        js_hash=_digest(js),
    )


def _state_counts(entries: Iterable[Entry]) -> dict[str, int]:
    """How many entries have each status, in the order of `JobStatus`."""
    found = Counter(entry.state for entry in entries)
    return {status.value: found[status] for status in JobStatus if found[status]}


def _grouped(entries: Iterable[Entry]) -> list[Group]:
    groups: dict[tuple[str, str], Group] = {}
    for entry in entries:
        group = groups.setdefault((entry.batch, entry.job), Group(entry.batch, entry.job))
        (group.older if entry.superseded else group.takes).append(entry)
    return list(groups.values())


def _sum(entries: Iterable[Entry]) -> int:
    return sum(entry.charged + entry.exposed for entry in entries)


@cache
def _part(name: str) -> str:
    return files("kling_batch").joinpath("report", "gallery_page", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Digest of a style or script, as the content security policy names it."""
    return b64encode(sha256(text.encode()).digest()).decode()


@cache
def _template() -> Callable[..., str]:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only for a page

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["bytes"] = readable_size
    environment.filters["text"] = _text
    return environment.from_string(_part("gallery.html.j2")).render


def readable_size(size: int) -> str:
    """`812 kB`, `3.4 MB`."""
    if size < 1_000_000:
        return f"{max(1, round(size / 1000))} kB"
    return f"{size / 1e6:.1f} MB"


def _text(value: str) -> str:
    """Foreign text without control and bidi characters; line breaks stay."""
    return "\n".join(map(clean, value.splitlines())).strip()


# -- writing -----------------------------------------------------------------------------------


def write_gallery(
    ledger: Path, output: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Path:
    """Write the page of a ledger into the output folder, whole or not at all; its path.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
        OSError: the folder cannot be written.
    """
    with Reader.open(ledger) as reader:
        entries = entries_from(reader, output)
        money = reader.money()
        service = service_of(reader)
    batches = dict.fromkeys(entry.batch for entry in entries)
    page = render_gallery(
        entries,
        title=", ".join(batches) or "Gallery",
        total=MicroUSD(money.charged + money.exposed),
        emulated=service == "emulator",
        written=f"{now().astimezone(UTC):%Y-%m-%d %H:%M} UTC",
    )
    target = output / PAGE
    replace_file(target, page)
    return target
