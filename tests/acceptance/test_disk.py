"""Disks that are full, read-only or pulled away: the program says so and loses nothing.

Small disks are mounted where root may do that; the emulator's books judge.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import anyio
import httpx
import pytest
from support.engine import Rig, make_job, make_jobs
from support.process import run, start

from kling_batch.core.command_line import Command
from kling_batch.core.jobs import Batch
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.emulator.server import running
from kling_batch.errors import LedgerError, PlanDriftError
from kling_batch.ledger.ledger import Ledger
from kling_batch.ledger.reader import Reader
from kling_batch.operations.run import open_run
from kling_batch.output.download import SPARE
from kling_batch.planning.plan import Plan
from kling_batch.report.display.choose import choose
from kling_batch.settings import RunOptions

pytestmark = pytest.mark.acceptance

MANIFEST = "version: 1\nname: disk\ndefaults: {mode: text-to-video, tier: standard}\njobs:\n"
JOBS = 6


class Place:
    """A folder with a manifest, and an emulated account that renders at once."""

    def __init__(self, folder: Path, world: World, url: str) -> None:
        self.folder, self.world = folder, world
        rows = "".join(f"  - {{id: job-{n}, prompt: 'clip number {n}'}}\n" for n in range(JOBS))
        (folder / "disk.yaml").write_text(MANIFEST + rows)
        self.words = ("run", "disk.yaml", "--emulator-url", url, "--rate", "50/s")

    def run(self, *more: str | Path, codes: tuple[int, ...] = (0,)) -> str:
        done = run(*self.words, *more, cwd=self.folder)
        told = done.stdout + done.stderr
        assert done.returncode in codes, told
        assert "Traceback" not in told
        return told

    def everything_is_here_and_paid_once(self) -> None:
        outputs = self.folder / "outputs"
        clips = [path for path in outputs.rglob("*.mp4") if not path.name.startswith(".")]
        assert len(clips) == JOBS
        assert list(self.world.books.charges().values()) == [1] * JOBS
        assert len(self.world.books.accepted) == JOBS


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    world = World(Settings(profile="instant", media="template", concurrency=8))
    with running(world) as url:
        yield Place(tmp_path, world, url)


@contextmanager
def disk(at: Path, kilobytes: int) -> Iterator[Path]:
    """A disk of its own at a folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk takes root")
    at.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(at)]
    if subprocess.run(words, check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount")
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)


def remount(at: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(at)], check=True)


def fill(at: Path, leave: int = 0) -> Path:
    """Take all room but `leave` bytes; with none left, to the very last block."""
    ballast = at / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while (left := shutil.disk_usage(at).free - leave) > 0 or not leave:
            file.write(bytes(max(4096, min(left, 1 << 20))))
    return ballast


