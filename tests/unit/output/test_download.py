"""Fetching files over real sockets: whatever a server does, no half file passes for a paid one."""

from __future__ import annotations

import base64
import errno
import os
import shutil
import ssl
import struct
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sockets import Exchange, refused_port, serving
from support.wires import KINDS, Impatient, WireKind, in_process, on_sockets, straight

from kling_batch.core.outcomes import Fetched, Gone, RemoteFile, Unfetched
from kling_batch.fal.transport import connections
from kling_batch.output import blocks
from kling_batch.output.download import LOOK_BYTES, SPARE, Downloader, Room
from kling_batch.output.filetype import FileBytes, Kind, looks_like_page, sniff, whole
from kling_batch.wire.environment import trusted
from kling_batch.wire.protocol import Memory, Reply, Request, WireError

URL = "https://v3b.fal.media/files/b/0a/out.mp4?sig=secret"


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, name) + body


MP4 = (
    box(b"ftyp", b"isom\0\0\2\0isomiso2")
    + box(b"moov", b"m" * 300)
    + box(b"mdat", bytes(range(256)) * 4000)  # long: most of it comes past aiohttp's parser
)
PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 500 + b"\0\0\0\0IEND\xaeB`\x82"
JPG = b"\xff\xd8\xff\xe0" + b"j" * 500 + b"\xff\xd9"
HTML = b"<!doctype html><title>Maintenance</title>" + b"x" * len(MP4)
HALF = len(MP4) // 2


def video(**facts: Any) -> RemoteFile:
    known: dict[str, Any] = {"url": URL, "content_type": "video/mp4", "size": len(MP4)}
    return RemoteFile(**(known | facts))


Handler = Callable[[Exchange], None]


def fetch(
    handler: Handler,
    folder: Path,
    file: RemoteFile | None = None,
    *,
    have: bytes = b"",
    kind: WireKind = "aiohttp",
    url: str = "",
    patience: float = 30,
) -> tuple[Any, list[Exchange], Path]:
    """One try through a server; the outcome, what the server saw, and the temporary file."""
    temporary = folder / ".abc-0.part"
    if have:
        temporary.write_bytes(have)
    with serving(handler) as server:

        async def main() -> Any:
            async with (
                on_sockets(url or server.url, kind) as wire,
                connections("Key a:secret", wire=Impatient(wire, patience)) as (_, files),
            ):
                return await Downloader(files).fetch(file or video(), temporary)

        outcome = anyio.run(main)
    return outcome, server.requests, temporary


def good(body: bytes = MP4, content_type: str = "video/mp4") -> Handler:
    """A server that knows ranges."""

    def handle(exchange: Exchange) -> None:
        start = exchange.headers.get("range", "").removeprefix("bytes=").removesuffix("-")
        if not start:
            exchange.answer(200, body, Content_Type=content_type)
        elif int(start) >= len(body):
            exchange.answer(416, Content_Range=f"bytes */{len(body)}")
        else:
            stated = f"bytes {start}-{len(body) - 1}/{len(body)}"
            exchange.answer(206, body[int(start) :], Content_Range=stated)

    return handle


def fetched(outcome: Any, temporary: Path, body: bytes = MP4) -> Fetched:
    assert isinstance(outcome, Fetched), outcome
    assert temporary.read_bytes() == body
    assert outcome.temporary == str(temporary)
    assert (outcome.size, outcome.sha256) == (len(body), sha256(body).hexdigest())
    return outcome


# -- good servers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [len(MP4), None])
def test_a_whole_file_is_fetched_and_reported_by_its_digest(
    tmp_path: Path, kind: WireKind, size: int | None
) -> None:
    outcome, (request,), temporary = fetch(good(), tmp_path, video(size=size), kind=kind)

    assert fetched(outcome, temporary).ext == ".mp4"
    assert request.line == "GET /v3b.fal.media/files/b/0a/out.mp4?sig=secret HTTP/1.1"
    assert "range" not in request.headers


def test_the_key_is_not_shown_to_the_file_server(tmp_path: Path) -> None:
    _, (request,), _ = fetch(good(), tmp_path)

    assert "authorization" not in request.headers
    assert "secret" not in str(request.headers)


@pytest.mark.parametrize("have", [1, HALF, len(MP4) - 1])
def test_what_is_here_is_not_fetched_again(tmp_path: Path, have: int) -> None:
    outcome, (request,), temporary = fetch(good(), tmp_path, have=MP4[:have])

    fetched(outcome, temporary)
    assert request.headers["range"] == f"bytes={have}-"


@pytest.mark.parametrize("size", [len(MP4), None])
def test_a_file_that_lacks_only_its_name_is_done(tmp_path: Path, size: int | None) -> None:
    """The last run died between the last byte and the rename."""
    outcome, _, temporary = fetch(good(), tmp_path, video(size=size), have=MP4)

    fetched(outcome, temporary)


