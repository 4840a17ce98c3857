"""Download of a rendered file: streamed, resumed, verified, synced.

Ends with a complete temporary file in the target folder; `store.py` gives it its final name. A bad
download is downloaded again and never rendered again. Sends no key. Must not know the ledger.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path, PurePosixPath
from stat import S_ISLNK
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

import anyio

from kling_batch.core.outcomes import Fetched, FetchOutcome, Gone, RemoteFile, Unfetched
from kling_batch.core.text import with_certificate_hint
from kling_batch.output.blocks import BLOCK, Block, Blocks
from kling_batch.output.files import SPARE
from kling_batch.output.filetype import FileBytes, Kind, looks_like_page, sniff, whole
from kling_batch.output.part_file import PartFile
from kling_batch.output.part_origin import PartOrigins, validator
from kling_batch.output.worker import FileWorker, InLoop
from kling_batch.wire.protocol import AddressError, Reply, Request, Wire, WireError

#: Limit where no size is declared; a 15 s clip in 4k is far below.
MAX_SIZE = 8 * 1024**3
#: A connection that brings fewer bytes than this in that many seconds is closed and resumed:
#: a wire's timeout counts from byte to byte, and a trickle would hold the run for ever.
DRIP_BYTES, DRIP_SECONDS = 64 * 1024, 60.0
#: Bytes between checks of the free space; other programs write to the disk as well.
LOOK_BYTES = 4 * 1024**2


class Broken(Exception):  # noqa: N818 - a private signal, turned into `Unfetched` below
    """This try failed; `restart`: the bytes on the disk are useless."""

    def __init__(self, reason: str, *, restart: bool = False, outage: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart
        self.outage = outage


class Fetcher(Protocol):
    """Downloader, as the engine needs it."""

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        """Try once to download `file` completely to `temporary`."""


class Room:
    """Reservations of disk space by the downloads that run at once.

    Each alone would find room enough; together they would fill the disk.
    """

    def __init__(self) -> None:
        #: Disk and bytes still needed of each growing file.
        self._needs: dict[Path, tuple[int, int]] = {}

    def hold(self, temporary: Path, needed: int) -> None:
        """Reserve `needed` bytes for a file; raises `OSError` where the disk has fewer."""
        folder = temporary.parent
        disk = folder.stat().st_dev
        others = sum(n for path, (d, n) in self._needs.items() if d == disk and path != temporary)
        if needed + others + SPARE > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, "not enough room for the download", str(folder))
        self._needs[temporary] = disk, needed

    def used(self, temporary: Path, written: int) -> None:
        """Count written bytes against the reservation."""
        disk, needed = self._needs[temporary]
        self._needs[temporary] = disk, max(0, needed - written)

    def release(self, temporary: Path) -> None:
        """End the reservation of a file that grows no more."""
        self._needs.pop(temporary, None)


class Downloader:
    """Downloads over HTTPS and unpacks data URIs."""

    def __init__(
        self, wire: Wire, worker: FileWorker | None = None, *, cached: bool = False
    ) -> None:
        """`wire` must not carry the key: files are public to whoever has the URL.

        `worker` writes, hashes and syncs; without one the loop does. `cached`: what comes is read
        again soon, by a store or a rendition, and should be in memory then.
        """
        self._wire = wire
        self._worker = worker or InLoop()
        self._cached = cached
        self._room = Room()
        self._blocks = Blocks()
        self._origins = PartOrigins()
        #: Digests of complete downloads that do not look like what fal's result describes.
        self._doubted: dict[Path, str] = {}

    async def fetch(self, file: RemoteFile, temporary: Path) -> FetchOutcome:
        """One try; what is already at `temporary` is continued by a Range request.

        Only of the same content: where another one lies there by now, it begins anew.

        Returns:
            `Fetched` with size, digest and format checked and the file synced; `Gone` on 404 and
            410; `Unfetched` for anything that another try may mend.
        """
        with self._blocks.one() as block:
            return await self._fetch(file, temporary, block)

    async def _fetch(self, file: RemoteFile, temporary: Path, block: Block) -> FetchOutcome:
        have = _bytes_at(temporary)
        part = PartFile(temporary, block, cached=self._cached)
        try:
            if file.url.startswith("data:"):
                self._unpack(file.url, part)
            else:
                gone = await self._stream(file, part, have, block)
                if gone is not None:
                    return gone
            return await self._worker.run(self._checked, file, part)
        except Broken as error:
            if error.restart:
                part.discard()
                self._origins.over(temporary)
            return Unfetched(str(error), outage=error.outage)
        except AddressError:
            return Unfetched("fal gave an unusable file address")
        except WireError as error:
            return Unfetched(with_certificate_hint(str(error)), outage=True)
        finally:
            self._room.release(temporary)
            part.close()
            self._origins.broken_off(temporary)

    def _unpack(self, uri: str, part: PartFile) -> None:
        data = _data_of(uri)
        self._room.hold(part.path, len(data))
        part.begin(0)
        part.add(data)

    async def _stream(
        self, file: RemoteFile, part: PartFile, have: int, block: Block
    ) -> Gone | None:
        if not file.url.startswith("https://"):
            raise Broken("fal gave a file address that is not https; not fetched")
        origin = self._origins.of(part.path) if have else ""
        headers = {"Range": f"bytes={have}-"} if have else {}
        if origin:
            headers["If-Range"] = origin
        async with self._wire.send(Request("GET", file.url, headers, raw=True)) as answer:
            if answer.status in (404, 410):
                return Gone(f"HTTP {answer.status}: the file is gone from fal's storage")
            if answer.status not in (200, 206, 416):
                raise Broken(f"HTTP {answer.status} from the file server", outage=True)
            start = _start(answer, have, file.size)
            if start == 0:
                self._origins.begin(part.path, answer.headers)
            elif _differs(answer, origin):
                raise Broken("what is here may be of another file; from its start", restart=True)
            if answer.status != 416:
                sizes = Sizes(_total(answer, start), file.size)
                part.begin(start)
                # In pieces as they come: a buffer would be lost with the connection.
                async with aclosing(answer.chunks(block.after)) as chunks:
                    await self._receive(chunks, part, start, sizes)
        return None

    async def _receive(
        self, chunks: AsyncIterator[bytes | memoryview], part: PartFile, start: int, sizes: Sizes
    ) -> None:
        """Write the body; what came of it stays where it breaks off."""
        limit = sizes.limit
        if limit > MAX_SIZE:
            raise Broken(f"the server declares {limit} bytes; nothing that fal makes is as large")
        # Before the bytes on the disk are touched: they stay for when there is more room.
        self._room.hold(part.path, _ahead(sizes.agreed, start))
        written = mark = looked = start
        since = anyio.current_time()
        async for chunk in chunks:
            size = len(chunk)
            written += size
            if written > limit:
                raise Broken(f"more than the declared {limit} bytes came", restart=True)
            if written - looked >= LOOK_BYTES:
                # What is not written yet needs its room, too.
                self._room.hold(part.path, part.buffered + _ahead(sizes.agreed, written - size))
                looked = written
            part.add(chunk)
            # What is lent changes with the next piece; after the last one there is none.
            lent = isinstance(chunk, memoryview) and written < limit
            del chunk  # the file lets go of it, too, once it is written
            if lent or part.buffered >= BLOCK:
                await self._flush(part)
            if (now := anyio.current_time()) - since >= DRIP_SECONDS:
                if written - mark < DRIP_BYTES:
                    raise Broken(f"only {written - mark} bytes came in {now - since:.0f} s")
                since, mark = now, written
        # Where the server states no size, fewer bytes than fal states may be a connection that was
        # cut.
        wanted = sizes.server if sizes.server is not None else max(written, sizes.fal or 0)
        if written != wanted:
            raise Broken(f"{written} of {wanted} bytes came")

    async def _flush(self, part: PartFile) -> None:
        size = part.buffered
        await self._worker.run(part.flush)
        self._room.used(part.path, size)

    def _checked(self, file: RemoteFile, part: PartFile) -> Fetched:
        """Check what came against what fal's result describes, and sync it to the disk.

        One rule for size, kind and end: what differs is downloaded again from the start, and a
        second complete download of the same content is the file. It is paid for, fal's metadata or
        our idea of the format is wrong, and a third download would not differ.
        """
        opened, digest = part.complete()
        content = FileBytes(opened)
        size, head = content.size, content.head
        kind = sniff(head)
        if size == 0:
            raise Broken("the file is empty", restart=True)
        if kind is None and (_is_media(file) or looks_like_page(head)):
            # No picture and no clip, however often it comes.
            raise Broken(f"this is no {file.content_type or 'media'} file", restart=True)
        doubt = _difference(file, size, kind)
        if not doubt and kind is not None and not whole(content, kind):
            doubt = "the file is cut short, or has no proper end"
        if doubt and self._doubted.get(part.path) != digest:
            self._doubted[part.path] = digest
            raise Broken(doubt, restart=True)
        # Durable before it gets its name: a final name never shows half a file.
        part.sync()
        part.close()  # here, not in the loop
        self._origins.over(part.path)
        named = file.content_type or "application/octet-stream"
        ext, content_type = kind or (_named_ext(file), named)
        return Fetched(
            temporary=str(part.path),
            sha256=digest,
            size=size,
            ext=ext,
            content_type=content_type,
        )


def _bytes_at(temporary: Path) -> int:
    """The size of what an earlier try left."""
    try:
        status = os.lstat(temporary)
    except FileNotFoundError:
        return 0
    if S_ISLNK(status.st_mode):
        temporary.unlink()  # not ours, and must not be written through
        return 0
    return status.st_size


def _start(answer: Reply, have: int, size: int | None) -> int:
    """The offset of the body: ours, or 0 where the server ignores Range.

    A 416 has none: the file may be complete, where an earlier run ended after its last byte.
    """
    if answer.status == 200:
        return 0
    if answer.status == 416:
        if have and have == (_whole_size(answer) or size):
            return have
        raise Broken("the server has nothing left to send", restart=True)
    stated = answer.headers.get("content-range", "")
    if not stated.startswith(f"bytes {have}-"):
        raise Broken(f"asked for bytes from {have}, got {stated or 'no range'}", restart=True)
    return have


def _differs(answer: Reply, origin: str | None) -> bool:
    """Whether the rest may be of another content than the first bytes, whose origin it is.

    A server may ignore `If-Range`. Where it tells contents apart and it is not known what the first
    bytes are of, they may be anything; where it tells nothing, there is nothing to go by.
    """
    theirs = validator(answer.headers)
    return theirs != "" and origin not in ("", theirs)


def _total(answer: Reply, start: int) -> int | None:
    """The size of the whole file as this answer declares it."""
    length = _count(answer.headers.get("content-length", ""))
    end = None if length is None else start + length
    if answer.status == 206 and (size := _whole_size(answer)) is not None:
        if end is not None and end > size:  # its last piece would not be the last that is lent
            raise Broken(f"{end} bytes are announced of a file of {size}", restart=True)
        return size
    return end


def _whole_size(answer: Reply) -> int | None:
    """The size of the whole file in `Content-Range`."""
    return _count(answer.headers.get("content-range", "").rpartition("/")[2])


def _count(text: str) -> int | None:
    """A count of bytes; None where it is none, or has more digits than any."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


