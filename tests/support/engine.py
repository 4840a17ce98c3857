"""An engine on the emulator in one process, on virtual time; and jobs to feed it.

The emulator's books have the last word: `Rig.charges` is what was really paid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import trio
import trio.testing

from kling_batch.core.events import RunEvent, RunResult
from kling_batch.core.jobs import Batch, Job, job_key
from kling_batch.core.lifecycle import State
from kling_batch.core.quantities import MicroUSD
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.inprocess import InProcessTransport
from kling_batch.engine.context import RunContext, RunPolicy
from kling_batch.engine.engine import Engine
from kling_batch.fal.client import FalQueue
from kling_batch.fal.transport import connections
from kling_batch.ledger.ledger import Ledger
from kling_batch.output.download import Downloader
from kling_batch.output.store import OutputStore
from kling_batch.output.worker import FileWorker, InLoop
from kling_batch.planning.builder import OutputIndex
from kling_batch.planning.plan import OnDisk, Plan, make_plan
from kling_batch.settings import RunOptions, resolve
from support.wires import in_process

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
T2V = "fal-ai/kling-video/o3/standard/text-to-video"
I2V = "fal-ai/kling-video/o3/standard/image-to-video"
T2I = "fal-ai/kling-image/o3/text-to-image"
PRO = "fal-ai/kling-video/o3/pro/text-to-video"

#: The body of a 403 by which fal locks an account.
LOCK = {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}

#: The answer to the POST is lost, after fal took it.
LOST = Fault(stage="submit.after", what="reset")


def account(**changes: Any) -> Settings:
    """An emulated account that renders eight jobs at a time, or what `changes` say."""
    return Settings(**{"concurrency": 8, "media": "template", **changes})


def slow(**changes: Any) -> Settings:
    """The same, whose videos take 400 seconds each."""
    return account(service_times={"standard": 400.0}, jitter=0.0, **changes)


def make_job(name: str, *, take: int = 1, estimate: int = 420_000, **changes: Any) -> Job:
    """A standard text-to-video job of five seconds, or what `changes` say."""
    endpoint = changes.pop("endpoint", T2V)
    arguments = {
        "prompt": f"prompt of {name}",
        "duration": "5",
        "aspect_ratio": "16:9",
        "generate_audio": False,
        "shot_type": "customize",
    }
    arguments = {k: v for k, v in (arguments | changes).items() if v is not None}
    suffix = "" if take == 1 else f"-t{take}"
    return Job(
        key=job_key(endpoint, arguments, take),
        endpoint=endpoint,
        arguments=arguments,
        take=take,
        id=name,
        batch="test",
        mode="text-to-video",
        tier="standard",
        path=f"test/{name}{suffix}{{output}}{{ext}}",
        estimate=MicroUSD(estimate),
    )


def make_jobs(count: int, **changes: Any) -> list[Job]:
    return [make_job(f"job-{n}", **changes) for n in range(count)]


class Bent(InProcessTransport):
    """The emulator, with one kind of answer changed by the test."""

    def bend(self, request: httpx.Request, answer: httpx.Response) -> httpx.Response:
        raise NotImplementedError

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if not request.url.host.endswith("fal.media"):
            await answer.aread()
        return self.bend(request, answer)


def is_result(request: httpx.Request) -> bool:
    return request.method == "GET" and request.url.path.split("/")[-2] == "requests"


class SlowDisk(InLoop):
    """File work takes effect at once, and its caller goes on a second later."""

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        result = work(*args, **kwargs)
        await anyio.sleep(1)
        return result


class NoUploads:
    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        raise AssertionError(f"nothing should be uploaded: {path}")


class CountingUploads:
    """Stands for fal's storage on virtual time; fal-client's own upload needs asyncio."""

    def __init__(self) -> None:
        self.paths: list[Path] = []

    async def upload(self, path: Path, data: bytes, content_type: str) -> str:
        await anyio.sleep(1)
        self.paths.append(path)
        return f"https://v3b.fal.media/files/b/test/{len(self.paths)}.png"


@dataclass
class Rig:
    """One output folder, one ledger, one emulated account; several runs after each other."""

    folder: Path
    settings: Settings = field(default_factory=lambda: Settings(concurrency=4, media="template"))
    faults: Sequence[Fault] = ()
    events: list[RunEvent] = field(default_factory=list)
    uploads: Any = field(default_factory=NoUploads)
    worker: FileWorker = field(default_factory=InLoop)
    #: Whether an endpoint's answers must hold files.
    media: Any = lambda _: True
    #: What the loop's clock shows at the start of a run.
    loop_start: float = 0.0

    def __post_init__(self) -> None:
        self.epoch = START
        self._virtual = 0.0
        self.world = World(self.settings, clock=lambda: self.now().timestamp())
        self.world.faults.add(*self.faults)

    def now(self) -> datetime:
        return self.epoch + timedelta(seconds=self._elapsed())

    def _elapsed(self) -> float:
        try:
            return anyio.current_time() - self.loop_start
        except anyio.NoEventLoopError:
            return self._virtual

    @property
    def ledger_path(self) -> Path:
        return self.folder / "ledger.db"

    def ledger(self) -> Ledger:
        return Ledger(self.ledger_path, service="emulator", now=self.now)

    def run(
        self,
        jobs: Sequence[Job],
        *,
        retry: bool = False,
        stop: Any = None,
        transport: Any = None,
        cost_of: Any = lambda _endpoint, _units: None,
        **policy: Any,
    ) -> RunResult:
        """One whole run, as `session` does it, in virtual time."""
        self.epoch, self._virtual = self.now(), 0.0
        with self.ledger() as ledger:
            ledger.begin_run(command="test", batches=["test"], pid=1, version="0", cap=None)
            ledger.recover()
            ledger.register(Batch(name="test", source="test.yaml", jobs=tuple(jobs)))
            work = partial(
                self._drive,
                ledger,
                jobs,
                retry,
                stop,
                RunPolicy(**{"rate": 50.0, **policy}),
                transport,
                cost_of,
            )
            clock = trio.testing.MockClock(autojump_threshold=0)
            clock.jump(self.loop_start)
            run_result = trio.run(work, clock=clock)
            ledger.end_run(0)
        return run_result

    async def _drive(
        self,
        ledger: Ledger,
        jobs: Sequence[Job],
        retry: bool,
        stop: Any,
        policy: RunPolicy,
        transport: Any,
        cost_of: Any,
    ) -> RunResult:
        wire = in_process(transport or InProcessTransport(self.world))
        try:
            async with connections("Key test", wire=wire) as (api, files):
                context = RunContext(
                    ledger=ledger,
                    queue=FalQueue(api),
                    fetcher=Downloader(files, self.worker),
                    uploader=self.uploads,
                    store=self.store(),
                    worker=self.worker,
                    log_worker=self.worker,
                    policy=policy,
                    now=self.now,
                    rng=Random(7),
                    notify=self.events.append,
                    cost_of=cost_of,
                    media=self.media,
                )
                engine = Engine(context)
                async with anyio.create_task_group() as tasks:
                    if stop is not None:
                        tasks.start_soon(stop, engine)
                    run_result = await engine.run(self.plan(ledger, jobs, retry=retry))
                    tasks.cancel_scope.cancel()
                return run_result
        finally:
            self._virtual = self._elapsed()

    def store(self) -> OutputStore:
        return OutputStore({"test": self.folder}, self.folder)

    def plan(self, ledger: Ledger, jobs: Sequence[Job], *, retry: bool = False) -> Plan:
        standings = ledger.standings()
        disk = OutputIndex(self.store(), standings)
        return make_plan(jobs, standings, on_disk=disk.where, retry=lambda _: retry, attempts=3)

    # -- what happened -------------------------------------------------------------------------

    @property
    def charges(self) -> list[int]:
        """How often each distinct payload was charged, by the emulator's own books."""
        return list(self.world.books.charges().values())

    def states(self, jobs: Sequence[Job]) -> list[State | None]:
        with self.ledger() as ledger:
            standings = ledger.standings()
        return [standings[j.key].state if j.key in standings else None for j in jobs]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def files(self) -> list[str]:
        """Final names of media, sidecars and half files left out."""
        return sorted(
            p.relative_to(self.folder).as_posix()
            for p in self.folder.rglob("*")
            if p.is_file() and p.suffix in (".mp4", ".png") and not p.name.startswith(".")
        )


__all__ = ["OnDisk", "Rig", "RunOptions", "make_job", "make_jobs", "resolve"]