def test_a_416_that_names_no_size_is_believed_only_with_fals_own_size(tmp_path: Path) -> None:
    def bare(exchange: Exchange) -> None:
        exchange.answer(416)

    outcome, _, temporary = fetch(bare, tmp_path, have=MP4)
    fetched(outcome, temporary)

    outcome, _, temporary = fetch(bare, tmp_path, video(size=None), have=MP4)
    assert isinstance(outcome, Unfetched)
    assert not temporary.exists()


@pytest.mark.parametrize("have", [MP4 + b"more", MP4[:-1] + b"?", b"?" * len(MP4)])
def test_what_is_here_and_wrong_is_thrown_away(tmp_path: Path, have: bytes) -> None:
    outcome, _, temporary = fetch(good(), tmp_path, have=have)

    if isinstance(outcome, Fetched):  # same length and frame: only the content differs
        assert have[:8] == MP4[:8]
    else:
        assert not temporary.exists()


def test_chunks_without_a_length_are_read_to_their_end(tmp_path: Path) -> None:
    def chunked(exchange: Exchange) -> None:
        exchange.answer(200, Transfer_Encoding="chunked")
        for start in range(0, len(MP4), 10_000):
            part = MP4[start : start + 10_000]
            exchange.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        exchange.send(b"0\r\n\r\n")

    outcome, _, temporary = fetch(chunked, tmp_path, video(size=None))

    fetched(outcome, temporary)


def test_redirects_are_followed_as_long_as_they_are_https(tmp_path: Path) -> None:
    def moved(exchange: Exchange) -> None:
        if "moved" in exchange.line:
            good()(exchange)
        else:
            exchange.answer(302, Location="https://cdn.example/moved")

    outcome, requests, temporary = fetch(moved, tmp_path)

    fetched(outcome, temporary)
    assert len(requests) == 2


# -- bad servers -------------------------------------------------------------------------------


def cut(exchange: Exchange) -> None:
    exchange.answer(200, MP4[:HALF], length=len(MP4))


def cut_and_reset(exchange: Exchange) -> None:
    exchange.answer(200, MP4[:HALF], length=len(MP4))
    exchange.reset()


def cut_in_a_chunk(exchange: Exchange) -> None:
    exchange.answer(200, Transfer_Encoding="chunked")
    exchange.send(f"{len(MP4):x}\r\n".encode() + MP4[:HALF])


def stalls_half_way(exchange: Exchange) -> None:
    exchange.answer(200, MP4[:HALF], length=len(MP4))
    exchange.stall()


