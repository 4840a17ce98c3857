"""Data of the gallery page: entries as JSON that a page reads from its own text.

Foreign text is cleaned here once, and inside the page only ever set as text. Must not read files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from kling_batch.core.jobs import JobKey, awaited_job, is_unpicked
from kling_batch.core.text import clean
from kling_batch.core.verdicts import Verdict, VerdictRow
from kling_batch.report.gallery_entry import Entry, Media

#: A parameter that is longer is cut: a data URI as an input can have megabytes.
LONGEST_VALUE = 300


class Links(Protocol):
    """Where a page finds the files: beside itself, or on its server."""

    def file(self, media: Media) -> str:
        """The address of the file; empty: a browser cannot open it."""

    def poster(self, media: Media) -> str:
        """The address of its poster; empty: there is none."""


def as_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it closes the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    escaped = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return escaped.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def items_of(entries: Iterable[Entry], links: Links) -> list[dict[str, Any]]:
    """Every entry as the page reads it, those of one set of variants beside each other."""
    shown = list(entries)
    names: dict[JobKey, str] = {}
    for entry in shown:
        if not entry.superseded or entry.key not in names:
            names[entry.key] = entry.label
    return [_item(entry, variants, names, links) for entry, variants in _arranged(shown)]


def _arranged(entries: list[Entry]) -> list[tuple[Entry, str]]:
    """In their order, but variants together at the place of the first; with the set's name.

    All takes of a job are together, and so are the variants of any of them.
    """
    places: dict[str, int] = {}
    sets: dict[tuple[str, str], str] = {}
    named = []
    for entry in entries:
        job = (entry.batch, entry.job)
        variants = sets[job] if job in sets else sets.setdefault(job, entry.variants)
        places.setdefault(variants, len(places))
        named.append((entry, variants))
    return sorted(named, key=lambda each: (places[each[1]], each[0].superseded))


def _item(entry: Entry, variants: str, names: Mapping[JobKey, str], links: Links) -> dict[str, Any]:
    known = {
        "id": entry.id,
        "key": entry.key,
        "attempt": entry.attempt,
        "batch": clean(entry.batch),
        "job": clean(entry.job),
        "take": entry.take,
        "label": clean(entry.label),
        "state": entry.state.value,
        "mode": clean(entry.mode),
        "tier": clean(entry.tier),
        "model": entry.model,
        "endpoint": clean(entry.endpoint),
        "prompt": cleaned(entry.prompt),
        "parameters": {
            clean(name): shown_value(value, names) for name, value in entry.parameters.items()
        },
        "parents": [_source(key, names) for key in entry.parents],
        "tags": [clean(tag) for tag in entry.tags],
        "message": cleaned(entry.message),
        "next": clean(entry.next_step),
        "cost": entry.cost,
        "micro": int(entry.charged + entry.exposed),
        "attempts": entry.attempts,
        "request": clean(entry.request_id),
        "at": clean(entry.at),
        "seconds": entry.seconds,
        "older": entry.superseded,
        "variants": variants,
        "sound": _sound(entry),
        "media": [_file(media, links) for media in entry.media],
        "value": clean(entry.value),
        **verdict_fields(entry.verdict),
    }
    # What is empty is left out: a page of 2,000 entries is half as large.
    return {name: value for name, value in known.items() if value not in (None, "", [], {}, False)}


def _file(media: Media, links: Links) -> dict[str, Any]:
    known: dict[str, Any] = {"name": clean(media.name), "kind": media.kind}
    known["size"] = readable_size(media.size)
    if media.missing or not (url := links.file(media)):
        return known | {"missing": True}
    if media.changed:
        known["changed"] = True
    known["url"] = url
    if media.renditions:
        known["renditions"] = [_file(each, links) for each in media.renditions]
    if poster := links.poster(media):
        known["poster"] = poster
    return known


def verdict_fields(row: VerdictRow | None) -> dict[str, Any]:
    """The verdict of an entry."""
    if row is None:
        return {}
    return {
        "verdict": "" if row.verdict is Verdict.NONE else row.verdict.value,
        "note": cleaned(row.note),
        "author": clean(row.author),
        "judged": row.at[:16].replace("T", " "),
        "judgement": row.id,
    }


def cleaned(value: str) -> str:
    """Foreign text without control and bidi characters; line breaks stay."""
    return "\n".join(map(clean, value.splitlines())).strip()


def shown_value(value: Any, names: Mapping[JobKey, str]) -> str:
    """A parameter for people; the output of another job by the name of the job."""
    if isinstance(value, dict) and isinstance(output := value.get("$output"), list) and output:
        return f"output of {_source(JobKey(str(output[0])), names)}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = clean(text)
    return shown if len(shown) <= LONGEST_VALUE else f"{shown[:LONGEST_VALUE]}…"


def _sound(entry: Entry) -> str:
    """Whether its video has sound; empty: that depends on its inputs or its model."""
    wanted = entry.parameters.get("generate_audio")
    if wanted is True:
        return "with sound"
    return "silent" if wanted is False else ""


def _source(key: JobKey, names: Mapping[JobKey, str]) -> str:
    """The job whose output is used, by its name."""
    if is_unpicked(key):
        return clean(f"the picked take of {awaited_job(key)}")
    return clean(names.get(key, key))


def readable_size(size: int) -> str:
    """`812 kB`, `3.4 MB`."""
    if size < 1_000_000:
        return f"{max(1, round(size / 1000))} kB"
    return f"{size / 1e6:.1f} MB"
