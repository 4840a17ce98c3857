"""Gallery: every render of a ledger on one HTML page that needs no server and no network.

`render_page` renders, `write_gallery` writes the page beside the files. The page draws itself from
data in its own text, so that 2,000 renders cost a browser no more than those in sight. Must not
change the ledger, copy media or load anything from outside.
"""

from __future__ import annotations

import os
import posixpath
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from kling_batch.core.jobs import JobKey
from kling_batch.core.locations import Location, ObjectAddress
from kling_batch.core.quantities import format_usd
from kling_batch.core.records import Money
from kling_batch.core.text import clean
from kling_batch.ledger.commands import command_on
from kling_batch.ledger.queries import service_of
from kling_batch.ledger.reader import Reader
from kling_batch.output.files import replace_file
from kling_batch.output.store import signed, write_object
from kling_batch.report.costs import totals
from kling_batch.report.gallery_data import as_json, items_of
from kling_batch.report.gallery_entries import entries_from
from kling_batch.report.gallery_entry import Entry, Media
from kling_batch.report.posters import FOLDER as POSTERS
from kling_batch.report.posters import make_posters, poster_name, poster_path

PAGE = "gallery.html"
#: So many batches are named in the heading.
LONGEST_TITLE = 4
#: Seconds for which links into a store are valid: a week, the longest that S3 signs.
LINKS_LAST = 7 * 86400


@dataclass(frozen=True, slots=True)
class RelativeLinks:
    """Addresses relative to a page in a folder: the folder can be moved with its files."""

    folder: Location
    #: Digests of the files that have a poster.
    posters: Collection[str] = ()
    #: Seconds for which links into stores are valid.
    expires: int = LINKS_LAST

    def file(self, media: Media) -> str:
        """The address of the file; into a store, one that is signed, unless the page lies there."""
        if isinstance(media.path, Path):
            return relative_url(media.path, self.folder) if isinstance(self.folder, Path) else ""
        inside = isinstance(self.folder, ObjectAddress) and self.folder.root == media.path.root
        if inside:
            return quote(posixpath.relpath(media.path.url, str(self.folder)))
        return signed(media.path, self.expires) or ""

    def poster(self, media: Media) -> str:
        """The address of its poster; empty: there is none."""
        if media.sha256 not in self.posters:
            return ""
        return quote(f"{POSTERS}/{poster_name(media.sha256)}")


def relative_url(path: Path, folder: Path) -> str:
    """A percent-encoded URL of a file, relative to a page in `folder`."""
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.absolute().as_uri()  # on another drive
    return quote(os.fsencode(relative))


# -- the page ----------------------------------------------------------------------------------


def page_data(
    items: list[dict[str, Any]],
    *,
    ledger: Path,
    title: str,
    total: str,
    emulated: bool = False,
    written: str = "",
    served: Mapping[str, Any] | None = None,
    origins: Sequence[str] = (),
) -> dict[str, Any]:
    """What the page draws itself from.

    Args:
        items: as `items_of` gives them.
        ledger: is named in the commands that the page proposes.
        title: heading and window title.
        total: the money of the ledger, as `money_words` says it.
        emulated: nothing was charged.
        written: the time of writing, as text.
        served: what the page needs to know of the server that takes its verdicts; None: a file.
        origins: of the stores whose files it shows.
    """
    return {
        "title": clean(title),
        "total": total,
        "emulated": emulated,
        "written": written,
        "served": served,
        "commands": _commands(ledger),
        **({"origins": list(origins)} if origins else {}),
        "items": items,
    }


def _commands(ledger: Path) -> dict[str, str]:
    """What the page tells people to type, by the name that it has in the script."""
    words = {"run": ["run"], "review": ["review"], "verify": ["verify"]}
    words["repair"] = ["verify", "--repair"]
    return {name: str(command_on(ledger, *each)) for name, each in words.items()}


def money_words(money: Money, *, emulated: bool) -> str:
    """What the renders of a ledger cost, as `status` says it."""
    if emulated or money.exposed:
        return totals(money, emulated=emulated)
    return f"charged {format_usd(money.charged)}"


def render_page(data: Mapping[str, Any]) -> str:
    """The page of `page_data`."""
    css, js = _part("gallery.css"), _script()
    return _template()(
        data=as_json(data),
        title=data["title"],
        items=data["items"],
        total=data["total"],
        written=data["written"],
        css=css,
        js=js,
        policy=policy(served=bool(data["served"]), origins=data.get("origins", ())),
    )


def policy(*, served: bool, origins: Sequence[str] = ()) -> str:
    """The content security policy: this style, this script, files beside the page, no more.

    `origins`: of the stores whose files the page shows.
    """
    here = " ".join(["'self'" if served else "'self' file:", *origins])
    parts = [
        "default-src 'none'",
        f"img-src {here} data:",
        f"media-src {here}",
        f"style-src 'sha256-{_digest(_part('gallery.css'))}'",
        f"script-src 'sha256-{_digest(_script())}'",
        *(["connect-src 'self'"] if served else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(parts)


#: The script in its parts, in the order in which they stand in the page.
SCRIPTS = ("items.js", "filters.js", "cards.js", "viewer.js", "review.js", "page.js")


@cache
def _script() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(map(_part, SCRIPTS)) + "})();\n"


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
    return environment.from_string(_part("gallery.html.j2")).render


# -- writing -----------------------------------------------------------------------------------


def title_of(entries: Iterable[Entry]) -> str:
    """The batches of the entries, as a heading."""
    names = [*dict.fromkeys(entry.batch for entry in entries)]
    more = f" and {len(names) - LONGEST_TITLE} more" if len(names) > LONGEST_TITLE else ""
    return ", ".join(names[:LONGEST_TITLE]) + more or "Gallery"


def write_gallery(
    ledger: Path,
    output: Location,
    *,
    expires: int = LINKS_LAST,
    tags: Mapping[JobKey, tuple[str, ...]] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Location:
    """Write the page of a ledger into a folder or a store, whole or not at all; where it is.

    Posters that are missing are made first, into a folder beside it. Links into a store are signed
    for `expires` seconds, but for those of a page that lies in the same store.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
        OSError: the folder cannot be written.
    """
    with Reader.open(ledger) as reader:
        entries = entries_from(reader, tags=tags)
        money = reader.money()
        service = service_of(reader)
    held = [media for entry in entries for media in entry.media if media.is_whole]
    local = output if isinstance(output, Path) else ledger.parent
    posters = make_posters(local, ((m.sha256, m.path, m.kind) for m in held), on_progress)
    items = items_of(entries, RelativeLinks(output, posters, expires))
    page = render_page(
        page_data(
            items,
            ledger=ledger,
            title=title_of(entries),
            total=money_words(money, emulated=service == "emulator"),
            emulated=service == "emulator",
            origins=_origins(items),
            written=f"{now().astimezone(UTC):%Y-%m-%d %H:%M} UTC",
        )
    )
    if isinstance(output, Path):
        replace_file(output / PAGE, page)
        return output / PAGE
    for digest in sorted(posters):
        poster = poster_path(local, digest)
        write_object(output / f"{POSTERS}/{poster.name}", poster.read_bytes())
    write_object(output / PAGE, page.encode())
    return output / PAGE


def _origins(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """The origins of the links that lead away from the page."""
    links = (str(media.get("url", "")) for item in items for media in item.get("media", ()))
    parts = (urlsplit(link) for link in links if "://" in link)
    return sorted({f"{part.scheme}://{part.netloc}" for part in parts if part.scheme != "file"})
