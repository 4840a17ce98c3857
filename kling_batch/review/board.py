"""State of a ledger as review pages see it: items with versions, and files by digest.

Pages ask for what has changed since a version. The ledger is read again only when its files have
changed. Must not know HTTP, and writes verdicts only.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from kling_batch.core.jobs import JobKey
from kling_batch.core.verdicts import TYPED_VERDICTS
from kling_batch.errors import KlingBatchError, UsageError
from kling_batch.ledger.database import log_of
from kling_batch.ledger.queries import service_of
from kling_batch.ledger.reader import Reader
from kling_batch.ledger.verdicts import record_verdict
from kling_batch.report.gallery import money_words, page_data, render_page, title_of
from kling_batch.report.gallery_data import items_of
from kling_batch.report.gallery_entries import entries_from
from kling_batch.report.gallery_entry import Entry, Media


class StaleError(KlingBatchError):
    """The verdict was about something that has changed since the page was drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict as a page sends it."""

    key: JobKey
    #: The typed word.
    verdict: str
    #: The render that the page showed.
    attempt: int
    #: The verdict that the page showed, by its number; 0: none.
    expected: int = 0
    #: The version that the page has.
    since: int = 0
    note: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class ServedLinks:
    """Addresses of files on the review server."""

    token: str

    def file(self, media: Media) -> str:
        """The address of the file."""
        return f"file/{media.sha256}/{quote(os.fsencode(media.name), safe='')}?{self._query}"

    def poster(self, media: Media) -> str:
        """The address of its poster, which is made when it is asked for."""
        has_one = media.kind in ("image", "video")
        return f"poster/{media.sha256}.jpg?{self._query}" if has_one else ""

    @property
    def _query(self) -> str:
        return urlencode({"token": self.token})


class Board:
    """What a ledger holds, by version; `refresh` before anything else is asked."""

    def __init__(
        self, ledger: Path, token: str, tags: Mapping[JobKey, tuple[str, ...]] | None = None
    ) -> None:
        """Of a ledger that is there; nothing is read yet."""
        self.ledger = ledger
        self.files: dict[str, Media] = {}
        self.version = 0
        #: Tells one server, whose versions begin anew, from the one before.
        self.epoch = secrets.token_hex(4)
        self._links = ServedLinks(token)
        self._tags = tags
        self._signature: object = None
        self._entries: list[Entry] = []
        self._items: dict[str, tuple[int, dict[str, Any]]] = {}
        self._order: list[str] = []
        self._ordered_at = 0
        self._total = ""
        self._emulated = False

    # -- reading -------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read the ledger where it has changed.

        Raises:
            LedgerError: it is gone, damaged, or cannot be read.
        """
        signature = self._look()
        if signature != self._signature or signature is None:
            self._read()
            self._signature = signature

    def _look(self) -> object:
        """Sizes and times of the ledger and its log; None where they cannot be had."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self.ledger, log_of(self.ledger)):
            try:
                status = path.stat()
            except FileNotFoundError:
                found.append(None)
            except OSError:
                return None
            else:
                found.append((status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def _read(self) -> None:
        with Reader.open(self.ledger) as reader:
            self._entries = entries_from(reader, tags=self._tags)
            money = reader.money()
            self._emulated = service_of(reader) == "emulator"
        self._total = money_words(money, emulated=self._emulated)
        items = items_of(self._entries, self._links)
        order = [item["id"] for item in items]
        version = self.version + 1
        before, changed = self._items, order != self._order
        self._items = {}
        for item in items:
            known = before.get(item["id"])
            same = known is not None and known[1] == item
            self._items[item["id"]] = known if known and same else (version, item)
            changed = changed or not same
        if order != self._order:
            self._order, self._ordered_at = order, version
        self.files = {
            each.sha256: each
            for entry in self._entries
            for media in entry.media
            for each in (*media.renditions, media)
            if not each.missing
        }
        if changed or not self.version:
            self.version = version

    # -- answers -------------------------------------------------------------------------------

    def page(self, author: str) -> str:
        """The page as of the last refresh."""
        reason = self.why_read_only()
        served = {
            "version": self.version,
            "epoch": self.epoch,
            "author": author,
            "can_write": not reason,
            "reason": reason,
        }
        return render_page(
            page_data(
                [self._items[name][1] for name in self._order],
                ledger=self.ledger,
                title=title_of(self._entries),
                total=self._total,
                emulated=self._emulated,
                served=served,
            )
        )

    def news(self, since: int, epoch: str) -> dict[str, Any]:
        """What has changed since a version, as of the last refresh."""
        base: dict[str, Any] = {"version": self.version, "epoch": self.epoch}
        if epoch != self.epoch or since >= self.version:
            return base
        changed = [self._items[name] for name in self._order]
        base["items"] = [item for version, item in changed if version > since]
        base["total"] = self._total
        if self._ordered_at > since:
            base["order"] = self._order
        return base

    def why_read_only(self) -> str:
        """Why no verdict can be recorded; empty: they can."""
        if all(os.access(path, os.W_OK) for path in (self.ledger, self.ledger.resolve().parent)):
            return ""
        return (
            f"You may look, but not judge: you have no right to write {self.ledger}. Ask its "
            "owner for write permission on the file and its folder"
        )

    # -- verdicts ------------------------------------------------------------------------------

    def judge(self, judgement: Judgement, at: datetime) -> None:
        """Record a verdict, and read the ledger again.

        Raises:
            StaleError: render or verdict are not those that the page showed.
            UsageError: nothing to judge, an unknown word, a note that is too long.
            LedgerError: the ledger cannot be written.
        """
        if judgement.verdict not in TYPED_VERDICTS:
            words = ", ".join(TYPED_VERDICTS)
            raise UsageError(f"{judgement.verdict!r} is no verdict; there are {words}")
        self.refresh()
        shown = [entry for entry in self._entries if entry.key == judgement.key]
        current = [entry for entry in shown if not entry.superseded]
        if not shown:
            raise StaleError("this render is no longer in the ledger; nothing was recorded")
        entry = (current or shown)[0]
        if entry.attempt != judgement.attempt:
            raise StaleError(
                f"{entry.label} has been rendered anew since, so nothing was recorded; "
                "the page shows the new one now"
            )
        known = entry.verdict.id if entry.verdict else 0
        if known != judgement.expected:
            who = (entry.verdict and entry.verdict.author) or "somebody"
            raise StaleError(
                f"{who} has judged {entry.label} meanwhile, so nothing was recorded; "
                "judge it again where you see it otherwise"
            )
        record_verdict(
            self.ledger,
            judgement.key,
            TYPED_VERDICTS[judgement.verdict],
            judgement.note,
            judgement.author,
            at=at,
        )
        self._signature = None
        self.refresh()