def wait(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came to that")


# -- full --------------------------------------------------------------------------------------


def test_a_disk_that_fills_during_downloads_keeps_room_for_the_ledger(place: Place) -> None:
    with disk(place.folder / "outputs", 70_000) as outputs:
        # Room for a few clips: the last megabytes belong to the ledger.
        ballast = fill(outputs, SPARE + 700_000)

        told = place.run(codes=(1, 6))  # 6 where others still render

        assert "not enough room" in told
        assert shutil.disk_usage(outputs).free > SPARE - 1_000_000
        assert place.world.books.acceptances() == place.world.books.charges()
        ballast.unlink()
        place.run()
        place.everything_is_here_and_paid_once()


class Large(httpx.AsyncBaseTransport):
    """Makes every clip that fal gives larger by so much, and brings it bit by bit."""

    def __init__(self, world: World, by: int, watch: Callable[[], object]) -> None:
        self._inner, self._by, self._watch = InProcessTransport(world), by, watch

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        span = request.headers.pop("range", "")
        answer = await self._inner.handle_async_request(request)
        if not request.url.host.endswith("fal.media"):
            return answer
        start = int(span.removeprefix("bytes=").removesuffix("-") or 0)
        body = await answer.aread() + struct.pack(">I4s", self._by, b"free") + bytes(self._by - 8)
        stated = {"Content-Length": str(len(body) - start)}
        if span:
            stated["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return httpx.Response(206 if span else 200, headers=stated, stream=self._bits(body[start:]))

    def _bits(self, body: bytes) -> httpx.AsyncByteStream:
        watch = self._watch

        class Bits(httpx.AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                for n in range(0, len(body), 1 << 20):
                    watch()
                    yield body[n : n + (1 << 20)]
                    await anyio.sleep(0.1)

        return Bits()


def test_clips_that_come_at_once_leave_the_ledger_its_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would fit alone; together they would fill the disk that the ledger writes to."""
    size, clip = SPARE + 25_000_000, 10_000_000
    lowest = [size]

    def free(_: object = None) -> SimpleNamespace:
        clips = [*tmp_path.rglob("*.mp4"), *tmp_path.rglob("*.part")]
        left = size - sum(path.stat().st_size for path in clips)
        lowest.append(left)
        return SimpleNamespace(free=left)

    monkeypatch.setattr(shutil, "disk_usage", free)
    jobs = make_jobs(6)
    account = Settings(concurrency=8, media="template", declare_sizes=False)
    rig = Rig(tmp_path, account)

    run_result = rig.run(jobs, transport=Large(rig.world, clip, free))

    assert "not enough room" in " ".join(stop.reason for stop in run_result.stops)
    assert min(lowest) >= SPARE
    assert rig.world.books.acceptances() == rig.world.books.charges()

    size, lowest[:] = SPARE + 100_000_000, []
    for _ in range(3):  # what had not been sent when the run ended goes too
        rig.run(jobs, transport=Large(rig.world, clip, free))
    assert len(rig.files()) == 6
    assert all(path.stat().st_size > clip for path in tmp_path.rglob("*.mp4"))
    assert rig.charges == [1] * 6
    assert min(lowest) >= SPARE


def test_a_full_disk_under_the_ledger_sends_nothing(place: Place) -> None:
    with disk(place.folder / "small", 3_000) as small:
        place.run("--ledger", small / "ledger.db", "--limit", "0")
        ballast = fill(small)

        told = place.run("--ledger", small / "ledger.db", codes=(7,))

        assert "make room" in told
        assert place.world.books.posts == []
        ballast.unlink()
        place.run("--ledger", small / "ledger.db")
        place.everything_is_here_and_paid_once()


def test_an_acceptance_that_the_disk_cannot_take_is_reported_and_found_again(place: Place) -> None:
    # One job alone: nothing else writes while the disk is being filled.
    place.world.faults.add(Fault(stage="submit.after", what="delay", seconds=2.0, nth=2))
    with disk(place.folder / "small", 3_000) as small:
        ledger = small / "ledger.db"
        words = (*place.words, "--ledger", ledger)
        run(*words, "--only", "job-1", cwd=place.folder)
        with closing(sqlite3.connect(ledger)) as reader:
            # An open snapshot keeps the write-ahead log from being used again from its beginning,
            # where it has room already.
            reader.execute("begin")
            reader.execute("select count(*) from attempts").fetchone()
            program = start(*words, "--only", "job-0", cwd=place.folder)
            wait(lambda: len(place.world.books.accepted) == 2)
            ballast = fill(small)
            _, told = program.communicate(timeout=30)

        assert program.returncode == 7, told
        assert place.world.books.accepted[1].request_id in told
        assert "Traceback" not in told
        ballast.unlink()
        place.run("--ledger", small / "ledger.db")
        place.everything_is_here_and_paid_once()


# -- read-only ---------------------------------------------------------------------------------


def test_a_read_only_folder_is_a_message_and_nothing_is_sent(place: Place) -> None:
    with disk(place.folder / "outputs", 10_000) as outputs:
        remount(outputs, "ro")

        told = place.run(codes=(7,))

        assert "outputs" in told
        assert place.world.books.posts == []


def test_read_only_outputs_beside_a_good_ledger_are_found_before_paying(place: Place) -> None:
    with disk(place.folder / "outputs", 10_000) as outputs:
        remount(outputs, "ro")

        told = place.run("--ledger", "elsewhere.db", codes=(2,))

        assert "nothing was sent" in told
        assert place.world.books.posts == []


def test_a_file_in_place_of_a_folder_is_found_before_paying(place: Place) -> None:
    (place.folder / "outputs").mkdir()
    (place.folder / "outputs/disk").write_text("mine")

    told = place.run(codes=(2,))

    assert "outputs/disk" in told
    assert "nothing was sent" in told
    assert place.world.books.posts == []
    assert (place.folder / "outputs/disk").read_text() == "mine"


def test_a_disk_that_turns_read_only_loses_nothing(place: Place) -> None:
    """As after an error of the disk itself: what was paid is collected when it is back."""
    place.world.faults.add(Fault(stage="download", what="delay", seconds=1.0))
    with disk(place.folder / "outputs", 70_000) as outputs:
        program = start(*place.words, "--ledger", "elsewhere.db", cwd=place.folder)
        wait(
            lambda: len(list(outputs.rglob("disk"))) and place.world.books.result_gets.total() >= 1
        )
        subprocess.run(["mount", "-o", "remount,ro,force", str(outputs)], check=False)
        _, told = program.communicate(timeout=60)
        remount(outputs, "rw")

        assert "Traceback" not in told
        place.world.faults.clear()
        place.run("--ledger", "elsewhere.db")
        place.everything_is_here_and_paid_once()


# -- the ledger --------------------------------------------------------------------------------


def test_a_copy_of_the_folder_taken_while_running_is_a_ledger(place: Place) -> None:
    """What was committed when the copy was made is in it, also what stands in the WAL only."""
    place.world.settings.service_times = {"standard": 60.0}
    program = start(*place.words, cwd=place.folder)
    wait(lambda: len(place.world.books.posts) == JOBS)
    time.sleep(0.3)
    before = {request.request_id for request in place.world.books.accepted}
    shutil.copytree(place.folder / "outputs", place.folder / "copy")
    program.kill()
    program.communicate()

    told = run("status", "--output", "copy", cwd=place.folder)

    assert told.returncode == 0, told.stderr
    with Reader.open(place.folder / "copy/ledger.db") as copy:
        assert copy.request_ids() == before
    assert run("verify", "--output", "copy", cwd=place.folder).returncode == 0


def test_a_reader_that_never_lets_go_fills_the_wal_and_stops_nothing(place: Place) -> None:
    place.run("--limit", "1")
    wal = place.folder / "outputs/ledger.db-wal"
    ledger = f"file:{place.folder / 'outputs/ledger.db'}?mode=ro"
    with closing(sqlite3.connect(ledger, uri=True)) as reader:
        reader.execute("begin")
        (seen,) = reader.execute("select count(*) from attempts").fetchone()
        place.run()
        assert wal.stat().st_size > 0
        assert reader.execute("select count(*) from attempts").fetchone() == (seen,)

    place.run()

    place.everything_is_here_and_paid_once()


#: Opens a new ledger, and dies by SIGKILL before the statement of a given number; says how far it
#: could have gone.
_DYING = """
import os, signal, sqlite3, sys
from datetime import UTC, datetime
from pathlib import Path
from kling_batch.ledger.ledger import Ledger

real = sqlite3.connect
count = 0

def connect(*words, **more):
    def tick(_statement):
        global count
        count += 1
        if count == last:
            os.kill(os.getpid(), signal.SIGKILL)
    connection = real(*words, **more)
    connection.set_trace_callback(tick)
    return connection

sqlite3.connect = connect
folder, last = Path(sys.argv[1]), 0
Ledger(folder / "whole.db", service="emulator", now=lambda: datetime.now(UTC)).close()
for n in range(1, count + 1):
    if os.fork() == 0:
        count, last = 0, n
        Ledger(folder / f"{n}.db", service="emulator", now=lambda: datetime.now(UTC)).close()
        os._exit(1)
    _, status = os.wait()
    assert os.WIFSIGNALED(status), n
print(count)
"""


def test_a_ledger_whose_maker_was_killed_at_any_statement_can_be_used(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _DYING, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout)
    assert count > 30
    whole = shape(tmp_path / "whole.db")

    for n in range(1, count + 1):
        path = tmp_path / f"{n}.db"
        with Ledger(path, service="emulator", now=lambda: datetime.now(UTC)) as ledger:
            job = make_job("job")
            ledger.begin_run(command="", batches=[], pid=1, version="0", cap=None)
            ledger.register(Batch(name="test", source="", jobs=(job,)))
            assert isinstance(ledger.intend(job, {}, tries=1), int)
        assert shape(path) == whole


def shape(path: Path) -> list[tuple[str, str]]:
    """Every table, index, trigger and view of ours; the library's own notes are its business."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        rows = db.execute("select name, sql from sqlite_master order by name").fetchall()
    return [row for row in rows if "_sqlite_migrations" not in row[0]]


# -- the end of a run that ends badly -----------------------------------------------------------


def test_a_ledger_that_cannot_take_the_end_of_a_run_does_not_hide_why_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Ledger, __: int) -> None:
        raise LedgerError("database or disk is full")

    def no(_: Plan) -> None:
        raise PlanDriftError("the prices have changed")

    monkeypatch.setattr(Ledger, "end_run", full)
    opened = open_run(
        (Batch(name="b", source="b.yaml", jobs=()),),
        RunOptions(output=tmp_path, emulator=""),
        command=Command.parsed("run b.yaml"),
        display=choose(json=False, quiet=True, stream_is_terminal=False, environ={}),
        check_plan=no,
    )

    with pytest.raises(PlanDriftError, match="prices"), opened:
        pass
