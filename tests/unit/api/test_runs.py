"""`load`, `plan`, `run` and `arun` in a Python program; the emulator's books judge."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from click.testing import CliRunner
from support.process import environment

import kling_batch
from kling_batch import (
    Action,
    ExitCode,
    JobOutcome,
    KlingBatchError,
    LedgerError,
    ManifestError,
    Options,
    Plan,
    RunEvent,
    UsageError,
    arun,
    load,
    open_ledger,
    plan,
    run,
)
from kling_batch.cli.main import cli
from kling_batch.core.jobs import Batch, Hooks
from kling_batch.emulator import Fault, Settings, World
from kling_batch.emulator.server import running

MANIFEST = """\
version: 1
name: trial
vars: {brand: Acme}
defaults: {mode: text-to-image}
jobs:
  - {id: one, prompt: "the first {{ brand }}", tags: [wide]}
  - {id: two, prompt: the second}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "trial.yaml").write_text(MANIFEST)
    return tmp_path


def test_what_is_no_batch_and_what_nobody_would_await_is_refused() -> None:
    async def told(_: RunEvent) -> None: ...

    class Told:
        async def __call__(self, _: RunEvent) -> None: ...

    for call in (plan, run):
        for wrong in ("trial.yaml", Path("trial.yaml"), None, [1]):
            with pytest.raises(UsageError, match=r"give what load\(…\) returns"):
                call(wrong)  # type: ignore[operator]
    for hearer, why in ((told, "plain function"), (Told(), "plain function"), (5, "no function")):
        with pytest.raises(UsageError, match=why):
            run(load("trial.yaml"), Options(emulator=True), on_event=hearer)  # type: ignore[arg-type]


class Colour(str, Enum):  # noqa: UP042 - as old programs write it
    RED = "red"


@pytest.mark.parametrize(
    ("given", "spelt"),
    [("Zeta", "Zeta"), (7, "7"), (0.5, "0.5"), (True, "true"), (Colour.RED, "red")],
)
def test_a_variable_is_text_a_number_or_a_flag(given: Any, spelt: str) -> None:
    (batch,) = load("trial.yaml", variables={"brand": given})

    assert batch.jobs[0].arguments["prompt"] == f"the first {spelt}"


