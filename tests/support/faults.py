"""Runs in bad weather: faults at named moments on virtual time, one run after another; a judge.

Nothing in the program knows about it. The moments are where the program meets the outside: its
ledger, its shelf and its wire are subclasses here that stop at each door and ask for the weather.
What is killed stays dead: once `Killed` was raised, no byte reaches the ledger, the disk or fal.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import trio
import trio.testing
from sqlite_utils import Database

from kling_batch.core.events import RunResult, name_of
from kling_batch.core.jobs import Batch, Job, substitute
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.records import Attempt, Cap
from kling_batch.emulator import World
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.engine.matching import SKEW
from kling_batch.errors import ExitCode
from kling_batch.fal.client import FalQueue
from kling_batch.fal.transport import connections
from kling_batch.ledger.database import explained
from kling_batch.ledger.ledger import Ledger, Placed
from kling_batch.operations.verify import Finding, verify_ledger
from kling_batch.output.download import Downloader
from kling_batch.output.store import OutputStore
from kling_batch.planning.plan import Plan
from support.engine import CountingUploads, Rig

#: A run that gets nowhere is told to leave after so many seconds, as `--timeout` does.
PATIENCE = 900.0
DOUBT_WAIT = 300.0

#: What can happen to a request on its way; `reset` and `hang` at `connect` mean: never connected.
NETWORK = ("reset", "hang", "429", "500", "502", "503", "504", "garbage", "html")
#: What a read can meet besides; none of it is a verdict about the job.
REFUSED = ("401", "403", "404")
#: What can happen anywhere.
ANYWHERE = ("kill", "full", "clock+7h", "clock-7h")


_BODIES = {
    "garbage": (200, b'{"request_id": "\xff\xfe'),
    "html": (200, b"<!doctype html><h1>Back soon</h1>"),
}


class Killed(BaseException):
    """The process is gone: nothing after this line happens."""


@dataclass(frozen=True)
class Strike:
    """A fault, and the moment that it meets: the `nth` time, and so many times from then on."""

    moment: str
    fault: str
    nth: int = 1
    times: int = 1

    def __post_init__(self) -> None:
        assert self.fault in (*NETWORK, *REFUSED, *ANYWHERE), self.fault

    def __str__(self) -> str:
        often = "" if self.times == 1 else f"x{self.times}"
        return f"{self.fault}@{self.moment}#{self.nth}{often}"


ALWAYS = 10**9


class FaultyLedger(Ledger):
    """Asks for the weather before and after every commit."""

    def __init__(self, storm: Storm, path: Path) -> None:
        self._storm = storm
        self._label = "ledger"
        super().__init__(path, service="emulator", now=storm.now)

    @contextmanager
    def transaction(self) -> Iterator[Database]:
        label, self._label = self._label, "ledger"
        with super().transaction() as db:
            yield db
            with explained(self.path):
                self._storm.meet(f"{label}.before", on="ledger")
        self._storm.meet(f"{label}.after", on="ledger")

    def intend(self, *args: Any, **kwargs: Any) -> Any:
        self._label = Event.SUBMIT_INTENDED
        return super().intend(*args, **kwargs)

    def record(self, attempt_id: int, event: Event, **data: Any) -> State:
        self._label = event
        return super().record(attempt_id, event, **data)

    def save_artifacts(self, attempt: Attempt, placed: Sequence[Placed]) -> None:
        self._label = Event.ARTIFACTS_SAVED
        super().save_artifacts(attempt, placed)


class FaultyStore(OutputStore):
    """Asks for the weather before and after every rename, link and sidecar."""

    storm: Storm

    def prepare(self, batch: str, relative: str) -> Path:
        self.storm.meet("folder.before", on="disk")
        return super().prepare(batch, relative)

    def back_up(self, final: Path) -> Path | None:
        self.storm.meet("aside.before", on="disk")
        kept = super().back_up(final)
        self.storm.meet("aside.after", on="disk")
        return kept

    def _rename(self, temporary: Path, final: Path) -> None:
        self.storm.meet("rename.before", on="disk")
        super()._rename(temporary, final)
        self.storm.meet("rename.after", on="disk")

    def write_sidecar(self, final: Path, record: Any) -> None:
        self.storm.meet("sidecar.before", on="disk")
        super().write_sidecar(final, record)
        self.storm.meet("sidecar.after", on="disk")


class Wire(httpx.AsyncBaseTransport):
    """The emulator as the network, with the weather before and after it has heard of a request."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._inner = InProcessTransport(storm.world)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kind = self._kind(request)
        if kind == "submit" and (answer := await self._storm.meet_request("connect", request)):
            return answer
        if answer := await self._storm.meet_request(f"{kind}.before", request):
            return answer
        good = await self._inner.handle_async_request(request)
        if answer := await self._storm.meet_request(f"{kind}.after", request):
            return answer
        if kind == "download":
            body = b"".join([chunk async for chunk in good.aiter_raw()])
            stream = _Halting(self._storm, request, body)
            return httpx.Response(good.status_code, headers=good.headers, stream=stream)
        return good

    def _kind(self, request: httpx.Request) -> str:
        if request.url.host == "api.fal.ai":
            return "list"
        if request.url.host != "queue.fal.run":
            return "download"
        if request.method == "POST":
            return "submit"
        *_, last = parts = request.url.path.split("/")
        if last != "status":
            return "result"
        found = self._storm.world.find(parts[-2])
        return {"IN_QUEUE": "queued", "IN_PROGRESS": "running"}.get(
            found.state if found else "", "done"
        )