@pytest.mark.parametrize("breaks", [cut, cut_in_a_chunk, stalls_half_way], ids=lambda b: b.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_half_a_file_is_no_file_and_is_continued(
    tmp_path: Path, breaks: Handler, kind: WireKind
) -> None:
    outcome, _, temporary = fetch(breaks, tmp_path, kind=kind, patience=0.4)
    assert isinstance(outcome, Unfetched)
    assert temporary.read_bytes() == MP4[:HALF]

    outcome, (request,), temporary = fetch(good(), tmp_path)

    fetched(outcome, temporary)
    assert request.headers["range"] == f"bytes={HALF}-"


def test_a_piece_is_written_before_the_next_one_is_read_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the pieces are less than what is written at once."""
    monkeypatch.setattr(blocks, "BLOCK", 12 * blocks.PAGE)
    monkeypatch.setattr(blocks, "FIRST", 6 * blocks.PAGE)

    outcome, _, temporary = fetch(good(), tmp_path)

    fetched(outcome, temporary)


class Lending:
    """Lends the rest of a file; more is written over that, and the connection breaks."""

    def __init__(self, more: int) -> None:
        self.status = 206
        length = str(len(MP4) - HALF + more)
        stated = f"bytes {HALF}-{len(MP4) - 1}/{len(MP4)}"
        self.headers = {"content-range": stated, "content-length": length}

    @asynccontextmanager
    async def send(self, _: Request) -> AsyncIterator[Reply]:
        yield self

    async def chunks(self, _memory: Memory | None = None) -> AsyncGenerator[bytes | memoryview]:
        block = bytearray(MP4[HALF:])
        yield memoryview(block)
        block[:100] = bytes(100)
        raise WireError("ReadError", "broken")


def test_a_file_is_not_spoilt_by_a_server_that_sends_more_than_the_file_has(tmp_path: Path) -> None:
    temporary = tmp_path / ".abc-0.part"
    temporary.write_bytes(MP4[:HALF])

    outcome = anyio.run(Downloader(Lending(more=100)).fetch, video(), temporary)

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists() or MP4.startswith(temporary.read_bytes())


def test_a_size_of_thousands_of_digits_is_none(tmp_path: Path) -> None:
    temporary = tmp_path / ".abc-0.part"
    temporary.write_bytes(MP4[:HALF])
    wire = Lending(more=0)
    wire.headers["content-range"] = f"bytes {HALF}-/{'9' * 5000}"

    assert isinstance(anyio.run(Downloader(wire).fetch, video(), temporary), Unfetched)


class Dripping(httpx.AsyncByteStream):
    """Brings a byte, or more, every twenty seconds: never late for httpx, and never done."""

    def __init__(self, pieces: int, size: int) -> None:
        self._pieces, self._size = pieces, size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for n in range(self._pieces):
            await anyio.sleep(20)
            yield MP4[n * self._size : (n + 1) * self._size]


# trio remarks on generators of httpx that are left half-read; asyncio finishes them by itself.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("pieces", "size", "ends", "kept"),
    [(len(MP4), 1, 60, 3), (-(-len(MP4) // 300_000), 300_000, 80, len(MP4))],
    ids=["a drip", "a slow line"],
)
def test_a_line_that_drips_is_dropped_and_one_that_is_slow_is_not(
    tmp_path: Path, pieces: int, size: int, ends: float, kept: int
) -> None:
    temporary = tmp_path / "part"
    headers = {"Content-Length": str(len(MP4))}

    async def main() -> tuple[Any, float]:
        wire = httpx.MockTransport(
            lambda _: httpx.Response(200, headers=headers, stream=Dripping(pieces, size))
        )
        files = in_process(wire)
        return await Downloader(files).fetch(video(), temporary), anyio.current_time()

    outcome, now = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    assert now == ends
    assert isinstance(outcome, Fetched) == (kept == len(MP4))
    assert temporary.read_bytes() == MP4[:kept]  # and the next try goes on from there


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(PNG + b"C2PA" * 40, "image/png"), (JPG + b"tail" * 40, "image/jpeg"), (MP4 + b"x" * 40, "")],
)
def test_what_stands_after_the_end_of_a_whole_file_does_not_lose_it(
    tmp_path: Path, body: bytes, content_type: str
) -> None:
    """The same content twice says more than our idea of the format, or than fal's size."""
    file = video(content_type=content_type, size=len(body))
    temporary = tmp_path / "part"

    async def main(file: RemoteFile, url: str, tries: int) -> list[Any]:
        async with connections("Key a:secret", gateway=url) as (_, files):
            downloader = Downloader(files)
            return [await downloader.fetch(file, temporary) for _ in range(tries)]

    with serving(good(body, content_type)) as server:
        first, second = anyio.run(main, file, server.url, 2)
        others = [
            anyio.run(main, video(content_type=content_type, size=size), server.url, 2)
            for size in (None, len(body) - 1, len(body) + 1, 7)
        ]

    assert isinstance(first, Unfetched)
    assert isinstance(second, Fetched)
    assert second.sha256 == sha256(body).hexdigest()
    for first, second in others:
        assert isinstance(first, Unfetched)
        assert isinstance(second, Fetched)
        assert second.size == len(body)
    assert temporary.read_bytes() == body


def test_a_reset_leaves_nothing_that_could_not_be_continued(tmp_path: Path) -> None:
    outcome, _, temporary = fetch(cut_and_reset, tmp_path)
    assert isinstance(outcome, Unfetched)
    assert not temporary.exists() or MP4.startswith(temporary.read_bytes())

    outcome, _, temporary = fetch(good(), tmp_path)

    fetched(outcome, temporary)


def test_a_server_that_ignores_the_range_is_read_from_the_start(tmp_path: Path) -> None:
    def deaf(exchange: Exchange) -> None:
        exchange.answer(200, MP4)

    outcome, _, temporary = fetch(deaf, tmp_path, have=b"?" * HALF)

    fetched(outcome, temporary)


@pytest.mark.parametrize(
    "stated", ["bytes 0-9/10", "bytes 1-2/*", "", "bytes", "items 5-9/10", f"bytes {HALF}"]
)
def test_a_part_from_another_place_is_never_stuck_on(tmp_path: Path, stated: str) -> None:
    def elsewhere(exchange: Exchange) -> None:
        headers: dict[str, Any] = {"Content_Range": stated} if stated else {}
        exchange.answer(206, MP4[HALF:], **headers)

    outcome, _, temporary = fetch(elsewhere, tmp_path, have=MP4[:HALF])

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists()


@pytest.mark.parametrize("total", ["*", "²", "x", "-1", ""])
def test_a_part_of_a_whole_of_unknown_size_is_taken(tmp_path: Path, total: str) -> None:
    def unknown(exchange: Exchange) -> None:
        stated = f"bytes {HALF}-{len(MP4) - 1}/{total}"
        exchange.answer(206, MP4[HALF:], Content_Range=stated)

    outcome, _, temporary = fetch(unknown, tmp_path, have=MP4[:HALF])

    fetched(outcome, temporary)


def short(exchange: Exchange) -> None:
    """A whole answer, only with less in it than fal's result declared."""
    exchange.answer(200, MP4[:HALF])


def long(exchange: Exchange) -> None:
    exchange.answer(200, MP4 + b"more")


def page(exchange: Exchange) -> None:
    exchange.answer(200, HTML[: len(MP4)], Content_Type="text/html")


def picture(exchange: Exchange) -> None:
    exchange.answer(200, PNG.ljust(len(MP4), b"\0"))


def noise(exchange: Exchange) -> None:
    exchange.answer(200, MP4[::-1])


def nothing(exchange: Exchange) -> None:
    exchange.answer(200)


def endless(exchange: Exchange) -> None:
    exchange.answer(200, Transfer_Encoding="chunked")
    for _ in range(100):
        exchange.send(f"{len(MP4):x}\r\n".encode() + MP4 + b"\r\n")


WRONG = [short, long, page, picture, noise, nothing, endless]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: w.__name__)
def test_a_wrong_file_is_no_file_and_is_begun_anew(tmp_path: Path, wrong: Handler) -> None:
    outcome, _, temporary = fetch(wrong, tmp_path)

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists() or temporary.read_bytes() == b""


