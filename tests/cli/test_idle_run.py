"""A run loads what it needs; with nothing to do it asks the ledger about its own jobs only."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.cli import run_command
from support.ledger import handle, placed
from support.process import environment

from kling_batch.core.jobs import Batch, Job
from kling_batch.core.lifecycle import Event
from kling_batch.emulator import Settings, World
from kling_batch.emulator.server import running
from kling_batch.ledger.ledger import Ledger
from kling_batch.manifest.loader import load

#: What a select may go through from end to end: its own list of keys, tables with a row a version.
SMALL = {"json_each", "sqlite_master", "_sqlite_migrations", "ledger", "CONSTANT"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A manifest whose jobs are done, in the ledger of which a second batch is done too."""
    write_manifest(tmp_path / "m.yaml", 3)
    write_manifest(tmp_path / "other.yaml", 5)
    with Ledger(tmp_path / "out" / "ledger.db", service="fal", now=lambda: datetime.now(UTC)) as it:
        it.begin_run(command="kling-batch run", batches=["m"], pid=1, version="0", cap=None)
        for name in ("m.yaml", "other.yaml"):
            batch = load(tmp_path / name)
            it.register(batch)
            for job in batch.jobs:
                finish(it, batch, job, tmp_path / "out")
        it.end_run(0)
    return tmp_path


def write_manifest(path: Path, jobs: int) -> None:
    path.write_text(
        f"name: {path.stem}\n"
        "limits: {max_cost: 5}\n"
        "jobs:\n"
        f'- {{id: "{path.stem}-{{{{ n }}}}", mode: text-to-video, tier: standard,'
        f' prompt: "{path.stem} {{{{ n }}}}", matrix: {{n: {[*range(jobs)]}}}}}\n'
    )


def finish(ledger: Ledger, batch: Batch, job: Job, out: Path) -> None:
    number = ledger.intend(job, dict(job.arguments), tries=1)
    assert isinstance(number, int)
    ledger.record(number, Event.SUBMIT_ACCEPTED, handle=handle(f"{batch.name}-{number}"))
    ledger.record(number, Event.REMOTE_COMPLETED, output={"video": {"url": "https://v"}})
    path = out / job.output_path(0, ".mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"abc")
    ledger.save_artifacts(ledger.attempt(number), [placed(job.output_path(0, ".mp4"))])


@pytest.mark.parametrize("command", ["run", "plan"])
def test_no_query_of_an_idle_run_reads_what_other_jobs_have(
    folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    connect = sqlite3.connect

    def traced(*words: object, **named: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*words, **named)  # type: ignore[call-overload]
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", traced)
    done = run_command(command, "m.yaml", "--output", "out", cwd=folder)
    monkeypatch.undo()

    assert done.returncode == 0
    if command == "run":
        assert "nothing to do, 3 jobs done before" in done.stderr
    assert len([sql for sql in asked if "from attempts" in sql]) >= 3
    with closing(sqlite3.connect(folder / "out" / "ledger.db")) as db:
        slow = {sql: bad for sql in asked if (bad := costly(db, sql))}
    assert slow == {}


#: What a run without a terminal, local files and renditions can do without.
RARE = {
    *("rich", "pygments", "dotenv", "pydantic", "av", "PIL", "xml", "html"),
    *("starlette", "uvicorn", "kling_batch.emulator", "fsspec", "distributed"),
}
#: What talks to fal, too.
BUSY = RARE | {
    *("httpx", "aiohttp", "fal_client", "anyio", "asyncio", "ssl", "email"),
    *("kling_batch.engine.engine", "kling_batch.fal.client", "kling_batch.output.download"),
}


def modules_of(folder: Path, *words: str) -> set[str]:
    """The modules that a command has loaded when it ends."""
    script = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*filter(sys.modules.get, sys.modules)))\n"
        f"sys.argv = ['kling-batch', *{words!r}]\n"
        "from kling_batch.__main__ import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("command", ["run", "plan"])
def test_an_idle_run_loads_no_network_stack(folder: Path, command: str) -> None:
    modules = modules_of(folder, command, "m.yaml", "--output", "out")

    assert "kling_batch.ledger.reader" in modules
    assert modules & BUSY == set()


def test_a_run_that_submits_loads_what_it_needs_only(folder: Path) -> None:
    world = World(Settings(profile="instant", media="template", concurrency=8))
    with running(world) as url:
        modules = modules_of(folder, "run", "m.yaml", "--output", "new", "--emulator-url", url)

    assert len(world.books.charges()) == 3
    assert {"aiohttp", "httpx", "fal_client", "kling_batch.engine.engine"} < modules
    assert modules & RARE == set()


def costly(db: sqlite3.Connection, sql: str) -> list[str]:
    """The steps of a statement that take longer the more jobs a ledger has."""
    if not re.match(r"\s*(select|insert|update|delete|with)\b", sql, re.IGNORECASE):
        return []
    steps = [row[3] for row in db.execute(f"explain query plan {sql}")]
    scans = [step for step in steps if step.startswith("SCAN") and step.split()[1] not in SMALL]
    # Nearly every attempt has succeeded, so that state is no way to find a few of them.
    everything = [s for s in steps if "attempts_by_state" in s and "'succeeded'" in sql]
    return scans + everything


def test_the_check_finds_a_query_that_reads_all_jobs(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "out" / "ledger.db")) as db:
        assert costly(db, "select count(*) from attempts where failure is not null") != []
        assert costly(db, "select id, endpoint from attempts where state = 'succeeded'") != []
        assert costly(db, "select id from attempts where job_key = 'k1:x'") == []


def test_standings_of_some_jobs_are_those_among_all_standings(folder: Path) -> None:
    with Ledger(folder / "out" / "ledger.db", service="fal", now=lambda: datetime.now(UTC)) as it:
        ours = [job.key for job in load(folder / "m.yaml").jobs]
        every = it.standings()

        assert len(every) == 8
        assert it.standings(ours) == {key: every[key] for key in ours}
        assert it.standings(iter([*ours, *ours])) == it.standings(ours)
        assert it.standings([]) == {}