class _Halting(httpx.AsyncByteStream):
    def __init__(self, storm: Storm, request: httpx.Request, body: bytes) -> None:
        self._storm, self._request, self._body = storm, request, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        if await self._storm.meet_request("download.half", self._request):
            return  # an answer cannot begin again: it just ends
        yield self._body[half:]


class Storm(Rig):
    """A rig whose runs meet strikes; the client's clock may be wrong, fal's is right."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, uploads=CountingUploads(), **kwargs)
        self.skew = timedelta()
        #: When this machine's clock, too far ahead until then, was put back; and how far that was.
        self.put_back: list[tuple[datetime, timedelta]] = []
        self.world = World(self.settings, clock=lambda: self.true_now().timestamp())
        self.world.faults.add(*self.faults)
        self.strikes: tuple[Strike, ...] = ()
        self.met: Counter[str] = Counter()
        #: Every moment in order, for counting and for telling.
        self.log: list[str] = []
        self.kill_at: int | None = None
        #: How many strikes have met their moment, over all runs.
        self.struck = 0
        self.dead = self.full = False
        self.tallies: list[RunResult | None] = []
        #: Files that the test took away.
        self.deleted: set[str] = set()
        #: Every paid thing that any run was to have.
        self.wanted: dict[str, Job] = {}

    # -- time --

    def true_now(self) -> Any:
        return self.epoch + timedelta(seconds=self._elapsed())

    def now(self) -> Any:
        return self.true_now() + getattr(self, "skew", timedelta())

    def turn_clock(self, hours: float) -> None:
        """Set this machine's clock, not fal's."""
        if hours < 0 and self.skew > SKEW:
            self.put_back.append((self.true_now(), self.skew))
        self.skew += timedelta(hours=hours)

    @property
    def untraceable(self) -> bool:
        """Whether a time in the ledger that lay in the future may since have become the past.

        Nothing tells any more that the clock was wrong then, and the list is asked from too late.
        """
        now = self.true_now()
        return any(now - when > how_far - 2 * SKEW for when, how_far in self.put_back)

    # -- weather --

    def meet(self, moment: str, *, on: str) -> None:
        """A door to the ledger or the disk."""
        self._count(moment)
        for strike in self._striking(moment):
            self._anywhere(strike.fault)
        if self.full and moment.endswith(".before"):
            if on == "ledger":
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def meet_request(self, moment: str, request: httpx.Request) -> httpx.Response | None:
        """A door to the network; an answer, or None for the good one."""
        self._count(moment)
        for strike in self._striking(moment):
            if strike.fault not in ANYWHERE:
                return await self._misbehave(strike.fault, moment, request)
            self._anywhere(strike.fault)
        if self.full and moment == "download.half":
            # As `file.write` would say it, at the same place.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return None

    def _count(self, moment: str) -> None:
        if self.dead:
            raise Killed
        self.log.append(moment)
        self.met[moment] += 1
        if len(self.log) == self.kill_at:
            self._anywhere("kill")

    def _striking(self, moment: str) -> list[Strike]:
        seen = self.met[moment]
        met = [s for s in self.strikes if s.moment == moment and s.nth <= seen < s.nth + s.times]
        self.struck += len(met)
        return met

    def _anywhere(self, fault: str) -> None:
        if fault == "kill":
            self.dead = True
            raise Killed
        if fault == "full":
            self.full = True
        if fault.startswith("clock"):
            self.turn_clock(int(fault[5:-1]))

    async def _misbehave(self, fault: str, moment: str, request: httpx.Request) -> httpx.Response:
        if moment == "connect":
            if fault == "reset":
                raise httpx.ConnectError("connection refused", request=request)
            if fault == "hang":
                await anyio.sleep(request.extensions["timeout"]["connect"])
                raise httpx.ConnectTimeout("no connection", request=request)
        if fault == "reset":
            raise httpx.ReadError("connection reset", request=request)
        if fault == "hang":
            await anyio.sleep(request.extensions["timeout"]["read"])
            raise httpx.ReadTimeout("no answer", request=request)
        status, body = _BODIES.get(fault) or (int(fault), b'{"detail": "Error"}')
        return httpx.Response(status, stream=httpx.ByteStream(body), request=request)

    # -- running --

    def ledger(self) -> Ledger:
        return FaultyLedger(self, self.ledger_path)

    def store(self) -> OutputStore:
        store = FaultyStore({"test": self.folder}, self.folder)
        store.storm = self
        return store

    def go(
        self,
        jobs: Sequence[Job],
        *strikes: Strike,
        seed: int = 0,
        kill_at: int | None = None,
        **policy: Any,
    ) -> RunResult | None:
        """One run in this weather; None where it did not live to its end."""
        self.epoch, self._virtual = self.true_now(), 0.0
        self.strikes, self.kill_at = strikes, kill_at
        self.met.clear()
        self.log.clear()
        self.dead = self.full = False
        self.wanted |= {job.key: job for job in jobs}
        run_result = None
        try:
            with repeatable(seed), no_room_to_sync(self):
                run_result = self._run(jobs, seed, RunPolicy(**self._policy(policy)))
        except BaseException as error:
            if not _only_killed(error) and not (self.full and _is_full(error)):
                raise
        self.strikes, self.kill_at = (), None
        self.dead = self.full = False
        self.tallies.append(run_result)
        return run_result

    def _policy(self, policy: dict[str, Any]) -> dict[str, Any]:
        return {"rate": 50.0, "doubt_wait": DOUBT_WAIT, **policy}

    def _run(self, jobs: Sequence[Job], seed: int, policy: RunPolicy) -> RunResult:
        with self.ledger() as ledger:
            ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
            ledger.recover()
            ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
            work = partial(self._sail, ledger, jobs, policy, Random(seed))
            run_result: RunResult = trio.run(
                work, clock=trio.testing.MockClock(autojump_threshold=0)
            )
            ledger.end_run(0)
        return run_result

    async def _sail(
        self, ledger: Ledger, jobs: Sequence[Job], policy: RunPolicy, rng: Random
    ) -> RunResult:
        try:
            async with connections("Key test", Wire(self)) as (api, files):
                context = RunContext(
                    ledger=ledger,
                    queue=FalQueue(api),
                    fetcher=Downloader(files),
                    uploader=self.uploads,
                    store=self.store(),
                    policy=policy,
                    now=self.now,
                    rng=rng,
                    notify=self.happenings.append,
                )
                engine = Engine(context)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_leave_late, engine)
                    run_result = await engine.run(self.plan(ledger, jobs))
                    tasks.cancel_scope.cancel()
                return run_result
        finally:
            self._virtual = anyio.current_time()

    def delete(self, name: str) -> None:
        """Somebody tidies up."""
        (self.folder / name).unlink()
        self.deleted.add(name)

    def until_quiet(self, jobs: Sequence[Job], *, seed: int = 0, **policy: Any) -> int:
        """Calm runs until one changes nothing more; how many it took, and judged after each."""
        for n in range(1, 7):
            before = self.states(jobs)
            self.go(jobs, seed=seed, **policy)
            judge(self)
            after = self.states(jobs)
            if after == before and not {State.SUBMITTED, State.RENDERED} & set(after):
                return n
            if all(state is State.SUCCEEDED for state in after):
                return n
        raise AssertionError(f"never quiet: {after}")


async def _leave_late(engine: Engine) -> None:
    await anyio.sleep(PATIENCE)
    engine.leave(ExitCode.STILL_RUNNING, "the time of this run is over")


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """Trio shuffles its tasks on purpose; here in the same way each time."""
    run: Any = trio._core._run
    before = run._ALLOW_DETERMINISTIC_SCHEDULING
    run._ALLOW_DETERMINISTIC_SCHEDULING = True
    run._r.seed(seed)
    try:
        yield
    finally:
        run._ALLOW_DETERMINISTIC_SCHEDULING = before


@contextmanager
def no_room_to_sync(storm: Storm) -> Iterator[None]:
    """`os.fsync` is a door as well: a full disk may say so no earlier than there."""
    real: Callable[[int], None] = os.fsync

    def fsync(handle: int) -> None:
        storm.meet("fsync.before", on="disk")
        real(handle)
        storm.meet("fsync.after", on="disk")

    os.fsync = fsync  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = real


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _only_killed(error: BaseException) -> bool:
    return all(isinstance(leaf, Killed) for leaf in _leaves(error))


def _is_full(error: BaseException) -> bool:
    return all("full" in str(leaf) or "space" in str(leaf) for leaf in _leaves(error))


# -- the judge ---------------------------------------------------------------------------------


def judge(storm: Storm, cap: Cap | None = None) -> None:
    """What must hold after every run, however it ended. The emulator's books come first."""
    books = storm.world.books
    wanted = Counter(str(job.arguments["prompt"]) for job in storm.wanted.values())
    charged = Counter(r.prompt for r in books.accepted if r.committed_micro_usd)
    assert charged <= wanted, f"paid twice: {charged - wanted}"
    with Ledger(storm.ledger_path, service="emulator", now=storm.now) as ledger:
        _every_request_is_known_or_in_doubt(storm, ledger)
        found = [
            f"{f.subject}: {f.message}" for f in findings(storm, ledger) if not _known(storm, f)
        ]
        assert found == []
        if cap is not None:
            assert ledger.committed(cap.batches) <= cap.limit
            assert books.total_committed_micro_usd <= cap.limit
    _no_final_name_shows_half_a_file(storm)