@pytest.mark.parametrize("wrong", [short, page, picture, noise], ids=lambda w: w.__name__)
def test_nor_does_it_pass_where_nobody_declared_a_size(tmp_path: Path, wrong: Handler) -> None:
    outcome, _, temporary = fetch(wrong, tmp_path, video(size=None))

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists()


@pytest.mark.parametrize("wrong", [page, nothing, endless], ids=lambda w: w.__name__)
def test_what_is_no_file_at_all_does_not_become_one_by_coming_again(
    tmp_path: Path, wrong: Handler
) -> None:
    temporary = tmp_path / "part"

    async def main(url: str) -> list[Any]:
        async with connections("Key a:secret", gateway=url) as (_, files):
            downloader = Downloader(files)
            return [await downloader.fetch(video(), temporary) for _ in range(4)]

    with serving(wrong) as server:
        outcomes = anyio.run(main, server.url)

    assert all(isinstance(outcome, Unfetched) for outcome in outcomes)


def test_content_that_differs_each_time_is_not_believed(tmp_path: Path) -> None:
    bodies = [MP4[:HALF], MP4[: HALF + 1], MP4[: HALF + 2], MP4[: HALF + 2]]
    temporary = tmp_path / "part"

    def changing(exchange: Exchange) -> None:
        exchange.answer(200, bodies[len(server.requests) - 1])

    async def main(url: str) -> list[Any]:
        async with connections("Key a:secret", gateway=url) as (_, files):
            downloader = Downloader(files)
            return [await downloader.fetch(video(), temporary) for _ in bodies]

    with serving(changing) as server:
        outcomes = anyio.run(main, server.url)

    assert [type(outcome) for outcome in outcomes] == [Unfetched] * 3 + [Fetched]


def test_an_absurd_size_is_refused_without_a_byte(tmp_path: Path) -> None:
    """It must not pass for a full disk either, which would stop the run."""

    def absurd(exchange: Exchange) -> None:
        exchange.answer(200, MP4, length=10**18)

    outcome, _, temporary = fetch(absurd, tmp_path, video(size=None))

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists()


@pytest.mark.parametrize("status", [404, 410])
def test_gone_is_reported_as_gone_and_what_is_here_stays(tmp_path: Path, status: int) -> None:
    outcome, _, temporary = fetch(lambda e: e.answer(status), tmp_path, have=MP4[:HALF])

    assert isinstance(outcome, Gone)
    assert temporary.read_bytes() == MP4[:HALF]


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 408, 429, 500, 502, 503, 504])
def test_no_other_refusal_says_anything_about_the_file(tmp_path: Path, status: int) -> None:
    outcome, _, temporary = fetch(lambda e: e.answer(status), tmp_path, have=MP4[:HALF])

    assert isinstance(outcome, Unfetched)
    assert str(status) in outcome.reason
    assert temporary.read_bytes() == MP4[:HALF]


@pytest.mark.parametrize(
    "url",
    [
        "http://v3b.fal.media/x.mp4",
        "ftp://v3b.fal.media/x.mp4",
        "file:///etc/passwd",
        "/etc/passwd",
        "https://",
        "https://v3b.fal.media:port/x",
        "https://v3b.fal.media/\x00",
        "https://v3b.fal.media/\ud83d",
        "https://xn--a.example/x",
        "",
    ],
)
def test_an_address_that_is_none_is_not_asked(tmp_path: Path, url: str) -> None:
    outcome, requests, _ = fetch(good(), tmp_path, video(url=url))

    assert isinstance(outcome, Unfetched)
    assert requests == []


@pytest.mark.parametrize(
    "target", ["http://v3b.fal.media/x", "http://169.254.169.254/latest", "file:///etc/passwd"]
)
def test_a_redirect_to_a_place_without_encryption_is_not_followed(
    tmp_path: Path, target: str
) -> None:
    outcome, requests, temporary = fetch(lambda e: e.answer(302, Location=target), tmp_path)

    assert isinstance(outcome, Unfetched)
    assert len(requests) == 1
    assert not temporary.exists()


