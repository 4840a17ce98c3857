"""Fault injection: runs on virtual time with faults at named moments, and checks of the result.

The moments are where the program touches ledger, disk and network. Subclasses of its ledger, store
and transport report each moment to the `FaultRig`, which injects what is planned for it; the
program itself has no hooks for that. After `Killed`, no byte reaches the ledger, the disk or fal.
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
from sqlite3 import Connection
from typing import Any

import anyio
import httpx
import trio
import trio.testing

from kling_batch.core.events import RunResult, name_of
from kling_batch.core.jobs import Batch, Job, substitute
from kling_batch.core.lifecycle import Event, State
from kling_batch.core.locations import Location
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
from kling_batch.output.worker import InLoop
from kling_batch.planning.plan import Plan
from support.engine import CountingUploads, Rig
from support.wires import in_process

#: Seconds after which a run must leave, as with `--timeout`.
PATIENCE = 900.0
DOUBT_WAIT = 300.0

#: What can happen to a request on its way; `reset` and `hang` at `connect` mean: never connected.
NETWORK = ("reset", "hang", "429", "500", "502", "503", "504", "garbage", "html")
#: Further faults of reads; none of them is a verdict about the job.
REFUSED = ("401", "403", "404")
#: Faults that can be injected at every moment.
ANYWHERE = ("kill", "full", "clock+7h", "clock-7h")


_BODIES = {
    "garbage": (200, b'{"request_id": "\xff\xfe'),
    "html": (200, b"<!doctype html><h1>Back soon</h1>"),
}


class Killed(BaseException):
    """Simulated `kill -9`: nothing after this line happens."""


@dataclass(frozen=True)
class PlannedFault:
    """A fault planned for the `nth` time that a moment is reached, and `times - 1` times after."""

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
    """Reports the moments before and after every commit."""

    def __init__(self, rig: FaultRig, path: Path) -> None:
        self._rig = rig
        self._label = "ledger"
        super().__init__(path, service="emulator", now=rig.now)

    @contextmanager
    def transaction(self, *how: Any) -> Iterator[Connection]:
        label, self._label = self._label, "ledger"
        with super().transaction(*how) as db:
            yield db
            with explained(self.path):
                self._rig.reach(f"{label}.before", on="ledger")
        self._rig.reach(f"{label}.after", on="ledger")

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
    """Reports the moments before and after every rename, link and sidecar."""

    rig: FaultRig

    def prepare(self, batch: str, relative: str) -> Location:
        self.rig.reach("folder.before", on="disk")
        return super().prepare(batch, relative)

    def back_up(self, final: Location) -> Location | None:
        self.rig.reach("aside.before", on="disk")
        kept = super().back_up(final)
        self.rig.reach("aside.after", on="disk")
        return kept

    def _rename(self, temporary: Path, final: Location, sha256: str) -> None:
        self.rig.reach("rename.before", on="disk")
        super()._rename(temporary, final, sha256)
        self.rig.reach("rename.after", on="disk")

    def write_sidecar(self, final: Location, record: Any, temporary: Path) -> None:
        self.rig.reach("sidecar.before", on="disk")
        super().write_sidecar(final, record, temporary)
        self.rig.reach("sidecar.after", on="disk")


class FaultyTransport(httpx.AsyncBaseTransport):
    """The emulator in process; reports the moments before and after it handles a request."""

    def __init__(self, rig: FaultRig) -> None:
        self._rig = rig
        self._inner = InProcessTransport(rig.world)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        kind = self._kind(request)
        if kind == "submit" and (answer := await self._rig.reach_request("connect", request)):
            return answer
        if answer := await self._rig.reach_request(f"{kind}.before", request):
            return answer
        good = await self._inner.handle_async_request(request)
        if answer := await self._rig.reach_request(f"{kind}.after", request):
            return answer
        if kind == "download":
            body = b"".join([chunk async for chunk in good.aiter_raw()])
            stream = _InterruptedBody(self._rig, request, body)
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
        found = self._rig.world.find(parts[-2])
        return {"IN_QUEUE": "queued", "IN_PROGRESS": "running"}.get(
            found.state if found else "", "done"
        )


class _InterruptedBody(httpx.AsyncByteStream):
    def __init__(self, rig: FaultRig, request: httpx.Request, body: bytes) -> None:
        self._rig, self._request, self._body = rig, request, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        if await self._rig.reach_request("download.half", self._request):
            return  # the headers are sent already, so the body just ends
        yield self._body[half:]


class FaultRig(Rig):
    """A rig that injects planned faults; the client's clock may be wrong, fal's is right."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, uploads=CountingUploads(), **kwargs)
        self.skew = timedelta()
        #: When this machine's clock was set back, and how far ahead it had been.
        self.clock_corrections: list[tuple[datetime, timedelta]] = []
        self.world = World(self.settings, clock=lambda: self.true_now().timestamp())
        self.world.faults.add(*self.faults)
        self.planned_faults: tuple[PlannedFault, ...] = ()
        self.reached: Counter[str] = Counter()
        #: Every moment of the run, in order.
        self.log: list[str] = []
        self.kill_at: int | None = None
        #: How many faults were injected, over all runs.
        self.injected = 0
        self.dead = self.full = False
        self.results: list[RunResult | None] = []
        #: Files that the test deleted.
        self.deleted: set[str] = set()
        #: Every job that any run was given, by key.
        self.wanted: dict[str, Job] = {}

    # -- time --

    def true_now(self) -> Any:
        return self.epoch + timedelta(seconds=self._elapsed())

    def now(self) -> Any:
        return self.true_now() + getattr(self, "skew", timedelta())

    def turn_clock(self, hours: float) -> None:
        """Set this machine's clock, not fal's."""
        if hours < 0 and self.skew > SKEW:
            self.clock_corrections.append((self.true_now(), self.skew))
        self.skew += timedelta(hours=hours)

    @property
    def clock_hides_request(self) -> bool:
        """Whether an intent stamped by a clock that was ahead may by now look like a past one.

        The program can no longer see that the clock was wrong, so it asks for the request list from
        too late a time and cannot find the request.
        """
        now = self.true_now()
        return any(now - when > how_far - 2 * SKEW for when, how_far in self.clock_corrections)

    # -- injecting --

    def reach(self, moment: str, *, on: str) -> None:
        """A moment at the ledger or the disk; raises where a fault is due."""
        self._count(moment)
        for planned in self._due(moment):
            self._inject(planned.fault)
        if self.full and moment.endswith(".before"):
            if on == "ledger":
                raise sqlite3.OperationalError("database or disk is full")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def reach_request(self, moment: str, request: httpx.Request) -> httpx.Response | None:
        """A moment at the network; a faulty answer, or None for the real one."""
        self._count(moment)
        for planned in self._due(moment):
            if planned.fault not in ANYWHERE:
                return await self._network_fault(planned.fault, moment, request)
            self._inject(planned.fault)
        if self.full and moment == "download.half":
            # The error that `file.write` would raise here.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return None

    def _count(self, moment: str) -> None:
        if self.dead:
            raise Killed
        self.log.append(moment)
        self.reached[moment] += 1
        if len(self.log) == self.kill_at:
            self._inject("kill")

    def _due(self, moment: str) -> list[PlannedFault]:
        seen = self.reached[moment]
        due = [
            each
            for each in self.planned_faults
            if each.moment == moment and each.nth <= seen < each.nth + each.times
        ]
        self.injected += len(due)
        return due

    def _inject(self, fault: str) -> None:
        if fault == "kill":
            self.dead = True
            raise Killed
        if fault == "full":
            self.full = True
        if fault.startswith("clock"):
            self.turn_clock(int(fault[5:-1]))

    async def _network_fault(
        self, fault: str, moment: str, request: httpx.Request
    ) -> httpx.Response:
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
        store.rig = self
        return store

    def go(
        self,
        jobs: Sequence[Job],
        *planned_faults: PlannedFault,
        seed: int = 0,
        kill_at: int | None = None,
        **policy: Any,
    ) -> RunResult | None:
        """One run with these faults; None where it was killed or the disk was full."""
        self.epoch, self._virtual = self.true_now(), 0.0
        self.planned_faults, self.kill_at = planned_faults, kill_at
        self.reached.clear()
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
        self.planned_faults, self.kill_at = (), None
        self.dead = self.full = False
        self.results.append(run_result)
        return run_result

    def _policy(self, policy: dict[str, Any]) -> dict[str, Any]:
        return {"rate": 50.0, "doubt_wait": DOUBT_WAIT, **policy}

    def _run(self, jobs: Sequence[Job], seed: int, policy: RunPolicy) -> RunResult:
        with self.ledger() as ledger:
            ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
            ledger.recover()
            ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
            work = partial(self._run_engine, ledger, jobs, policy, Random(seed))
            run_result: RunResult = trio.run(
                work, clock=trio.testing.MockClock(autojump_threshold=0)
            )
            ledger.end_run(0)
        return run_result

    async def _run_engine(
        self, ledger: Ledger, jobs: Sequence[Job], policy: RunPolicy, rng: Random
    ) -> RunResult:
        try:
            wire = in_process(FaultyTransport(self))
            async with connections("Key test", wire=wire) as (api, files):
                context = RunContext(
                    ledger=ledger,
                    queue=FalQueue(api),
                    fetcher=Downloader(files, InLoop()),
                    uploader=self.uploads,
                    store=self.store(),
                    worker=InLoop(),
                    log_worker=InLoop(),
                    policy=policy,
                    now=self.now,
                    rng=rng,
                    notify=self.events.append,
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
        """Delete a saved file, as a user may."""
        (self.folder / name).unlink()
        self.deleted.add(name)

    def until_quiet(self, jobs: Sequence[Job], *, seed: int = 0, **policy: Any) -> int:
        """Run without faults, checking each run, until nothing changes; the number of runs."""
        for n in range(1, 7):
            before = self.states(jobs)
            self.go(jobs, seed=seed, **policy)
            check_invariants(self)
            after = self.states(jobs)
            if after == before and not {State.SUBMITTED, State.RENDERED} & set(after):
                return n
            if all(state is State.SUCCEEDED for state in after):
                return n
        raise AssertionError(f"still changing after six runs: {after}")


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
def no_room_to_sync(rig: FaultRig) -> Iterator[None]:
    """`os.fsync` is a door as well: a full disk may say so no earlier than there."""
    real: Callable[[int], None] = os.fsync

    def fsync(handle: int) -> None:
        rig.reach("fsync.before", on="disk")
        real(handle)
        rig.reach("fsync.after", on="disk")

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


# -- checks ------------------------------------------------------------------------------------


def check_invariants(rig: FaultRig, cap: Cap | None = None) -> None:
    """Check what must hold after every run, however it ended, by the emulator's books first."""
    books = rig.world.books
    wanted = Counter(str(job.arguments["prompt"]) for job in rig.wanted.values())
    charged = Counter(r.prompt for r in books.accepted if r.committed_micro_usd)
    assert charged <= wanted, f"paid twice: {charged - wanted}"
    with Ledger(rig.ledger_path, service="emulator", now=rig.now) as ledger:
        _every_request_is_known_or_in_doubt(rig, ledger)
        found = [f"{f.subject}: {f.message}" for f in findings(rig, ledger) if not _known(rig, f)]
        assert found == []
        if cap is not None:
            assert ledger.committed(cap.batches) <= cap.limit
            assert books.total_committed_micro_usd <= cap.limit
    _no_final_name_shows_half_a_file(rig)


def _every_request_is_known_or_in_doubt(rig: FaultRig, ledger: Ledger) -> None:
    known = ledger.request_ids()
    lost = Counter(r.prompt for r in rig.world.books.accepted if r.request_id not in known)
    doubts = Counter(
        str(attempt.payload["prompt"])
        for attempt in ledger.attempts_in(State.SUBMITTING, State.IN_DOUBT)
        if attempt.handle is None
    )
    assert lost <= doubts, f"accepted, but not in the ledger: {lost - doubts}"


def findings(rig: FaultRig, ledger: Ledger) -> tuple[Finding, ...]:
    return verify_ledger(ledger, OutputStore({"test": rig.folder}, rig.folder)).findings


def _known(rig: FaultRig, finding: Finding) -> bool:
    """Whether a finding is expected: the test deleted the file, or a later render replaced it."""
    path = rig.folder / finding.subject
    if not path.is_file():
        return finding.subject in rig.deleted and finding.message == "missing"
    return sha256(path.read_bytes()).hexdigest() in _rendered_digests(rig)


def _rendered_digests(rig: FaultRig) -> set[str]:
    """The digests of every file that the emulator has made."""
    files = rig.world.files
    return {sha256(files.data(file)).hexdigest() for file in list(files._files.values())}


def _no_final_name_shows_half_a_file(rig: FaultRig) -> None:
    whole = _rendered_digests(rig)
    for path in rig.folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file() or path.name.startswith("ledger.db"):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            assert sha256(path.read_bytes()).hexdigest() in whole, f"{path} is not what fal made"


def check_settled(rig: FaultRig, jobs: Sequence[Job]) -> None:
    """Check the final state: every job is done or explained, and no accepted request is lost."""
    accepted = {r.request_id for r in rig.world.books.accepted}
    with Ledger(rig.ledger_path, service="emulator", now=rig.now) as ledger:
        if rig.settings.list_allowed and not rig.clock_hides_request:
            assert accepted <= ledger.request_ids(), (
                "fal accepted it and lists it, and the ledger does not have it"
            )
        assert findings(rig, ledger) == ()
        for job in jobs:
            attempts = ledger.attempts_of(job.key)
            last = attempts[-1] if attempts else None
            match last and last.state:
                case State.SUCCEEDED:
                    pass
                case State.IN_DOUBT:
                    assert last is not None
                    known = last.handle is not None and rig.settings.list_allowed
                    assert not known, f"{job.label}: fal accepted it, and it is still in doubt"
                case None | State.FAILED | State.CANCELLED:
                    assert _reason_of(rig, job, last), f"{job.label}: no reason given"
                case state:
                    raise AssertionError(f"{job.label} is left {state}")
    assert not list(rig.folder.rglob("*.part")), "half files are left"


def _reason_of(rig: FaultRig, job: Job, last: Attempt | None) -> str:
    """The reason why a job is not done: its own failure, its parent's, or why the run stopped."""
    run_result = rig.results[-1]
    assert run_result is not None
    if last is not None and last.failure is not None:
        return last.failure.message
    return run_result.reasons.get(name_of(job)) or "; ".join(
        stop.reason for stop in run_result.stops
    )


__all__ = ["FaultRig", "Plan", "PlannedFault", "check_invariants", "check_settled", "substitute"]