def _every_request_is_known_or_in_doubt(storm: Storm, ledger: Ledger) -> None:
    known = ledger.request_ids()
    lost = Counter(r.prompt for r in storm.world.books.accepted if r.request_id not in known)
    doubts = Counter(
        str(attempt.payload["prompt"])
        for attempt in ledger.attempts_in(State.SUBMITTING, State.IN_DOUBT)
        if attempt.handle is None
    )
    assert lost <= doubts, f"accepted and forgotten: {lost - doubts}"


def findings(storm: Storm, ledger: Ledger) -> tuple[Finding, ...]:
    return verify_ledger(ledger, OutputStore({"test": storm.folder}, storm.folder)).findings


def _known(storm: Storm, finding: Finding) -> bool:
    """Deleted by the test itself; or replaced by a later render that the ledger will hear of."""
    path = storm.folder / finding.subject
    if not path.is_file():
        return finding.subject in storm.deleted and finding.message == "missing"
    return sha256(path.read_bytes()).hexdigest() in _whole(storm)


def _whole(storm: Storm) -> set[str]:
    """The digests of everything that fal has made."""
    files = storm.world.files
    return {sha256(files.data(file)).hexdigest() for file in list(files._files.values())}


def _no_final_name_shows_half_a_file(storm: Storm) -> None:
    whole = _whole(storm)
    for path in storm.folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file() or path.name.startswith("ledger.db"):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            assert sha256(path.read_bytes()).hexdigest() in whole, f"{path} is not what fal made"