def test_redirects_in_a_circle_end(tmp_path: Path) -> None:
    outcome, requests, _ = fetch(lambda e: e.answer(302, Location=URL), tmp_path)

    assert isinstance(outcome, Unfetched)
    assert len(requests) < 10


def test_a_server_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{refused_port()}"

    outcome, _, _ = fetch(good(), tmp_path, url=url)

    assert isinstance(outcome, Unfetched)


@pytest.mark.parametrize(
    "url",
    ["https://localhost:99999/x", f"https://localhost:{10**30}/x", "https://v3b..fal.media/x"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_address_that_cannot_be_connected_to_is_no_verdict(
    tmp_path: Path, kind: WireKind, url: str
) -> None:
    """Without a gateway, as in a run on fal: the name or port fails before anything is sent."""

    async def main() -> Any:
        async with straight(trusted(), kind) as wire:
            return await Downloader(wire).fetch(video(url=url), tmp_path / "part")

    assert isinstance(anyio.run(main), Unfetched)


def test_a_damaged_tls_record_is_an_outage_and_no_full_disk(tmp_path: Path) -> None:
    def damaged(_: httpx.Request) -> httpx.Response:
        raise ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")

    async def main() -> Any:
        async with in_process(httpx.MockTransport(damaged)) as wire:
            return await Downloader(wire).fetch(video(), tmp_path / "part")

    outcome = anyio.run(main)

    assert isinstance(outcome, Unfetched)
    assert outcome.outage
    assert "BAD_RECORD_MAC" in outcome.reason


def test_a_temporary_that_leads_elsewhere_is_not_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / ".abc-0.part").symlink_to(elsewhere)

    outcome, _, temporary = fetch(good(), folder)

    fetched(outcome, temporary)
    assert not temporary.is_symlink()
    assert elsewhere.read_bytes() == b"not ours"


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    disk = folder / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("size", [len(MP4), None])
def test_a_full_disk_stops_the_run_and_never_reaches_the_last_bytes(
    tmp_path: Path, size: int | None
) -> None:
    """The ledger must still be able to write down what happened."""
    with small_disk(tmp_path, "1m") as disk, pytest.raises(OSError, match="room"):
        fetch(good(), disk, video(size=size))


MB = 1024**2


class OutputIndex:
    """A disk of which the downloads' folder has all; `most` is what ever lay on it."""

    def __init__(self, folder: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.size, self.most = folder, SPARE + room, 0
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _: SimpleNamespace(free=self.size - self.used)
        )

    @property
    def used(self) -> int:
        used = sum(path.stat().st_size for path in self.folder.iterdir())
        self.most = max(self.most, used)
        return used

    def kept_spare(self) -> bool:
        return self.most <= self.size - SPARE


class Megabytes(httpx.AsyncByteStream):
    """A file that comes by the megabyte, with room for others in between."""

    def __init__(self, disk: OutputIndex, count: int) -> None:
        self._disk, self._count = disk, count

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._count):
            yield bytes(MB)
            await anyio.lowlevel.checkpoint()
            assert self._disk.used >= 0


def download(
    disk: OutputIndex, count: int, *, files: int = 1, declared: bool = True, meanwhile: Any = None
) -> list[Any]:
    """Several files of so many megabytes at once; the outcome of each, or what it raised."""
    length = {"Content-Length": str(count * MB)} if declared else {}
    wire = httpx.MockTransport(
        lambda _: httpx.Response(200, headers=length, stream=Megabytes(disk, count))
    )
    outcomes: list[Any] = [None] * files

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            downloader = Downloader(in_process(wire))

            async def one(n: int) -> None:
                plain = RemoteFile(url=URL)
                try:
                    outcomes[n] = await downloader.fetch(plain, disk.folder / f"{n}.part")
                except OSError as error:
                    outcomes[n] = error

            for n in range(files):
                tasks.start_soon(one, n)
            if meanwhile is not None:
                tasks.start_soon(meanwhile)

    anyio.run(main)
    return outcomes


def refused(outcome: Any) -> bool:
    return isinstance(outcome, OSError) and outcome.errno == errno.ENOSPC


def test_downloads_at_once_share_the_room_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OutputIndex(tmp_path, 25 * MB, monkeypatch)

    outcomes = download(disk, 10, files=4)

    assert [refused(outcome) for outcome in outcomes] == [False, False, True, True]
    assert disk.kept_spare()
    assert (tmp_path / "0.part").stat().st_size == 10 * MB
    assert (tmp_path / "1.part").stat().st_size == 10 * MB


