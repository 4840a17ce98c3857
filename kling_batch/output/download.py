"""Fetching a rendered file: streamed beside its final place, resumed, checked, made durable.

Ends with a complete temporary file in the target folder; giving it its name is `shelf.py`'s work.
A bad download is downloaded again and never rendered again. Carries no key. Must not know the
ledger.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol
from urllib.parse import unquote_to_bytes

import anyio
import httpx

from kling_batch.core.outcomes import Fetched, FetchOutcome, Gone, RemoteFile, Unfetched
from kling_batch.output.filetype import HEAD, Kind, looks_like_page, sniff, whole

#: Where no size is declared anywhere; a 15 s clip in 4k is far below.
MAX_SIZE = 8 * 1024**3
#: A line that brings less than this in that many seconds is dropped and taken up again: httpx's
#: own limit counts from byte to byte, and a drip would hold the job, and the run, for ever.
DRIP_BYTES, DRIP_SECONDS = 64 * 1024, 60.0
#: Left free on the disk: the ledger must be able to write down what happened.
SPARE = 64 * 1024**2
#: How often the free space is looked at while bytes come in; others write to the disk as well.
LOOK_BYTES = 4 * 1024**2


class Broken(Exception):  # noqa: N818 - a private signal, turned into `Unfetched` below
    """This try failed; `restart` says that what is on the disk is of no use."""

    def __init__(self, reason: str, *, restart: bool = False, outage: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart
        self.outage = outage


class Fetcher(Protocol):
    """What the engine asks for."""

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        """One try at having `file` whole at `temporary`."""


class Room:
    """The free space of the disks, shared by the downloads that run at once.

    Each alone would find room enough, and together they would fill the disk to its last block.
    """

    def __init__(self) -> None:
        #: What each growing file still needs, and on which disk.
        self._needs: dict[Path, tuple[int, int]] = {}

    def hold(self, temporary: Path, needed: int) -> None:
        """Set `needed` bytes aside for a file; raises `OSError` where the disk has not so many."""
        folder = temporary.parent
        disk = folder.stat().st_dev
        others = sum(n for path, (d, n) in self._needs.items() if d == disk and path != temporary)
        if needed + others + SPARE > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, "not enough room for the download", str(folder))
        self._needs[temporary] = disk, needed

    def used(self, temporary: Path, written: int) -> None:
        """So many of the bytes set aside are on the disk now."""
        disk, needed = self._needs[temporary]
        self._needs[temporary] = disk, max(0, needed - written)

    def release(self, temporary: Path) -> None:
        """The file grows no more."""
        self._needs.pop(temporary, None)


class Downloader:
    """Downloads over HTTPS and unpacks data URIs."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        """`http` must not carry the key: files are public to whoever has the URL."""
        self._http = http
        self._room = Room()
        #: Digests of files that fal's own size calls whole and their format does not.
        self._odd: dict[Path, str] = {}

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        """One try; what is already at `temporary` is continued by a Range request.

        Returns:
            `Fetched` with size, digest and format checked and the file synced; `Gone` on 404 and
            410; `Unfetched` for anything that another try may mend.
        """
        if temporary.is_symlink():
            temporary.unlink()  # not ours, and not to be written through
        try:
            if file.url.startswith("data:"):
                self._unpack(file.url, temporary)
            else:
                gone = await self._stream(file, temporary)
                if gone is not None:
                    return gone
            return self._checked(file, temporary)
        except Broken as error:
            if error.restart:
                temporary.unlink(missing_ok=True)
            return Unfetched(str(error), outage=error.outage)
        except httpx.HTTPError as error:
            return Unfetched(f"{type(error).__name__}: {error}", outage=True)
        except (httpx.InvalidURL, UnicodeError, ExceptionGroup):  # no host that can be, or no port
            return Unfetched("fal gave an unusable file address")
        except ssl.SSLError as error:  # an `OSError`, but not the disk's
            return Unfetched(f"{type(error).__name__}: {error}", outage=True)
        finally:
            self._room.release(temporary)

    def _unpack(self, uri: str, temporary: Path) -> None:
        data = _data_of(uri)
        self._room.hold(temporary, len(data))
        temporary.write_bytes(data)

    async def _stream(self, file: RemoteFile, temporary: Path) -> Gone | None:
        if not file.url.startswith("https://"):
            raise Broken("fal gave a file address that is not https; not fetched")
        have = temporary.stat().st_size if temporary.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        async with self._http.stream("GET", file.url, headers=headers) as answer:
            if answer.url.scheme != "https":
                raise Broken("the file address leads to a place that is not https; not fetched")
            if answer.status_code in (404, 410):
                return Gone(f"HTTP {answer.status_code}: the file is gone from fal's storage")
            if answer.status_code == 416:
                # What is here may be all there is: a run ended between the last byte and the name.
                if have and have == (_whole_size(answer) or file.size):
                    return None
                raise Broken("the server has nothing left to send", restart=True)
            if answer.status_code not in (200, 206):
                raise Broken(f"HTTP {answer.status_code} from the file server", outage=True)
            start = _start(answer, have)
            total = _total(answer, start)
            if None not in (total, file.size) and total != file.size:
                # Before room is made for it: one lie about gigabytes would stop everybody.
                raise Broken(f"the server declares {total} bytes, fal's result {file.size}")
            # As it comes: in larger pieces, what stands in the buffer would be lost with the line.
            await _append(answer.aiter_raw(), temporary, start, total or file.size, self._room)
        return None

    def _checked(self, file: RemoteFile, temporary: Path) -> Fetched:
        """Size, first bytes and frame; then the digest and the sync to disk."""
        with temporary.open("r+b") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(0)
            head = opened.read(HEAD)
            kind = sniff(head)
            _refuse(file, size, head, kind)
            digest = _digest(opened)
            if kind is not None and not whole(opened, kind):
                self._doubt(file, temporary, digest)
            # Durable before it gets its name: a name must never lead to a hole.
            os.fsync(opened.fileno())
        named = file.content_type or "application/octet-stream"
        ext, content_type = kind or (_named_ext(file), named)
        return Fetched(
            temporary=str(temporary), sha256=digest, size=size, ext=ext, content_type=content_type
        )

    def _doubt(self, file: RemoteFile, temporary: Path, digest: str) -> None:
        """Raise `Broken` for a file whose frame does not end with it, unless nothing is missing.

        fal's own size, and twice the very same content: something stands after the end that we do
        not know. It is paid for, and will not come any better.
        """
        if file.size is None or self._odd.get(temporary) != digest:
            self._odd[temporary] = digest
            raise Broken("the file is cut short, or has no proper end", restart=True)


def _start(answer: httpx.Response, have: int) -> int:
    """Where the body begins: at our offset, or at 0 where the server ignores Range."""
    if answer.status_code == 200:
        return 0
    stated = answer.headers.get("content-range", "")
    if not stated.startswith(f"bytes {have}-"):
        raise Broken(f"asked for bytes from {have}, got {stated or 'no range'}", restart=True)
    return have


def _total(answer: httpx.Response, start: int) -> int | None:
    """The whole file's size as this answer declares it."""
    if answer.status_code == 206 and (size := _whole_size(answer)) is not None:
        return size
    length = answer.headers.get("content-length", "")
    return start + int(length) if length.isdecimal() else None