_MOST_DIGITS = 30


class Sizes(NamedTuple):
    """Sizes of a file as they are stated; each may be missing or wrong."""

    #: By the server that sends it.
    server: int | None
    #: By fal's result.
    fal: int | None

    @property
    def limit(self) -> int:
        """More bytes than this are not taken."""
        if self.server is not None:
            return self.server
        return MAX_SIZE if self.fal is None else min(MAX_SIZE, 2 * self.fal + LOOK_BYTES)

    @property
    def agreed(self) -> int | None:
        """The size for which space is reserved; None where the two differ.

        One wrong size of gigabytes would stop all downloads.
        """
        stated = {size for size in self if size is not None}
        return stated.pop() if len(stated) == 1 else None


def _ahead(total: int | None, written: int) -> int:
    """Bytes still to come, or those until the next check where the size is unknown."""
    return LOOK_BYTES if total is None else max(0, total - written)


def _is_media(file: RemoteFile) -> bool:
    return file.content_type.partition("/")[0] in ("image", "video")


def _difference(file: RemoteFile, size: int, kind: Kind | None) -> str:
    """How this file differs from what fal's result describes; empty where it does not."""
    if file.size is not None and size != file.size:
        return f"{size} bytes came where fal's result says {file.size}"
    family = file.content_type.partition("/")[0]
    if kind is not None and _is_media(file) and not kind.content_type.startswith(family):
        return f"{kind.content_type} came instead of {file.content_type}"
    return ""


def _named_ext(file: RemoteFile) -> str:
    """The extension of fal's own name, if it is a plain one."""
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