def test_room_for_all_is_enough_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written and what is set aside are never counted twice."""
    disk = OutputIndex(tmp_path, 40 * MB, monkeypatch)

    assert not any(map(refused, download(disk, 10, files=4)))
    assert disk.used == 40 * MB


def test_room_is_given_back_when_a_download_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OutputIndex(tmp_path, 10 * MB, monkeypatch)
    broken = httpx.Response(
        200, headers={"Content-Length": str(10 * MB)}, stream=Megabytes(disk, 1)
    )

    async def main() -> tuple[Any, Any]:
        wire = httpx.MockTransport(lambda _: broken)
        downloader = Downloader(in_process(wire))
        first = await downloader.fetch(RemoteFile(url=URL), tmp_path / "0.part")
        (tmp_path / "0.part").unlink()
        data = "data:image/png;base64," + base64.b64encode(PNG).decode()
        return first, await downloader.fetch(RemoteFile(url=data), tmp_path / "1.part")

    first, second = anyio.run(main)

    assert isinstance(first, Unfetched)
    assert isinstance(second, Fetched)


@pytest.mark.parametrize("files", [1, 4])
def test_a_file_of_unknown_size_ends_before_the_spare_room_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    disk = OutputIndex(tmp_path, 30 * MB, monkeypatch)

    outcomes = download(disk, 50, files=files, declared=False)

    assert any(map(refused, outcomes))
    assert disk.kept_spare()
    assert disk.used > 10 * MB  # what has come stays


def test_a_disk_that_somebody_else_fills_meanwhile_stops_a_download_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OutputIndex(tmp_path, 40 * MB, monkeypatch)
    ballast = tmp_path / "ballast"

    async def somebody() -> None:
        while not (tmp_path / "0.part").exists() or (tmp_path / "0.part").stat().st_size < 5 * MB:
            await anyio.lowlevel.checkpoint()
        ballast.write_bytes(bytes(20 * MB))

    (outcome,) = download(disk, 30, meanwhile=somebody)

    assert refused(outcome)
    have = (tmp_path / "0.part").stat().st_size
    assert 5 * MB <= have <= 5 * MB + LOOK_BYTES + MB

    ballast.unlink()  # and with more room it goes on from there
    headers: list[str | None] = []

    def rest(request: httpx.Request) -> httpx.Response:
        headers.append(request.headers.get("range"))
        stated = {"Content-Range": f"bytes {have}-{30 * MB - 1}/{30 * MB}"}
        more = Megabytes(disk, 30 - have // MB)
        return httpx.Response(206, headers=stated, stream=more)

    async def main() -> Any:
        downloader = Downloader(in_process(httpx.MockTransport(rest)))
        return await downloader.fetch(RemoteFile(url=URL), tmp_path / "0.part")

    anyio.run(main)
    assert headers == [f"bytes={have}-"]
    assert disk.used == 30 * MB


def test_a_file_on_another_disk_takes_no_room_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OutputIndex(tmp_path, 10 * MB, monkeypatch)
    with small_disk(tmp_path, "1m") as other:
        room = Room()
        room.hold(other / "large.part", 9 * MB)
        room.hold(tmp_path / "here.part", 9 * MB)
        with pytest.raises(OSError, match="room"):
            room.hold(tmp_path / "more.part", 2 * MB)


def test_a_file_inside_the_answer_needs_room_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    OutputIndex(tmp_path, len(PNG) - 1, monkeypatch)

    with pytest.raises(OSError, match="room"):
        unpack(tmp_path, "data:image/png;base64," + base64.b64encode(PNG).decode())

    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_the_disk_before_anybody_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)

    fetched(*fetch(good(), tmp_path)[::2])

    assert synced == [len(MP4)]


# -- data URIs ---------------------------------------------------------------------------------


def unpack(folder: Path, url: str, **facts: Any) -> tuple[Any, Path]:
    file = RemoteFile(**({"url": url, "content_type": "image/png"} | facts))
    outcome, requests, temporary = fetch(good(), folder, file)
    assert requests == []
    return outcome, temporary


def encoded(body: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(body).decode()


def test_a_data_uri_is_the_file_itself(tmp_path: Path) -> None:
    outcome, temporary = unpack(tmp_path, encoded(PNG))

    assert fetched(outcome, temporary, PNG).ext == ".png"


def test_a_large_data_uri_is_a_file_too(tmp_path: Path) -> None:
    body = PNG[:-12] + b"p" * 20_000_000 + PNG[-12:]

    outcome, temporary = unpack(tmp_path, encoded(body))

    fetched(outcome, temporary, body)


def test_a_data_uri_without_base64_is_percent_encoded(tmp_path: Path) -> None:
    body = b"%89PNG%0D%0A%1A%0A" + b"p" * 500 + b"%00%00%00%00IEND%AEB%60%82"

    outcome, temporary = unpack(tmp_path, "data:image/png," + body.decode())

    fetched(outcome, temporary, PNG)


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,A",
        "data:image/png;base64,not base64!",
        "data:image/png;base64,é",
        "data:image/png;base64,\ud83d",
        "data:image/png,\ud83d",
        encoded(PNG[:-5]),
        encoded(HTML),
        encoded(MP4),
    ],
    ids=lambda url: ascii(url)[:40],
)
def test_a_damaged_data_uri_is_no_file(tmp_path: Path, url: str) -> None:
    outcome, temporary = unpack(tmp_path, url)

    assert isinstance(outcome, Unfetched)
    assert not temporary.exists()


def test_a_data_uri_of_another_size_than_declared_is_no_file(tmp_path: Path) -> None:
    outcome, _ = unpack(tmp_path, encoded(PNG), size=len(PNG) + 1)

    assert isinstance(outcome, Unfetched)


# -- formats -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "url", "ext"),
    [
        ("voice.TXT", URL, ".txt"),
        ("", "https://v3b.fal.media/a/b.json?x=y.exe", ".json"),
        ("../../x.sh/../..", URL, ".bin"),
        ("x.", URL, ".bin"),
        ("x.longer7", URL, ".bin"),
        ("x.é", URL, ".bin"),
        ("x.p/p", URL, ".bin"),
        ("noext", "https://v3b.fal.media/noext", ".bin"),
    ],
)
def test_an_unknown_format_keeps_a_plain_extension_of_fals_name(
    tmp_path: Path, name: str, url: str, ext: str
) -> None:
    body = b"plain text of no known format"

    outcome, _, temporary = fetch(good(body), tmp_path, RemoteFile(url=url, name=name))

    assert fetched(outcome, temporary, body).ext == ext
    assert outcome.content_type == "application/octet-stream"


@pytest.mark.parametrize("start", [b'{"detail": "x"}', b'{"error": 1}', b"<?xml ?>", b"  <HTML>"])
def test_an_error_document_is_no_file_of_any_format(tmp_path: Path, start: bytes) -> None:
    assert looks_like_page(start)

    outcome, _, _ = fetch(good(start), tmp_path, RemoteFile(url=URL))

    assert isinstance(outcome, Unfetched)


@pytest.mark.parametrize(("body", "ext"), [(MP4, ".mp4"), (PNG, ".png"), (JPG, ".jpg")])
def test_the_first_bytes_tell_the_format_whatever_the_name(
    tmp_path: Path, body: bytes, ext: str
) -> None:
    file = RemoteFile(url="https://v3b.fal.media/x.exe", name="x.exe")

    outcome, _, temporary = fetch(good(body), tmp_path, file)

    assert fetched(outcome, temporary, body).ext == ext


@pytest.mark.parametrize("body", [MP4, PNG, JPG], ids=["mp4", "png", "jpg"])
def test_a_whole_file_is_whole_and_no_part_of_it_is(body: bytes) -> None:
    kind = sniff(body)
    assert kind is not None
    assert whole(FileBytes(BytesIO(body)), kind)
    for length in {*range(20, len(body), 97), *range(len(body) - 20, len(body))}:
        assert not whole(FileBytes(BytesIO(body[:length])), kind), length


def test_a_clip_cut_between_two_boxes_is_not_whole() -> None:
    """Index first, frames after: without the frames there is nothing to see."""
    kind = sniff(MP4)
    assert kind is not None
    assert not whole(FileBytes(BytesIO(MP4[: MP4.index(b"mdat") - 4])), kind)


@pytest.mark.parametrize(
    "body",
    [
        box(b"ftyp", b"isom") + box(b"mdat", b"x" * 50) + box(b"moov", b"m"),
        box(b"ftyp", b"isom") + box(b"moov", b"m") + struct.pack(">I4s", 0, b"mdat") + b"x" * 99,
        box(b"ftyp", b"isom")
        + box(b"moov", b"m")
        + struct.pack(">I4sQ", 1, b"mdat", 66)
        + b"x" * 50,
        box(b"ftyp", b"isom") + box(b"moof", b"m") + box(b"mdat", b"x") + box(b"uuid", b"c2pa"),
        box(b"ftyp", b"avif") + box(b"meta", b"m") + box(b"mdat", b"x"),
    ],
    ids=["index last", "to the end", "large box", "fragments", "avif"],
)
def test_every_way_to_lay_out_a_clip_is_whole(body: bytes) -> None:
    kind = sniff(body)
    assert kind is not None
    assert whole(FileBytes(BytesIO(body)), kind)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(
    st.binary(max_size=80),
    st.sampled_from([MP4[:40], PNG[:20], JPG[:8], b"RIFF\xff\0\0\0WEBP", b""]),
)
def test_no_bytes_break_the_look_at_them(tail: bytes, head: bytes) -> None:
    body = head + tail
    kind = sniff(body)

    assert kind is None or isinstance(kind, Kind)
    if kind is not None:
        assert whole(FileBytes(BytesIO(body)), kind) in (True, False)
    assert looks_like_page(body) in (True, False)


# -- a file that changes while it is fetched -------------------------------------------------------

OLD, NEW = MP4, MP4.replace(b"m" * 300, b"n" * 300)


def versions(have: bytes, *, cut: int, heed: bool, **tells: tuple[str, str]) -> Handler:
    """The first answer breaks off in the old content, the others are of the new one.

    `heed`: whether the server heeds `If-Range`; `tells`: headers of the old and of the new content.
    """
    asked = iter(range(100))

    def handle(exchange: Exchange) -> None:
        new = next(asked) > 0 or bool(have)
        body = NEW if new else OLD
        headers = {name: values[new] for name, values in tells.items()}
        start = int(exchange.headers.get("range", "bytes=0-").removeprefix("bytes=")[:-1])
        condition = exchange.headers.get("if-range")
        if heed and condition is not None and condition not in headers.values():
            start = 0
        if start:
            stated = f"bytes {start}-{len(body) - 1}/{len(body)}"
            exchange.answer(206, body[start:], Content_Range=stated, **headers)
        elif new:
            exchange.answer(200, body, **headers)
        else:
            exchange.answer(200, body[:cut], length=len(body), **headers)

    return handle


DATES = ("Sat, 28 Nov 2026 10:00:00 GMT", "Sat, 28 Nov 2026 11:00:00 GMT")
TELLS = [{"ETag": ('"v1"', '"v2"')}, {"Last_Modified": DATES}]


def tried(handler: Handler, temporary: Path, tries: int, *, new_run: bool = False) -> list[Any]:
    """Outcomes of that many tries at one part file, each of a run of its own or of one."""
    with serving(handler) as server:

        async def main() -> list[Any]:
            async with (
                on_sockets(server.url, "aiohttp") as wire,
                connections("Key a:s", wire=wire) as (_, files),
            ):
                one = Downloader(files)
                each = [Downloader(files) if new_run else one for _ in range(tries)]
                return [await downloader.fetch(video(), temporary) for downloader in each]

        return anyio.run(main)


@pytest.mark.parametrize("new_run", [False, True])
@pytest.mark.parametrize("heed", [False, True])
@pytest.mark.parametrize("tells", TELLS)
def test_two_contents_of_one_size_are_never_mixed(
    tmp_path: Path, tells: dict[str, tuple[str, str]], *, heed: bool, new_run: bool
) -> None:
    temporary = tmp_path / ".abc-0.part"
    handler = versions(b"", cut=300, heed=heed, **tells)

    outcomes = tried(handler, temporary, 2 if heed else 3, new_run=new_run)

    assert isinstance(outcomes[0], Unfetched)
    fetched(outcomes[-1], temporary, NEW)
    assert [path.name for path in tmp_path.iterdir()] == [temporary.name]


def test_bytes_of_unknown_origin_are_not_continued_where_contents_are_told_apart(
    tmp_path: Path,
) -> None:
    """The run that began it was killed."""
    temporary = tmp_path / ".abc-0.part"
    temporary.write_bytes(OLD[:300])

    first, second = tried(versions(OLD, cut=0, heed=True, **TELLS[0]), temporary, 2)

    assert isinstance(first, Unfetched)
    fetched(second, temporary, NEW)


def nothing_left(exchange: Exchange) -> None:
    """A server that says of which content it has no more."""
    if "range" in exchange.headers:
        exchange.answer(416, Content_Range=f"bytes */{len(NEW)}", ETag='"v2"')
    else:
        exchange.answer(200, NEW, ETag='"v2"')


@pytest.mark.parametrize("noted", [None, '"v1"'])
def test_a_416_of_another_content_or_of_unknown_bytes_is_not_believed(
    tmp_path: Path, noted: str | None
) -> None:
    temporary = tmp_path / ".abc-0.part"
    temporary.write_bytes(OLD)
    if noted:
        temporary.with_name(".abc-0.part.from").write_text(noted)

    first, second = tried(nothing_left, temporary, 2)

    assert isinstance(first, Unfetched)
    fetched(second, temporary, NEW)


def test_a_416_of_the_same_content_is_believed(tmp_path: Path) -> None:
    temporary = tmp_path / ".abc-0.part"
    temporary.write_bytes(NEW)
    temporary.with_name(".abc-0.part.from").write_text('"v2"')

    (only,) = tried(nothing_left, temporary, 1)

    fetched(only, temporary, NEW)


@pytest.mark.parametrize("new_run", [False, True])
@pytest.mark.parametrize("tells", [{"ETag": ('"v"', '"v"')}, {"Last_Modified": DATES[:1] * 2}, {}])
def test_the_same_content_is_continued(
    tmp_path: Path, tells: dict[str, tuple[str, str]], *, new_run: bool
) -> None:
    temporary = tmp_path / ".abc-0.part"
    handler = versions(b"", cut=300, heed=True, **tells)

    first, second = tried(handler, temporary, 2, new_run=new_run)

    assert isinstance(first, Unfetched)
    # Of the old content's first bytes and of the rest, which the server says are one.
    fetched(second, temporary, OLD[:300] + NEW[300:])