def _whole_size(answer: httpx.Response) -> int | None:
    """The last part of `Content-Range`: how big the file is."""
    tail = answer.headers.get("content-range", "").rpartition("/")[2]
    return int(tail) if tail.isdecimal() else None


async def _append(
    chunks: AsyncIterator[bytes], temporary: Path, start: int, total: int | None, room: Room
) -> None:
    limit = total if total is not None else MAX_SIZE
    if limit > MAX_SIZE:
        raise Broken(f"the server declares {limit} bytes; nothing that fal makes is as large")
    # Before what is on the disk is touched: it stays, for a day with more room.
    room.hold(temporary, _ahead(total, start))
    with temporary.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        written = mark = looked = start
        since = anyio.current_time()
        async for chunk in chunks:
            written += len(chunk)
            if written > limit:
                raise Broken(f"more than the declared {limit} bytes came", restart=True)
            if written - looked >= LOOK_BYTES:
                room.hold(temporary, _ahead(total, written - len(chunk)))
                looked = written
            file.write(chunk)
            room.used(temporary, len(chunk))
            if (now := anyio.current_time()) - since >= DRIP_SECONDS:
                if written - mark < DRIP_BYTES:
                    raise Broken(f"only {written - mark} bytes came in {now - since:.0f} s")
                since, mark = now, written
    if total is not None and written != total:
        raise Broken(f"{written} of {total} bytes came")


def _ahead(total: int | None, written: int) -> int:
    """What is still to come, or the next stretch of a file that nobody knows the size of."""
    return LOOK_BYTES if total is None else max(0, total - written)


def _refuse(file: RemoteFile, size: int, head: bytes, kind: Kind | None) -> None:
    if size == 0:
        raise Broken("the file is empty", restart=True)
    if file.size is not None and size != file.size:
        # A server may cut the file and declare the cut length: fal's own figure decides.
        raise Broken(f"{size} bytes came where fal's result says {file.size}", restart=True)
    family = file.content_type.partition("/")[0]
    if kind is None and (family in ("image", "video") or looks_like_page(head)):
        raise Broken(f"this is no {file.content_type or 'media'} file", restart=True)
    if (
        kind is not None
        and family in ("image", "video")
        and not kind.content_type.startswith(family)
    ):
        raise Broken(f"{kind.content_type} came instead of {file.content_type}", restart=True)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = sha256()
    while block := file.read(1024 * 1024):
        digest.update(block)
    return digest.hexdigest()


def _named_ext(file: RemoteFile) -> str:
    """The extension fal's own name has, if it is a plain one."""
    name = file.name or file.url.partition("?")[0].rpartition("/")[2]
    ext = PurePosixPath(name).suffix.lower()
    return ext if 1 < len(ext) <= 6 and ext[1:].isalnum() and ext.isascii() else ".bin"


def _data_of(uri: str) -> bytes:
    """`sync_mode` results hold the file itself (docs/fal-api.md#images)."""
    header, comma, body = uri.partition(",")
    try:
        data = (
            base64.b64decode(body, validate=True)
            if header.endswith(";base64")
            else unquote_to_bytes(body)
        )
    except ValueError as error:  # also what is not ASCII, or no character at all
        raise Broken(f"the data URI is damaged: {error}", restart=True) from None
    if not comma:
        raise Broken("the data URI is damaged", restart=True)
    return data