def settled(storm: Storm, jobs: Sequence[Job]) -> None:
    """The end of the story: every job is done or explained, and nothing that fal took is lost."""
    accepted = {r.request_id for r in storm.world.books.accepted}
    with Ledger(storm.ledger_path, service="emulator", now=storm.now) as ledger:
        if storm.settings.list_allowed and not storm.untraceable:
            assert accepted <= ledger.request_ids(), "fal has it, the list shows it, we lost it"
        assert findings(storm, ledger) == ()
        for job in jobs:
            attempts = ledger.attempts_of(job.key)
            last = attempts[-1] if attempts else None
            match last and last.state:
                case State.SUCCEEDED:
                    pass
                case State.IN_DOUBT:
                    assert last is not None
                    known = last.handle is not None and storm.settings.list_allowed
                    assert not known, f"{job.label}: fal took it, and it is left alone"
                case None | State.FAILED | State.CANCELLED:
                    assert _told(storm, job, last), f"{job.label}: why?"
                case state:
                    raise AssertionError(f"{job.label} is left {state}")
    assert not list(storm.folder.rglob("*.part")), "half files are left"


def _told(storm: Storm, job: Job, last: Attempt | None) -> str:
    """The sentence that says why a job is not done: its own, its parent's, or the run's."""
    run_result = storm.tallies[-1]
    assert run_result is not None
    if last is not None and last.failure is not None:
        return last.failure.message
    return run_result.reasons.get(name_of(job)) or "; ".join(
        stop.reason for stop in run_result.stops
    )


__all__ = ["Plan", "Storm", "Strike", "judge", "settled", "substitute"]