@pytest.mark.parametrize("given", [None, ["a", "b"], b"x", {"a": 1}, object()])
def test_no_other_value_gets_into_a_prompt_that_is_paid_for(given: Any) -> None:
    with pytest.raises(UsageError, match=r"variables: brand: .* is neither text nor a number"):
        load("trial.yaml", variables={"brand": given})


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: load(5), "manifests: 5 is no path"),
        (lambda: load(b"trial.yaml"), "manifests: b'trial.yaml' is no path"),
        (lambda: load(["trial.yaml", None]), "manifests: None is no path"),
        (lambda: load(""), "manifests: the path is empty"),
        (lambda: load("trial.yaml", variables=["brand"]), "variables: a list is no mapping"),
        (lambda: load("trial.yaml", variables={1: "x"}), "variables: 1 is no name"),
        (lambda: plan(load("trial.yaml"), {"emulator": True}), "options: a dict is no Options"),
        (lambda: run(load("trial.yaml"), {}), "options: a dict is no Options"),
        (lambda: run(load("trial.yaml"), approve=True), "approve is no function"),
        (lambda: open_ledger(5), "path: 5 is no path"),
        (lambda: open_ledger(""), "path: the path is empty"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_usage_error(call: Callable[[], object], why: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(why)}"):
        call()


@pytest.fixture
def world() -> World:
    return World(Settings(profile="instant", media="template", concurrency=8))


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with running(world) as address:
        yield address


def charges(world: World) -> list[int]:
    return sorted(world.books.charges().values())


# -- the package -------------------------------------------------------------------------------


def test_importing_the_package_is_light_and_plan_is_the_function() -> None:
    script = (
        "import sys, kling_batch\n"
        "heavy = {'aiohttp', 'httpx', 'fal_client', 'anyio', 'pydantic', 'sqlite_utils'}\n"
        "heavy |= {'click', 'jinja2'}\n"
        "assert not heavy & {name.split('.')[0] for name in sys.modules}, sys.modules\n"
        "assert len([name for name in sys.modules if name.startswith('kling_batch')]) < 4\n"
        "import kling_batch.planning.plan, kling_batch.operations.run, kling_batch.cli.main\n"
        "assert callable(kling_batch.plan) and callable(kling_batch.run)\n"
        "assert callable(kling_batch.load)\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_public_name_is_there_and_no_other() -> None:
    for name in kling_batch.__all__:
        assert getattr(kling_batch, name) is not None
    assert dir(kling_batch) == sorted(kling_batch.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = kling_batch.no_such_name  # type: ignore[attr-defined]


# -- load and plan -----------------------------------------------------------------------------


def test_variables_reach_the_manifest_and_a_path_may_be_a_path(folder: Path) -> None:
    (batch,) = load(folder / "trial.yaml", variables={"brand": 7})

    assert batch.jobs[0].arguments["prompt"] == "the first 7"


def test_a_manifest_with_problems_raises_them_all(folder: Path) -> None:
    (folder / "bad.yaml").write_text("version: 1\njobs:\n  - {id: a, promt: x}\n  - {id: a}\n")

    with pytest.raises(ManifestError) as raised:
        load("bad.yaml")

    assert len(raised.value.problems) >= 2
    assert raised.value.exit_code == 2


def test_a_plan_has_items_with_reasons_and_prices_and_prints_dollars() -> None:
    made = plan(load("trial.yaml"), Options(max_cost="10"))

    assert str(made.cost) == "$0.06"
    assert str(made.cap) == "$10.00"
    assert [(i.job.label, i.action, i.reason, str(i.price)) for i in made] == [
        ("one", Action.SUBMIT, "new", "$0.03"),
        ("two", Action.SUBMIT, "new", "$0.03"),
    ]
    assert len(made) == 2
    assert "new" in str(made)
    assert not made.idle
    assert not Path("outputs").exists()


def test_a_selection_plans_only_its_jobs_and_warns_where_it_fits_none() -> None:
    batches = load("trial.yaml")

    assert [i.job.id for i in plan(batches, Options(only="t*"))] == ["two"]
    assert [i.job.id for i in plan(batches, Options(exclude=["two"]))] == ["one"]
    assert [i.job.id for i in plan(batches, Options(tags="wide"))] == ["one"]
    assert "fits no job" in plan(batches, Options(only="three")).warnings[0]


# -- consent -----------------------------------------------------------------------------------


def test_without_consent_nothing_is_sent(world: World, url: str, monkeypatch) -> None:
    monkeypatch.setenv("FAL_KEY", "a:b")

    with pytest.raises(UsageError, match=r"2 jobs, up to \$0\.06.*max_cost"):
        run(load("trial.yaml"))


def test_a_plan_that_is_refused_is_not_run(world: World, url: str) -> None:
    shown: list[Plan] = []

    def refuse(plan: Plan) -> bool:
        shown.append(plan)
        return False

    with pytest.raises(UsageError, match="not confirmed; nothing was sent"):
        run(load("trial.yaml"), Options(max_cost=10, emulator=url), approve=refuse)

    assert str(shown[0].cost) == "$0.06"
    assert charges(world) == []


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_what_a_function_with_async_returns_is_no_consent(world: World, url: str) -> None:
    async def refuse(_plan: Plan) -> bool:
        return False

    with pytest.raises(UsageError, match="not confirmed; nothing was sent"):
        run(load("trial.yaml"), Options(emulator=url), approve=refuse)  # type: ignore[arg-type]

    assert charges(world) == []


def test_a_variable_that_there_is_not_is_no_option_of_a_command() -> None:
    with pytest.raises(ManifestError) as caught:
        load("trial.yaml", variables={"brnad": "Zeta"})

    assert "variables: brnad: no variable of this name (did you mean `brand`?)" in str(caught.value)
    assert "--set" not in str(caught.value)


def test_whoever_approves_is_reported_what_the_cap_leaves_out(url: str) -> None:
    seen: list[Plan] = []

    def approve(plan: Plan) -> bool:
        seen.append(plan)
        return True

    report = run(load("trial.yaml"), Options(emulator=url, max_cost="0.03"), approve=approve)

    assert "covers 1 of 2 jobs" in str(seen[0])
    assert seen[0].cap == Decimal("0.03")
    assert report.exit_code is ExitCode.BUDGET
    run(load("trial.yaml"), Options(emulator=url, limit=0), approve=approve)
    run(load("trial.yaml"), Options(emulator=url, limit=1), approve=approve)
    assert "covers" not in str(seen[-1])


def test_an_approved_plan_is_run_and_a_finished_one_asks_nobody(world: World, url: str) -> None:
    asked: list[Plan] = []

    def approve(plan: Plan) -> bool:
        asked.append(plan)
        return True

    for _ in range(2):
        report = run(load("trial.yaml"), Options(emulator=url), approve=approve)
        assert report.ok

    assert len(asked) == 1
    assert charges(world) == [1, 1]


def test_the_cap_stops_the_run_with_a_report(world: World, url: str) -> None:
    report = run(load("trial.yaml"), Options(max_cost="0.03", emulator=url))

    assert report.exit_code is ExitCode.BUDGET
    assert charges(world) == [1]
    assert str(report.cap) == "$0.03"
    assert str(report.spent) == "$0.03"


# -- run ---------------------------------------------------------------------------------------


def test_a_run_returns_lines_with_files_also_where_a_job_failed(world: World, url: str) -> None:
    world.faults.add(
        Fault(stage="job", prompt="second", what="fail", error="content_policy_violation")
    )
    report = run(load("trial.yaml"), Options(emulator=url))

    assert report.exit_code is ExitCode.SOME_FAILED
    assert [(line.job, line.outcome) for line in report.lines] == [
        ("one", JobOutcome.SUCCEEDED),
        ("two", JobOutcome.FAILED),
    ]
    assert [line.job for line in report.failed] == ["two"]
    assert report.failed[0].message
    assert all(path.is_file() for path in report.lines[0].files)
    assert len(report.lines[0].files) == 1
    assert report.emulated


def test_events_are_passed_on_while_it_runs(url: str) -> None:
    events: list[RunEvent] = []

    run(load("trial.yaml"), Options(emulator=url, only="one"), on_event=events.append)

    assert {"submitted", "saved"} <= {str(event.kind) for event in events}
    assert {event.job for event in events} <= {"one", ""}


def test_an_error_of_the_callers_function_stops_the_run_and_is_raised(
    world: World, url: str
) -> None:
    world.faults.add(Fault(stage="submit.after", what="delay", seconds=0.5))

    def fail(event: RunEvent) -> None:
        raise ZeroDivisionError(event.kind)

    with pytest.raises(ZeroDivisionError):
        run(load("trial.yaml"), Options(emulator=url), on_event=fail)

    with open_ledger("outputs") as ledger:
        assert not list(ledger.jobs(state="in_doubt"))
    assert run(load("trial.yaml"), Options(emulator=url)).ok
    assert charges(world) == [1, 1]


class MineError(BaseException):
    """As a test framework has them."""


CANCELLED, PRESSED = asyncio.CancelledError("mine"), KeyboardInterrupt("mine")
LEFT, MINE = SystemExit("mine"), MineError("mine")


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        *(("none", error) for error in (CANCELLED, PRESSED, LEFT, LedgerError("mine"))),
        *(("asyncio", error) for error in (CANCELLED, MINE, ValueError("mine"))),
        *(("trio", error) for error in (PRESSED, LEFT)),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_whatever_the_callers_function_raises_is_raised_as_it_is(
    world: World, url: str, error: BaseException, backend: str, capfd: pytest.CaptureFixture[str]
) -> None:
    cause = OSError("behind it")

    def fail(event: RunEvent) -> None:
        if event.kind == "submitted":
            raise error from cause

    async def main() -> None:
        with pytest.raises(BaseException) as raised:
            await arun(load("trial.yaml"), options, on_event=fail)
        assert raised.value is error

    options = Options(emulator=url, concurrency=1)
    if backend == "none":
        with pytest.raises(BaseException) as raised:
            run(load("trial.yaml"), options, on_event=fail)
        assert raised.value is error
    else:
        anyio.run(main, backend=backend)

    assert error.__cause__ is cause
    assert error.__context__ is None
    assert capfd.readouterr().err == ""
    assert run(load("trial.yaml"), options).ok
    assert charges(world) == [1, 1]


def test_trios_own_cancellation_is_raised_as_it_is(world: World, url: str) -> None:
    kept: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.sleep(1)
            except trio.Cancelled as error:
                kept.append(error)

    def fail(event: RunEvent) -> None:
        if event.kind == "submitted":
            raise kept[0]

    trio.run(main)
    with pytest.raises(trio.Cancelled) as raised:
        run(load("trial.yaml"), Options(emulator=url), on_event=fail)
    assert raised.value is kept[0]


def test_an_error_at_a_warning_before_the_run_costs_nothing(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLING_BATCH_HOOKS", "0")
    batches = load("trial.yaml")

    def fail(event: RunEvent) -> None:
        raise ZeroDivisionError(event.message)

    for options in (
        Options(emulator=url, only=["one", "three"]),  # a warning of the selection
        Options(emulator=url),
    ):
        with pytest.raises(ZeroDivisionError, match=r"fits no job|are left out"):
            run(with_hook(batches), options, on_event=fail)
    assert world.books.posts == []


def with_hook(batches: tuple[Batch, ...]) -> list[Batch]:
    hooks = Hooks(on_saved=("sh", "-c", "cat >> saved"))
    return [dataclasses.replace(batch, hooks=hooks) for batch in batches]


def test_what_the_callers_function_does_to_an_event_is_not_seen_by_hooks(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KLING_BATCH_HOOKS", raising=False)

    def spoil(event: RunEvent) -> None:
        for value in event.data.values():
            if isinstance(value, list):
                value.clear()
        event.data.clear()

    run(with_hook(load("trial.yaml")), Options(emulator=url, only="one"), on_event=spoil)

    told = json.loads((folder / "saved").read_text())
    assert told["data"]["files"]


@pytest.mark.filterwarnings("error")
def test_what_would_be_awaited_is_refused_when_it_is_first_called(world: World, url: str) -> None:
    async def told(_: RunEvent) -> None: ...

    class Told:
        def __call__(self, event: RunEvent) -> object:
            return told(event)

    for hearer in (lambda event: told(event), Told()):  # noqa: PLW0108 - as programs have it
        with pytest.raises(UsageError, match="give a plain function"):
            run(load("trial.yaml"), Options(emulator=url, concurrency=1), on_event=hearer)
        gc.collect()
    assert run(load("trial.yaml"), Options(emulator=url)).ok
    assert charges(world) == [1, 1]


def test_a_missing_key_is_an_error_and_no_exit() -> None:
    with pytest.raises(KlingBatchError) as raised:
        run(load("trial.yaml"), Options(yes=True))

    assert raised.value.exit_code is ExitCode.AUTH


def test_a_thread_may_run_it(world: World, url: str) -> None:
    reports = []
    thread = threading.Thread(
        target=lambda: reports.append(run(load("trial.yaml"), Options(emulator=url)))
    )
    thread.start()
    thread.join(60)

    assert [report.ok for report in reports] == [True]
    assert charges(world) == [1, 1]


def test_the_handler_of_the_calling_program_stays(url: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    run(load("trial.yaml"), Options(emulator=url))
    assert signal.getsignal(signal.SIGINT) is before

    mine = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGINT, mine)
    try:
        run(load("trial.yaml"), Options(emulator=url, output="again"))
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from kling_batch import Options, load, run

def interrupt(event):
    if event.kind == "submitted":
        os.kill(os.getpid(), signal.SIGINT)

report = run(load("trial.yaml"), Options(emulator=sys.argv[1], concurrency=1), on_event=interrupt)
print(int(report.exit_code), *[line.outcome for line in report.lines], sep="|")
"""


def test_ctrl_c_stops_the_run_in_order_and_returns_the_report(
    world: World, url: str, folder: Path
) -> None:
    world.faults.add(Fault(stage="job", what="delay", seconds=30))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.strip() == "130|running|not started", done.stderr
    assert done.returncode == 0


# -- next steps --------------------------------------------------------------------------------


def typed(step: str) -> None:
    """Type it, as bash reads it."""
    done = subprocess.run(
        ["bash", "-c", step.replace("kling-batch", f"{sys.executable} -m kling_batch", 1)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def prompts(world: World) -> list[str]:
    return sorted(request.prompt for request in world.books.accepted)


def test_the_next_step_buys_nothing_that_the_run_was_not_about(
    world: World, url: str, folder: Path
) -> None:
    (folder / "trial.yaml").rename(folder / "-x.yaml")
    world.faults.add(Fault(stage="job", what="delay", seconds=1.5, times=1))
    batches = load("./-x.yaml", variables={"brand": "Zeta"})

    report = run(batches, Options(emulator=url, only="one", timeout=0.5, output="n1"))

    assert report.exit_code is ExitCode.STILL_RUNNING
    (step,) = report.next_steps
    typed(step)
    assert prompts(world) == ["the first Zeta"]
    assert charges(world) == [1]
    told = CliRunner().invoke(cli, ["why", "one", "-o", "n1"])
    assert "as -x.yaml stands now" in told.output
    assert "has changed since, so the next run renders nothing" in told.output


def test_after_the_cap_the_next_step_asks_for_a_higher_one(world: World, url: str) -> None:
    report = run(load("trial.yaml"), Options(max_cost="0.03", emulator=url, tags="wide"))
    assert report.ok
    report = run(load("trial.yaml"), Options(max_cost="0.03", emulator=url))

    assert report.exit_code is ExitCode.BUDGET
    (step,) = report.next_steps
    command, _, _ = step.partition("   (")
    assert command == f"kling-batch run trial.yaml --emulator-url {url} --max-cost USD"
    typed(command.replace("USD", "0.06"))
    assert charges(world) == [1, 1]


def test_where_no_command_says_the_same_there_is_no_step_that_runs(
    world: World, url: str, folder: Path
) -> None:
    (folder / "other.yaml").write_text(MANIFEST.replace("name: trial", "name: other"))
    world.faults.add(Fault(stage="job", what="delay", seconds=30))
    batches = (*load("trial.yaml", variables={"brand": "Zeta"}), *load("other.yaml"))

    report = run(batches, Options(emulator=url, only="one", timeout=0.5, output="n1"))

    assert report.exit_code is ExitCode.STILL_RUNNING
    assert report.next_steps == ()
    assert prompts(world) == ["the first Acme", "the first Zeta"]


# -- arun --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_runs_in_the_callers_event_loop(world: World, url: str, backend: str) -> None:
    async def main() -> None:
        report = await arun(load("trial.yaml"), Options(emulator=url))
        assert report.ok

    anyio.run(main, backend=backend)

    assert charges(world) == [1, 1]


def test_run_inside_an_event_loop_names_arun(url: str) -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="await arun"):
            run(load("trial.yaml"), Options(emulator=url))

    asyncio.run(main())


@pytest.mark.filterwarnings("error")
def test_a_callback_of_a_loop_is_inside_it(world: World, url: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[BaseException | None] = loop.create_future()
        loop.call_soon(lambda: done.set_result(refusal()))
        assert "await arun" in str(await done)

    def refusal() -> BaseException | None:
        batches = load("trial.yaml")
        assert len(plan(batches, Options(emulator=url, max_cost=1))) == 2
        try:
            run(batches, Options(emulator=url))
        except UsageError as error:
            return error
        return None

    asyncio.run(main())
    assert world.books.posts == []
    assert not Path("outputs/ledger.db").exists()


async def accepted(world: World) -> None:
    with anyio.fail_after(20):
        while not world.books.accepted:  # noqa: ASYNC110 - another thread's books
            await anyio.sleep(0.01)


def answered_and_never_paid_twice(world: World, url: str) -> None:
    """The submission in flight got its answer; the next run pays for the rest alone."""
    with open_ledger("outputs") as ledger:
        states = sorted(job.state for job in ledger.jobs())
    assert states == ["pending", "submitted"]
    assert run(load("trial.yaml"), Options(emulator=url)).ok
    assert charges(world) == [1, 1]
    assert len(world.books.accepted) == 2


def test_a_cancelled_asyncio_task_lets_a_post_in_flight_get_its_answer(
    world: World, url: str
) -> None:
    world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0, times=1))

    async def main() -> None:
        options = Options(emulator=url, concurrency=1)
        task = asyncio.create_task(arun(load("trial.yaml"), options))
        await accepted(world)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    answered_and_never_paid_twice(world, url)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_scope_lets_a_post_in_flight_get_its_answer(
    world: World, url: str, backend: str
) -> None:
    world.faults.add(Fault(stage="submit.after", what="delay", seconds=1.0, times=1))

    async def main() -> None:
        options = Options(emulator=url, concurrency=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(arun, load("trial.yaml"), options)
            await accepted(world)
            tasks.cancel_scope.cancel()

    anyio.run(main, backend=backend)

    answered_and_never_paid_twice(world, url)


def in_another_thread(call: Callable[[], object]) -> BaseException | None:
    found: list[BaseException | None] = []

    def keep() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - told to the test
            found.append(error)
        else:
            found.append(None)

    thread = threading.Thread(target=keep)
    thread.start()
    thread.join(20)
    return found[0]


def test_a_ledger_that_cannot_be_read_here_any_more_says_what_to_do(url: str) -> None:
    run(load("trial.yaml"), Options(emulator=url))

    ledger = open_ledger("outputs")
    begun, unread = ledger.jobs(), ledger.jobs()
    assert next(begun).id == "one"
    reads: list[Callable[[], object]] = [
        lambda: list(ledger.jobs()),
        lambda: next(begun),
        lambda: next(unread),
        lambda: ledger.job("one"),
        ledger.costs,
    ]
    for read in (*reads[:1], *reads[3:], ledger.close):
        error = in_another_thread(read)
        assert isinstance(error, LedgerError), repr(error)
        assert str(error).endswith("was opened in another thread; open it in this one, too")
    with pytest.raises(UsageError, match="no state 'done'"):
        ledger.jobs(state="done")
    with pytest.raises(UsageError, match="name: 5 is no text"):
        ledger.job(5)  # type: ignore[arg-type]
    ledger.close()
    ledger.close()
    for read in reads:
        with pytest.raises(UsageError, match=r"closed; .* jobs = list\(ledger\.jobs\(\)\)"):
            read()


def test_the_ledger_of_a_trial_is_found_where_a_real_one_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "campaign.yaml").write_text("jobs: [{id: a, mode: text-to-image, prompt: x}]\n")
    monkeypatch.chdir(tmp_path)

    report = kling_batch.run(
        kling_batch.load("campaign.yaml"), kling_batch.Options(max_cost="10", emulator=True)
    )

    assert report.exit_code == 0
    for place in ("outputs/ledger.db", "outputs-emulator"):
        with kling_batch.open_ledger(place) as ledger:
            assert [job.id for job in ledger.jobs(state="succeeded")] == ["a"]
    with pytest.raises(kling_batch.LedgerError):
        kling_batch.open_ledger("elsewhere/ledger.db")
